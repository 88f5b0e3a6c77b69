"""Where a receiver's bytes come from: a serial port, a TCP connection, or gpsd, told apart by an address like a URL."""

from __future__ import annotations

import json
import re
import socket
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

import serial

from gnss.errors import ReceiverError

READ_WAIT_S = 0.2
CONNECT_WAIT_S = 5.0
FIRST_BAUD = 115_200
GPSD_PORT = 2947
_LARGEST_READ = 4096
_LONGEST_GREETING = 65_536
_REMEDY = 'write "/dev/ttyUSB0", "tcp://host:port" or "gpsd://host:2947/dev/ttyUSB0"'


@dataclass(frozen=True, slots=True)
class Address:
    """`kind` is "serial" (with `device`), "tcp" (with `host` and `port`) or "gpsd" (`device` may narrow it to one)."""

    kind: str
    device: str = ""
    host: str = ""
    port: int = 0

    @property
    def remote(self) -> bool:
        """May it come and go without anybody's mistake? Then its absence at the start is no setup error."""
        return self.kind != "serial"


def parse_address(text: str) -> Address:
    """Read a device name, `serial://`, `tcp://host:port` or `gpsd://host[:port][/device]`; raises ReceiverError."""
    if "://" not in text:
        if not text or not text.isprintable():
            raise ReceiverError(f"the receiver's port {text!r} is no device", remedy=_REMEDY)
        return Address("serial", text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ReceiverError(f"the receiver's port {text!r} cannot be read ({error})", remedy=_REMEDY) from error
    address = _of_parts(parts, port)
    if address is None:
        raise ReceiverError(f"the receiver's port {text!r} is of no known kind or lacks a part", remedy=_REMEDY)
    return address


def _of_parts(parts: SplitResult, port: int | None) -> Address | None:
    if parts.username or parts.query or parts.fragment:
        return None
    host = parts.hostname or ""
    if parts.scheme == "serial" and not host and parts.path:
        return Address("serial", parts.path)
    if parts.scheme == "tcp" and host and port and parts.path in ("", "/"):
        return Address("tcp", "", host, port)
    if parts.scheme == "gpsd" and host:
        return Address("gpsd", parts.path.rstrip("/"), host, port or GPSD_PORT)
    return None


def open_port(address: Address, baud: int = FIRST_BAUD) -> Port:
    """Open the line; raises OSError or ValueError when that fails."""
    if address.kind == "serial":
        return SerialPort(address.device, baud)
    if address.kind == "tcp":
        return TcpPort(address.host, address.port)
    return GpsdPort(address.host, address.port, address.device)


@contextmanager
def _line_faults() -> Iterator[None]:
    """An unplugged device may answer any setting with termios.error, which is no OSError and pyserial lets through."""
    try:
        yield
    except termios.error as error:
        raise OSError(*error.args) from error


class SerialPort:
    """A serial line of 8 data bits, no parity, one stop bit; other programs are kept off it."""

    def __init__(self, device: str, baud: int) -> None:
        with _line_faults():
            self._port = serial.Serial(device, baud, timeout=READ_WAIT_S, exclusive=True)

    def read(self) -> bytes:
        """What has come; waits at most READ_WAIT_S, b"" when nothing came."""
        with _line_faults():
            data: bytes = self._port.read(1)
            if data and (waiting := min(self._port.in_waiting, _LARGEST_READ)):
                data += self._port.read(waiting)
        return data

    def set_baud(self, baud: int) -> None:
        with _line_faults():
            self._port.baudrate = baud

    def close(self) -> None:
        """Give the line back."""
        with _line_faults():
            self._port.close()


class TcpPort:
    """A raw byte stream, as serial servers and receivers with a network port give it."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), CONNECT_WAIT_S)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket.settimeout(READ_WAIT_S)

    def read(self) -> bytes:
        """What has come; waits at most READ_WAIT_S, b"" when nothing came."""
        try:
            data = self._socket.recv(_LARGEST_READ)
        except TimeoutError:
            return b""
        if not data:
            raise ConnectionResetError("the other end closed the connection")
        return data

    def set_baud(self, baud: int) -> None:
        """The other end has the serial line, if there is one."""

    def close(self) -> None:
        """Give the line back."""
        self._socket.close()


class GpsdPort(TcpPort):
    """gpsd, asked for the receiver's own bytes (raw = 2): one reader serves all sources.

    gpsd's reports (VERSION, DEVICES, WATCH, ...) come as lines of JSON between the receiver's messages; the framer
    knows them. Protocol: gpsd_json(5).
    """

    def __init__(self, host: str, port: int, device: str = "") -> None:
        super().__init__(host, port)
        try:
            self._first = self._greet(device)
        except OSError:
            self._socket.close()
            raise

    def read(self) -> bytes:
        """What has come; waits at most READ_WAIT_S, b"" when nothing came."""
        if self._first:
            data, self._first = self._first, b""
            return data
        return super().read()

    def _greet(self, device: str) -> bytes:
        """Wait for gpsd's VERSION, so that another service is not taken for it; returns what came with it."""
        self._socket.settimeout(CONNECT_WAIT_S)
        said = b""
        while b"\n" not in said:
            data = self._socket.recv(_LARGEST_READ)
            said += data
            if not data or len(said) > _LONGEST_GREETING:
                break
        if re.match(rb'\{"class":"VERSION".*\n', said) is None:
            raise ConnectionError("what answers is no gpsd")
        watch: dict[str, object] = {"enable": True, "json": False, "raw": 2}
        if device:
            watch["device"] = device
        self._socket.sendall(b"?WATCH=" + json.dumps(watch, separators=(",", ":")).encode() + b";\n")
        self._socket.settimeout(READ_WAIT_S)
        return said


Port = SerialPort | TcpPort
"""An open line to a receiver. Everything may raise OSError or ValueError when the line is lost."""
