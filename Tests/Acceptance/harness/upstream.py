"""A raw-socket HTTP/1.1 upstream that behaves as the request's query string says.

`?b=…` chooses: `length` (default), `chunked`, `close` (close-delimited), `last` (Connection: close),
`http10` (close-delimited HTTP/1.0), `interim` (103 before the response), `trailers`, `refuse0`
(reset before the head), `reset` (reset in mid-body), `short` (end before Content-Length), `shortchunk`,
`stall` (no answer), `stallbody` (half a body, then nothing), `garbage`, `gate` and `gatebody` (wait
until the test opens the gate), `echo` (digest of the request body). `s=` is the status, `n=` the size
of the body, `d=` a delay in milliseconds.

One asyncio process; tests speak to it through a control connection of JSON lines.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import multiprocessing
import os
import signal
import socket
import struct
from urllib.parse import parse_qs

from harness.checks import Failure, until

BODY = bytes(range(32, 127)) * 90_000  # 8 MiB


class _State:
    """What the upstream remembers."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.waiting: dict[str, int] = {}
        self.heads: dict[str, str] = {}
        self.remembers = True

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())


class _Connection(asyncio.Protocol):
    """One connection of the gateway; requests are answered in order."""

    def __init__(self, state: _State) -> None:
        self.state = state
        self.buffer = bytearray()
        self.queue: list[tuple[str, str, bytes, bytes]] = []
        self.is_busy = False
        self.has_continued = False
        self.lost = asyncio.Event()
        self.can_write = asyncio.Event()
        self.can_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self.can_write.set()

    def pause_writing(self) -> None:
        self.can_write.clear()

    def resume_writing(self) -> None:
        self.can_write.set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (request := self._next()) is not None:
            self.queue.append(request)
        if self.queue and not self.is_busy:
            self._drain()

    def _next(self) -> tuple[str, str, bytes, bytes] | None:
        """Takes one whole request off the buffer."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.buffer[:end])
        lower = head.lower()
        start = end + 4
        body = b""
        if b"\r\ntransfer-encoding:" in lower:
            found = self._chunked(start)
            if found is None:
                return None
            body, start = found
        elif (at := lower.find(b"\r\ncontent-length:")) >= 0:
            length = int(lower[at + 17:].split(b"\r\n")[0])
            if len(self.buffer) < start + length:
                if b"\r\nexpect:" in lower and not self.has_continued:
                    self.has_continued = True
                    self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return None
            body = bytes(self.buffer[start:start + length])
            start += length
        del self.buffer[:start]
        self.has_continued = False
        method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        return method, target, head, body

    def _chunked(self, start: int) -> tuple[bytes, int] | None:
        body = bytearray()
        while True:
            line = self.buffer.find(b"\r\n", start)
            if line < 0:
                return None
            size = int(bytes(self.buffer[start:line]).split(b";")[0], 16)
            start = line + 2
            if size == 0:
                while True:
                    line = self.buffer.find(b"\r\n", start)
                    if line < 0:
                        return None
                    if line == start:
                        return bytes(body), start + 2
                    start = line + 2
            if len(self.buffer) < start + size + 2:
                return None
            body += self.buffer[start:start + size]
            start += size + 2

    def _drain(self) -> None:
        """Answers what can be answered at once; the rest in a task."""
        while self.queue and not self.is_busy:
            method, target, head, body = self.queue.pop(0)
            if self.state.remembers:
                self.state.targets.append(target)
                if "&keep=1" in target:
                    self.state.heads[target] = head.decode("latin-1")
            query = target.partition("?")[2]
            if "b=" not in query and "d=" not in query:
                values = dict(part.partition("=")[::2] for part in query.split("&") if part)
                self._length(method, int(values.get("s", "200")), int(values.get("n", "64")))
                continue
            self.is_busy = True
            asyncio.get_running_loop().create_task(self._slow(method, target, query, body))

    async def _slow(self, method: str, target: str, query: str, body: bytes) -> None:
        try:
            await self._answer(method, target, query, body)
        finally:
            self.is_busy = False
            if not self.transport.is_closing():
                self._drain()

    def _length(self, method: str, status: int, size: int, extra: bytes = b"") -> None:
        head = b"HTTP/1.1 %d Reason\r\nContent-Type: text/plain\r\n%s" % (status, extra)
        if status == 204:
            self.transport.write(head + b"\r\n")
        elif status == 304:
            self.transport.write(head + b"ETag: \"x\"\r\nContent-Length: %d\r\n\r\n" % size)
        elif method == "HEAD":
            self.transport.write(head + b"Content-Length: %d\r\n\r\n" % size)
        else:
            self.transport.write(head + b"Content-Length: %d\r\n\r\n" % size + BODY[:size])

    def _reset(self) -> None:
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def _opened(self, name: str) -> None:
        """Waits for the gate, or for the gateway to leave."""
        self.state.waiting[name] = self.state.waiting.get(name, 0) + 1
        gate = asyncio.ensure_future(self.state.gate(name).wait())
        lost = asyncio.ensure_future(self.lost.wait())
        await asyncio.wait({gate, lost}, return_when=asyncio.FIRST_COMPLETED)
        gate.cancel()
        lost.cancel()

    async def _answer(self, method: str, target: str, query: str, body: bytes) -> None:
        values = {key: value[-1] for key, value in parse_qs(query).items()}
        behaviour = values.get("b", "length")
        status, size = int(values.get("s", "200")), int(values.get("n", "64"))
        half = BODY[:size // 2]
        write = self.transport.write
        with_length = b"HTTP/1.1 %d Reason\r\nContent-Length: %d\r\n\r\n" % (status, size)
        if "d" in values:
            await asyncio.sleep(int(values["d"]) / 1000)
        match behaviour:
            case "length":
                self._length(method, status, size)
            case "last":
                self._length(method, status, size, b"Connection: close\r\n")
                self.transport.close()
            case "interim":
                write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n")
                self._length(method, status, size)
            case "chunked" | "trailers" | "shortchunk":
                write(b"HTTP/1.1 %d Reason\r\nTransfer-Encoding: chunked\r\n" % status)
                write(b"Trailer: X-Sum\r\n\r\n" if behaviour == "trailers" else b"\r\n")
                if method == "HEAD":
                    return
                step = max(1, size // 5)
                for start in range(0, size, step):
                    part = BODY[start:min(size, start + step)]
                    write(b"%x;ext=1\r\n%s\r\n" % (len(part), part))
                    await self.can_write.wait()
                if behaviour == "shortchunk":
                    self.transport.close()
                elif behaviour == "trailers":
                    write(b"0\r\nX-Sum: 42\r\n\r\n")
                else:
                    write(b"0\r\n\r\n")
            case "close":
                write(b"HTTP/1.1 %d Reason\r\nConnection: close\r\n\r\n" % status + BODY[:size])
                self.transport.close()
            case "http10":
                write(b"HTTP/1.0 %d Reason\r\n\r\n" % status + BODY[:size])
                self.transport.close()
            case "refuse0":
                self._reset()
            case "reset":
                write(with_length + half)
                # The bytes must have left before the reset discards what is queued.
                await asyncio.sleep(0.02)
                self._reset()
            case "short":
                write(with_length + half)
                self.transport.close()
            case "stall":
                await self.lost.wait()
            case "stallbody":
                write(with_length + half)
                await self.lost.wait()
            case "garbage":
                write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
                self.transport.close()
            case "gate":
                await self._opened(values["g"])
                self._length(method, status, size)
            case "gatebody":
                write(with_length + half)
                await self._opened(values["g"])
                if not self.transport.is_closing():
                    write(BODY[size // 2:size])
            case "echo":
                digest = hashlib.sha256(body).hexdigest().encode() + b" %d" % len(body)
                write(b"HTTP/1.1 %d Reason\r\nContent-Length: %d\r\n\r\n" % (status, len(digest)) + digest)
            case _:
                self._length(method, 418, 0)


async def _control(state: _State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        command = json.loads(line)
        answer: object = True
        match command["do"]:
            case "targets":
                answer = state.targets
            case "count":
                answer = len(state.targets)
            case "forget":
                state.remembers = False
            case "open":
                state.gate(command["gate"]).set()
            case "waiting":
                answer = state.waiting.get(command["gate"], 0)
            case "head":
                answer = state.heads.get(command["target"])
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
    writer.close()


def _serve(listener: socket.socket, control: socket.socket) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    async def main() -> None:
        state = _State()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(state), sock=listener, backlog=1024)
        other = await asyncio.start_server(
            lambda reader, writer: _control(state, reader, writer), sock=control, limit=1 << 26)
        await asyncio.gather(server.serve_forever(), other.serve_forever())

    asyncio.run(main())


class Upstream:
    """A running upstream, in a process of its own."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        control = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self._process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(listener, control), daemon=True)
        self._process.start()
        self._socket = socket.create_connection(("127.0.0.1", control.getsockname()[1]), timeout=30)
        self._file = self._socket.makefile("rb")
        listener.close()
        control.close()

    @property
    def url(self) -> str:
        """As in the configuration."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, do: str, **values: str) -> object:
        """Sends a control command and returns the answer."""
        self._socket.sendall(json.dumps({"do": do, **values}).encode() + b"\n")
        line = self._file.readline()
        if not line:
            raise Failure("the test's upstream has ended")
        return json.loads(line)

    def targets(self) -> list[str]:
        """Every request target that arrived, in order."""
        return self.ask("targets")  # type: ignore[return-value]

    def open(self, gate: str) -> None:
        """Lets the requests at a gate go on, now and later."""
        self.ask("open", gate=gate)

    def wait_at(self, gate: str, count: int = 1, seconds: float = 20) -> None:
        """Waits until so many requests stand at a gate."""
        until(lambda: self.ask("waiting", gate=gate) >= count, f"{count} requests at gate {gate}", seconds, 0.01)

    def stop(self) -> None:
        """Ends the process."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
