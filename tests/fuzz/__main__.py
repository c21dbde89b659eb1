"""``python -m tests.fuzz``: feeds made-up inputs to all targets, and reports how many were tried."""

from __future__ import annotations

import argparse
import json
import mmap
import random
import sys
import time
from pathlib import Path

from tests.fuzz.inputs import LARGEST, make
from tests.fuzz.targets import BOTH, TARGETS


class _Last:
    """Memory that outlives the process."""

    def __init__(self, path: Path | None) -> None:
        self._memory = None
        if path is not None:
            path.write_bytes(bytes(4 + LARGEST))
            with path.open("r+b") as file:
                self._memory = mmap.mmap(file.fileno(), 4 + LARGEST)

    def keep(self, text: bytes) -> None:
        if self._memory is not None:
            kept = text[:LARGEST]
            self._memory[: 4 + len(kept)] = len(kept).to_bytes(4) + kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of all targets together")
    parser.add_argument("--seconds", type=float, help="instead of a number of inputs")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--last", type=Path, help="a file that holds the last input, to look at after a crash")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    names = given.target or list(TARGETS)
    tried = dict.fromkeys(names, 0)
    findings = 0
    last = _Last(given.last)
    end = time.monotonic() + (given.seconds or float("inf"))
    count = 0
    while time.monotonic() < end and (given.seconds or count < given.inputs) and findings < 20:
        name = names[count % len(names)]
        text = make(chance, name)
        last.keep(text)
        try:
            TARGETS[name](text)
        except Exception as error:
            findings += 1
            print(f"{name}: {text[:200]!r}: {type(error).__name__}: {error}", file=sys.stderr)
        tried[name] += 1
        count += 1
    print(
        json.dumps(
            {"seed": given.seed, "implementations": [one.name for one in BOTH], "inputs": tried, "findings": findings}
        )
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
