"""The code blocks of a page, and how each language is run.

A page is run from top to bottom, in one namespace and against one empty server, which stands for ``localhost:6379``. What a
reader does not need to see is in an HTML comment that begins with ``run:`` (Python, too); it stands where it is needed.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import redis

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / name
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/orders/README.md")
    if (ROOT / name).exists()
] + sorted((ROOT / "docs").rglob("*.md"))

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w{}-]*)[^\n]*\n(?P<code>.*?)^ *```$|<!-- run:\s+(?P<hidden>.*?)-->", re.M | re.S
)

# Of what is not to be run, and why.
SHOWN_ONLY = {
    "text": "is an output, a list, or an ACL rule (which test_security.py reads from the page and tries)",
    "{eval-rst}": "is made of docstrings",
    "{include}": "is another page",
    "{literalinclude}": "is a file with tests of its own",
    "{toctree}": "is a list of pages",
}


class Block(NamedTuple):
    page: Path
    line: int  # of its first line, from 1
    language: str
    code: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in _BLOCK.finditer(text):
        hidden = found["hidden"] is not None
        code = found["hidden"] if hidden else found["code"]
        line = text.count("\n", 0, found.start("hidden" if hidden else "code")) + 1
        language = "python" if hidden else found["language"]
        if found["indent"]:
            code = re.sub(rf"^{found['indent']}", "", code, flags=re.M)
        yield Block(page, line, language, code)


class Reader:
    """Runs the blocks of one page, as its readers do."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url = url
        self._folder = folder
        self._module = types.ModuleType("__page__")
        sys.modules["__page__"] = self._module  # dataclasses look their module up
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        for value in vars(self._module).values():
            if isinstance(value, redis.Redis):
                value.close()
        del sys.modules["__page__"]
        self._loop.close()
        # A page is a program that closes nothing at its end. What it has left is freed now: a later test would be blamed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            vars(self._module).clear()
            gc.collect()

    def run(self, block: Block) -> None:
        run = getattr(self, f"_run_{block.language}", None)
        if run is not None:
            run(block)
        elif block.language not in SHOWN_ONLY:
            raise ValueError(f"{block.place}: tests/docs can't run {block.language or 'a block without a language'}")

    def _there(self, code: str) -> str:
        address = self._url.removeprefix("redis://")
        return code.replace("localhost:6379", address)

    def _run_python(self, block: Block) -> None:
        code = "\n" * (block.line - 1) + self._there(block.code)  # so that a traceback names the line
        compiled = compile(code, str(block.page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result: Any = eval(compiled, vars(self._module))
        if inspect.iscoroutine(result):
            self._loop.run_until_complete(result)

    def _run_console(self, block: Block) -> None:
        for line in block.code.splitlines():
            command = line.partition("#")[0].strip()
            if command and not command.endswith("&"):  # what goes on beside is what the example's own tests start
                self._command(block, shlex.split(self._there(command)))

    def _command(self, block: Block, words: list[str]) -> None:
        settings = [words.pop(0) for _ in range(sum("=" in word for word in words[:2] if word.split("=")[0].isupper()))]
        environment = {**os.environ, "COLUMNS": "160", **dict(one.split("=", 1) for one in settings)}
        if words[0] == "fluxa-fast":
            words = [sys.executable, "-m", "fluxa_fast", *self._cheaper(words[1:])]
        elif words[0] == "make":  # what it would do
            words = ["make", "--dry-run", "-C", str(ROOT), *words[1:]]
        elif words[:2] == ["pip", "install"]:
            return self._check_requirements(block, words[2:])
        elif words[0].startswith("tools/"):
            assert os.access(ROOT / words[0], os.X_OK), f"{block.place}: there is no {words[0]}"
            return None
        elif words[0] in ("git", "cd", "docker", "curl"):
            return None  # about other programs
        elif words[0] in ("python", "python3"):
            words = [sys.executable, *words[1:], *(["--help"] if words[1] == "-m" else [])]
        else:
            raise ValueError(f"{block.place}: tests/docs can't run {words[0]}")
        done = subprocess.run(words, cwd=self._folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.place}: {shlex.join(words)}\n{done.stdout}{done.stderr}"
        return None

    @staticmethod
    def _cheaper(words: list[str]) -> list[str]:
        """The same call, for less."""
        if words[0] == "demo" and "--events" not in words:
            return [*words, "--events", "2000"]
        return ["bench", "--help"] if words[0] == "bench" else words

    @staticmethod
    def _check_requirements(block: Block, words: list[str]) -> None:
        """The extras that are named exist."""
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        for word in words:
            if found := re.fullmatch(r"(?:fluxa-fast|\.)\[(.*)\]", word):
                assert set(found[1].split(",")) <= extras.keys(), f"{block.place}: {word}"

    def _run_json(self, block: Block) -> None:
        json.loads(block.code)

    def _run_toml(self, block: Block) -> None:
        tomllib.loads(block.code)
