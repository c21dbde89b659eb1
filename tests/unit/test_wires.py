"""The two ways to use a socket: system calls of our own for a plain one, and Python's methods for every other one."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fluxa_fast import protocol
from fluxa_fast.protocol import Implementation, load, missing_modules
from fluxa_fast.protocol.interface import INCOMPLETE
from fluxa_fast.transport.blocking.wire import SocketWire, Wire, wire_over
from fluxa_fast.transport.pool_base import WINDOW
from tests.signals import POSIX, signals

COMPILED = not missing_modules()
KINDS = [
    *(["plain"] if COMPILED and sys.platform != "win32" else []),
    *(["any, compiled"] if COMPILED else []),
    "any, pure",
]


class Ends:
    """A wire, and the other end of its connection, which the test plays."""

    def __init__(self, kind: str, family: str) -> None:
        self.implementation: Implementation = load("python" if kind == "any, pure" else "c")
        self.near, self.far = _pair(family)
        self.near.settimeout(30)
        self.far.settimeout(30)
        self.reader = self.implementation.ReplyReader()
        plain = kind == "plain"
        self.wire: Wire = wire_over(self.near, self.implementation, 30) if plain else SocketWire(self.near)
        assert isinstance(self.wire, SocketWire) is not plain

    def commands(self, *sizes: int) -> Any:
        buffer = self.implementation.CommandBuffer()
        for size in sizes:
            buffer.command(b"x" * size)
        return buffer

    def receive_far(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            received += self.far.recv(min(65536, size - len(received)))
        return bytes(received)

    def close(self) -> None:
        self.near.close()
        self.far.close()


def _pair(family: str) -> tuple[socket.socket, socket.socket]:
    if family == "unix":
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        both = socket.create_connection(listener.getsockname()), listener.accept()[0]
    for one in both:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return both


FAMILIES = ["tcp", *(["unix"] if hasattr(socket, "AF_UNIX") and sys.platform != "win32" else [])]


@pytest.fixture(params=[(kind, family) for kind in KINDS for family in FAMILIES], ids=" over ".join)
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    both = Ends(*request.param)
    yield both
    both.close()


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Do that in another thread meanwhile."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


# ---- bytes ----------------------------------------------------------------------------------------------


def test_what_is_asked_is_sent_and_the_answer_is_received(ends: Ends) -> None:
    commands = ends.commands(5)
    ends.far.sendall(b"+OK\r\n")
    ends.wire.ask(commands, ends.reader, 30)
    assert ends.receive_far(len(commands)) == bytes(commands) == b"*1\r\n$5\r\nxxxxx\r\n"
    assert ends.reader.read() == b"OK"


def test_a_buffer_larger_than_what_sockets_take_is_sent_in_full(ends: Ends) -> None:
    commands = ends.commands(5_000_000)
    received: list[bytes] = []
    with beside(lambda: received.append(ends.receive_far(len(commands)))):
        ends.wire.send(commands, 30)
    assert received == [bytes(commands)]


def test_without_waiting_a_part_is_sent_and_the_rest_later(ends: Ends) -> None:
    commands = ends.commands(5_000_000)
    begin = ends.wire.send_now(commands, 0)
    assert 0 < begin < len(commands)
    received: list[bytes] = []
    with beside(lambda: received.append(ends.receive_far(len(commands)))):
        while begin < len(commands):
            begin = ends.wire.send_now(commands, begin)
    assert received == [bytes(commands)]


def test_without_waiting_nothing_is_received_if_nothing_is_there(ends: Ends) -> None:
    assert not ends.wire.arrived
    assert not ends.wire.receive_now(ends.reader)
    ends.far.sendall(b":1\r\n")
    while not ends.wire.arrived:
        time.sleep(0.001)
    assert ends.wire.receive_now(ends.reader)
    assert ends.reader.read() == 1


@pytest.mark.parametrize("sizes", [(), (3,), (WINDOW,), (40_000,) * 10], ids=["none", "little", "a window", "windows"])
def test_a_pipeline_takes_every_reply(ends: Ends, sizes: tuple[int, ...]) -> None:
    commands = ends.commands(*sizes)
    replies = ends.implementation.Confirmations(len(sizes))

    def serve() -> None:
        for number, size in enumerate(sizes):
            ends.receive_far(len(ends.commands(size)))
            ends.far.sendall(b"$3\r\n%d-7\r\n" % number)

    with beside(serve):
        ends.wire.pipeline(commands, 0, replies, ends.reader, 30)
    assert replies.ids() == [f"{number}-7" for number in range(len(sizes))]


def test_replies_may_be_cut_at_every_byte(ends: Ends) -> None:
    text = b"$4\r\n12-0\r\n-ERR no\r\n$4\r\n12-9\r\n"
    for cut in range(1, len(text)):
        commands = ends.commands(1, 1, 1)
        replies = ends.implementation.Confirmations(3)

        def serve(cut: int = cut, size: int = len(commands)) -> None:
            ends.receive_far(size)
            ends.far.sendall(text[:cut])
            ends.far.sendall(text[cut:])

        with beside(serve):
            ends.wire.pipeline(commands, 0, replies, ends.reader, 30)
        assert (replies.ids(), replies.errors) == (["12-0", "12-9"], [(1, "ERR no")])


def test_a_pipeline_that_was_begun_goes_on(ends: Ends) -> None:
    commands = ends.commands(10, 10)
    replies = ends.implementation.Confirmations(2)
    ends.far.sendall(b"$3\r\n1-1\r\n$3\r\n1-2\r\n")
    ends.wire.pipeline(commands, 7, replies, ends.reader, 30)
    assert ends.receive_far(len(commands) - 7) == bytes(commands)[7:]
    assert replies.ids() == ["1-1", "1-2"]


# ---- time, and the end of a connection ------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [0.02, 30])
@pytest.mark.parametrize("call", ["receive", "ask"])
def test_a_silent_server_times_out_and_never_too_early(ends: Ends, call: str, timeout: float) -> None:
    """The second time-out is that of the connection: a plain socket blocks for it, without a poll."""
    wire = ends.wire
    if timeout == 30:
        timeout = 0.02
        wire = wire_over(ends.near, ends.implementation, timeout) if not isinstance(wire, SocketWire) else wire
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        if call == "receive":
            wire.receive(ends.reader, timeout)
        else:
            wire.ask(ends.commands(1), ends.reader, timeout)
    assert time.monotonic() - begin >= timeout
    ends.far.sendall(b"+late\r\n")
    wire.receive(ends.reader, None)
    assert ends.reader.read() == b"late"


def test_a_server_that_takes_nothing_times_out(ends: Ends) -> None:
    with pytest.raises(TimeoutError):
        ends.wire.send(ends.commands(20_000_000), 0.02)


@pytest.mark.parametrize("call", ["receive", "receive_now", "ask", "pipeline"])
def test_the_end_of_a_connection_is_an_error(ends: Ends, call: str) -> None:
    ends.far.shutdown(socket.SHUT_WR)
    while not ends.wire.arrived:
        time.sleep(0.001)
    with pytest.raises(ConnectionResetError, match="the server closed the connection"):
        if call == "receive":
            ends.wire.receive(ends.reader, 30)
        elif call == "receive_now":
            ends.wire.receive_now(ends.reader)
        elif call == "ask":
            ends.wire.ask(ends.commands(1), ends.reader, 30)
        else:
            ends.wire.pipeline(ends.commands(1), 0, ends.implementation.Confirmations(1), ends.reader, 30)


def test_sending_into_a_broken_connection_is_an_error(ends: Ends) -> None:
    ends.far.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        while True:
            ends.wire.send(ends.commands(100_000), 30)


def test_a_socket_that_was_closed_is_an_error(ends: Ends) -> None:
    ends.near.close()
    for call in (
        lambda: ends.wire.send(ends.commands(1), 30),
        lambda: ends.wire.receive(ends.reader, 30),
        lambda: ends.wire.receive_now(ends.reader),
        lambda: ends.wire.send_now(ends.commands(1), 0),
    ):
        with pytest.raises(OSError, match=r"closed|Bad file descriptor|not a socket"):
            call()


def test_another_thread_can_end_a_call_by_a_shutdown(ends: Ends) -> None:
    timer = threading.Timer(0.02, ends.near.shutdown, (socket.SHUT_RDWR,))
    timer.start()
    with pytest.raises(ConnectionResetError):
        ends.wire.receive(ends.reader, 30)
    timer.join()


def test_nothing_can_be_written_into_a_buffer_that_is_being_sent(ends: Ends) -> None:
    commands = ends.commands(20_000_000)
    refused: list[BaseException] = []

    def write() -> None:
        ends.far.recv(1)
        try:
            commands.command(b"x" * 30_000_000)
        except BufferError as error:
            refused.append(error)
        ends.receive_far(len(commands) - 1)

    with beside(write):
        ends.wire.send(commands, 30)
    assert len(refused) == 1
    commands.command("and", "afterwards", "it", "can")


# ---- signals --------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.parametrize("timeout", [30, 29, None])
def test_signal_handlers_run_and_the_call_goes_on(ends: Ends, timeout: float | None) -> None:
    seen: list[int] = []

    def serve() -> None:
        while len(seen) < 5:
            time.sleep(0.001)
        ends.receive_far(len(ends.commands(5_000_000)))
        before = len(seen)
        while len(seen) < before + 5:
            time.sleep(0.001)
        ends.far.sendall(b"+OK\r\n")

    with beside(serve), signals(0.002, lambda: seen.append(1)):
        ends.wire.ask(ends.commands(5_000_000), ends.reader, timeout)
    assert ends.reader.read() == b"OK"


@POSIX
@pytest.mark.parametrize("timeout", [0.1, 30])
def test_signals_make_no_time_out_longer(ends: Ends, timeout: float) -> None:
    if timeout == 30:  # the connection's own
        timeout = 0.1
        if not isinstance(ends.wire, SocketWire):
            ends.wire = wire_over(ends.near, ends.implementation, timeout)
    with signals(0.01, bool), pytest.raises(TimeoutError):
        ends.wire.receive(ends.reader, timeout)


@POSIX
@pytest.mark.parametrize("call", ["receive", "send", "pipeline"])
def test_what_a_signal_handler_raises_ends_the_call(ends: Ends, call: str) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt("by the handler")

    commands = ends.commands(20_000_000 if call == "send" else 1)
    with pytest.raises(KeyboardInterrupt, match="by the handler"), signals(0.01, interrupted, again=False):
        if call == "receive":
            ends.wire.receive(ends.reader, 30)
        elif call == "send":
            ends.wire.send(commands, 30)
        else:
            ends.wire.pipeline(commands, 0, ends.implementation.Confirmations(1), ends.reader, 30)
    commands.clear()
    ends.reader.feed(b"+OK\r\n")  # nothing holds a view of it
    assert ends.reader.read() in (b"OK", INCOMPLETE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_wire_belongs_to_the_process_that_made_it(ends: Ends) -> None:
    assert ends.wire.mine
    assert ends.wire.ready
    child = os.fork()
    if not child:
        os._exit(ends.wire.mine or ends.wire.ready)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ends.wire.mine
    ends.far.sendall(b"+OK\r\n")
    while not ends.wire.arrived:
        time.sleep(0.001)
    assert not ends.wire.ready


# ---- which wire a socket gets ---------------------------------------------------------------------------


def test_the_socket_is_left_as_it_was(ends: Ends) -> None:
    ends.near.settimeout(7)
    ends.far.sendall(b"+OK\r\n+OK\r\n")
    wire = wire_over(ends.near, ends.implementation, 7)
    wire.receive(ends.reader, 7)
    wire.receive_now(ends.reader)
    wire.restore()
    assert ends.near.gettimeout() == 7
    ends.near.settimeout(0)
    with pytest.raises(BlockingIOError):
        ends.near.recv(1)
    if sys.platform != "win32":
        assert not any(ends.near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16))


class _Patched(socket.socket):
    def recv_into(self, *arguments: Any) -> int:
        return super().recv_into(*arguments)


def test_a_socket_that_receives_in_another_way_gets_no_system_calls_of_ours() -> None:
    """gevent's, for example; or TLS."""
    near, far = _pair("tcp")
    with near, far, _Patched(fileno=near.detach()) as patched:
        assert isinstance(wire_over(patched, protocol.default, 30), SocketWire)


def test_a_class_of_sockets_may_be_patched_later(monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = _pair("tcp")
    with near, far:
        monkeypatch.setattr(socket.socket, "sendall", lambda *_: None, raising=False)
        assert isinstance(wire_over(near, protocol.default, 30), SocketWire)


@pytest.mark.skipif(not COMPILED, reason="there is no compiled module")
def test_both_ways_send_the_same_windows() -> None:
    source = (protocol.load("c").__file__ or "").replace("__init__.py", "plain_socket.pyx")  # type: ignore[attr-defined]
    try:
        with open(source, encoding="utf-8") as file:
            assert f"WINDOW = {WINDOW // 1024} * 1024" in file.read()
    except FileNotFoundError:
        pytest.skip("a wheel has no sources")
