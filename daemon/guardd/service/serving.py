"""A small HTTP server for this machine: GET and HEAD, bounded in size, time and threads: no client can hurt the daemon."""

import socket
import threading
import time
from collections.abc import Callable
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from guardd.descriptors import is_lack
from guardd.logs import log

_LARGEST_HEAD = 8 * 1024
_PATIENCE_S = 3.0
"""The longest that a client may take to send its request, and as long again to take the answer."""

_AT_ONCE = 4
"""Requests answered at a time; who comes meanwhile is turned away: a scraper comes again."""

_POLL_S = 0.2


class Answer(NamedTuple):
    """What is sent back."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Respond = Callable[[str, Message], Answer]
"""The answer to a request for a path (without its query), given its headers."""


class LoopbackServer(ThreadingHTTPServer):
    """Serves from its making until `end`, from a thread of this name. Raises OSError where the port cannot be had."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self, host: str, port: int, name: str, respond: Respond) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.respond = respond
        self._name = name
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((host, port), _Handler)
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_S,), name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def end(self) -> None:
        """Stop listening; requests in hand end by themselves, within seconds."""
        if self.alive:
            self.shutdown()
        self.socket.close()

    def server_bind(self) -> None:
        """Bind without looking the host's name up: a resolver that hangs is no reason to wait."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def get_request(self) -> tuple[Any, Any]:
        """Accept who waits. Where that takes a descriptor that is lacking, who waits goes on waiting: not to be asked at once."""
        try:
            return super().get_request()
        except OSError as error:
            if is_lack(error):
                time.sleep(_POLL_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if one is free."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            threading.Thread(
                target=self.process_request_thread, args=(request, client_address), name=f"{self._name}-request", daemon=True
            ).start()
        except RuntimeError:  # no thread to be had: whoever called closes the connection
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread's life."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that broke off, or took too long."""
        log.debug("request failed", server=self._name, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One request on one connection (HTTP/1.0): its head is read whole first, its answer is sent in one go."""

    error_message_format = "%(code)d %(message)s\n"
    error_content_type = "text/plain; charset=utf-8"
    command = requestline = ""
    request_version = "HTTP/1.0"

    def setup(self) -> None:
        """Read the head of the request."""
        self.connection: socket.socket = self.request
        self._head = _read_head(self.connection)
        self.rfile, self._out = BytesIO(self._head), BytesIO()
        self.wfile = self._out

    def handle(self) -> None:
        """Check the request, and answer it."""
        self.close_connection = True
        if len(self._head) > _LARGEST_HEAD:
            self.send_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self.raw_requestline = self.rfile.readline()
        if not self.parse_request():
            return
        if self.command not in ("GET", "HEAD"):
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        elif not _is_loopback(self.headers.get("Host", "")):  # a web page may have its own name lead to us (DNS rebinding)
            self.send_error(HTTPStatus.FORBIDDEN, "Host must be an address of this machine")
        else:
            self._send(self._answer())

    def finish(self) -> None:
        """Send what was written."""
        self.connection.settimeout(_PATIENCE_S)
        self.connection.sendall(self._out.getvalue())

    def end_headers(self) -> None:
        """Add what every answer says."""
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.command not in ("GET", "HEAD"):
            self.send_header("Allow", "GET, HEAD")
        super().end_headers()

    def version_string(self) -> str:
        """Who answers."""
        return "guardd"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name is the base class's
        """No line for each scrape."""

    def _answer(self) -> Answer:
        server = self.server
        assert isinstance(server, LoopbackServer)  # noqa: S101  # for the type checker
        try:
            return server.respond(urlsplit(self.path).path, self.headers)
        except Exception as error:  # the outermost loop of this thread: the client hears of it, the log says what it was
            log.error("request failed", path=self.path, error=f"{type(error).__name__}: {error}")
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"failed; see the log of guardd\n")

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(answer.body)


def _read_head(connection: socket.socket) -> bytes:
    """What a client sends up to the empty line, or a little more than is allowed. Raises OSError where it does not come."""
    deadline = time.monotonic() + _PATIENCE_S
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) <= _LARGEST_HEAD:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        received = connection.recv(4096)
        if not received:
            raise ConnectionError("the client broke off")
        head += received
    return head


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
        return name == "localhost" or ip_address(name or "").is_loopback
    except ValueError:
        return False
