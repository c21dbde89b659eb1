"""A proxy in front of the test's own server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fluxa_fast.embedded import EmbeddedServer
from tests.proxy import Proxy


@pytest.fixture
def proxy(own_server: EmbeddedServer) -> Iterator[Proxy]:
    """A proxy in front of the test's own server."""
    proxy = Proxy(own_server.port)
    yield proxy
    proxy.close()
