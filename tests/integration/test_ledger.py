"""The ledger for some seconds: see `tests.ledger`. By hand it runs for longer, with more events.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("faults of POSIX processes", allow_module_level=True)

from tests.fix_servers import PROGRAMS
from tests.ledger.audit import Balance, audit, report
from tests.ledger.cluster import CLUSTER_FAULTS, with_cluster
from tests.ledger.lives import SCENES, play
from tests.ledger.order import check_order
from tests.ledger.records import RecordFile, spans, unspan
from tests.ledger.run import Plan, Result, with_one_server
from tests.sentinels import with_sentinels

_ASKED_FOR = os.environ.get("FLUXA_FAST_IMPL")
_SEED = int.from_bytes(os.urandom(2))


def _plan(seconds: float) -> Plan:
    plan = Plan(seconds=seconds, seed=_SEED, rate=500.0)
    if _ASKED_FOR:
        plan.implementations = (_ASKED_FOR,)
    return plan


def _check(result: Result) -> None:
    told = report(result.balance, seed=_SEED, faults=result.faults)
    assert not result.balance.problem_count, "\n".join([str(told), *result.balance.problems])
    assert result.balance.confirmed > 1000, told


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_promises_3_4_and_6_the_ledger_balances(program: str, tmp_path: Path) -> None:
    _check(with_one_server(_plan(14.0), PROGRAMS[program], tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("scene", "life"),
    [
        ("deploys", {"face": "asyncio", "partitions": 2, "packed": 5}),
        ("kills", {}),
        ("hangs", {"face": "asyncio", "concurrency": 2, "packed": 10, "batch": 4}),
    ],
)
def test_consumers_come_and_go(scene: str, life: dict[str, Any], tmp_path: Path) -> None:
    books = play(SCENES[scene], seconds=7.0, rate=200, folder=tmp_path, seed=_SEED, **life)
    assert not books.problems, (books, _SEED)
    assert books.handled > 500


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("program", sorted(PROGRAMS)[:1])
def test_the_ledger_balances_through_failovers(program: str, tmp_path: Path) -> None:
    _check(with_sentinels(_plan(22.0), PROGRAMS[program], tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xdist_group("cluster")
@pytest.mark.parametrize(("program", "ordered"), list(zip(sorted(PROGRAMS), (False, True), strict=False)))
def test_the_ledger_balances_on_a_cluster(program: str, *, ordered: bool, tmp_path: Path) -> None:
    """Nodes are killed and added, slots move, most primaries stop to respond; owners of partitions are paused."""
    plan = _plan(14.0)
    plan.faults = CLUSTER_FAULTS
    plan.ordered = ordered
    plan.rate = 200.0
    _check(with_cluster(plan, PROGRAMS[program], tmp_path))


# ---- the audit itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doctored", "problem"),
    [
        ([], ""),
        (["producer: confirmed 3-3"], "0:3 was confirmed and never handled"),
        (["producer: confirmed 1-1"], "event 1 was confirmed twice"),
        (["consumer: handled 5-0:0:1"], "0:1 is there 2 times, for 0 retries"),
        (["producer: unconfirmed 1-1", "consumer: handled 5-0:0:1"], ""),
        (["consumer: handled 1-0:0:0"], "was handled at"),
        (["consumer: failed", "consumer: handled 1-0:0:0"], ""),
        (["consumer: handled 6-0:0:3"], "entries were added"),
        (["consumer: handled 3-0/1:0:3"], ""),
        (["consumer: handled 5-0/0:0:3", "consumer: stopped", "consumer: handled 5-0/0:0:3 5-0/1:0:4"], ""),
        (
            ["consumer: handled 5-0/0:0:3 5-0/1:0:4", "consumer: stopped", "consumer: handled 5-0/0:0:3"],
            "was handled at",
        ),
    ],
)
def test_the_audit_finds_what_does_not_balance(tmp_path: Path, doctored: list[str], problem: str) -> None:
    records = {role: RecordFile(tmp_path / f"{role}-0.records") for role in ("producer", "consumer")}
    records["producer"].write("begun", "0-4")
    records["producer"].write("confirmed", *spans([0, 1, 2]))
    for number in range(3):
        records["consumer"].write("handled", f"{number + 1}-0:0:{number}")
    for line in doctored:
        role, _, words = line.partition(": ")
        records[role].write(*words.split())
    balance = audit(tmp_path, added=4 if "5-0" in str(doctored) else 3)
    assert balance.problem_count == bool(problem), balance.problems
    if problem:
        assert problem in balance.problems[0]


def test_spans_are_read_back() -> None:
    numbers = [0, 1, 2, 5, 7, 8]
    assert list(spans(numbers)) == ["0-2", "5-5", "7-8"]
    assert list(unspan(spans(numbers))) == numbers


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["0 handled 1-0@0:0:0", "0 done 0", "1 handled 2-0@0:0:20", "1 done 0"], ""),
        (["0 handled 2-0@0:0:20", "0 done 0", "1 handled 1-0@0:0:0", "1 done 0"], "after event 20"),
        (["0 handled 1-0@0:0:0", "1 handled 2-0@0:0:20", "0 done 0", "1 done 0"], "overlap"),
        (["0 handled 1-0@0:0:0", "1 handled 2-0@1:0:1", "0 done 0", "1 done 1"], ""),
    ],
)
def test_the_order_of_owners_is_checked(tmp_path: Path, lines: list[str], problem: str) -> None:
    records = [RecordFile(tmp_path / f"consumer-{number}.records") for number in range(2)]
    for line in lines:
        number, *words = line.split()
        records[int(number)].write(*words)
    balance = Balance()
    check_order(tmp_path, balance, ())
    assert bool(balance.problems) == bool(problem), balance.problems
    assert problem in "".join(balance.problems)
