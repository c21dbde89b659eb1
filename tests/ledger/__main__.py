"""``python -m tests.ledger``: the ledger by hand, for minutes or hours, with a report.

``python -m tests.ledger use --total 600`` is the fuzzing of use instead, and ``python -m tests.ledger lives`` has scenes
of consumers that come and go; their options follow.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path

from fluxa_fast.embedded import find_server
from tests.ledger import lives, use
from tests.ledger.audit import report
from tests.ledger.faults import FAULTS
from tests.ledger.run import Plan, with_one_server
from tests.sentinels import with_sentinels


def main() -> int:
    other = {"use": use.main, "lives": lives.main}.get("".join(sys.argv[1:2]))
    if other is not None:
        del sys.argv[1]
        return other()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults")
    parser.add_argument("--events", type=int, help="to publish, even if that takes longer")
    parser.add_argument("--rate", type=float, default=1000.0, help="events a second of each producer; 0: no limit")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--producers", type=int, default=4)
    parser.add_argument("--consumers", type=int, default=4)
    parser.add_argument("--plain", action="store_true", help="no packed streams")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one; may be given several times")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--sentinels", action="store_true", help="a master with two replicas, failed over at random")
    parser.add_argument("--replicas", type=int, default=2, help="with --sentinels: that must have an event")
    parser.add_argument("--program", default=find_server(), help="of the server")
    parser.add_argument("--records", type=Path, help="a folder to keep the records in")
    given = parser.parse_args()
    folder = given.records or Path(tempfile.mkdtemp(prefix="ledger-"))
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        seconds=given.seconds,
        events=given.events,
        rate=given.rate or None,
        batch=given.batch,
        producers=given.producers,
        consumers=given.consumers,
        packed=not given.plain,
        seed=given.seed,
    )
    if given.fault:
        plan.faults = {name: FAULTS[name] for name in given.fault}
    print(f"seed {plan.seed}, records in {folder}", flush=True)
    if given.sentinels:
        result = with_sentinels(plan, given.program, folder, given.replicas)
    else:
        result = with_one_server(plan, given.program, folder)
    print(json.dumps(report(result.balance, seconds=round(result.seconds), faults=result.faults), indent=2))
    for problem in result.balance.problems:
        print(problem)
    if not given.records and not result.balance.problem_count:
        shutil.rmtree(folder)
    return 1 if result.balance.problem_count else 0


if __name__ == "__main__":
    sys.exit(main())
