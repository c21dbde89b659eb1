"""The fuzzing of use in the small. By hand, and for longer: `make ledger ARGS="use --total 1800"`."""

from __future__ import annotations

import random

import pytest

from tests.fix_servers import PROGRAMS
from tests.ledger.use import FACES, KINDS, play


@pytest.mark.slow
@pytest.mark.skipif(not PROGRAMS, reason="the scenes start servers of their own")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("face", FACES)
def test_use_of_all_kinds_under_disturbances_loses_nothing_and_comes_to_an_end(face: str, kind: str) -> None:
    chance = random.Random()
    report = play(face, kind, 4.0, chance.randrange(1_000_000), chance.choice(sorted(PROGRAMS.values())))
    assert not report["problems"], report
    assert report["handled"] > 100
    assert report["calls"] > 10
