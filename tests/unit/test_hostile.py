"""Promise 7: the corpus, made-up inputs, and hypothesis. `tools/fuzz` does the same under sanitizers, and for longer.

Promises are numbered in docs/guarantees.md.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import inputs, targets

CORPUS = Path(targets.__file__).with_name("corpus")
NAMES = pytest.mark.parametrize("name", targets.TARGETS)


@NAMES
def test_promise_7_the_corpus(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert files
    for file in files:
        targets.TARGETS[name](file.read_bytes())


@NAMES
def test_promise_7_cut_at_every_byte(name: str) -> None:
    for file in sorted((CORPUS / name).iterdir()):
        text = file.read_bytes()
        for cut in range(min(len(text), 255)):
            targets.TARGETS[name](bytes([cut]) + text[1:])
            targets.TARGETS[name](text[:cut])


@NAMES
def test_promise_7_inputs_that_are_made_up(name: str) -> None:
    chance = random.Random()
    for _ in range(1500):
        state = chance.getstate()
        text = inputs.make(chance, name)
        try:
            targets.TARGETS[name](text)
        except Exception as error:
            raise AssertionError(f"{text!r} of {hash(state)}") from error


@NAMES
@given(text=st.binary(max_size=60))
@settings(max_examples=300)
def test_promise_7_random_bytes(name: str, text: bytes) -> None:
    targets.TARGETS[name](text)


# At each place of a reply, an element of every other type.
_ELEMENTS = (b":1\r\n", b"+x\r\n", b"-ERR x\r\n", b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"*0\r\n", b"%0\r\n", b"~0\r\n", b"#t\r\n", b",1.5\r\n", b"(1\r\n", b"=5\r\ntxt:x\r\n", b"!3\r\nERR\r\n", b"*1\r\n:1\r\n", b"%1\r\n+a\r\n:1\r\n", b"$?\r\n;1\r\nx\r\n;0\r\n", b"*?\r\n.\r\n", b"|1\r\n+a\r\n:1\r\n:2\r\n", b">1\r\n+a\r\n:2\r\n")  # fmt: skip
_REPLY = (b"*1\r\n", b"*2\r\n", b"$6\r\norders\r\n", b"*1\r\n", b"*4\r\n", b"$3\r\n1-1\r\n", b"*2\r\n", b"$1\r\ns\r\n", b"$1\r\n\x05\r\n", b":7\r\n", b":2\r\n")  # fmt: skip
_CLAIMED = (b"*3\r\n", b"$3\r\n0-0\r\n", b"*1\r\n", b"*2\r\n", b"$3\r\n1-1\r\n", b"*2\r\n", b"$1\r\ns\r\n", b"$1\r\n\x05\r\n", b"*1\r\n", b"$3\r\n2-2\r\n")  # fmt: skip


@pytest.mark.parametrize(("name", "reply"), [("streams", _REPLY), ("claimed", _CLAIMED), ("plain_replies", _REPLY)])
def test_promise_7_every_other_type_at_every_place(name: str, reply: tuple[bytes, ...]) -> None:
    for place in range(len(reply)):
        for element in _ELEMENTS:
            for cut in (b"\x00", b"\x0c", b"\xff"):
                targets.TARGETS[name](cut + b"".join((*reply[:place], element, *reply[place + 1 :])))


@NAMES
def test_promise_7_lengths_near_every_limit(name: str) -> None:
    for length in inputs.LENGTHS:
        for mark in b"*$%~>|!=;(:,":
            for behind in (b"", b"x\r\n", b"$3\r\n1-1\r\n"):
                targets.TARGETS[name](b"\x02" + bytes([mark]) + length + b"\r\n" + behind)
                targets.TARGETS[name](b"\x20*2\r\n$3\r\n0-0\r\n" + bytes([mark]) + length + b"\r\n" + behind)
