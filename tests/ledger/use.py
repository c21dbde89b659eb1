"""Fuzzing of use: consumers of all kinds, used and disturbed at random, with records that have to agree.

    python -m tests.ledger.use --seconds 60

A scene is one kind of consumer on one face, on a server of its own. It is called in all ways; its handlers fail, stop it,
call it again, change their lists, give back what nothing awaits; signals and cancellations interrupt it. Meanwhile
another client destroys groups and consumers, moves and deletes streams, takes rights away and gives them back. Then:

- every event that was published and not taken away by the other client was handled at least once;
- a second group of the stream was given every event, too, however scripts were forbidden meanwhile;
- every call came to its end soon, with a result or an error of the documented classes;
- no batch began after `stop()`; every call out of a handler, a loop or another thread was refused;
- the server was sent a bounded number of commands.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgpack
import redis

import fluxa_fast
import fluxa_fast.asyncio
from fluxa_fast import FluxaError, Packing, ProtocolError, Recovery
from fluxa_fast.embedded import EmbeddedServer, find_server

__all__ = ["FACES", "KINDS", "Scene", "main"]

FACES = ("blocking", "asyncio")
KINDS = ("single", "many", "typed", "partitioned", "ordered", "at most once")
GROUP = "consumer_group"
AUDIT = "audit"
PARTITIONS = 3
LONGEST = 25.0  # seconds from when a call is to end until it has
QUICK = Recovery(deadline=3.0, base=0.01, cap=0.1)


class HandlerError(Exception):
    """What a failing handler raises."""


class LateError(Exception):
    """What a signal handler raises."""


_TAKE_STREAM = """
local taken = redis.call('TYPE', KEYS[1]).ok == 'stream' and redis.call('XRANGE', KEYS[1], '-', '+') or {}
if ARGV[1] == 'RENAME' then
  if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[1] .. ':away') end
  redis.call('DEL', KEYS[1] .. ':away')
else
  redis.call('DEL', KEYS[1])
end
if ARGV[1] == 'SET' then
  redis.call('SET', KEYS[1], 'no stream')
elseif ARGV[2] == '1' then
  redis.call('XGROUP', 'CREATE', KEYS[1], 'audit', '0', 'MKSTREAM')
end
return taken
"""
_TAKE_CONSUMER = """
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 100000, ARGV[2])
if pending.err then return {} end
local taken = {}
for _, one in ipairs(pending) do
  local entry = redis.call('XRANGE', KEYS[1], one[1], one[1])
  if entry[1] then taken[#taken + 1] = entry[1] end
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return taken
"""
_SKIP = """
local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
if groups.err then return {} end
for _, flat in ipairs(groups) do
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  if fields['name'] == ARGV[1] then
    local taken = redis.call('XRANGE', KEYS[1], '(' .. fields['last-delivered-id'], '+')
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], '$')
    return taken
  end
end
return {}
"""


class Records:
    """What was published, taken away and handled. Threads share it."""

    def __init__(self) -> None:
        self.published: set[int] = set()
        self.taken: set[int] = set()
        self.handled: Counter[int] = Counter()
        self.audited: set[int] = set()
        self.problems: list[str] = []
        self.ended: Counter[str] = Counter()
        self.calls = 0

    def problem(self, text: str) -> None:
        if len(self.problems) < 20:
            self.problems.append(text)

    def note_end(self, error: BaseException | None) -> None:
        """A call has ended."""
        self.calls += 1
        self.ended[type(error).__name__] += 1
        documented = (FluxaError, redis.RedisError, HandlerError, LateError, StopIteration, asyncio.CancelledError)
        if isinstance(error, TypeError) and "nothing was acknowledged" in str(error):
            return
        if error is not None and (isinstance(error, ProtocolError) or not isinstance(error, documented)):
            self.problem(f"a call ended with {type(error).__name__}: {str(error)[:150]}")


class Disturber(threading.Thread):
    """The other client, which publishes as well, and the second group. Uses the server as its administrator."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(daemon=True)
        self.scene = scene
        self.records = scene.records
        self.chance = random.Random(scene.seed + 1)
        self.over = threading.Event()
        self.next = 0
        self.sent = 0  # commands of its own, about

    def run(self) -> None:
        try:
            with self.scene.server.client(socket_timeout=20.0) as admin:
                while not self.over.is_set():
                    for _ in range(self.chance.randrange(1, 6)):
                        self.publish(admin)
                    if self.chance.random() < 0.25:
                        self.disturb(admin)
                    self.audit(admin)
                    self.over.wait(self.chance.random() * 0.03)
                self.heal(admin)
        except BaseException as error:
            self.records.problem(f"the disturber failed: {error!r}")

    def publish(self, admin: redis.Redis) -> None:
        key = self.chance.choice(self.scene.keys)
        pipe = admin.pipeline(transaction=False)
        numbers = range(self.next, self.next + self.chance.choice([1, 5, 50]))
        self.next = numbers.stop
        size = self.chance.choice([1, 1, 1, 7, 50])
        entries = [numbers[at : at + size] for at in range(0, len(numbers), size)]
        for entry in entries:
            pipe.xadd(key, fields_of(entry))
        self.sent += len(entries)
        for entry, reply in zip(entries, pipe.execute(raise_on_error=False), strict=True):
            if not isinstance(reply, Exception):
                self.records.published.update(entry)

    def audit(self, admin: redis.Redis) -> None:
        """The second group reads slowly, and acknowledges."""
        if not self.scene.audited:
            return
        for key in self.scene.keys:
            self.sent += 2
            try:
                found: Any = admin.xreadgroup(AUDIT, "auditor", {key: ">"}, count=30)
            except redis.ResponseError:  # there is another type of key
                continue
            for _, entries in found:
                self.records.audited |= numbers_of(entries)
                admin.xack(key, AUDIT, *(id for id, _ in entries))

    def disturb(self, admin: redis.Redis) -> None:
        key = self.chance.choice(self.scene.keys)
        what = self.chance.choice(self.scene.disturbances)
        self.sent += 3
        with contextlib.suppress(redis.ResponseError):
            getattr(self, "_" + what)(admin, key)

    def _taken(self, reply: Any, *, audited: bool) -> None:
        numbers = numbers_of([(id, dict(zip(flat[::2], flat[1::2], strict=True))) for id, flat in reply])
        self.records.taken |= numbers
        if audited:
            self.records.audited |= numbers  # no group has lost them

    def _destroy(self, admin: redis.Redis, key: str) -> None:
        admin.xgroup_destroy(key, GROUP)

    def _delete_consumer(self, admin: redis.Redis, key: str) -> None:
        names = [one["name"] for one in admin.xinfo_consumers(key, GROUP)]
        if names:
            self._taken(admin.eval(_TAKE_CONSUMER, 1, key, GROUP, self.chance.choice(names)), audited=False)

    def _set_back(self, admin: redis.Redis, key: str) -> None:
        admin.xgroup_setid(key, GROUP, "0")

    def _skip(self, admin: redis.Redis, key: str) -> None:
        self._taken(admin.eval(_SKIP, 1, key, GROUP), audited=False)

    def _remove(self, admin: redis.Redis, key: str) -> None:
        self._taken(admin.eval(_TAKE_STREAM, 1, key, "DEL", int(self.scene.audited)), audited=True)

    def _rename(self, admin: redis.Redis, key: str) -> None:
        self._taken(admin.eval(_TAKE_STREAM, 1, key, "RENAME", int(self.scene.audited)), audited=True)

    def _replace(self, admin: redis.Redis, key: str) -> None:
        self._taken(admin.eval(_TAKE_STREAM, 1, key, "SET", 0), audited=True)
        self.over.wait(self.chance.random() * 0.3)
        admin.eval(_TAKE_STREAM, 1, key, "DEL", int(self.scene.audited))

    def _deny(self, admin: redis.Redis, key: str) -> None:
        rights = self.chance.choice(
            ["-eval|-evalsha", "-xack", "-xreadgroup", "-@scripting|-xdel", "-xtrim", "-xgroup"]
        )
        admin.acl_setuser("worker", enabled=True, commands=rights.split("|"))
        self.over.wait(self.chance.random() * 0.3)
        give_all_rights(admin)

    def _flush_scripts(self, admin: redis.Redis, key: str) -> None:
        admin.script_flush()

    def _kill_clients(self, admin: redis.Redis, key: str) -> None:
        admin.execute_command("CLIENT", "KILL", "USER", "worker")

    def _close_engine(self, admin: redis.Redis, key: str) -> None:
        self.scene.close_soon()

    def heal(self, admin: redis.Redis) -> None:
        give_all_rights(admin)
        for key in self.scene.keys:
            if admin.type(key) != b"stream":
                admin.eval(_TAKE_STREAM, 1, key, "DEL", int(self.scene.audited))


def fields_of(numbers: Sequence[int]) -> dict[Any, Any]:
    """Those of an entry; of a packed one, if there are several numbers."""
    if len(numbers) == 1:
        return {"s": msgpack.packb(numbers[0])}
    tags = msgpack.packb({"number": [str(number) for number in numbers]})
    return {"_fluxa:packed": f"1 {len(numbers)}", "s": msgpack.packb(list(numbers)), "_fluxa:tags": tags}


def numbers_of(entries: Any) -> set[int]:
    numbers: set[int] = set()
    for _, fields in entries:
        body = msgpack.unpackb(fields[b"s"])
        numbers.update(body if b"_fluxa:packed" in fields else [body])
    return numbers


def give_all_rights(admin: redis.Redis) -> None:
    admin.acl_setuser("worker", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"])


DISTURBANCES = (
    "destroy",
    "delete_consumer",
    "set_back",
    "skip",
    "remove",
    "rename",
    "replace",
    "deny",
    "deny",
    "flush_scripts",
    "kill_clients",
    "close_engine",
)


class Scene:
    """One kind of consumer on one face.

    Attributes:
        audited: whether there is a second group, which no disturbance takes anything from.
    """

    def __init__(
        self, face: str, kind: str, seconds: float, seed: int, program: str, disturbances: Sequence[str] = ()
    ) -> None:
        self.face = face
        self.kind = kind
        self.seconds = seconds
        self.seed = seed
        self.program = program
        self.chance = random.Random(seed)
        self.records = Records()
        self.audited = self.chance.random() < 0.5 and kind != "at most once"
        self.disturbances = list(disturbances) or [one for one in DISTURBANCES if self.chance.random() < 0.7]
        self.server: Any = None
        self.keys: tuple[str, ...] = ()
        self.engine: Any = None
        self.consumer: Any = None
        self.stopped = False  # the consumer was told to stop, and no call has begun since
        self.armed = threading.Event()  # a signal is under way
        self.to_end_by = float("inf")  # monotonic seconds: by when the call that goes on must be over

    # ---- what is consumed ----

    def new_engine(self, *, face: str | None = None) -> Any:
        package: Any = fluxa_fast if (face or self.face) == "blocking" else fluxa_fast.asyncio
        registry = package.Registry()
        registry.register_redis(self.server.url, username="worker", password="secret", socket_timeout=5.0)
        partitions = PARTITIONS if self.kind in ("partitioned", "ordered") else None
        packed = self.chance.choice([None, Packing(max_events=7), Packing()])  # readers need not know
        registry.register_redis_stream("orders", partitions=partitions, packed=packed)
        return registry.validate()

    def new_consumer(self, engine: Any) -> Any:
        broker = engine.new_context().get_event_broker()
        if self.kind == "typed":
            return broker.register_body("orders", int).consumer_many(recovery=QUICK)
        if self.kind == "single":
            return broker.consumer_single("orders", recovery=QUICK)
        if self.kind == "ordered":
            return broker.consumer_ordered("orders", lease=1.0, recovery=QUICK)
        delivery = "at-most-once" if self.kind == "at most once" else "at-least-once"
        return broker.consumer_many("orders", delivery=delivery, recovery=QUICK)

    def close_soon(self) -> None:
        """The engine is closed by another thread, whatever goes on."""
        engine = self.engine
        if engine is None:  # nothing has begun
            return
        if self.face == "blocking":
            engine.close()
        else:
            closing = engine.aclose()
            try:
                asyncio.run_coroutine_threadsafe(closing, self.loop)
            except RuntimeError:  # the loop is over
                closing.close()

    # ---- handlers ----

    def begin_batch(self, events: Sequence[Any]) -> str:
        """What the handler is to do."""
        if self.stopped and self.kind != "at most once":
            self.records.problem("a batch began after stop()")
        if not events:
            self.records.problem("a handler was given nothing")
        if any(event.tag("number", str(event.body)) != str(event.body) for event in events):
            self.records.problem("an event has the tags of another one")
        return self.chance.choices(
            ["handle", "fail", "stop", "again", "empty the list", "give back", "thread", "acknowledge", "odd"],
            [10, 2, 2, 2, 2, 1, 1, 2, 1],
        )[0]

    def end_batch(self, bodies: Sequence[int]) -> None:
        self.records.handled.update(bodies)

    def stop(self) -> None:
        self.consumer.stop()
        self.stopped = True
        self.to_end_by = min(self.to_end_by, time.monotonic() + LONGEST)

    def must_be_refused(self, call: Callable[[], object]) -> None:
        try:
            call()
        except FluxaError:
            return
        except LateError:
            raise
        except BaseException as error:
            self.records.problem(f"a call that must be refused ended with {type(error).__name__}: {str(error)[:150]}")
        else:
            self.records.problem("a call that must be refused was not")

    def call_to_refuse(self) -> Callable[[], object]:
        consumer = self.consumer
        return self.chance.choice(
            [
                lambda: consumer.consume(10, None, print),
                lambda: consumer.run(print, 10),
                lambda: consumer.auto_claim(10, 0.0, print),
                lambda: consumer.cleanup(),
                lambda: next(iter(consumer.batches(10, None))),
            ]
        )

    def handle(self, events: Any, *, in_loop: bool = False) -> Any:
        """The handler of the blocking face."""
        bodies = [event.body for event in events]
        what = self.begin_batch(events)
        if what == "fail":
            raise HandlerError
        if what == "odd":
            raise StopIteration
        if what == "stop":
            self.stop()
        elif what == "again":
            self.must_be_refused(self.call_to_refuse())
        elif what == "empty the list":
            while events:
                events.pop()
        elif what == "give back" and not in_loop:
            return (one for one in events)
        elif what == "thread" and not self.armed.is_set():
            thread = threading.Thread(target=self.must_be_refused, args=(self.call_to_refuse(),))
            thread.start()
            thread.join()
        elif what == "acknowledge":
            self.end_batch(bodies[:1])  # it is not given again, whatever happens to the handler from here on
            with contextlib.suppress(FluxaError, redis.RedisError):
                events[0].ack()
        self.end_batch(bodies)
        return None

    async def handle_awaited(self, events: Any, *, in_loop: bool = False) -> Any:
        """The handler of asyncio."""
        bodies = [event.body for event in events]
        what = self.begin_batch(events)
        if what == "fail":
            raise HandlerError
        if what == "odd":
            raise asyncio.CancelledError
        if what == "stop":
            self.stop()
        elif what == "again":
            await self.must_be_refused_awaited()
        elif what == "empty the list":
            events.clear()
        elif what == "give back" and not in_loop:
            return (one for one in events)
        elif what == "thread":
            await asyncio.sleep(self.chance.random() * 0.02)
        elif what == "acknowledge":
            self.end_batch(bodies[:1])
            with contextlib.suppress(FluxaError, redis.RedisError):
                await events[0].ack()
        self.end_batch(bodies)
        return None

    async def must_be_refused_awaited(self) -> None:
        consumer = self.consumer
        call = self.chance.choice(
            [
                lambda: consumer.consume(10, None, print),
                lambda: consumer.run(print, 10),
                lambda: consumer.auto_claim(10, 0.0, print),
                lambda: consumer.cleanup(),
            ]
        )
        try:
            await asyncio.wait_for(call(), 10)
        except FluxaError:
            return
        except Exception as error:
            self.records.problem(f"a call that must be refused ended with {type(error).__name__}: {str(error)[:150]}")
        else:
            self.records.problem("a call that must be refused was not")

    # ---- the blocking face ----

    def use_blocking(self) -> None:
        """In the main thread, which signals come to."""

        def late(number: int, frame: object) -> None:
            if self.armed.is_set():
                self.armed.clear()
                raise LateError

        signal.signal(signal.SIGUSR1, late)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            self.engine = engine = self.new_engine()
            try:
                self.consumer = self.new_consumer(engine)
            except FluxaError:  # it is closed already
                continue
            for _ in range(self.chance.randrange(1, 12)):
                error: BaseException | None = None
                try:
                    error = self.one_call()
                except LateError as late_error:  # between the lines of this file
                    error = late_error
                self.armed.clear()
                self.to_end_by = float("inf")
                self.records.note_end(error)
                if time.monotonic() >= end or (isinstance(error, FluxaError) and "closed" in str(error)):
                    break
            with contextlib.suppress(FluxaError, redis.RedisError):
                self.engine.close()

    def one_call(self) -> BaseException | None:
        timers = [threading.Timer(self.chance.random() * 0.4, self.consumer.stop)]  # it may meet a batch half-way
        self.stopped = False
        self.to_end_by = time.monotonic() + LONGEST
        if self.chance.random() < 0.25:
            self.armed.set()
            main = threading.main_thread().ident
            assert main is not None
            timers.append(threading.Timer(self.chance.random() * 0.05, signal.pthread_kill, (main, signal.SIGUSR1)))
        for timer in timers:
            timer.start()
        try:
            self.call()
        except (Exception, LateError) as error:
            return error
        finally:
            self.armed.clear()
            for timer in timers:
                timer.cancel()
        return None

    def call(self) -> None:
        consumer = self.consumer
        way = self.chance.choice(["consume", "consume", "run", "batches", "auto_claim", "cleanup", "async handler"])
        count = self.chance.choice([1, 5, 50])
        if way == "consume":
            consumer.consume(count, self.chance.choice([None, 0.05]), self.handle)
        elif way == "run":
            consumer.run(self.handle, count, claim_idle=self.chance.choice([None, None, 0.2]))
        elif way == "batches":
            for events in consumer.batches(count, self.chance.choice([None, 0.05])):
                self.handle(events, in_loop=True)
                if self.chance.random() < 0.1:
                    break
        elif way == "auto_claim":
            consumer.auto_claim(count, 0.0, self.handle)
        elif way == "cleanup":
            consumer.cleanup()
        else:
            with contextlib.suppress(TypeError):
                consumer.consume(count, None, self.handle_awaited)
                self.records.problem("a blocking consumer took an async handler")

    # ---- asyncio ----

    async def use_awaited(self) -> None:
        self.loop = asyncio.get_running_loop()
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            self.engine = engine = self.new_engine()
            try:
                self.consumer = self.new_consumer(engine)
            except FluxaError:  # it is closed already
                continue
            for _ in range(self.chance.randrange(1, 12)):
                self.stopped = False
                self.to_end_by = time.monotonic() + LONGEST
                task = asyncio.ensure_future(self.call_awaited())
                timers = [self.loop.call_later(self.chance.random() * 0.4, self.stop)]
                if self.chance.random() < 0.25:
                    timers.append(self.loop.call_later(self.chance.random() * 0.05, task.cancel))
                error: BaseException | None = None
                try:
                    await task
                except (Exception, asyncio.CancelledError) as failure:
                    error = failure
                for timer in timers:
                    timer.cancel()
                self.to_end_by = float("inf")
                self.records.note_end(error)
                if time.monotonic() >= end or (isinstance(error, FluxaError) and "closed" in str(error)):
                    break
            with contextlib.suppress(FluxaError, redis.RedisError):
                await self.engine.aclose()

    async def call_awaited(self) -> None:
        consumer = self.consumer
        way = self.chance.choice(["consume", "consume", "run", "run", "batches", "auto_claim", "cleanup"])
        count = self.chance.choice([1, 5, 50])
        if way == "consume":
            await consumer.consume(count, self.chance.choice([None, 0.05]), self.handle_awaited)
        elif way == "run":
            claim_idle = self.chance.choice([None, None, 0.2])
            await consumer.run(
                self.handle_awaited, count, concurrency=self.chance.choice([1, 1, 4]), claim_idle=claim_idle
            )
        elif way == "batches":
            async for events in consumer.batches(count, self.chance.choice([None, 0.05])):
                await self.handle_awaited(events, in_loop=True)
                if self.chance.random() < 0.1:
                    break
        elif way == "auto_claim":
            await consumer.auto_claim(count, 0.0, self.handle_awaited)
        else:
            await consumer.cleanup()

    # ---- the whole scene ----

    def run(self) -> dict[str, Any]:
        """Play it. Returns a report, with the problems that were found."""
        logging.disable()
        with EmbeddedServer(self.program) as self.server, self.server.client() as admin:
            give_all_rights(admin)
            probe = self.new_engine(face="blocking")
            self.keys = probe.partitions("orders")
            probe.close()
            if self.audited:
                for key in self.keys:
                    admin.xgroup_create(key, AUDIT, "0", mkstream=True)
            disturber = Disturber(self)
            watchdog = threading.Thread(target=self.watch, daemon=True)
            self.playing = True
            began = time.monotonic()
            disturber.start()
            watchdog.start()
            if self.face == "blocking":
                self.use_blocking()
            else:
                asyncio.run(self.use_awaited())
            self.playing = False
            disturber.over.set()
            disturber.join()
            commands = int(admin.info("stats")["total_commands_processed"]) - disturber.sent
            took = time.monotonic() - began
            self.check_commands(commands, took)
            self.drain(admin)
        self.check_records()
        return {
            "face": self.face,
            "kind": self.kind,
            "seed": self.seed,
            "published": len(self.records.published),
            "handled": len(self.records.handled),
            "taken away": len(self.records.taken),
            "calls": self.records.calls,
            "ended with": dict(self.records.ended),
            "commands": commands,
            "problems": self.records.problems,
        }

    def watch(self) -> None:
        """A call that does not end fails the scene: nothing else can be done about it."""
        while self.playing:
            time.sleep(0.2)
            if time.monotonic() > self.to_end_by + LONGEST:
                self.records.problem(f"a call did not end within {LONGEST:.0f} s")
                print(
                    json.dumps(
                        {"face": self.face, "kind": self.kind, "seed": self.seed, "problems": self.records.problems}
                    )
                )
                sys.stdout.flush()
                faulthandler.dump_traceback()
                os._exit(1)

    def check_commands(self, commands: int, seconds: float) -> None:
        events = sum(self.records.handled.values()) + len(self.records.published)
        bound = 5_000 + 100 * self.records.calls + 10 * events + 400 * seconds
        if commands > bound:
            self.records.problem(
                f"{commands} commands in {seconds:.0f} s, for {self.records.calls} calls and {events} events"
            )

    def drain(self, admin: redis.Redis) -> None:
        """All is well again: what is left is handled, by a consumer that does nothing else."""

        def handle(events: Any) -> None:
            self.end_batch([event.body for event in events])

        end = time.monotonic() + 60
        with self.new_engine(face="blocking") as engine:
            consumer = self.new_consumer(engine)
            idle = 0
            while idle < 3 and time.monotonic() < end:
                handled = 0
                if self.kind not in ("ordered", "single"):
                    handled += consumer.auto_claim(1000, 0.0, handle)
                handled += consumer.consume(1000, 1.5 if self.kind == "ordered" else 0.05, handle)
                idle = 0 if handled else idle + 1
            if idle < 3:
                self.records.problem("what is left comes again and again")
            consumer.cleanup()
        for key in self.keys if self.audited else ():
            for after in ("0", ">"):
                with contextlib.suppress(redis.ResponseError):
                    while found := admin.xreadgroup(AUDIT, "auditor", {key: after}, count=1000):
                        entries = found[0][1]  # type: ignore[index]
                        if not entries:
                            break
                        self.records.audited |= numbers_of(entries)
                        admin.xack(key, AUDIT, *(id for id, _ in entries))

    def check_records(self) -> None:
        if self.kind != "at most once":
            lost = self.records.published - self.records.taken - set(self.records.handled)
            if lost:
                self.records.problem(f"{len(lost)} events were lost: {sorted(lost)[:10]}...")
        if self.audited:
            missed = self.records.published - self.records.audited
            if missed:
                self.records.problem(f"the second group was not given {len(missed)} events: {sorted(missed)[:10]}...")
        unknown = set(self.records.handled) - self.records.published
        if unknown:
            self.records.problem(f"{len(unknown)} events were handled that were never published")


def play(
    face: str, kind: str, seconds: float, seed: int, program: str, disturbances: Sequence[str] = ()
) -> dict[str, Any]:
    """A scene in a process of its own."""
    command = [sys.executable, "-m", "tests.ledger.use", "--face", face, "--kind", kind, "--alone"]
    command += ["--seconds", str(seconds), "--seed", str(seed), "--program", program]
    for one in disturbances:
        command += ["--disturbance", one]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 240, check=False)
    line = done.stdout.strip().rpartition("\n")[2]
    report: dict[str, Any] = {"face": face, "kind": kind, "seed": seed, "problems": []}
    with contextlib.suppress(ValueError):
        report = json.loads(line)
    if done.returncode and not report["problems"]:
        report["problems"].append(f"the scene ended with status {done.returncode}")
    if report["problems"]:
        report["stderr"] = done.stderr[-3000:]
    return report


def scenes(arguments: argparse.Namespace) -> Iterator[tuple[str, str, int]]:
    chance = random.Random(arguments.seed)
    end = time.monotonic() + arguments.total
    while True:
        for face in (arguments.face,) if arguments.face else FACES:
            for kind in (arguments.kind,) if arguments.kind else KINDS:
                yield face, kind, chance.randrange(1_000_000)
        if time.monotonic() >= end:
            return


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each scene")
    parser.add_argument("--total", type=float, default=0.0, help="seconds to go on for; 0: each scene once")
    parser.add_argument("--face", choices=FACES)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument(
        "--disturbance", action="append", choices=sorted(set(DISTURBANCES)), default=[], help="only these"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--program", default=find_server(), help="of the server")
    parser.add_argument("--alone", action="store_true", help="this scene, in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        report = Scene(
            arguments.face,
            arguments.kind,
            arguments.seconds,
            arguments.seed,
            arguments.program,
            arguments.disturbance,
        ).run()
        print(json.dumps(report))
        sys.stdout.flush()
        os._exit(1 if report["problems"] else 0)  # threads that are stuck are in the report
    print(f"seed {arguments.seed}", flush=True)
    failed = 0
    for face, kind, seed in scenes(arguments):
        report = play(face, kind, arguments.seconds, seed, arguments.program, arguments.disturbance)
        print(json.dumps(report), flush=True)
        failed += bool(report["problems"])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
