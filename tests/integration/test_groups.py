"""Several groups of one stream: each is given every event, and an event is deleted when all of them are done with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from fluxa_fast import Engine, EventBroker, GroupRemovedError, RegistryError
from fluxa_fast.groups import beside_group
from fluxa_fast.scripts import MAKE_GROUPS

MakeEngine = Callable[..., Engine]

BOTH = ["billing", "mailing"]


@pytest.fixture
def broker_with(faces: Any, server_url: str, client: redis.Redis, request: pytest.FixtureRequest) -> Any:
    """Makes a broker whose stream `orders` is registered with these arguments."""

    def make(**options: Any) -> EventBroker:
        registry = faces.Registry()
        registry.register_redis(server_url)
        registry.register_redis_stream("orders", **options)
        engine = registry.validate()
        request.addfinalizer(engine.close)
        return engine.new_context().get_event_broker()  # type: ignore[no-any-return]

    return make


def all_of(consumer: Any, count: int = 10) -> list[Any]:
    """Consume until nothing is there. Returns the bodies."""
    seen: list[Any] = []
    while consumer.consume(count, None, lambda events: seen.extend(event.body for event in events)):
        pass
    return seen


KINDS = ["consumer_single", "consumer_many", "consumer_ordered"]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_delivery = pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])


@each_kind
@each_delivery
@pytest.mark.parametrize("partitions", [None, 3])
def test_each_group_is_given_every_event(
    broker_with: Any, client: redis.Redis, kind: str, delivery: str, partitions: int | None
) -> None:
    broker = broker_with(groups=BOTH, partitions=partitions)
    billing, mailing = (getattr(broker, kind)("orders", group=group, delivery=delivery) for group in BOTH)
    flusher = broker.new_flusher()
    for number in range(60):
        flusher.publish("orders", number, key=number if partitions else None)
    flusher.flush()
    keys = [key.decode() for key in client.scan_iter(_type="stream")]
    assert (billing.group, mailing.group) == ("billing", "mailing")
    assert sorted(all_of(billing, 25)) == list(range(60))
    assert sum(map(client.xlen, keys)) == 60  # mailing has not had them
    assert sorted(all_of(mailing, 25)) == list(range(60))
    assert sum(map(client.xlen, keys)) == 0
    assert all_of(billing) == []
    for consumer in (billing, mailing):
        consumer.cleanup()
    for key in keys:
        assert [group["pending"] for group in client.xinfo_groups(key)] == [0, 0]


@pytest.mark.parametrize("count", [1, 7, 100])
def test_in_turns(broker_with: Any, client: redis.Redis, count: int) -> None:
    broker = broker_with(groups=BOTH)
    consumers = [broker.consumer_many("orders", group=group) for group in BOTH]
    seen: dict[str, list[int]] = {group: [] for group in BOTH}
    for number in range(120):
        broker.publish("orders", number)
        consumer = consumers[number % 3 % 2]
        consumer.consume(count, None, lambda events, to=seen[consumer.group]: to.extend(event.body for event in events))
    for consumer in consumers:
        seen[consumer.group] += all_of(consumer)
    assert seen == {group: list(range(120)) for group in BOTH}
    assert client.xlen("orders") == 0


def test_a_group_begins_where_it_is_declared(broker_with: Any, client: redis.Redis) -> None:
    plain = broker_with(groups=["first"])
    ids = [plain.publish("orders", number) for number in range(4)]
    time = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    client.xadd("orders", {"s": b"\x09"}, id=f"{int(time.timestamp() * 1000)}-3")
    groups = {"all": "0", "new": "$", "third": ids[2], "behind": f"{ids[2].split('-')[0]}-1000", "hour": time}
    broker = broker_with(groups=groups)
    consumers = {group: broker.consumer_single("orders", group=group) for group in groups}
    begins = {"all": 0, "new": 5, "third": 2, "hour": 4}
    consumers["all"].consume(1, None, lambda events: None)
    for group, first in begins.items():
        seen = all_of(consumers[group])
        assert seen == [0, 1, 2, 3, 9][first + (group == "all") :], group


def test_start_counts_for_a_new_group_only(broker_with: Any) -> None:
    broker = broker_with()
    for number in range(3):
        broker.publish("orders", number)
    assert all_of(broker.consumer_single("orders", start="$")) == []
    broker.publish("orders", 3)
    assert all_of(broker.consumer_single("orders", start="0")) == [3]


@pytest.mark.parametrize(
    ("groups", "arguments", "error", "words"),
    [
        (BOTH, {}, ValueError, "has the groups 'billing', 'mailing': say which one"),
        (
            BOTH,
            {"group": "shipping"},
            ValueError,
            "'shipping' is not declared for stream 'orders', which has 'billing'",
        ),
        (None, {"group": "shipping"}, ValueError, "which has 'consumer_group'"),
        (None, {"group": 5}, TypeError, "name of a group is a str, not int"),
        (None, {"group": ""}, ValueError, "one character"),
        (None, {"start": 5}, TypeError, "or a datetime, not int"),
        (None, {"start": "tomorrow"}, ValueError, "not 'tomorrow'"),
        (None, {"start": datetime(2026, 1, 1)}, ValueError, "has no time zone"),
    ],
)
@each_kind
def test_what_is_refused(
    broker_with: Any, kind: str, groups: Any, arguments: Any, error: type[Exception], words: str
) -> None:
    broker = broker_with(groups=groups)
    with pytest.raises(error, match=words):
        getattr(broker, kind)("orders", **arguments)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ([], "one group at least"),
        ("billing", "a list of names"),
        (["billing", "billing"], "declared twice"),
        ([""], "one character"),
        ([5], "is a str, not int"),
        ({"billing": "soon"}, "not 'soon'"),
        (["\ud800"], "lone surrogate"),
    ],
)
def test_what_a_registry_refuses(broker_with: Any, groups: Any, words: str) -> None:
    with pytest.raises(RegistryError, match=words):
        broker_with(groups=groups)


def test_the_default_group_is_one_of_several_if_it_is_named(broker_with: Any) -> None:
    broker = broker_with(groups=["consumer_group", "audit"])
    assert broker.consumer_single("orders").group == "consumer_group"
    assert broker_with(groups=["audit"]).consumer_single("orders").group == "audit"


@pytest.mark.parametrize("how", ["run", "consume"])
def test_a_group_that_is_removed(broker_with: Any, client: redis.Redis, later: Any, how: str) -> None:
    broker = broker_with(groups=BOTH)
    for number in range(30):
        broker.publish("orders", number)
    billing, mailing = (broker.consumer_many("orders", group=group) for group in BOTH)
    assert all_of(billing) == list(range(30))
    assert mailing.consume(5, None, lambda events: None) == 5
    assert client.xlen("orders") == 25
    later(0.3, broker.remove_group, "orders", "mailing")
    with pytest.raises(GroupRemovedError, match="'mailing' of 'orders' was removed") as caught:
        if how == "run":
            mailing.run(lambda events: None, 5)
        while True:
            mailing.consume(100, 1.0, lambda events: None)
    assert (caught.value.stream, caught.value.group) == ("orders", "mailing")
    assert [group["name"] for group in client.xinfo_groups("orders")] == [b"billing"]
    broker.publish("orders", 30)
    assert all_of(billing) == [30]  # and does not make the other group again
    assert [group["name"] for group in client.xinfo_groups("orders")] == [b"billing"]
    assert broker.remove_group("orders", "mailing") is False
    assert all_of(broker.consumer_many("orders", group="mailing")) == []  # a new consumer makes it again
    broker.publish("orders", 31)
    assert all_of(billing) == [31]
    assert client.xlen("orders") == 1


def test_what_only_a_removed_group_needed_is_deleted(broker_with: Any, client: redis.Redis) -> None:
    broker = broker_with(groups=BOTH)
    for number in range(30):
        broker.publish("orders", number)
    billing = broker.consumer_many("orders", group="billing")
    assert all_of(billing) == list(range(30))
    assert client.xlen("orders") == 30
    assert broker.remove_group("orders", "mailing") is True
    for number in range(3):
        broker.publish("orders", number)
        assert all_of(billing) == [number]
    assert client.xlen("orders") == 0


def test_a_group_that_gets_lost_goes_on(broker_with: Any, client: redis.Redis) -> None:
    broker = broker_with(groups=BOTH)
    for number in range(10):
        broker.publish("orders", number)
    billing = broker.consumer_many("orders", group="billing")
    assert all_of(billing) == list(range(10))
    client.xgroup_destroy("orders", "billing")
    broker.publish("orders", 10)
    assert all_of(billing) == [10]  # those before are in the stream for the other group
    assert all_of(broker.consumer_many("orders", group="mailing")) == list(range(11))


@pytest.mark.parametrize("removed", [False, True])
def test_what_was_kept_for_another_group_stays_for_a_group_that_went_back(
    broker_with: Any, client: redis.Redis, removed: bool
) -> None:
    """The consumer remembers what it has acknowledged and could not delete. Then its group is moved back."""
    broker = broker_with(groups=BOTH)
    ids = [broker.publish("orders", number) for number in range(30)]
    billing = broker.consumer_many("orders", group="billing")
    assert all_of(billing) == list(range(30))
    broker.seek("orders", "billing", ids[5])
    if removed:
        broker.remove_group("orders", "mailing")
    else:
        assert all_of(broker.consumer_many("orders", group="mailing")) == list(range(30))
    assert billing.consume(1, None, lambda events: None) == 1
    assert all_of(billing) == list(range(6, 30))
    for number in range(3):
        broker.publish("orders", number)
        assert all_of(billing) == [number]
        if not removed:
            assert all_of(broker.consumer_many("orders", group="mailing")) == [number]
            assert all_of(billing) == []
    broker.publish("orders", 3)
    assert all_of(billing) == [3]
    assert client.xlen("orders") == (0 if removed else 1)


def test_ordered_consumers_of_two_groups_own_the_same_partition(broker_with: Any, client: redis.Redis) -> None:
    broker = broker_with(groups=BOTH, partitions=2)
    consumers = [broker.consumer_ordered("orders", group=group) for group in BOTH]
    for number in range(20):
        broker.publish("orders", number, key=number)
    for consumer in consumers:
        assert sorted(all_of(consumer)) == list(range(20))
    assert consumers[0].partitions == consumers[1].partitions == tuple(sorted(consumers[0].partitions))
    key = consumers[0].partitions[0]
    assert beside_group(key, "lease", "billing") == f"{key}:lease@billing"
    assert client.exists(*(beside_group(key, "lease", group) for group in BOTH)) == 2
    for consumer in consumers:
        consumer.cleanup()


def test_consumers_of_both_groups_at_once(broker_with: Any, client: redis.Redis) -> None:
    """Four consumers, two of each group, while events are published: each group is given each event once."""
    broker = broker_with(groups=BOTH)
    if not isinstance(broker, EventBroker):
        pytest.skip("the tasks of an event loop share its thread")
    seen: dict[str, list[int]] = {group: [] for group in BOTH}
    lock = threading.Lock()
    consumers = [broker.consumer_many("orders", group=group) for group in BOTH * 2]

    def work(consumer: Any) -> None:
        def handle(events: Any) -> None:
            with lock:
                seen[consumer.group] += [event.body for event in events]

        consumer.run(handle, 50)

    threads = [threading.Thread(target=work, args=(consumer,)) for consumer in consumers]
    for thread in threads:
        thread.start()
    for first in range(0, 2000, 100):
        flusher = broker.new_flusher()
        flusher.publish_many("orders", range(first, first + 100))
        flusher.flush()
    while not all(len(numbers) >= 2000 for numbers in seen.values()):
        threading.Event().wait(0.05)
    for consumer in consumers:
        consumer.stop()
    for thread in threads:
        thread.join()
    assert {group: sorted(numbers) for group, numbers in seen.items()} == {group: list(range(2000)) for group in BOTH}
    for group in BOTH:  # what was acknowledged in the last moment is tried again
        all_of(broker.consumer_many("orders", group=group))


def test_statistics_of_all_groups(broker_with: Any, client: redis.Redis) -> None:
    broker = broker_with(groups=BOTH)
    client.xgroup_create("orders", "audit", "0", mkstream=True)
    ids = [broker.publish("orders", number) for number in range(8)]
    all_of(broker.consumer_many("orders", group="billing"))
    with pytest.raises(ArithmeticError):
        broker.consumer_many("orders", group="mailing").consume(3, None, lambda events: 1 / 0)
    found = broker.get_stream_statistics("orders")
    assert found is not None
    assert [(one.group, one.pending, one.lower_id) for one in found.groups] == [
        ("audit", 0, ""), ("billing", 0, ""), ("mailing", 3, ids[0]),
    ]  # fmt: skip
    assert found.furthest_behind is not None
    assert found.furthest_behind.group == "audit"
    assert found.group is not None
    assert found.group.group == "mailing"  # of the declared ones


def test_what_was_not_handled_is_not_lost_with_the_group(broker_with: Any, client: redis.Redis) -> None:
    broker = broker_with(groups=BOTH)
    billing = broker.consumer_many("orders", group="billing")
    for number in range(10):
        broker.publish("orders", number)
    assert billing.consume(4, None, lambda events: None) == 4

    def fail(events: Any) -> None:
        client.xgroup_destroy("orders", "billing")
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        billing.consume(4, None, fail)
    assert all_of(billing) == list(range(4, 10))


def test_scripts_that_are_forbidden(faces: Any, own_server: Any) -> None:
    with own_server.client() as admin:
        admin.execute_command("ACL", "SETUSER", "plain", "on", ">secret", "~*", "+@all", "-eval", "-evalsha")
    registry = faces.Registry()
    registry.register_redis(f"127.0.0.1:{own_server.port}", username="plain", password="secret")
    registry.register_redis_stream("orders", groups=BOTH)
    with registry.validate() as engine:
        consumer = engine.new_context().get_event_broker().consumer_many("orders", group="billing")
        with pytest.raises(redis.ResponseError, match=r"needs scripts: \+eval.*ACL rule 'grouped'"):
            consumer.consume(1, None, print)


def test_a_server_that_forgets_scripts(broker_with: Any, client: redis.Redis) -> None:
    broker = broker_with(groups=BOTH)
    consumer = broker.consumer_many("orders", group="billing")
    assert all_of(consumer) == []
    client.script_flush()
    client.delete("orders")
    broker.publish("orders", 1)
    assert all_of(consumer) == [1]
    assert client.script_exists(MAKE_GROUPS.sha) == [True]
    assert len(client.xinfo_groups("orders")) == 2
