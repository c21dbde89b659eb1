"""Three Sentinels, a master and two replicas."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import redis

from fluxa_fast.embedded import EmbeddedServer
from tests.ledger.faults import STREAM, Fault, State, state_of
from tests.ledger.run import Plan, Result, run

__all__ = ["FAILOVERS", "Replicated", "replicated_servers", "with_sentinels"]

_NAME = "mymaster"
_CONFIG = {"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
_SENTINEL = """\
sentinel monitor {name} 127.0.0.1 {port} 2
sentinel down-after-milliseconds {name} 1500
sentinel failover-timeout {name} 2000
sentinel parallel-syncs {name} 2
"""
_PATIENCE = 30.0  # seconds


class Replicated:
    """The servers.

    Attributes:
        servers: a master and its replicas; which is which changes.
        sentinels: those that watch them.
    """

    def __init__(self, servers: list[EmbeddedServer], sentinels: list[EmbeddedServer]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def pool(self) -> dict[str, Any]:
        """The arguments of `register_redis`."""
        return {"address": _NAME, "sentinels": [f"127.0.0.1:{one.port}" for one in self.sentinels]}

    @property
    def master(self) -> EmbeddedServer:
        """What most of the Sentinels take for the master."""
        ports = []
        for sentinel in self.sentinels:
            with sentinel.client(decode_responses=True) as client:
                ports.append(int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _NAME)[1]))
        port = max(set(ports), key=ports.count)
        return next(server for server in self.servers if server.port == port)

    @property
    def replicas(self) -> list[EmbeddedServer]:
        master = self.master
        return [server for server in self.servers if server is not master]

    def admin(self) -> redis.Redis:
        """A client of the master."""
        return self.master.client(socket_timeout=10.0)

    def state(self) -> State:
        """What there is in the stream."""
        with self.admin() as admin:
            return state_of(admin, STREAM)

    @contextmanager
    def failed_over(self) -> Iterator[None]:
        """Kill the master with -9. In the end another one is promoted, and it is back as a replica of that."""
        killed = self.master
        killed.kill()
        yield
        _until("another master", lambda: self.master is not killed and _role(self.master) == "master")
        self._start_as_replica(killed)
        self.await_replicas()

    def _start_as_replica(self, server: EmbeddedServer) -> None:
        """It has lost its data, and must never be a master like that: those that still follow it would empty themselves."""
        settings = server.folder / "replica.conf"
        settings.write_text(f"replicaof 127.0.0.1 {self.master.port}\n", "utf-8")
        server.config["include"] = str(settings)
        server.start()
        del server.config["include"]

    def await_replicas(self) -> None:
        """Wait until both replicas follow the master."""
        _until("replicas in sync", lambda: _online_replicas(self.master) == len(self.servers) - 1)
        _until("all Sentinels to agree", self._is_known_to_all)

    def _is_known_to_all(self) -> bool:
        for sentinel in self.sentinels:
            with sentinel.client(decode_responses=True) as client:
                master = client.sentinel_master(_NAME)
            if master["num-slaves"] < 2 or master["num-other-sentinels"] < 2 or master["is_odown"]:
                return False
        return True


@contextmanager
def replicated_servers(program: str, folder: Path) -> Iterator[Replicated]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(EmbeddedServer(program, config=_CONFIG)) for _ in range(3)]
        for replica in servers[1:]:
            with replica.client() as client:
                client.replicaof("127.0.0.1", str(servers[0].port))
        _until("replicas in sync", lambda: _online_replicas(servers[0]) == 2)
        sentinels = []
        for number in range(3):
            config = folder / f"sentinel-{number}.conf"
            config.write_text(_SENTINEL.format(name=_NAME, port=servers[0].port), "utf-8")
            sentinels.append(stack.enter_context(EmbeddedServer(program, sentinel=str(config))))
        replicated = Replicated(servers, sentinels)
        replicated.await_replicas()
        yield replicated


def _role(server: EmbeddedServer) -> str:
    with server.client() as client:
        role: str = client.info("replication")["role"]
        return role


def _online_replicas(server: EmbeddedServer) -> int:
    with server.client() as client:
        told = client.info("replication")
    return sum(told.get(f"slave{number}", {}).get("state") == "online" for number in range(3))


def _until(what: str, true: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(redis.RedisError):
            if true():
                return
        time.sleep(0.05)
    raise TimeoutError(f"{_PATIENCE:g} s were not enough for {what}")


FAILOVERS = {"failed over": Fault(Replicated.failed_over, repeats=True)}
"""For the ledger."""


def with_sentinels(plan: Plan, program: str, folder: Path, replicas: int = 2) -> Result:
    """The ledger's plan with these servers: what the replicas have too must outlive the master."""
    plan = replace(plan, faults=FAILOVERS, replicas=replicas, forgets=True)
    with replicated_servers(program, folder) as servers:
        return run(plan, servers, {**servers.pool, "socket_timeout": 1.0}, folder)
