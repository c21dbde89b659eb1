"""The implementations and the bodies that every part is timed with."""

from __future__ import annotations

from typing import Any

import pytest

from fluxa_fast import protocol
from fluxa_fast.benchmark.bodies import BODIES
from fluxa_fast.protocol import Implementation


@pytest.fixture(params=["c", "python"])
def implementation(request: pytest.FixtureRequest) -> Implementation:
    """Both implementations, one after the other."""
    if request.param == "c" and protocol.missing_modules():
        pytest.skip("the compiled modules are not there")
    return protocol.load(request.param)


@pytest.fixture(params=["dict 32 B", "dict 1 KiB", "nested"])
def body(request: pytest.FixtureRequest) -> Any:
    """A body of that shape."""
    return BODIES[request.param](123_456)


@pytest.fixture
def reply(body: Any) -> bytes:
    """The reply to an XREADGROUP that brought a thousand entries with that body."""
    packed = protocol.default.pack(body)
    entries = (
        b"*2\r\n$17\r\n1709136000000-%03d\r\n*2\r\n$1\r\ns\r\n$%d\r\n%b\r\n" % (number, len(packed), packed)
        for number in range(1000)
    )
    return b"*1\r\n*2\r\n$6\r\norders\r\n*1000\r\n" + b"".join(entries)
