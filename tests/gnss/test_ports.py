"""Addresses, TCP and gpsd lines against small servers of this test, and the search for the baud rate."""

from __future__ import annotations

import os
import queue
import random
import socket
import threading
import tty
from collections.abc import Callable
from contextlib import closing

import pytest

from gnss.baud import JUNK_BYTES, PATIENCE_NS, RATES, BaudFinder
from gnss.clock import ManualClock, SystemClock
from gnss.errors import ReceiverError
from gnss.ports import Address, GpsdPort, SerialPort, TcpPort, parse_address
from gnss.receiver import SILENCE_S, ReceiverThread
from gnss.refusal import Refusal
from gnss.stream import StreamReader
from tests.gnss.messages import gga, pvt, rmc

VERSION = b'{"class":"VERSION","release":"3.25","rev":"3.25","proto_major":3,"proto_minor":15}\r\n'
WATCHED = (
    b'{"class":"DEVICES","devices":[{"class":"DEVICE","path":"/dev/ttyUSB0","driver":"u-blox"}]}\r\n'
    b'{"class":"WATCH","enable":true,"json":false,"nmea":false,"raw":2}\r\n'
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/dev/ttyUSB0", Address("serial", "/dev/ttyUSB0")),
        ("COM3", Address("serial", "COM3")),
        ("serial:///dev/ttyACM0", Address("serial", "/dev/ttyACM0")),
        ("tcp://10.0.0.7:2101", Address("tcp", "", "10.0.0.7", 2101)),
        ("tcp://[fe80::1]:9000/", Address("tcp", "", "fe80::1", 9000)),
        ("gpsd://localhost", Address("gpsd", "", "localhost", 2947)),
        ("gpsd://localhost:2948/dev/ttyUSB0", Address("gpsd", "/dev/ttyUSB0", "localhost", 2948)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert address.remote == (address.kind != "serial")


@pytest.mark.parametrize(
    "text",
    ["", "\x00", "tcp://host", "tcp://:99", "tcp://host:99999", "tcp://host:1/x", "udp://host:1", "serial://host/x",
     "gpsd://", "tcp://user@host:1", "gpsd://host?x=1", "tcp://[bad:1"],
)  # fmt: skip
def test_bad_addresses_are_setup_errors_with_remedy(text: str) -> None:
    with pytest.raises(ReceiverError, match="Remedy"):
        parse_address(text)


class Server:
    """Serves each connection with the next of `talks`, in a thread."""

    def __init__(self, *talks: Callable[[socket.socket], object]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, args=(talks,), daemon=True)
        self._thread.start()

    def _serve(self, talks: tuple[Callable[[socket.socket], object], ...]) -> None:
        for talk in talks:
            with self._listener.accept()[0] as peer:
                talk(peer)

    def close(self) -> None:
        self._thread.join(10)
        self._listener.close()


def heard(items: queue.Queue[bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += items.get(timeout=10)
    return data


@pytest.fixture
def items() -> queue.Queue[bytes]:
    return queue.Queue()


def test_tcp_is_read_and_dialled_again_when_it_ends(items: queue.Queue[bytes]) -> None:
    done = threading.Event()

    def said_and_kept(peer: socket.socket) -> None:
        peer.sendall(gga())
        done.wait(10)

    with closing(Server(lambda peer: peer.sendall(rmc()), said_and_kept)) as server:
        receiver = ReceiverThread(
            f"tcp://127.0.0.1:{server.port}", lambda s, d: items.put(d), SystemClock(), first_wait_s=0.01
        )
        receiver.start()
        assert heard(items, len(rmc() + gga())) == rmc() + gga()
        assert (receiver.stats.opened, receiver.stats.failures) == (2, 1)
        assert "closed" in receiver.stats.last_error
        done.set()
        receiver.stop()


def test_a_network_receiver_may_come_later(items: queue.Queue[bytes]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    receiver = ReceiverThread(f"tcp://127.0.0.1:{port}", lambda s, d: None, ManualClock(), first_wait_s=0.01)
    receiver.start()
    assert receiver.alive
    receiver.stop()
    assert receiver.stats.opened == 0


def test_a_dead_connection_is_noticed_by_its_silence() -> None:
    clock, done = ManualClock(), threading.Event()
    with closing(Server(lambda peer: done.wait(10), lambda peer: done.wait(10))) as server:
        receiver = ReceiverThread(f"tcp://127.0.0.1:{server.port}", lambda s, d: None, clock, first_wait_s=0.01)
        receiver.start()
        waiting = threading.Event()
        while receiver.stats.opened < 1:
            waiting.wait(0.01)
        clock.advance(SILENCE_S + 1)
        while receiver.stats.opened < 2:
            waiting.wait(0.01)
        assert "nothing came" in receiver.stats.last_error
        done.set()
        receiver.stop()


def test_gpsd_gives_the_receivers_own_bytes(items: queue.Queue[bytes]) -> None:
    asked: queue.Queue[bytes] = queue.Queue()

    def gpsd(peer: socket.socket) -> None:
        peer.sendall(VERSION[:20])
        peer.sendall(VERSION[20:])
        asked.put(peer.recv(4096))
        peer.sendall(WATCHED + rmc() + pvt() + gga() + b'{"class":"DEVICE","path":"/dev/ttyUSB0"}\r\n' + pvt(18))
        peer.recv(1)

    with closing(Server(gpsd)) as server:
        address = f"gpsd://127.0.0.1:{server.port}/dev/ttyUSB0"
        receiver = ReceiverThread(address, lambda s, d: items.put(d), SystemClock())
        receiver.start()
        assert asked.get(timeout=10) == b'?WATCH={"enable":true,"json":false,"raw":2,"device":"/dev/ttyUSB0"};\n'
        data = heard(items, len(VERSION + WATCHED + rmc() + pvt() + gga() + pvt(18)) + 42)
        receiver.stop()
    reader = StreamReader()
    assert len(reader.feed(data, 0) + reader.flush()) == 2
    assert {k: n for k, n in reader.counters.items() if n} == {Refusal.GPSD: 4}


@pytest.mark.parametrize("greeting", [b"SSH-2.0-x\r\n", b'{"class":"ERROR"}\n', b"", b"x" * 70_000])
def test_what_is_no_gpsd_is_refused(greeting: bytes) -> None:
    with closing(Server(lambda peer: peer.sendall(greeting))) as server, pytest.raises(OSError, match=r"gpsd|reset"):
        GpsdPort("127.0.0.1", server.port)


def test_nothing_to_read_is_no_error() -> None:
    done = threading.Event()
    with (
        closing(Server(lambda peer: done.wait(10))) as server,
        closing(TcpPort("127.0.0.1", server.port)) as line,
    ):
        assert line.read() == b""
        line.set_baud(9600)
        done.set()


def test_settings_of_an_unplugged_device_are_a_lost_line() -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    line = SerialPort(os.ttyname(slave), 9600)
    os.close(slave)
    os.close(master)
    for act in (lambda: line.set_baud(19_200), line.read):
        with pytest.raises(OSError, match=r"."):
            act()
    line.close()


def talk(finder: BaudFinder, baud: int, start_ns: int, seconds: float, rng: random.Random) -> int:
    """A receiver of 10 Hz at `baud` talks for `seconds`; returns when it ended."""
    for i in range(round(seconds * 10)):
        stamp_ns = start_ns + i * 100_000_000
        said = rmc() + gga()
        finder.feed(said if finder.baud == baud else rng.randbytes(len(said)), stamp_ns)
    return start_ns + round(seconds * 1e9)


@pytest.mark.parametrize("baud", RATES)
def test_every_rate_is_found_and_kept(baud: int) -> None:
    finder, rng = BaudFinder(), random.Random(baud)
    end_ns = talk(finder, baud, 0, 25.0, rng)
    assert (finder.baud, finder.found) == (baud, True)
    talk(finder, baud, end_ns, 60.0, rng)
    assert finder.baud == baud


def test_a_rate_that_the_receiver_leaves_is_left() -> None:
    finder, rng = BaudFinder(), random.Random(1)
    end_ns = talk(finder, 115_200, 0, 10.0, rng)
    end_ns = talk(finder, 9600, end_ns, 10.0, rng)
    assert (finder.baud, finder.found) == (9600, True)
    talk(finder, 230_400, end_ns, 30.0, rng)
    assert finder.baud == 230_400


def test_silence_and_pieces_are_no_wrong_rate() -> None:
    finder = BaudFinder()
    said = rmc()
    for second in range(20):
        assert not finder.feed(said[:30], second * 10**10)
        assert not finder.feed(said[30:], second * 10**10 + PATIENCE_NS + 1)
    finder.gap()
    assert not finder.feed(b"\x00" * (JUNK_BYTES - 1), 10**12)
    assert finder.baud == RATES[0]


def test_a_rate_outside_the_list_is_left_for_the_first() -> None:
    finder = BaudFinder(14_400)
    assert finder.feed(b"\x00" * 5000, 0)
    assert finder.baud == RATES[0]
