"""A raw-socket HTTP/1.1 client that knows which byte completed a response.

It shares no code with the product and uses no library: what it counts is what came over the wire.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field


class Broken(Exception):
    """The connection ended, or what came is no HTTP; `received` bytes belong to the response."""

    def __init__(self, reason: str, response: "Response") -> None:
        super().__init__(reason)
        self.reason = reason
        self.response = response


@dataclass
class Response:
    """One response; `is_complete` once its completing byte was seen."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    received: int = 0
    is_complete: bool = False
    interim: list[int] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    framing: str = ""

    def header(self, name: str) -> str | None:
        """The first value of a header field."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def closes(self) -> bool:
        """Whether no other response can follow on the connection."""
        options = (self.header("connection") or "").lower()
        return "close" in options or self.framing == "close"


class Client:
    """One client connection."""

    def __init__(self, port: int, host: str = "127.0.0.1", seconds: float = 20) -> None:
        self.socket = socket.create_connection((host, port), timeout=seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.seconds = seconds
        self._buffer = bytearray()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes in the ordinary way."""
        self.socket.close()

    def reset(self) -> None:
        """Breaks off: the peer sees a reset, not an end."""
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sends all bytes."""
        self.socket.sendall(data)

    def at_end(self, seconds: float = 10) -> bool:
        """Whether the peer closes the connection without sending another byte."""
        if self._buffer:
            return False
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    # Reading ------------------------------------------------------------------------------------

    def _more(self, response: Response) -> bool:
        """Reads some bytes; False at the end of the stream."""
        self.socket.settimeout(self.seconds)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            raise Broken(f"nothing came for {self.seconds:g} s", response) from None
        except ConnectionError as error:
            raise Broken(f"{type(error).__name__}", response) from None
        self._buffer += data
        return bool(data)

    def _take(self, count: int, response: Response) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        response.received += len(data)
        return data

    def _head(self, response: Response, mark: bytes = b"\r\n\r\n") -> bytes:
        while True:
            end = self._buffer.find(mark)
            if end >= 0:
                return self._take(end + len(mark), response)
            if not self._more(response):
                raise Broken("the connection ended before the head did", response)

    def _exactly(self, count: int, response: Response) -> bytes:
        while len(self._buffer) < count:
            if not self._more(response):
                response.body += self._take(len(self._buffer), response)
                raise Broken("the connection ended before the body did", response)
        return self._take(count, response)

    def read(self, method: str = "GET") -> Response:
        """Reads one response; raises `Broken` with what there was of it otherwise."""
        response = Response()
        while True:
            head = self._head(response)
            lines = head[:-4].split(b"\r\n")
            parts = lines[0].split(b" ", 2)
            if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
                raise Broken(f"no status line: {lines[0][:80]!r}", response)
            response.status = int(parts[1])
            response.headers = _fields(lines[1:], response)
            if response.status >= 200:
                break
            response.interim.append(response.status)
            if response.status == 101:
                break
        self._body(method, response)
        response.is_complete = True
        return response

    def _body(self, method: str, response: Response) -> None:
        encoding = (response.header("transfer-encoding") or "").lower()
        length = response.header("content-length")
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            response.framing = "none"
        elif encoding:
            if length is not None:
                raise Broken("both Transfer-Encoding and Content-Length", response)
            if encoding != "chunked":
                raise Broken(f"unknown transfer encoding {encoding!r}", response)
            response.framing = "chunked"
            self._chunks(response)
        elif length is not None:
            response.framing = "length"
            if not length.isdigit():
                raise Broken(f"bad Content-Length {length!r}", response)
            response.body += self._exactly(int(length), response)
        else:
            response.framing = "close"
            while self._more(response):
                pass
            response.body += self._take(len(self._buffer), response)

    def _chunks(self, response: Response) -> None:
        while True:
            line = self._head(response, b"\r\n")
            try:
                size = int(line.split(b";")[0].strip(), 16)
            except ValueError:
                raise Broken(f"bad chunk size {line[:40]!r}", response) from None
            if size == 0:
                break
            response.body += self._exactly(size, response)
            if self._exactly(2, response) != b"\r\n":
                raise Broken("no line end after a chunk", response)
        lines = []
        while (line := self._head(response, b"\r\n")) != b"\r\n":
            lines.append(line[:-2])
        response.trailers = _fields(lines, response)


def _fields(lines: list[bytes], response: Response) -> list[tuple[str, str]]:
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise Broken(f"no header field: {line[:80]!r}", response)
        fields.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))
    return fields


def request(
    method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b"",
    chunks: list[bytes] | None = None, host: str = "test.example",
) -> bytes:
    """The bytes of a request; with `chunks` its body is sent chunked."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
        body += b"0\r\n\r\n"
    elif body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def exchange(port: int, data: bytes, method: str = "GET", seconds: float = 20) -> Response:
    """Sends bytes on a connection of their own and reads one response."""
    with Client(port, seconds=seconds) as client:
        client.send(data)
        return client.read(method)


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def is_ready(port: int, path: str = "/readyz") -> bool:
    """Whether a server answers its readiness path with 200."""
    try:
        return exchange(port, request("GET", path, {"Connection": "close"}), seconds=2).status == 200
    except (OSError, Broken):
        return False


def connect_retrying(port: int, goes_on: Callable[[], bool]) -> Client | None:
    """Connects to a server that may be restarting; None when it is no longer wanted."""
    while goes_on():
        try:
            return Client(port)
        except OSError:
            time.sleep(0.005)
    return None
