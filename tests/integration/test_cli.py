"""The command with servers, and the embedded server itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import fluxa_fast
from fluxa_fast import FluxaError
from fluxa_fast.embedded import EmbeddedServer
from fluxa_fast.embedded import server as server_module
from fluxa_fast.partitions import partition_streams
from tests.command import run
from tests.fix_servers import PROGRAMS


@pytest.mark.parametrize(("packed", "producer"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("implementation", ["c", "python"])
def test_demo(implementation: str, packed: bool, producer: bool) -> None:
    if fluxa_fast.protocol.missing_modules() and implementation == "c":
        pytest.skip("there is no compiled protocol")
    options = ["--packed"] * packed + ["--producer"] * producer
    done = run("demo", "--events", "20000", *options, FLUXA_FAST_IMPL=implementation)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 20,000 events came back exactly once, unchanged" in done.stdout
    assert {"c": "compiled", "python": "pure Python"}[implementation] in done.stdout
    assert ("packed streams" in done.stdout) == packed
    assert ("with a producer" in done.stdout) == producer
    assert ("many events of a stream into one entry" in " ".join(done.stdout.split())) == packed


@pytest.mark.xdist_group("cluster")
def test_demo_on_a_cluster() -> None:
    done = run("demo", "--cluster", "--events", "20000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all 20,000 events came back exactly once" in " ".join(done.stdout.split())
    assert run("demo", "--cluster", "--url", "redis://localhost").returncode == 2


def test_demo_notices_what_does_not_come_back() -> None:
    """Something that deletes an event behind its back."""
    code = (
        "import sys; from fluxa_fast.cli import demo; publish = demo._publish\n"
        "def lossy(broker, nodes, *rest):\n"
        "    phase = publish(broker, nodes, *rest)\n"
        "    (client,) = nodes\n"
        "    client.xtrim('order-events', maxlen=client.xlen('order-events') - 1, approximate=False)\n"
        "    client.xadd('telemetry', client.xrange('telemetry', count=1)[0][1])\n"
        "    return phase\n"
        "demo._publish = lossy\n"
        "from fluxa_fast.cli import main; sys.argv = ['x', 'demo', '--events', '1000']; main()"
    )
    done = run(code=code)
    assert done.returncode == 1
    assert "1 missing, 1 twice, 0 changed" in done.stdout


def test_demo_and_stats_on_a_given_server(own_server: EmbeddedServer) -> None:
    assert run("demo", "--events", "1000", "--url", own_server.url).returncode == 0
    assert "no streams" in run("stats", "--url", own_server.url).stdout
    with own_server.client() as client:
        client.xadd("order-events", {"s": b"\x01"})
        refused = run("demo", "--url", own_server.url)
        assert refused.returncode == 1
        assert "order-events exist on" in refused.stderr
        client.xgroup_create("order-events", "consumer_group", "0")
        client.xreadgroup("consumer_group", "me", {"order-events": ">"})
    shown = run("stats", "order-events", "missing", "--url", own_server.url).stdout
    assert "me (1)" in shown
    assert "missing" in shown
    assert "order-events" in run("stats", "--url", own_server.url).stdout


def test_stats_of_streams_with_names_of_all_kinds(own_server: EmbeddedServer) -> None:
    names = [
        "orders",
        *partition_streams("orders", 2),
        *partition_streams("orders", 3)[1:],
        "orders:0of2:{1}",
        "[red]x",
    ]
    with own_server.client() as client:
        for name in [*names, b"\xff"]:
            client.xadd(name, {"s": b"\x01"})
        client.xgroup_create("[red]x", "consumer_group", "0")
        client.xreadgroup("consumer_group", "[bold]me", {"[red]x": ">"})
    shown = run("stats", "--url", own_server.url).stdout
    rows = [line.split("│")[1:3] for line in shown.splitlines() if "│" in line]
    assert [(name.strip(), length.strip()) for name, length in rows] == [
        ("[red]x", "1"),
        ("orders", "1"),
        ("orders, 2 partitions", "2"),
        *((name, "1") for name in partition_streams("orders", 2)),
        ("orders, 3 partitions", "2"),
        (partition_streams("orders", 3)[0], "0"),
        *((name, "1") for name in partition_streams("orders", 3)[1:]),
        ("orders:0of2:{1}", "1"),
    ]
    assert "[bold]me (1)" in shown
    assert "left out, because its name is not UTF-8: b'\\xff'" in shown
    assert run("stats", "orders", "--url", own_server.url).stdout.count("partitions") == 2


def test_stats_of_a_stream_that_the_server_cant_tell(own_server: EmbeddedServer) -> None:
    with own_server.client() as client:
        client.xadd("orders", {"s": b"\x01"})
        client.set("text", "text")
        client.set(partition_streams("events", 2)[0], "text")
        client.xadd(partition_streams("events", 2)[1], {"s": b"\x01"})
    shown = run("stats", "orders", "text", "events", "--url", own_server.url)
    assert shown.returncode == 1
    rows = [line.split("│")[1:3] for line in shown.stdout.splitlines() if "│" in line]
    assert [(name.strip(), length.strip()) for name, length in rows] == [
        ("orders", "1"),
        ("text", "error"),
        ("events, 2 partitions", "error"),
        (partition_streams("events", 2)[0], "error"),
        (partition_streams("events", 2)[1], "1"),
    ]
    assert shown.stderr.startswith("Error: stream 'text' on pool 'default': WRONGTYPE")
    assert f"stream {partition_streams('events', 2)[0]!r} on pool 'default': WRONGTYPE" in shown.stderr


def test_version_tells_the_server(own_server: EmbeddedServer) -> None:
    with own_server.client() as client:
        told = client.info("server")
    server = json.loads(run("version", "--json", "--url", own_server.url).stdout)["server"]
    assert server["version"] == told.get("valkey_version", told["redis_version"])
    assert server["name"] == ("valkey" if "valkey_version" in told else "redis")
    assert f"server: {server['name']} {server['version']}, standalone" in run("version", "--url", own_server.url).stdout
    refused = run("version", "--json", "--url", "redis://:secret@localhost:1")
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ")
    assert "secret" not in refused.stderr


# ---- the embedded server -------------------------------------------------------------------------------


@pytest.mark.parametrize("program", sorted(PROGRAMS.values()))
def test_a_server_that_does_not_start_says_why(program: str) -> None:
    with pytest.raises(FluxaError, match=r"did not start: (?s:.*)nonsense"):
        EmbeddedServer(program, config={"nonsense": "1"})


def test_a_port_that_another_process_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        ports = iter([taken.getsockname()[1]])
        free_port = server_module.free_port
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports, None) or free_port())
        with EmbeddedServer() as server, server.client() as client:
            assert server.port != taken.getsockname()[1]
            assert client.ping()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_parent_leaves_no_server_behind(tmp_path: Path) -> None:
    code = (
        "import time; from fluxa_fast.embedded import EmbeddedServer;"
        "server = EmbeddedServer(); print(server.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        os.kill(server, 0)
        parent.kill()
        parent.wait()
    for _ in range(100):
        try:
            os.kill(server, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the server is still there")
