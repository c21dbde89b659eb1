"""The service and a worker work together on a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fluxa_fast.embedded import EmbeddedServer

testclient = pytest.importorskip("fastapi.testclient")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        yield server


@pytest.fixture
def worker(server: EmbeddedServer) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-X", "dev", "-m", "examples.orders.worker"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, env=os.environ, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_orders_are_published_and_handled(server: EmbeddedServer, worker: subprocess.Popen[str]) -> None:
    from examples.orders.service import app

    orders = [{"user_id": number, "product_id": 42} for number in range(1000)]
    with testclient.TestClient(app) as client:
        created = client.post("/orders", json={"user_id": 12345, "product_id": 42, "quantity": 3})
        assert created.status_code == 201
        assert created.json()["event"].partition("-")[0].isdigit()
        assert client.post("/orders/import", json=orders).json() == {"events": 1000}
        assert client.post("/orders", json={"user_id": "nobody"}).status_code == 422
        end = time.monotonic() + 20
        while client.get("/orders/statistics").json()["events"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        server.kill()
        assert client.post("/orders", json={"user_id": 1, "product_id": 2}).status_code == 503
        server.start()
    if sys.platform == "win32":
        return
    worker.send_signal(signal.SIGTERM)
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 0, said
    assert sum(int(line.split()[1]) for line in said.splitlines() if line.startswith("handled")) == 1001
    assert said.splitlines()[-1] == "stopped"
    assert "Warning" not in said
