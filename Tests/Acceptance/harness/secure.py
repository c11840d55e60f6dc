"""A front for a broker that speaks TLS and SASL: brokers of the harness do neither.

`SecureLine` ends TLS with the certificate that it is told to show, asks for a client's certificate if told to, lets
clients prove themselves by PLAIN or SCRAM, and then passes bytes through. The broker must advertise its port.
Certificates are made by the program `openssl`, and belong to private authorities of the test.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from harness.checks import Failure

API_VERSIONS, SASL_HANDSHAKE, SASL_AUTHENTICATE = 18, 17, 36
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, as files."""

    certificate: Path
    key: Path


class Authority:
    """A private certificate authority."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory / f"ca-{name}"
        self.directory.mkdir()
        self.certificate = self.directory / "ca.pem"
        self._count = 0
        self._openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
            f"/CN={name}", "-keyout", "ca.key", "-out", "ca.pem")

    def issue(self, name: str, hosts: str = "", password: str = "") -> Certificate:
        """A certificate for hosts such as `IP:127.0.0.1`, or for a client; the key may be locked."""
        self._count += 1
        stem = f"{self._count}-{name}"
        lock = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        self._openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *lock, "-subj", f"/CN={name}",
            "-keyout", f"{stem}.key", "-out", f"{stem}.csr")
        (self.directory / f"{stem}.ext").write_text(f"subjectAltName={hosts}\n" if hosts else "")
        self._openssl(
            "x509", "-req", "-in", f"{stem}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", f"{stem}.ext", "-out", f"{stem}.pem")
        return Certificate(self.directory / f"{stem}.pem", self.directory / f"{stem}.key")

    def _openssl(self, *arguments: str) -> None:
        result = subprocess.run(["openssl", *arguments], cwd=self.directory, capture_output=True, check=False)
        if result.returncode != 0:
            raise Failure(f"openssl {' '.join(arguments)}: {result.stderr.decode(errors='replace')[-600:]}")


class SecureLine:
    """The way to a broker: every connection to `port` has to pass TLS and SASL, as far as they are asked for."""

    def __init__(self, port: int, users: dict[str, str] | None = None) -> None:
        self.port = port
        self.users = users
        self.refused = 0
        self.mechanisms: set[str] = set()
        self._context: ssl.SSLContext | None = None
        self._target = 0
        self._tasks: set[asyncio.Task] = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._listener.setblocking(False)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()

    def lead_to(self, port: int) -> None:
        """Where connections lead."""
        self._target = port

    def show(self, certificate: Certificate, clients_of: Authority | None = None) -> None:
        """From now on TLS with this certificate; a client needs one of that authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        if clients_of:
            context.load_verify_locations(clients_of.certificate)
            context.verify_mode = ssl.CERT_REQUIRED
        self._context = context

    def cut(self) -> None:
        """Breaks every connection."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in list(self._tasks)])

    # The loop's thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._accept())

    async def _accept(self) -> None:
        while True:
            near, _ = await self._loop.sock_accept(self._listener)
            task = self._loop.create_task(self._serve(near))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, near: socket.socket) -> None:
        writers: list[asyncio.StreamWriter] = []
        try:
            reader = asyncio.StreamReader(limit=1 << 20)
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, near, ssl=self._context, ssl_handshake_timeout=10 if self._context else None)
            writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
            writers.append(writer)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target, limit=1 << 20)
            writers.append(far_writer)
            if self.users is not None and not await self._admit(reader, writer, far_reader, far_writer):
                return
            await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            self.refused += not writers
        finally:
            near.close()
            for one in writers:
                one.close()

    @staticmethod
    async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    # SASL --------------------------------------------------------------------------------------------

    async def _admit(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> bool:
        """Answers what comes before and while a client proves who it is; whether it did."""
        mechanism, scram = "", None
        while True:
            request = await self._message(reader)
            key, version, correlation = struct.unpack_from(">hhi", request)
            length, = struct.unpack_from(">h", request, 8)
            body = request[10 + max(0, length):]
            if key == API_VERSIONS:
                far_writer.write(struct.pack(">i", len(request)) + request)
                answer = with_sasl((await self._message(far_reader))[4:], version)
            elif key == SASL_HANDSHAKE:
                mechanism = body[2:2 + struct.unpack_from(">h", body)[0]].decode()
                self.mechanisms.add(mechanism)
                names = b"".join(struct.pack(">h", len(name)) + name.encode() for name in MECHANISMS)
                answer = struct.pack(">hi", 0 if mechanism in MECHANISMS else 33, len(MECHANISMS)) + names
            elif key == SASL_AUTHENTICATE:
                token = body[4:]
                if mechanism == "PLAIN":
                    _, user, password = token.split(b"\0")
                    reply, is_done = b"", True
                    is_right = hmac.compare_digest(self.users.get(user.decode(), "\0"), password.decode())
                else:
                    scram = scram or Scram(self.users, mechanism.removeprefix("SCRAM-").replace("-", "").lower())
                    reply, is_done, is_right = scram.answer(token.decode())
                text = b"" if is_right else b"Authentication failed: invalid credentials"
                answer = struct.pack(">hh", 0 if is_right else 58, len(text)) + text
                answer += struct.pack(">i", len(reply)) + reply
                if not is_right or is_done:
                    self._answer(writer, correlation, answer)
                    await writer.drain()
                    self.refused += not is_right
                    return is_right
            else:
                return False  # a request before the proof: the connection is closed, as Kafka does
            self._answer(writer, correlation, answer)

    @staticmethod
    def _answer(writer: asyncio.StreamWriter, correlation: int, body: bytes) -> None:
        writer.write(struct.pack(">ii", len(body) + 4, correlation) + body)

    @staticmethod
    async def _message(reader: asyncio.StreamReader) -> bytes:
        length, = struct.unpack(">i", await reader.readexactly(4))
        if not 0 < length < 1 << 20:
            raise ConnectionError("no message of Kafka's protocol")
        return await reader.readexactly(length)


def with_sasl(answer: bytes, version: int) -> bytes:
    """A broker's list of API versions with those of SASL added; `answer` begins at the error code."""
    ranges = ((SASL_HANDSHAKE, 0, 1), (SASL_AUTHENTICATE, 0, 0))
    if version < 3:
        count, = struct.unpack_from(">i", answer, 2)
        more = b"".join(struct.pack(">hhh", *one) for one in ranges)
        return answer[:2] + struct.pack(">i", count + len(ranges)) + more + answer[6:]
    count, shift, at = 0, 0, 2
    while True:
        byte = answer[at]
        at += 1
        count |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    count += len(ranges)
    length = bytearray()
    while count >= 0x80:
        length.append(count & 0x7F | 0x80)
        count >>= 7
    length.append(count)
    return answer[:2] + bytes(length) + b"".join(struct.pack(">hhhB", *one, 0) for one in ranges) + answer[at:]


class Scram:
    """The server's side of SCRAM (RFC 5802, RFC 7677) with a hash such as `sha256`, without channel binding."""

    def __init__(self, users: dict[str, str], hash_: str) -> None:
        self.users = users
        self._hash = hash_
        self._first = ""
        self._server_first = ""
        self._salted = b""
        self._nonce = ""

    def answer(self, text: str) -> tuple[bytes, bool, bool]:
        """The reply, whether the exchange is over, and whether all is right so far."""
        if not self._server_first:
            self._first = text.split(",", 2)[2]
            fields = dict(part.split("=", 1) for part in self._first.split(","))
            password = self.users.get(fields["n"], os.urandom(16).hex())
            salt = os.urandom(16)
            self._salted = hashlib.pbkdf2_hmac(self._hash, password.encode(), salt, 4096)
            self._nonce = fields["r"] + base64.b64encode(os.urandom(18)).decode()
            self._server_first = f"r={self._nonce},s={base64.b64encode(salt).decode()},i=4096"
            return self._server_first.encode(), False, True
        without_proof, _, proof = text.rpartition(",p=")
        if f"r={self._nonce}" not in without_proof.split(","):
            return b"", True, False
        signed = f"{self._first},{self._server_first},{without_proof}".encode()
        client_key = hmac.digest(self._salted, b"Client Key", self._hash)
        stored_key = hashlib.new(self._hash, client_key).digest()
        signature = hmac.digest(stored_key, signed, self._hash)
        found = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature))
        if not hmac.compare_digest(hashlib.new(self._hash, found).digest(), stored_key):
            return b"", True, False
        server_key = hmac.digest(self._salted, b"Server Key", self._hash)
        verifier = base64.b64encode(hmac.digest(server_key, signed, self._hash)).decode()
        return f"v={verifier}".encode(), True, True
