"""Credentials that are renewed while connections are kept, as a `StreamingCredentialProvider` of redis-py gives them."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
import redis.credentials

from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded.cluster import EmbeddedCluster
from tests.awaited import Faces
from tests.fix_cluster import ON_CLUSTERS

if not hasattr(redis.credentials, "StreamingCredentialProvider"):
    pytest.skip("this redis-py has no streaming credentials", allow_module_level=True)

from redis.auth.token import TokenInterface

LONG = 40.0  # seconds
USERS = ("first", "second", "third", "fourth")


class _Token(TokenInterface):
    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password

    def is_expired(self) -> bool:
        return False

    def ttl(self) -> float:
        return 3600.0

    def try_get(self, key: str) -> str:
        return self._user

    def get_value(self) -> str:
        return self._password

    def get_expires_at_ms(self) -> float:
        return 1e15

    def get_received_at_ms(self) -> float:
        return 0.0


class Provider(redis.credentials.StreamingCredentialProvider):
    """Knows one listener at a time, as that of redis-entraid."""

    def __init__(self, faces: Any) -> None:
        self._faces = faces
        self._listener: Any = None
        self.user = USERS[0]

    def get_credentials(self) -> Any:
        return self.user, f"of {self.user}"

    async def get_credentials_async(self) -> Any:
        return self.get_credentials()

    def on_next(self, callback: Any) -> None:
        self._listener = callback

    def on_error(self, callback: Any) -> None:
        return

    def is_streaming(self) -> bool:
        return True

    def rotate(self, user: str, password: str | None = None) -> None:
        """From now on it gives these credentials; a listener is told of this password."""
        self.user = user
        token = _Token(user, password or f"of {user}")
        if isinstance(self._faces, Faces):
            self._faces.call(self._listener, token)
        else:
            assert not inspect.iscoroutinefunction(self._listener)
            self._listener(token)


def _set_up(*servers: EmbeddedServer) -> None:
    for server in servers:
        for user in USERS:
            server.command("ACL", "SETUSER", user, "reset", "on", f">of {user}", "~*", "&*", "+@all")


def _users(*servers: EmbeddedServer) -> dict[str, str]:
    """The user of each connection that has one of ours, by its ID."""
    found = {}
    for server in servers:
        with server.client() as client:
            for one in client.client_list():
                if one["user"] in USERS:
                    found[f"{server.port} {one['id']}"] = one["user"]
    return found


@pytest.fixture
def provider(faces: Any) -> Provider:
    return Provider(faces)


@pytest.fixture
def make(faces: Any, provider: Provider) -> Iterator[Callable[..., Any]]:
    """Makes brokers with the streams `orders` (partitions) and `users`; closes their engines in the end."""
    engines = []

    def make(*address: object, **options: object) -> Any:
        registry = faces.Registry()
        registry.register_redis(*address, credential_provider=provider, **options)
        registry.register_redis_stream("orders", partitions=4)
        registry.register_redis_stream("users")
        engines.append(registry.validate())
        return engines[-1].new_context().get_event_broker()

    yield make
    for engine in engines:
        engine.close()


def _uses(broker: Any) -> dict[str, Callable[[], object]]:
    """What keeps a connection from call to call."""
    flusher, eager = broker.new_flusher(), broker.new_flusher(eager=True)

    def flush(flusher: Any, count: int) -> None:
        for number in range(count):
            flusher.publish("orders", number, key=number)
            flusher.publish("users", number)
        flusher.flush()

    def consume(consumer: Any) -> None:
        consumer.consume(10, None, lambda _: None)

    def iterate(consumer: Any) -> None:
        for _ in consumer.batches(10, None):
            pass

    plain, iterated, many, ordered = (
        broker.consumer_many("users"),
        broker.consumer_many("users"),
        broker.consumer_many("orders"),
        broker.consumer_ordered("orders", lease=2.0),
    )
    return {
        "publish": lambda: (broker.publish("users", 1), broker.publish("orders", 1, key=1)),
        "flush": lambda: flush(flusher, 10),
        "flush eagerly": lambda: flush(eager, 3000),
        "consume": lambda: consume(plain),
        "batches": lambda: iterate(iterated),
        "consume partitions": lambda: consume(many),
        "consume own partitions": lambda: consume(ordered),
        "statistics": broker.get_streams_statistics,
    }


def _connections_are_kept_and_renewed(broker: Any, provider: Provider, *servers: EmbeddedServer) -> None:
    _set_up(*servers)
    for name, use in _uses(broker).items():
        provider.rotate("first")
        for _ in range(3):
            use()
        kept = {one for one, user in _users(*servers).items() if user == "first"}
        assert kept, name
        provider.rotate("second")
        use()
        use()
        users = _users(*servers)
        assert {users.get(one) for one in kept} >= {"second"}, name
    uses = _uses(broker)
    for use in uses.values():
        use()
    before = set(_users(*servers))
    provider.rotate("third")
    for use in uses.values():
        use()
        use()
    users = _users(*servers)
    assert before & {one for one, user in users.items() if user == "third"}
    assert {user for one, user in users.items() if one not in before} <= {"third"}
    for server in servers:  # that ends their connections, of which some were idle
        server.command("ACL", "DELUSER", *USERS[:2])
    for use in uses.values():
        use()


def test_connections_are_kept_and_their_credentials_renewed(
    make: Callable[..., Any], provider: Provider, own_server: EmbeddedServer
) -> None:
    _set_up(own_server)
    _connections_are_kept_and_renewed(make(own_server.url), provider, own_server)


def test_auth_is_sent_once_over_each_connection(
    make: Callable[..., Any], provider: Provider, own_server: EmbeddedServer
) -> None:
    _set_up(own_server)
    broker = make(own_server.url, protocol=2)
    consumer = broker.consumer_many("users")

    def use() -> None:
        broker.publish("users", 1)
        consumer.consume(10, None, lambda _: None)

    use()
    with own_server.client() as admin:

        def calls() -> int:
            return int(admin.info("commandstats").get("cmdstat_auth", {"calls": 0})["calls"])

        kept = _users(own_server)
        for user in ("second", "third", "second"):
            before = calls()
            provider.rotate(user)
            for _ in range(5):
                use()
            assert calls() == before + len(kept)
            assert _users(own_server) == dict.fromkeys(kept, user)


def test_the_old_password_is_removed(make: Callable[..., Any], provider: Provider, own_server: EmbeddedServer) -> None:
    _set_up(own_server)
    broker = make(own_server.url)
    broker.publish("users", 1)
    kept = set(_users(own_server))
    own_server.command("ACL", "SETUSER", "first", ">new", "<of first")
    provider.rotate("first", "new")
    broker.publish("users", 2)
    assert set(_users(own_server)) == kept


@pytest.mark.parametrize("kind", ["publish", "consume", "flush"])
def test_a_connection_whose_new_credentials_are_refused_is_replaced(
    make: Callable[..., Any], provider: Provider, own_server: EmbeddedServer, kind: str
) -> None:
    _set_up(own_server)
    broker = make(own_server.url)
    use = _uses(broker)[kind]
    if kind == "publish":  # to a stream without partitions, whose number would be asked over another connection
        use = lambda: broker.publish("users", 1)  # noqa: E731
    use()
    kept = set(_users(own_server))
    provider.rotate("second", "wrong")
    use()
    use()
    users = _users(own_server)
    assert set(users.values()) == {"second"}
    assert not kept & set(users)


def test_all_pools_that_share_a_provider_are_told(faces: Any, provider: Provider, own_server: EmbeddedServer) -> None:
    """Although the provider tells one listener only."""
    _set_up(own_server)
    registry = faces.Registry()
    for name in ("a", "b", "c"):
        registry.register_redis(own_server.url, pool=name, credential_provider=provider)
        registry.register_redis_stream(f"of {name}", pool=name)
    engine = registry.validate()
    broker = engine.new_context().get_event_broker()
    for name in ("a", "b", "c"):
        broker.publish(f"of {name}", 1)
    kept = _users(own_server)
    assert len(kept) == 3
    provider.rotate("second")
    for name in ("a", "b", "c"):
        broker.publish(f"of {name}", 2)
    assert _users(own_server) == dict.fromkeys(kept, "second")
    engine.close()


@pytest.mark.parametrize("kind", ["plain", "many", "ordered"])
@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
def test_a_consumer_under_load_keeps_its_connection(
    make: Callable[..., Any], provider: Provider, own_server: EmbeddedServer, kind: str, delivery: Any
) -> None:
    """It reads ahead, so that a reply is always under way. Each event comes once, in order for each key."""
    _set_up(own_server)
    broker = make(own_server.url)
    stream = "users" if kind == "plain" else "orders"
    made = broker.consumer_ordered if kind == "ordered" else broker.consumer_many
    consumer = made(stream, delivery=delivery)
    total = 60_000
    with broker.new_flusher() as flusher:
        for number in range(total):
            flusher.publish(stream, number, key=None if kind == "plain" else number % 50)
    handled: list[int] = []
    ids: list[set[str]] = []
    turn = threading.Event()

    def handle(events: Any) -> None:
        before = len(handled)
        handled.extend(event.body for event in events)
        for at, user in ((10_000, "second"), (25_000, "third"), (40_000, "fourth")):
            if before < at <= len(handled):
                ids.append(set(_users(own_server)))
                provider.rotate(user)
                time.sleep(0.05)  # a reply is there, or under way
        if len(handled) >= total:
            consumer.stop()
            turn.set()

    consumer.run(handle, count=500)
    assert len(handled) == total
    assert len(set(handled)) == total
    for key in range(50):
        mine = [number for number in handled if number % 50 == key]
        assert mine == sorted(mine)
    kept = ids[0] & set(_users(own_server))
    assert kept
    assert any(_users(own_server)[one] == "fourth" for one in kept)


def test_a_consumer_under_load_whose_new_credentials_are_refused(
    make: Callable[..., Any], provider: Provider, own_server: EmbeddedServer
) -> None:
    _set_up(own_server)
    broker = make(own_server.url)
    consumer = broker.consumer_many("users")
    total = 20_000
    with broker.new_flusher() as flusher:
        flusher.publish_many("users", range(total))
    handled: list[int] = []

    def handle(events: Any) -> None:
        before = len(handled)
        handled.extend(event.body for event in events)
        if before < 5000 <= len(handled):
            provider.rotate("second", "wrong")
        if set(handled) >= set(range(total)):
            consumer.stop()

    consumer.run(handle, count=500)
    assert set(handled) == set(range(total))


def test_tasks_and_threads_that_publish_all_the_time(
    faces: Any, make: Callable[..., Any], provider: Provider, own_server: EmbeddedServer
) -> None:
    _set_up(own_server)
    broker = make(own_server.url)
    broker.publish("users", 0)
    published: list[str] = []
    failed: list[BaseException] = []
    over = threading.Event()

    def publish() -> None:
        try:
            while not over.is_set():
                published.append(broker.publish("users", 1))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for user in ("second", "third", "fourth", "second"):
        time.sleep(0.2)
        provider.rotate(user, "wrong" if user == "fourth" else None)
    time.sleep(0.3)
    over.set()
    for thread in threads:
        thread.join(LONG)
    assert not failed
    assert len(set(published)) == len(published)
    broker.publish("users", 2)
    assert "second" in _users(own_server).values()


class TestOnAClusterToo:
    pytestmark = ON_CLUSTERS

    def test_connections_are_kept_and_their_credentials_renewed(
        self, cluster: EmbeddedCluster, make: Callable[..., Any], provider: Provider
    ) -> None:
        _set_up(*cluster.nodes)
        try:
            _connections_are_kept_and_renewed(make(cluster.url), provider, *cluster.nodes)
        finally:
            for node in cluster.nodes:
                node.command("ACL", "DELUSER", *USERS)
