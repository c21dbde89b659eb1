"""``python -m tests.fuzz.guided TARGET [CORPUS...] [-libFuzzer options]``: inputs that coverage guides, by atheris.

For a build whose C code is instrumented, `tools/fuzz guided TARGET SECONDS` makes one and runs this.
"""

from __future__ import annotations

import sys

import atheris

from tests.fuzz.targets import TARGETS


def main() -> None:
    name, *arguments = sys.argv[1:]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
