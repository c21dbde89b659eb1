"""The implementations and the bodies that every part is timed with."""

from __future__ import annotations

from typing import Any

import pytest

from fluxa_fast import protocol
from fluxa_fast.benchmark.bodies import BODIES
from fluxa_fast.benchmark.inside import reply_of
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
    return reply_of([protocol.default.pack(body)] * 1000)
