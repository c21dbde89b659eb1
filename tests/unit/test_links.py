"""What a link sends of its own accord: AUTH with renewed credentials, and ASKING. Flows do not see the replies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError

from fluxa_fast import protocol
from fluxa_fast.flows.steps import any_reply
from fluxa_fast.protocol.body_codec import BodyCodec
from fluxa_fast.protocol.interface import INCOMPLETE
from fluxa_fast.transport.link_base import LinkBase
from fluxa_fast.transport.pool_base import PoolBase


class Token:
    def try_get(self, claim: str) -> str:
        return {"oid": "user"}[claim]

    def get_value(self) -> str:
        return "secret"


@pytest.fixture
def link(implementation: protocol.Implementation) -> Any:
    link = LinkBase(PoolBase("default", owned=True, implementation=implementation, codec=BodyCodec(implementation)))
    link._connection = SimpleNamespace(_re_auth_token=None)
    return link


def _sent(link: Any, *names: str) -> list[str]:
    """The names of the commands that go out when these are sent."""
    commands = type(link.commands)()
    for name in names:
        commands.command(name, "key")
    wire = link._with_own(commands)
    link._owed += commands.command_count
    reader = link.pool.implementation.ReplyReader()
    with wire.view() as view:
        reader.feed(view)
    found = []
    while (command := reader.read()) is not INCOMPLETE:
        found.append(command[0].decode())
    return found


def _received(link: Any, replies: bytes) -> list[Any]:
    """What flows are given of these replies, which come in one byte after the other."""
    found = []
    for place in range(len(replies)):
        link.reader.feed(replies[place : place + 1])
        reply = link._taking(any_reply)(link.reader)
        if reply is not INCOMPLETE:
            found.append(reply)
            link._owed -= 1
    return found


def test_asking_goes_before_each_command(link: Any) -> None:
    link._ask_at = "127.0.0.1:1"
    assert _sent(link, "GET", "TYPE") == ["ASKING", "GET", "ASKING", "TYPE"]
    assert _received(link, b"+OK\r\n:1\r\n+OK\r\n:2\r\n") == [1, 2]
    assert link.in_order


def test_auth_goes_behind_what_is_owed(link: Any) -> None:
    assert _sent(link, "GET", "TYPE") == ["GET", "TYPE"]
    link._connection._re_auth_token = Token()
    assert _sent(link, "TTL") == ["AUTH", "TTL"]
    assert _sent(link, "DEL") == ["DEL"]  # AUTH is under way
    assert _received(link, b":1\r\n:2\r\n") == [1, 2]
    assert link.outdated
    assert _received(link, b"+OK\r\n:3\r\n") == [3]
    assert not link.outdated
    assert _received(link, b":4\r\n") == [4]
    assert link.in_order


def test_auth_and_asking_at_the_same_time(link: Any) -> None:
    link._ask_at = "127.0.0.1:1"
    assert _sent(link, "GET") == ["ASKING", "GET"]
    link._connection._re_auth_token = Token()
    assert _sent(link, "TTL") == ["AUTH", "ASKING", "TTL"]
    assert _received(link, b"+OK\r\n:1\r\n+OK\r\n+OK\r\n:2\r\n") == [1, 2]
    assert link.in_order


def test_a_token_that_comes_while_another_is_under_way_goes_with_a_later_command(link: Any) -> None:
    _sent(link, "GET")
    link._connection._re_auth_token = Token()
    assert _sent(link, "TTL") == ["AUTH", "TTL"]
    link._connection._re_auth_token = Token()
    assert _sent(link, "DEL") == ["DEL"]
    assert _received(link, b":1\r\n+OK\r\n:2\r\n") == [1, 2]
    assert _sent(link, "TYPE") == ["AUTH", "TYPE"]
    assert _received(link, b":3\r\n+OK\r\n:4\r\n") == [3, 4]
    assert not link.outdated
    assert link.in_order


def test_credentials_that_the_server_refuses_are_an_error(link: Any) -> None:
    _sent(link, "GET")
    link._connection._re_auth_token = Token()
    _sent(link, "TTL")
    with pytest.raises(ConnectionError, match="refuses the renewed credentials: WRONGPASS no"):
        _received(link, b":1\r\n-WRONGPASS no\r\n:2\r\n")
    assert not link.in_order
