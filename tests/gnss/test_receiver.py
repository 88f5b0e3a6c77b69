from __future__ import annotations

import os
import queue
import tty
from collections.abc import Callable, Iterator

import pytest
import serial

from gnss.clock import ManualClock
from gnss.errors import ReceiverError
from gnss.ports import TcpPort
from gnss.receiver import ReceiverThread

Item = tuple[int, bytes]


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    name = os.ttyname(slave)
    yield master, name
    os.close(slave)
    os.close(master)


def collect(items: queue.Queue[Item], size: int) -> tuple[bytes, list[int]]:
    data, stamps = b"", []
    while len(data) < size:
        stamp, piece = items.get(timeout=10)
        data += piece
        stamps.append(stamp)
    return data, stamps


def test_reads_a_pty_with_stamps_and_ends_cleanly(pty: tuple[int, str]) -> None:
    master, name = pty
    items: queue.Queue[Item] = queue.Queue()
    receiver = ReceiverThread(name, lambda s, d: items.put((s, d)), ManualClock(monotonic_ns=77))
    receiver.start()
    os.write(master, b"$GPGGA,1\r\n" * 50)
    data, stamps = collect(items, 500)
    assert data == b"$GPGGA,1\r\n" * 50
    assert set(stamps) == {77}
    assert receiver.stats.connected
    receiver.stop()
    assert not receiver.alive
    assert (receiver.stats.bytes_read, receiver.stats.failures, receiver.stats.connected) == (500, 0, False)
    with pytest.raises(RuntimeError, match="before"):
        receiver.start()


def test_absent_port_is_a_setup_error_with_remedy() -> None:
    receiver = ReceiverThread("/dev/no-such-receiver", lambda s, d: None, ManualClock())
    with pytest.raises(ReceiverError, match=r"/dev/no-such-receiver.*Remedy"):
        receiver.start()
    receiver.stop()


class Scripted(TcpPort):
    """A line that yields its bytes, then fails as an unplugged one does, or stays silent."""

    def __init__(self, data: bytes, unplug: bool) -> None:
        self.data, self.unplug, self.closed = data, unplug, False

    def read(self) -> bytes:
        piece, self.data = self.data, b""
        if not piece and self.unplug:
            raise serial.SerialException("device reports readiness to read but returned no data")
        return piece

    def set_baud(self, baud: int) -> None:
        pass

    def close(self) -> None:
        self.closed = True
        if self.unplug:
            raise OSError("already gone")


def scripted(*steps: Scripted | Exception) -> Callable[[int], Scripted]:
    rest = list(steps)

    def open_line(baud: int) -> Scripted:
        step = rest.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    return open_line


def test_unplugged_port_is_opened_again_and_counted() -> None:
    ports = [Scripted(b"abc", True), Scripted(b"def", False)]
    items: queue.Queue[Item] = queue.Queue()
    opening = scripted(ports[0], serial.SerialException("gone"), OSError("still gone"), ports[1])
    receiver = ReceiverThread("tty", lambda s, d: items.put((s, d)), ManualClock(), 9600, opening, first_wait_s=0.001)
    receiver.start()
    assert collect(items, 6)[0] == b"abcdef"
    assert (receiver.stats.opened, receiver.stats.failures) == (2, 3)
    assert receiver.stats.last_error != ""
    receiver.stop()
    assert all(port.closed for port in ports)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failing_sink_is_a_bug_not_a_lost_port() -> None:
    def sink(stamp_ns: int, data: bytes) -> None:
        raise OSError("queue broken")

    receiver = ReceiverThread("tty", sink, ManualClock(), 9600, scripted(Scripted(b"a", False)))
    receiver.start()
    receiver.stop()
    assert not receiver.alive
    assert receiver.stats.failures == 0
