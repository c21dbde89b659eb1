"""The drop-in against redis-py itself: the same calls, on two databases of one server, must end the same."""

from __future__ import annotations

import inspect
import math
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.utils import HIREDIS_AVAILABLE

import fluxa_fast
import fluxa_fast.asyncio
from fluxa_fast import EventBroker
from fluxa_fast.dropin import pipeline, reads, staged
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.protocol import Implementation
from tests.fix_asyncio import Run

SETTINGS: list[dict[str, Any]] = [
    {},
    {"decode_responses": True},
    {"protocol": 3},
    {"protocol": 3, "decode_responses": True},
    {"encoding": "latin-1", "decode_responses": True},
    {"encoding_errors": "replace", "decode_responses": True},
    {"encoding": "utf-16"},
    {"single_connection_client": True},
]
settings = pytest.mark.parametrize("options", SETTINGS, ids=lambda options: "-".join(map(str, options.items())) or "-")


class Text(str):
    """A str that redis-py takes, and that is none to the quick way."""


PLAIN = ("text", "", "é€", b"bytes", b"\xff\x00", 7, -1, 2**70, 2.5, -0.0, 1e300, math.inf, "a" * 200)
ODD = (Text("sub"), memoryview(b"view"), bytearray(b"array"), "\ud800", True, None, ["list"], object)
NAMES = ("s", "t", b"s", "text", "missing", 5)
IDS = ("*", "1-1", "5-*", "7-7", b"8-8", "9", "bad", 4)
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def random_call(random: random.Random, odd: float) -> Call:
    def value() -> Any:
        return random.choice(ODD if random.random() < odd else PLAIN)

    def fields() -> Any:
        made = {random.choice(("a", b"b", "é", 3)): value() for _ in range(random.randint(1, 4))}
        return random.choice((made, made, made, made, {} if random.random() < odd else made))

    def options() -> dict[str, Any]:
        every = {
            "maxlen": (0, 2, 1000),
            "minid": ("1-1", 3, True),
            "limit": (5, True),
            "approximate": (True, False),
            "nomkstream": (True, False),
        }
        chosen = random.sample(sorted(every), random.choice((0, 0, 1, 2)))
        return {name: random.choice(every[name]) for name in chosen}

    name = random.choice(NAMES)
    made: list[Callable[[], Call]] = [
        lambda: ("xadd", (name, fields()), options()),
        lambda: ("xadd", (name, fields()), {"id": random.choice(IDS), **options()}),
        lambda: ("xadd", (name, fields(), f"{random.randint(1, 99)}-1"), {}),
        lambda: ("xack", (name, "g", *random.sample(("1-1", "7-7", b"8-8", "bad", 5), 2)), {}),
        lambda: ("xdel", (name, *random.sample(("1-1", "7-7", b"8-8", "3-1", 5), random.randint(0, 3))), {}),
        lambda: ("xtrim", (name, random.choice((0, 3, 100))), random.choice(({}, {"approximate": False}))),
        lambda: ("set", (random.choice(("k", "text")), value()), {}),
        lambda: ("get", (random.choice(("k", name)),), {}),
        lambda: ("hset", ("h", "field", value()), {}),
        lambda: ("hgetall", ("h",), {}),
        lambda: ("sadd", ("set", "one"), {}),
        lambda: ("smembers", ("set",), {}),
        lambda: ("xlen", (name,), {}),
        lambda: ("xrange", (name,), {}),
        lambda: ("xgroup_create", (name, "g", "0"), {}),
        lambda: ("xreadgroup", ("g", "c", {"s": ">"}), {"count": 3}),
        lambda: ("xpending", (name, "g"), {}),
    ]
    return random.choice(made)()


def redacted(reply: Any) -> Any:
    """A reply without what the clock decides: the IDs that the server made."""
    if isinstance(reply, Exception):
        return type(reply), without_ids(str(reply))
    if isinstance(reply, (list, tuple)):
        return type(reply), [redacted(one) for one in reply]
    if isinstance(reply, dict):
        return {redacted(key): redacted(value) for key, value in reply.items()}
    if isinstance(reply, (str, bytes)):
        return type(reply), without_ids(reply)
    return type(reply), repr(reply)


def without_ids(text: Any) -> Any:
    head, dash = (text[:4], b"-") if isinstance(text, bytes) else (text[:4], "-")
    return "<id>" if head in ("1764", b"1764", "1795", b"1795") or (dash in text and len(text) > 14) else text


def outcome_of(call: Callable[[], Any]) -> Any:
    try:
        return redacted(call())
    except Exception as error:
        return redacted(error)


@pytest.fixture
def connect(server_url: str, client: redis.Redis) -> Any:
    """Makes a client of a database; the text key is there in both."""
    made = []

    def connect(db: int, **options: Any) -> redis.Redis:
        one = redis.Redis.from_url(server_url, db=db, **options)
        one.flushdb()
        one.set("text", b"t")
        made.append(one)
        return one

    yield connect
    for one in made:
        one.flushdb()
        one.close()


class _Many(dict[str, bool]):
    """Every reply is expected to be large."""

    def get(self, method: str, default: Any = None) -> Any:
        return True


@pytest.fixture(autouse=True, params=["from-the-first-on"])
def quickly(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pipelines and replies go the quick way too, which are redis-py's own otherwise."""
    if request.param == "from-the-first-on":
        for module in (pipeline, staged):
            monkeypatch.setattr(module, "STAGED_FROM", 1)
        monkeypatch.setattr(reads, "_expected_of", lambda client: _Many())
        monkeypatch.setattr(reads, "_MANY", 0)


both_ways = pytest.mark.parametrize("quickly", ["from-the-first-on", "as-it-comes"], indirect=True)


# ---- differences from redis-py: none -------------------------------------------------------------------


@both_ways
@settings
@pytest.mark.parametrize("odd", [0.0, 0.02])
def test_random_pipelines_end_as_redis_pys(
    implementation: Implementation, connect: Any, options: dict[str, Any], odd: float
) -> None:
    theirs, ours = connect(1, **options), connect(2, **options)
    choose = random.Random(f"{options}{odd}")
    pipes = [theirs.pipeline(transaction=False), fluxa_fast.pipeline(ours)]
    for _ in range(40):
        calls = [random_call(choose, odd) for _ in range(choose.choice((1, 3, 30)))]
        strict = choose.random() < 0.5
        outcomes = []
        for pipe in pipes:
            staged = [outcome_of(lambda c=call, p=pipe: getattr(p, c[0])(*c[1], **c[2]) is p) for call in calls]
            outcomes.append((staged, len(pipe), bool(pipe), outcome_of(partial(pipe.execute, strict)), len(pipe)))
        assert outcomes[0] == outcomes[1], calls
    for name in ("s", "t", "5", "missing"):
        assert outcome_of(partial(theirs.xrange, name)) == outcome_of(partial(ours.xrange, name))


@settings
def test_random_asyncio_pipelines_end_as_redis_pys(
    implementation: Implementation, connect: Any, server_url: str, run: Run, options: dict[str, Any]
) -> None:
    connect(1)
    connect(2)
    choose = random.Random(f"{options}")

    async def both() -> None:
        make = partial(redis.asyncio.Redis.from_url, server_url, **options)
        async with make(db=1) as theirs, make(db=2) as ours:
            pipes = [theirs.pipeline(transaction=False), fluxa_fast.asyncio.pipeline(ours)]
            for _ in range(30):
                calls = [random_call(choose, 0.01) for _ in range(choose.choice((1, 3, 30)))]
                strict = choose.random() < 0.5
                outcomes = []
                for pipe in pipes:
                    staged = [outcome_of(lambda c=call, p=pipe: getattr(p, c[0])(*c[1], **c[2]) is p) for call in calls]
                    try:
                        replies = redacted(await pipe.execute(strict))
                    except Exception as error:
                        replies = redacted(error)
                    outcomes.append((staged, replies, len(pipe)))
                assert outcomes[0] == outcomes[1], calls

    run(both())


@both_ways
@settings
def test_reads_are_redis_pys(implementation: Implementation, connect: Any, options: dict[str, Any]) -> None:
    if options.get("encoding") == "utf-16" and not HIREDIS_AVAILABLE:
        pytest.skip("without hiredis redis-py writes all arguments in that encoding, names of commands too")
    client = connect(1, **options)
    for number in range(1, 9):
        client.xadd("s", {"a": number, "b": "é"}, id=f"{number}-1")
    client.xadd("t", {"x": 1}, id="5-5")
    for group in ("g", "h"):
        for stream in ("s", "t"):
            client.xgroup_create(stream, group, "0")

    def same(method: str, *arguments: Any, **named: Any) -> Any:
        """By redis-py for group g, by ours for group h."""
        ours = tuple("h" if one == "g" else one for one in arguments)
        expected = outcome_of(lambda: getattr(client, method)(*arguments, **named))
        found = outcome_of(lambda: getattr(fluxa_fast, method)(client, *ours, **named))
        assert str(found) == str(expected)
        return expected

    same("xreadgroup", "g", "c", {"s": ">", "t": ">"}, count=5)
    same("xreadgroup", "g", "c", {"t": ">"})
    same("xreadgroup", "g", "c", {"t": ">"}, block=1)
    client.xdel("s", "2-1")
    same("xreadgroup", "g", "c", {"s": "0", "t": "0"})  # the fields of 2-1 are null
    same("xread", {"s": "0", "t": "0"}, count=2)
    same("xread", {"s": "0", "nothing": "0"})
    same("xread", {"nothing": "0"})
    same("xrange", "s")
    same("xrange", "s", "3", "5", count=2)
    same("xrange", "nothing")
    same("xautoclaim", "s", "g", "d", 0, count=2)
    same("xautoclaim", "s", "g", "d", 0, justid=True)
    for wrong in (
        ("xrange", ("text",), {}),
        ("xrange", ("s",), {"count": 0}),
        ("xread", ({},), {}),
        ("xread", ({"s": "bad"},), {}),
        ("xreadgroup", ("missing", "c", {"s": ">"}), {}),
        ("xreadgroup", ("g", "c", {"s": ">"}), {"count": "x"}),
        ("xautoclaim", ("s", "g", "d", -1), {}),
    ):
        assert isinstance(same(wrong[0], *wrong[1], **wrong[2])[0], type)
    assert client.ping() is True


def test_text_that_can_not_be_decoded_is_redis_pys_error(implementation: Implementation, connect: Any) -> None:
    client = connect(1, decode_responses=True)
    client.xadd("s", {"a": b"\xff"})
    expected = outcome_of(lambda: client.xrange("s"))
    assert outcome_of(lambda: fluxa_fast.xrange(client, "s")) == expected
    assert client.ping() is True


def test_signatures_are_redis_pys() -> None:
    pipe = fluxa_fast.pipeline(redis.Redis())
    for method in ("xadd", "xack", "xdel", "xtrim"):
        theirs = inspect.signature(getattr(redis.Redis().pipeline(), method))
        assert inspect.signature(getattr(pipe, method)) == theirs
    for method in ("xreadgroup", "xread", "xautoclaim", "xrange"):
        _, *parameters = inspect.signature(getattr(redis.Redis, method)).parameters
        assert list(inspect.signature(getattr(fluxa_fast, method)).parameters) == ["client", *parameters, "as_events"]


def test_redis_pys_own_behaviour_of_pipelines(implementation: Implementation, connect: Any) -> None:
    client = connect(1)
    with fluxa_fast.pipeline(client) as pipe:
        assert isinstance(pipe, redis.client.Pipeline)
        assert pipe.execute() == []
        assert (len(pipe), bool(pipe)) == (0, True)
        pipe.xadd("s", {"a": 1}).xadd("s", {"a": 2}).set("k", 1)
        assert len(pipe) == len(pipe.command_stack) == 3
        pipe.reset()
        assert len(pipe) == 0
        assert client.xlen("s") == 0
        pipe.watch("k")
        assert pipe.xadd("s", {"a": 1}, id="1-1") == b"1-1"  # at once, as redis-py does while it watches
        assert pipe.xdel("s", "1-1") == 1
        pipe.multi()
        pipe.xadd("s", {"a": 1}, id="2-1").xdel("s", "2-1").get("k")
        assert pipe.execute() == [b"2-1", 1, None]
        pipe.watch("k")
        client.set("k", 2)
        pipe.multi()
        pipe.xadd("s", {"a": 1})
        with pytest.raises(redis.WatchError):
            pipe.execute()


def test_own_callbacks_are_called(implementation: Implementation, connect: Any) -> None:
    client = connect(1)
    client.set_response_callback("XADD", lambda reply, **_: ("added", reply))
    client.set_response_callback("XRANGE", lambda reply, **_: len(reply))
    assert fluxa_fast.pipeline(client).xadd("s", {"a": 1}, id="1-1").execute() == [("added", b"1-1")]
    assert fluxa_fast.xrange(client, "s") == 1


@pytest.mark.skipif(
    not hasattr(redis.connection.DefaultParser, "handle_push_response"),
    reason="this redis-py always takes a push for a reply",
)
def test_pushes_go_to_redis_py(implementation: Implementation, connect: Any) -> None:
    """A server that tracks what the client read tells it of changes, in between the replies."""
    client = connect(1, protocol=3, single_connection_client=True)
    client.execute_command("CLIENT", "TRACKING", "ON")
    for change in ("set", "xadd"):
        client.get("k")
        pipe = fluxa_fast.pipeline(client).xadd("s", {"a": 1}, id="*").set("k", change).get("k")
        pipe.set("k", 2).xadd("s", {"a": 2}, id="*").xlen("nothing")
        replies = pipe.execute()
        assert [*replies[1:4], replies[5]] == [True, change.encode(), True, 0]
        assert isinstance(replies[0], bytes)
        assert isinstance(replies[4], bytes)
        assert len(fluxa_fast.xrange(client, "s")) == client.xlen("s")
        assert client.ping() is True


def test_a_large_pipeline(implementation: Implementation, connect: Any) -> None:
    client = connect(1)
    pipe = fluxa_fast.pipeline(client)
    for number in range(20_000):
        pipe.xadd("s", {"number": number, "more": "x" * 100}, id=f"{number + 1}-0")
        if number % 5000 == 0:
            pipe.incr("count")
    replies = pipe.execute()
    assert [*replies[:3], replies[-1], len(replies)] == [b"1-0", 1, b"2-0", b"20000-0", 20_004]
    assert len(fluxa_fast.xrange(client, "s")) == client.xlen("s") == 20_000


# ---- events --------------------------------------------------------------------------------------------


def test_reads_as_events(implementation: Implementation, broker: EventBroker, client: redis.Redis) -> None:
    ids = [broker.publish("orders", {"number": number}, {"tag": str(number)}) for number in range(5)]
    client.xgroup_create("orders", "g", "0")
    events = fluxa_fast.xreadgroup(client, "g", "c", {"orders": ">"}, count=3, as_events=True)
    assert [event.id for event in events] == ids[:3]
    assert [(event.stream, event.body, event.tag("tag")) for event in events[:1]] == [("orders", {"number": 0}, "0")]
    with pytest.raises(fluxa_fast.FluxaError, match="not read by a consumer"):
        events[0].ack()
    cursor, claimed = fluxa_fast.xautoclaim(client, b"orders", "g", "d", 0, as_events=True)
    assert (cursor, [event.id for event in claimed], claimed[0].stream) == ("0-0", ids[:3], "orders")
    assert [event.id for event in fluxa_fast.xrange(client, "orders", as_events=True)] == ids
    assert [event.id for event in fluxa_fast.xread(client, {"orders": ids[2]}, as_events=True)] == ids[3:]
    assert fluxa_fast.xread(client, {"orders": ids[-1]}, as_events=True) == []
    with pytest.raises(redis.ResponseError, match="NOGROUP"):
        fluxa_fast.xreadgroup(client, "missing", "c", {"orders": ">"}, as_events=True)
    with pytest.raises(redis.DataError):
        fluxa_fast.xreadgroup(client, "g", "c", {}, as_events=True)
    with pytest.raises(ValueError, match="justid"):
        fluxa_fast.xautoclaim(client, "orders", "g", "d", 0, justid=True, as_events=True)
    with pytest.raises(ValueError, match="justid"):
        fluxa_fast.xautoclaim(client, "orders", "g", "d", 0, "0-0", None, True, as_events=True)


def test_asyncio_reads(implementation: Implementation, server_url: str, client: redis.Redis, run: Run) -> None:
    client.xadd("s", {"a": "1"}, id="1-1")

    async def read() -> None:
        async with redis.asyncio.Redis.from_url(server_url) as awaited:
            assert await fluxa_fast.xrange(awaited, "s") == await awaited.xrange("s")
            assert await fluxa_fast.xread(awaited, {"s": "0"}) == await awaited.xread({"s": "0"})
            assert [event.tags for event in await fluxa_fast.xrange(awaited, "s", as_events=True)] == [{"a": "1"}]
            with pytest.raises(redis.ResponseError, match="NOGROUP"):
                await fluxa_fast.xreadgroup(awaited, "missing", "c", {"s": ">"})
            assert await awaited.ping() is True

    run(read())


# ---- connections ---------------------------------------------------------------------------------------


def test_a_pipeline_is_sent_again_as_the_clients_retries_say(
    implementation: Implementation, own_server: EmbeddedServer
) -> None:
    client = redis.Redis.from_url(own_server.url, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 3))
    client.ping()
    pipe = fluxa_fast.pipeline(client).xadd("s", {"a": 1}, id="1-1").get("k").xlen("s")
    with redis.Redis.from_url(own_server.url) as other:
        other.client_kill_filter(_type="normal", skipme=True)
    assert pipe.execute() == [b"1-1", None, 1]
    client.close()


def test_a_read_that_times_out_leaves_no_reply_behind(implementation: Implementation, connect: Any) -> None:
    client = connect(1, socket_timeout=1, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    with pytest.raises(redis.TimeoutError, match="Timeout reading"):
        fluxa_fast.xread(client, {"s": "$"}, block=10_000)
    assert client.ping() is True


def test_a_server_that_goes_away(implementation: Implementation, own_server: EmbeddedServer) -> None:
    client = redis.Redis.from_url(own_server.url, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    client.ping()
    threading.Timer(0.3, own_server.kill).start()
    with pytest.raises(redis.ConnectionError):
        fluxa_fast.xread(client, {"s": "$"}, block=5000)
    pipe = fluxa_fast.pipeline(client).xadd("s", {"a": 1})
    with pytest.raises(redis.ConnectionError):
        pipe.execute()
    client.close()


def test_an_int_that_python_does_not_print(implementation: Implementation, connect: Any) -> None:
    pipe = fluxa_fast.pipeline(connect(1)).xadd("s", {"a": 10**5000})
    with pytest.raises(ValueError, match="digits"):
        pipe.execute()


@pytest.mark.parametrize("quickly", ["as-it-comes"], indirect=True)
def test_each_use_of_a_pipeline_is_looked_at_anew(implementation: Implementation, connect: Any) -> None:
    """A long pipeline of other commands does not keep the next one from the quick way."""
    pipe = fluxa_fast.pipeline(connect(1))
    for number in range(200):
        pipe.set("k", number)
    pipe.xadd("s", {"a": 1})
    assert type(pipe.command_stack) is not staged.Staged
    pipe.execute()
    for number in range(20):
        pipe.xadd("s", {"a": number})
    assert (type(pipe.command_stack) is staged.Staged) == (implementation.name == "c")
    assert len(pipe.execute()) == 20


@pytest.mark.parametrize("quickly", ["as-it-comes"], indirect=True)
def test_a_client_of_short_pipelines_has_a_long_one(implementation: Implementation, connect: Any) -> None:
    """Nothing watches how it grows; it is executed by redis-py, and the next ones go the quick way again."""
    client = connect(1)
    kept = fluxa_fast.pipeline(client)
    for number in range(120):
        assert len(fluxa_fast.pipeline(client).xadd("s", {"a": number}).execute()) == 1
        assert len(kept.set("k", number).xadd("s", {"a": number}).execute()) == 2
    unwatched = fluxa_fast.pipeline(client)
    assert type(unwatched) is pipeline.Pipeline
    for turn in range(3):
        for pipe in (kept, unwatched):
            for number in range(20):
                pipe.xadd("s", {"a": number})
            quick = type(pipe.command_stack) is staged.Staged
            assert len(pipe.execute()) == 20
            assert quick == (implementation.name == "c" and (pipe is kept or turn > 0))
    fluxa_fast.pipeline(client).get("k").execute()
    assert client.xlen("s") == 240 + 6 * 20


def test_what_is_refused() -> None:
    for wrong in (object(), redis.cluster.RedisCluster.__new__(redis.cluster.RedisCluster), redis.Redis().pipeline()):
        with pytest.raises(TypeError, match=r"fluxa_fast.pipeline\(\) "):
            fluxa_fast.pipeline(wrong)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"fluxa_fast.xread\(\) "):
            fluxa_fast.xread(wrong, {"s": "0"})  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="no transactions"):
        fluxa_fast.pipeline(redis.Redis(), transaction=True)  # type: ignore[call-overload]
