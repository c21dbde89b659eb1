"""Faults of servers and of the way to them. Each fault is a context: it lasts as long as the block, and ends with it."""

from __future__ import annotations

import contextlib
import resource
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import redis

from fluxa_fast.embedded import EmbeddedServer
from tests.proxy import Proxy
from tests.unresponsive_server import unresponsive

__all__ = ["FAULTS", "Fault", "Site", "State", "persistent_server", "state_of"]

STREAM = "orders"
_PATIENCE = 30.0  # seconds

_CONFIG = {
    "appendonly": "yes",
    "appendfsync": "no",  # it writes before it replies: what was confirmed outlives kill -9 (not a power cut)
}
_ANSWER_WHILE_LOADING = {"loading-process-events-interval-bytes": "1024"}  # a small file, too; from Redis 7.0 on


@dataclass
class Site:
    """One server, and the proxy before it that clients use."""

    server: EmbeddedServer
    proxy: Proxy

    def admin(self) -> redis.Redis:
        """A client that goes past the proxy."""
        return self.server.client(socket_timeout=10.0)

    def state(self) -> State:
        """What there is in the stream."""
        with self.admin() as admin:
            return state_of(admin, STREAM)


class State(NamedTuple):
    """What there is in a stream.

    Attributes:
        left: entries.
        pending: entries that were delivered and not acknowledged.
        added: entries that were ever added; None if the server can't tell.
    """

    left: int
    pending: int
    added: int | None


def state_of(admin: redis.Redis, stream: str) -> State:
    pending = 0
    with contextlib.suppress(redis.ResponseError):
        pending = admin.xpending(stream, "consumer_group")["pending"]
    added = None
    with contextlib.suppress(redis.ResponseError):  # there may be no stream
        told: Any = admin.xinfo_stream(stream)
        added = told.get("entries-added")
    return State(admin.xlen(stream), pending, added)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        context: lasts as long as its block.
        keeps_data: whether the server has all events afterwards.
        repeats: whether the server delivers events again because of it.
    """

    context: Callable[[Any], AbstractContextManager[None]]
    keeps_data: bool = True
    repeats: bool = False


@contextmanager
def persistent_server(program: str, folder: Path, **config: str) -> Iterator[EmbeddedServer]:
    """A server that has its data again after kill -9, and that outlives a full disk."""
    wrapper = folder / "server"
    # Python gives its children the signal that a full quota raises; a full disk raises none.
    wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec '{program}' \"$@\"\n", "utf-8")
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    loading = {} if "v=6." in told else _ANSWER_WHILE_LOADING
    with EmbeddedServer(str(wrapper), config={**_CONFIG, **loading, **config}) as server:
        yield server


# ---- the network ----------------------------------------------------------------------------------------


@contextmanager
def _set(site: Site, **settings: object) -> Iterator[None]:
    for name, value in settings.items():
        setattr(site.proxy, name, value)
    try:
        yield
    finally:
        site.proxy.heal()


def _cut_up(site: Site) -> AbstractContextManager[None]:
    return _set(site, cut_up=3000)


def _cut_down(site: Site) -> AbstractContextManager[None]:
    return _set(site, cut_down=700)


def _single_bytes(site: Site) -> AbstractContextManager[None]:
    return _set(site, split=1)


def _delayed(site: Site) -> AbstractContextManager[None]:
    return _set(site, delay=0.02)


@contextmanager
def _refused(site: Site) -> Iterator[None]:
    with _set(site, refusing=True):
        site.proxy.cut()
        yield


@contextmanager
def _stalled(site: Site) -> Iterator[None]:
    site.proxy.stall()
    try:
        yield
    finally:
        site.proxy.flow()


@contextmanager
def _half_closed(site: Site, *, up: bool) -> Iterator[None]:
    site.proxy.half_close(up=up)
    yield


# ---- the server's process -------------------------------------------------------------------------------


@contextmanager
def _killed(site: Site) -> Iterator[None]:
    site.server.kill()
    try:
        yield
    finally:
        site.server.start()
        _await_ready(site)


@contextmanager
def _killed_and_emptied(site: Site) -> Iterator[None]:
    with _killed(site):
        for file in site.server.folder.rglob("appendonly.aof*"):  # Redis 6.2 has one, others a folder of them
            file.unlink()
        yield


@contextmanager
def _loading(site: Site) -> Iterator[None]:
    """It was killed, and takes its time to load its data."""
    site.server.kill()
    site.server.config["key-load-delay"] = "2000"  # microseconds
    try:
        site.server.start()
        yield
    finally:
        del site.server.config["key-load-delay"]
        with site.admin() as admin:
            admin.config_set("key-load-delay", 0)
        _await_ready(site)


def _stopped(site: Site) -> AbstractContextManager[None]:
    return unresponsive(site.server)


# Bytes that a file may have. The next write fails as a whole: after a part of it, Redis 7.0 has been seen to leave a file
# that it can't load any more.
_NOTHING = 1


@contextmanager
def _disk_full(site: Site) -> Iterator[None]:
    """The append-only file can't grow: the server refuses writes with MISCONF."""
    resource.prlimit(site.server.pid, resource.RLIMIT_FSIZE, (_NOTHING, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(site.server.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        with site.admin() as admin:
            while admin.info("persistence")["aof_last_write_status"] != "ok":
                time.sleep(0.02)


def _await_ready(site: Site) -> None:
    end = time.monotonic() + _PATIENCE
    with site.admin() as admin:
        while True:
            try:
                admin.ping()
                return
            except redis.RedisError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.02)


# ---- the server's state ---------------------------------------------------------------------------------


@contextmanager
def _demoted(site: Site) -> Iterator[None]:
    """It is a read-only replica for a while (of a master that does not answer), and is promoted again."""
    with site.admin() as admin:
        admin.replicaof("127.0.0.1", "1")
        try:
            yield
        finally:
            admin.replicaof("NO", "ONE")


@contextmanager
def _memory_full(site: Site) -> Iterator[None]:
    with site.admin() as admin:
        admin.config_set("maxmemory", 1)
        try:
            yield
        finally:
            admin.config_set("maxmemory", 0)


@contextmanager
def _denied(site: Site) -> Iterator[None]:
    with site.admin() as admin:
        admin.execute_command("ACL", "SETUSER", "default", "-@stream", "-@scripting")
        try:
            yield
        finally:
            admin.execute_command("ACL", "SETUSER", "default", "+@all")


@contextmanager
def _clients_killed(site: Site) -> Iterator[None]:
    with site.admin() as admin:
        admin.client_kill_filter(_type="normal", skipme=True)
        yield


@contextmanager
def _connections_exhausted(site: Site) -> Iterator[None]:
    with site.admin() as admin, contextlib.ExitStack() as taken:
        before = admin.config_get("maxclients")["maxclients"]
        few = 50
        admin.config_set("maxclients", few)
        admin.client_kill_filter(_type="normal", skipme=True)
        for _ in range(few + 10):
            taken.enter_context(socket.create_connection(("127.0.0.1", site.server.port)))
        try:
            yield
        finally:
            admin.config_set("maxclients", before)


@contextmanager
def _scripts_flushed(site: Site) -> Iterator[None]:
    with site.admin() as admin:
        admin.script_flush()
        yield


# ---- the stream -----------------------------------------------------------------------------------------


@contextmanager
def _flushed(site: Site) -> Iterator[None]:
    with site.admin() as admin:
        admin.flushall()
        yield


@contextmanager
def _stream_deleted(site: Site) -> Iterator[None]:
    with site.admin() as admin:
        admin.delete(STREAM)
        yield


@contextmanager
def _group_destroyed(site: Site) -> Iterator[None]:
    with site.admin() as admin, contextlib.suppress(redis.ResponseError):
        admin.xgroup_destroy(STREAM, "consumer_group")
    yield


@contextmanager
def _key_replaced(site: Site) -> Iterator[None]:
    """The key holds another type for a while; then the stream is back, if there was one."""
    aside = STREAM + ":aside"
    with site.admin() as admin:
        admin.eval(_REPLACE, 2, STREAM, aside)
        try:
            yield
        finally:
            admin.eval(_PUT_BACK, 2, STREAM, aside)


_REPLACE = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end
redis.call('SET', KEYS[1], 'no stream')
"""
_PUT_BACK = """
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[1]) end
"""


FAULTS = {
    "cut up": Fault(_cut_up),
    "cut down": Fault(_cut_down),
    "single bytes": Fault(_single_bytes),
    "delayed": Fault(_delayed),
    "refused": Fault(_refused),
    "stalled": Fault(_stalled),
    "half closed up": Fault(partial(_half_closed, up=True)),
    "half closed down": Fault(partial(_half_closed, up=False)),
    "killed": Fault(_killed),
    "killed and emptied": Fault(_killed_and_emptied, keeps_data=False),
    "loading": Fault(_loading),
    "stopped": Fault(_stopped),
    "disk full": Fault(_disk_full),
    "demoted": Fault(_demoted),
    "memory full": Fault(_memory_full),
    "denied": Fault(_denied),
    "clients killed": Fault(_clients_killed),
    "connections exhausted": Fault(_connections_exhausted),
    "scripts flushed": Fault(_scripts_flushed),
    "flushed": Fault(_flushed, keeps_data=False),
    "stream deleted": Fault(_stream_deleted, keeps_data=False),
    "group destroyed": Fault(_group_destroyed, repeats=True),
    "key replaced": Fault(_key_replaced),
}
"""By name."""
