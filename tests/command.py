"""Runs ``fluxa-fast`` as people do."""

from __future__ import annotations

import os
import subprocess
import sys


def run(*arguments: str, code: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "fluxa_fast"]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        env={**os.environ, "COLUMNS": "160", **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
