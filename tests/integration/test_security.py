"""SECURITY.md: the smallest rights are enough and none is too many, and passwords are nowhere to be seen."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from fluxa_fast import Engine, FlushError, Recovery, Registry
from fluxa_fast.embedded import EmbeddedServer
from tests.command import run
from tests.fix_servers import before_redis_7

MakeEngine = Callable[..., Engine]

_RULES = dict(re.findall(r"^ACL SETUSER (\w+) on >secret (.+)$", Path("SECURITY.md").read_text("utf-8"), re.MULTILINE))
_RECOVERY = Recovery(deadline=0)


class NotAllowedError(Exception):
    """The user could not do what its role is for."""


def ignore(events: Any) -> None:
    pass


def publisher(broker: Any, admin: redis.Redis) -> None:
    broker.publish("orders", 1)
    with broker.new_flusher() as flusher:
        flusher.publish("orders", 2)
    assert admin.xlen("orders") == 2


def consumer(broker: Any, admin: redis.Redis) -> None:
    _fill(admin)
    consumer = broker.consumer_many("orders", recovery=_RECOVERY)
    handled: list[str] = []

    def handle(events: Any) -> None:
        handled.extend(event.id for event in events)

    while consumer.consume(60, None, handle):
        pass
    admin.xadd("orders", {"s": b"\x01"})
    admin.xreadgroup("consumer_group", "other", {"orders": ">"})
    assert consumer.auto_claim(10, 0, handle) == 1
    assert len(set(handled)) == 101
    assert admin.xlen("orders") == 0
    assert consumer.cleanup() == 0


def scripted(broker: Any, admin: redis.Redis) -> None:
    admin.script_flush()
    admin.acl_log_reset()
    _fill(admin)
    own = broker.consumer_many("orders", recovery=_RECOVERY)
    own.consume(1, None, lambda events: admin.xreadgroup("consumer_group", "other", {"orders": ">"}, 50))
    own.consume(49, None, lambda events: None)  # trimmed, up to what is pending for the other one
    admin.xgroup_delconsumer("orders", "consumer_group", "other")
    assert own.cleanup() == 0
    admin.flushall()
    consumer(broker, admin)
    admin.xgroup_create("orders", "another", "0")
    admin.xadd("orders", {"s": b"\x01"})
    assert broker.consumer_single("orders", recovery=_RECOVERY).consume(10, None, print) == 1
    if admin.xlen("orders") != 1:
        raise NotAllowedError("what the other group needs is gone")
    names = [one["name"] for one in admin.xinfo_consumers("orders", "consumer_group")]
    if any(name.startswith(b"consumer-2") for name in names):
        raise NotAllowedError("it could not leave its group")
    if refused := [one for one in admin.acl_log() if one["context"] == "lua"]:
        raise NotAllowedError(refused)


def grouped(broker: Any, admin: redis.Redis) -> None:
    admin.script_flush()
    admin.acl_log_reset()
    _fill(admin)
    consumers = [broker.consumer_many("orders", group=group, recovery=_RECOVERY) for group in ("billing", "mailing")]
    admin.set("{orders}:removed@billing", "1")
    for consumer in consumers:
        while consumer.consume(60, None, ignore):
            pass
    admin.xadd("orders", {"s": b"\x01"})
    for consumer in consumers:
        admin.xreadgroup(consumer.group, "other", {"orders": ">"})
    for consumer in consumers:
        assert consumer.auto_claim(10, 0, ignore) == 1
    assert admin.xlen("orders") == 0
    for consumer in consumers:
        assert consumer.cleanup() == 0
        if any(one["name"] == consumer.name.encode() for one in admin.xinfo_consumers("orders", consumer.group)):
            raise NotAllowedError("it could not leave its group")
    if refused := [one for one in admin.acl_log() if one["context"] == "lua"]:
        raise NotAllowedError(refused)


def monitor(broker: Any, admin: redis.Redis) -> None:
    _fill(admin)
    admin.xgroup_create("orders", "consumer_group", "0")
    assert broker.get_stream_statistics("orders").len == 100


def _fill(admin: redis.Redis) -> None:
    with admin.pipeline() as pipe:
        for _ in range(100):
            pipe.xadd("orders", {"s": b"\x01"})
        pipe.execute()


def _users(role: str, admin: redis.Redis) -> Iterator[tuple[str, str | None]]:
    """A user with the rights of the role, then for each of them one without it: the name, and what is left out."""
    rules = _RULES[role].split()
    keys = [rule for rule in rules if rule.startswith("~")]
    commands = [rule for rule in rules if rule.startswith("+")]
    if role in ("scripted", "grouped", "owner") and before_redis_7(admin):  # the script deletes one by one
        commands = [one for one in commands if one not in ("+xlen", "+xrange", "+xtrim")]
    for left_out in (None, *commands):
        admin.flushall()
        user = "user" if left_out is None else re.sub(r"\W", "_", left_out)
        rights = [command for command in commands if command != left_out]
        admin.execute_command("ACL", "SETUSER", user, "reset", "on", ">secret", *keys, *rights)
        yield user, left_out


@pytest.mark.parametrize("role", [publisher, consumer, scripted, grouped, monitor])
def test_the_smallest_rights(make_engine: MakeEngine, own_server: EmbeddedServer, role: Callable[..., None]) -> None:
    with own_server.client() as admin:
        for user, left_out in _users(role.__name__, admin):
            groups = ["billing", "mailing"] if role is grouped else None
            address = f"127.0.0.1:{own_server.port}"
            engine = make_engine(address, username=user, password="secret", groups=groups)
            broker = engine.new_context().get_event_broker()
            if left_out is None:
                role(broker, admin)
                continue
            with pytest.raises((redis.RedisError, FlushError, NotAllowedError)):
                role(broker, admin)


def _own_all(engine: Engine) -> None:
    """What the owner of partitions does, from the first lease to the last."""
    broker = engine.new_context().get_event_broker()
    handled: list[Any] = []

    def handle(events: Any) -> None:
        events[-1].ack()  # before those in front of it: it can't be trimmed
        handled.extend(events)

    with broker.consumer_ordered("orders", recovery=_RECOVERY) as consumer:
        while consumer.consume(60, 0.05, handle):
            pass
        assert consumer.auto_claim(10, 0, handled.extend) == 1
    assert len(handled) == 100


@pytest.mark.blocking
def test_the_smallest_rights_of_an_owner(own_server: EmbeddedServer) -> None:
    with own_server.client() as admin:
        for user, left_out in _users("owner", admin):
            admin.script_flush()
            with _engine_of("", own_server) as engine:
                flusher = engine.new_context().get_event_broker().new_flusher()
                for number in range(100):
                    flusher.publish("orders", number, key=number)
                flusher.flush()
                (stream, *_) = engine.partitions("orders")
            admin.xgroup_create(stream, "consumer_group", "0")
            admin.xreadgroup("consumer_group", "other", {stream: ">"}, 1)
            admin.acl_log_reset()
            try:
                with _engine_of(user, own_server) as engine:
                    _own_all(engine)
            except (redis.RedisError, AssertionError):
                assert left_out is not None
            else:
                refused = [one for one in admin.acl_log() if not one["object"].startswith("client")]
                assert bool(refused) == (left_out is not None), (left_out, refused)


@pytest.mark.blocking
def test_the_rights_to_compare_the_number_of_partitions_are_optional(
    own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "fluxa_fast")
    with own_server.client() as admin:
        for user, left_out in _users("partitioned", admin):
            caplog.clear()
            admin.acl_log_reset()
            with _engine_of(user, own_server) as engine:
                broker = engine.new_context().get_event_broker()
                flusher = broker.new_flusher()
                flusher.publish("orders", 1)
                if left_out == "+xadd":
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        broker.publish("orders", 1)
                    with pytest.raises(FlushError, match="NOPERM"):
                        flusher.flush()
                    flusher.clear()
                    continue
                broker.publish("orders", 1)
                flusher.flush()
            warnings = [record.getMessage() for record in caplog.records if record.name == "fluxa_fast"]
            refused = [one for one in admin.acl_log() if not one["object"].startswith("client")]
            assert len(warnings) == bool(left_out), warnings
            assert bool(refused) == bool(left_out)
            assert admin.exists("{orders}:partitions") == (left_out is None)


def _engine_of(user: str, server: EmbeddedServer) -> Engine:
    registry = Registry()
    who = {"username": user, "password": "secret"} if user else {}
    registry.register_redis(f"127.0.0.1:{server.port}", **who)
    registry.register_redis_stream("orders", partitions=2)
    return registry.validate()


# ---- secrets --------------------------------------------------------------------------------------------

SECRET = "pa55/w#rd@x"


def _told(call: Callable[[], Any]) -> str:
    """All that a call says when it fails."""
    try:
        result = call()
    except Exception as error:
        return "".join(traceback.format_exception(error)) + repr(error)
    raise AssertionError(f"it did not fail: {result!r}")


@pytest.mark.parametrize(
    "address",
    [
        f"redis://user:{SECRET}@127.0.0.1:6379", f"redis://:{SECRET}@127.0.0.1", f"user:{SECRET}@127.0.0.1:6379", f"{SECRET}@127.0.0.1:port",
        f"http://user:{SECRET}@127.0.0.1", f"redis://127.0.0.1:x?password={SECRET}", f"redis://127.0.0.1?db=x&password={SECRET}",
    ],
)  # fmt: skip
def test_no_password_in_what_a_registry_says(faces: Any, address: str) -> None:
    registry = faces.Registry()
    registry.register_redis(address, password=SECRET, nonsense=SECRET)
    registry.register_redis_stream("orders")
    told = _told(registry.validate)
    assert "RegistryError" in told
    for part in (SECRET, "pa55", "w#rd"):
        assert part not in told


def test_no_password_in_a_repr_a_log_or_an_error(
    make_engine: MakeEngine, own_server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with own_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "alice", "on", f">{SECRET}", "~*", "+@all")
        engine = make_engine(f"127.0.0.1:{own_server.port}", username="alice", password=SECRET)
        broker = engine.new_context().get_event_broker()
        flusher = broker.new_flusher()
        consumer = broker.consumer_single("orders", recovery=Recovery(deadline=0.2))
        broker.publish("orders", 1)
        assert consumer.consume(10, None, print) == 1
        shown = [_everything(thing) for thing in (engine, broker, flusher, consumer)]
        admin.execute_command("ACL", "SETUSER", "alice", "resetpass", ">another")
        admin.client_kill_filter(_type="normal", skipme=True)
        flusher.publish("orders", 1)
        shown += [
            _told(call)
            for call in (lambda: broker.publish("orders", 1), flusher.flush, lambda: consumer.consume(1, None, print))
        ]
    own_server.kill()
    shown += [
        _told(call)
        for call in (lambda: broker.publish("orders", 1), flusher.flush, lambda: consumer.consume(1, None, print))
    ]
    assert flusher.clear() == 1
    for text in (*shown, caplog.text):
        assert SECRET not in text
        assert "pa55" not in text


def _everything(thing: Any, depth: int = 4) -> str:
    """The repr of an object, and of what it is made of."""
    parts = [repr(thing)]
    thing = getattr(thing, "_target", thing)
    inner = {
        **getattr(thing, "__dict__", {}),
        **{name: getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ())},
    }
    if depth and type(thing).__module__.startswith("fluxa_fast"):
        for value in inner.values():
            for one in value.values() if isinstance(value, dict) else [value]:
                parts.append(_everything(one, depth - 1))
    return "\n".join(parts)


@pytest.mark.blocking
@pytest.mark.parametrize("arguments", [("stats",), ("stats", "orders"), ("demo", "--events", "10")])
def test_no_password_in_what_the_command_says(arguments: tuple[str, ...]) -> None:
    for url in (
        f"redis://:{SECRET}@127.0.0.1:1",
        "redis://:s3cr3t@127.0.0.1:1",
        "redis://127.0.0.1:1?password=s3cr3t",
        "redis+cluster://:s3cr3t@127.0.0.1:1,127.0.0.1:2",
        "redis+cluster://:s3cr3t@x:y",
        "s3cr3t@x:y",
        "redis://x:y@127.0.0.1:1?password=s3cr3t&pa55=w#rd",
        "redis://127.0.0.1:1?password=s3cr3t&pa55=w",
        "redis://user:s3cr3t/pa55@127.0.0.1:1",
        "redis://user:s3cr3t?pa55@127.0.0.1:1",
    ):
        done = run(*arguments, "--url", url)
        assert done.returncode != 0
        said = done.stdout + done.stderr
        assert done.stderr.startswith("Error: "), said
        for part in ("pa55", "w#rd", "s3cr3t"):
            assert part not in said, said
