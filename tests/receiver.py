"""A real HTTP server for tests of alerts: it keeps what it is sent, and answers as it is told, as badly as one can."""

import base64
import contextlib
import json
import ssl
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.world import wait_until


@dataclass(frozen=True)
class Received:
    """A request as it came; the names of its headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def login(self) -> str | None:
        """`user:password` of basic authentication."""
        scheme, _, value = self.headers.get("authorization", "").partition(" ")
        return base64.b64decode(value).decode() if scheme == "Basic" else None


class Wire:
    """The connection that an answer goes over; `send` is false once the other end, or the test, is gone.

    `sent` counts the bytes that went out, as far as the system took them for the other end.
    """

    def __init__(self, handler: BaseHTTPRequestHandler, closing: threading.Event) -> None:
        self._handler = handler
        self._closing = closing
        self.sent = 0

    def send(self, data: bytes) -> bool:
        try:
            self._handler.wfile.write(data)
        except OSError:
            return False
        self.sent += len(data)
        return not self._closing.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Do nothing for so long; false when the test is over."""
        return not self._closing.wait(seconds)


BUFFERED = 32 * 1024 * 1024
"""More than the system holds of a connection whose other end reads no further."""

Answer = Callable[[Wire], object]


def answer(status: int = 200, body: bytes | str = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """Any proper answer: 200, 204, 429 with a Retry-After, 500, ..."""
    data = body if isinstance(body, bytes) else body.encode()
    lines = {"Content-Length": str(len(data)), **(headers or {})}
    head = f"HTTP/1.1 {status} Whatever\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    return lambda wire: wire.send(head.encode() + data)


def redirect(url: str, status: int = 307) -> Answer:
    return answer(status, headers={"Location": url})


def slow_down(seconds: float | str, body: str = "") -> Answer:
    """429 with a Retry-After."""
    return answer(429, body, {"Retry-After": str(seconds)})


def hang(wire: Wire) -> None:
    """Never answers."""
    wire.wait()


def drop(wire: Wire) -> None:
    """Closes the connection without a word."""


def garbage(wire: Wire) -> None:
    """A status line that is none."""
    wire.send(b"\x00\xff what? \x1b[31m no HTTP here\r\n\r\n")


def huge(size: int = 2**30, status: int = 200) -> Answer:
    """A body of a gigabyte, as long as the other end takes it."""

    def send(wire: Wire) -> None:
        part = b"x" * 65_536
        wire.send(f"HTTP/1.1 {status} OK\r\nContent-Length: {size}\r\n\r\n".encode())
        for _ in range(size // len(part)):
            if not wire.send(part):
                return

    return send


def drip_body(status: int = 200, every_s: float = 0.01) -> Answer:
    """A body that comes byte by byte and has no end."""

    def send(wire: Wire) -> None:
        going = wire.send(f"HTTP/1.1 {status} OK\r\nContent-Length: 1000000\r\n\r\n".encode())
        while going and wire.wait(every_s):
            going = wire.send(b"x")

    return send


def drip_header(every_s: float = 0.01) -> Answer:
    """A header that comes byte by byte and has no end."""

    def send(wire: Wire) -> None:
        going = wire.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while going and wire.wait(every_s):
            going = wire.send(b"x")

    return send


class Receiver:
    """The server. Answers come from `script` in order, then from `always`; made with a folder it speaks TLS, self-signed."""

    def __init__(self, *script: Answer, always: Answer | None = None, tls: Path | None = None) -> None:
        self.requests: list[Received] = []
        self.wires: list[Wire] = []
        self.always = always or answer()
        self._script = deque(script)
        self._closing = threading.Event()
        self._server = _server(self)
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.certificate = _use_tls(self._server, tls) if tls else None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def script(self, *answers: Answer) -> None:
        """What to answer next, one after the other."""
        self._script.extend(answers)

    def wait(self, count: int = 1, timeout_s: float = 30.0) -> list[Received]:
        """The requests, once there are so many."""
        wait_until(lambda: len(self.requests) >= count, timeout_s, f"{count} requests; there are {len(self.requests)}")
        return list(self.requests)

    def take(self, request: Received, wire: Wire) -> None:
        """Keep a request, and answer it."""
        chosen = self._script.popleft() if self._script else self.always
        self.requests.append(request)
        self.wires.append(wire)
        chosen(wire)

    @property
    def closing(self) -> threading.Event:
        return self._closing

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """The other end went away, as tests make it do: `requests` tells what had come."""


def _server(receiver: Receiver) -> _Server:
    class Handler(BaseHTTPRequestHandler):
        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            wire = Wire(self, receiver.closing)
            with contextlib.suppress(OSError):
                receiver.take(Received(self.command, self.path, headers, body), wire)

        do_GET = do_POST = do_PUT = do_HEAD = _take  # noqa: N815  # names of http.server

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # name of http.server
            pass

    return _Server(("127.0.0.1", 0), Handler)


def _use_tls(server: _Server, folder: Path) -> Path:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    names = ["-subj", "/CN=receiver.example", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", *names,
         "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return certificate
