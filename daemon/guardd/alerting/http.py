"""One HTTP request to a target: no redirect followed, every answer bounded in size and time, no URL in any error.

It stands on sockets of its own, not on a pool: only whoever holds the socket can end a handshake or a header that drips, whose
every byte begins a library's time limit anew. Proxies that the environment names are not used.
"""

import base64
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from guardd import __version__
from guardd.alerting.message import harmless

if TYPE_CHECKING:
    from http.client import HTTPResponse

_MOST_BYTES = 4096
"""Of an answer; it is only for people to read."""

_LONGEST_WAIT_S = 3600.0
"""Of a Retry-After that is believed."""

_PASSING = (408, 425, 429)
"""Refusals that pass by themselves (RFC 9110, RFC 8470, RFC 6585)."""

_OF_THE_MESSAGE = (400, 413, 415, 422)
"""Refusals of what was sent: it would be refused again."""

_NO_SECRETS = frozenset(
    {"alerts", "api", "automations", "direct", "hooks", "invoke", "manual", "paths", "powerautomate", "services", "triggers",
     "webhooks", "workflows"}
)  # fmt: skip
"""Segments of the paths of webhooks that everyone knows."""

_UNESCAPED = "/?%:;=&+$,!'()*~@[]"


class NotDelivered(Exception):
    """A target did not take a message; `str()` says why, without any secret.

    `retry_after_s`: how long the target wants to be left alone. `passing`: it may take it in a moment. `refused`: it will never.
    """

    def __init__(self, why: str, *, retry_after_s: float | None = None, passing: bool = True, refused: bool = False) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s
        self.passing = passing
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Request:
    """A POST of JSON. What its URL says before an @ is sent as basic authentication."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def post(request: Request, timeout_s: float) -> str:
    """Send it; what the target answered, on one line. Raises NotDelivered."""
    exchange = _Exchange(_address(request.url), request, time.monotonic() + timeout_s)
    threading.Thread(target=exchange.run, name="alert-http", daemon=True).start()
    is_done = exchange.done.wait(timeout_s)
    exchange.leave()
    if exchange.status:
        return _judged(exchange, harmless(without_secrets(exchange.said, request.url), 200))
    if not is_done:
        raise NotDelivered("no answer within the time limit")
    if exchange.failure is None:
        raise exchange.error or AssertionError("ended without an answer or an error")
    why, passing = exchange.failure
    raise NotDelivered(harmless(without_secrets(why, request.url)), passing=passing)


def without_secrets(text: str, url: str) -> str:
    """A text with all that is secret in a URL taken out: servers quote in their errors what they were asked for."""
    parts = urlsplit(url)
    told = [*parts.path.split("/"), *(value for _, value in parse_qsl(parts.query)), parts.netloc.rpartition("@")[0]]
    whole = [url, parts.path.strip("/"), parts.query, *(one for one in told if len(one) > 2 and one not in _NO_SECRETS)]
    login = [parts.username or "", parts.password or ""]
    forms = {form for one in [*whole, *login] for form in (one, unquote(one), quote(one, safe=""), escape(one)) if form}
    forms |= {_basic(parts.username, parts.password)} if parts.username is not None else set()
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, "…")
    return text


@dataclass(frozen=True, slots=True)
class _Address:
    is_tls: bool
    host: str
    port: int
    target: str = field(repr=False)
    login: str | None = field(repr=False)


def _address(url: str) -> _Address:
    try:
        parts = urlsplit(url)
        is_tls = parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        host = (parts.hostname or "").encode("ascii" if ":" in (parts.hostname or "") else "idna").decode()
    except ValueError:
        raise NotDelivered("its URL cannot be read", passing=False) from None
    if not host or parts.scheme not in ("http", "https"):
        raise NotDelivered("its URL is none of a web server", passing=False)
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_UNESCAPED)
    login = _basic(parts.username, parts.password) if parts.username is not None else None
    return _Address(is_tls, host, port, target, login)


def _basic(user: str | None, password: str | None) -> str:
    return base64.b64encode(f"{unquote(user or '')}:{unquote(password or '')}".encode()).decode()


class _Exchange:
    """A request under way in a thread of its own, which can be left whatever it hangs in: resolver, handshake, header, body."""

    def __init__(self, address: _Address, request: Request, deadline: float) -> None:
        self.done = threading.Event()
        self.status = 0
        self.retry_after: str | None = None
        self.said = ""
        self.failure: tuple[str, bool] | None = None
        self.error: Exception | None = None
        self._address = address
        self._request = request
        self._deadline = deadline
        self._line: socket.socket | None = None
        self._left = False

    def run(self) -> None:
        """The thread: ask, and take down what is answered."""
        try:
            self._run()
        except Exception as error:  # the outermost frame of this thread; `post` raises what `_told` does not know
            self.failure, self.error = _told(error), error
        finally:
            self.done.set()
            if self._line is not None:
                self._line.close()

    def leave(self) -> None:
        """Wait no longer: end the connection, whatever is being read from it."""
        self._left = True
        if self._line is not None:
            try:
                self._line.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended by itself
                return

    def _run(self) -> None:
        import http.client
        import ssl

        to = self._address
        sock = self._connected()
        self._line = sock.dup()  # TLS takes the socket over; this end of it stays ours
        with sock if not to.is_tls else ssl.create_default_context().wrap_socket(sock, server_hostname=to.host) as line:
            if self._left:  # too late, and not yet sent: it will not come twice
                raise TimeoutError
            connection = http.client.HTTPConnection(to.host, to.port)
            connection.sock = line
            connection.request("POST", to.target, self._request.body, self._headers())
            with connection.getresponse() as answer:
                if self._left:  # a header that was cut off looks like one that has ended
                    raise TimeoutError
                self.retry_after = answer.headers.get("Retry-After")
                self.status = answer.status
                said = _text(answer)
                self.said = "" if self._left else said  # what was cut off may end in half a secret

    def _headers(self) -> dict[str, str]:
        common = {
            "Content-Type": "application/json",
            "User-Agent": f"guardd/{__version__}",
            "Accept": "*/*",
            "Connection": "close",
        }
        login = {"Authorization": f"Basic {self._address.login}"} if self._address.login else {}
        return {**common, **login, **self._request.headers}

    def _connected(self) -> socket.socket:
        """A connection to the first of the host's addresses that takes one; each gets its share of the time that is left."""
        addresses = socket.getaddrinfo(self._address.host, self._address.port, type=socket.SOCK_STREAM)
        failure: OSError = ConnectionRefusedError()
        for at, (family, kind, protocol, _, address) in enumerate(addresses):
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                break
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(left_s / (len(addresses) - at))
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                sock.settimeout(left_s)
                return sock
        raise _NoConnection from failure


class _NoConnection(OSError):
    """None of the host's addresses took a connection; the cause is that of the last one."""


def _text(answer: "HTTPResponse") -> str:
    """The beginning of the answer: whoever drips it, or sends a gigabyte, is read no further."""
    import http.client

    taken = b""
    try:
        while len(taken) < _MOST_BYTES:
            part = answer.read1(_MOST_BYTES - len(taken))
            if not part:
                break
            taken += part
    except (OSError, http.client.HTTPException, ValueError):  # the status has said what counts
        return ""
    return taken.decode("utf-8", "replace").strip()


def _judged(exchange: _Exchange, text: str) -> str:
    status = exchange.status
    said = f"HTTP {status}" + (f": {text}" if text else "")
    if 200 <= status < 300:
        return said
    if 300 <= status < 400:
        raise NotDelivered(f"HTTP {status}: a redirect, which is not followed; set the final URL")
    raise NotDelivered(
        said, retry_after_s=_retry_after(exchange.retry_after), passing=status >= 500 or status in _PASSING,
        refused=status in _OF_THE_MESSAGE,
    )  # fmt: skip


def _told(error: Exception) -> tuple[str, bool] | None:
    """What went wrong on the way, and whether it may pass. Libraries' own words hold the URL, which is a webhook's secret."""
    import http.client
    import ssl

    if isinstance(error, _NoConnection):
        return f"no connection: {_unreachable(error.__cause__)}", True
    known: list[tuple[tuple[type[Exception], ...], str, bool]] = [
        ((socket.gaierror,), "its host name cannot be resolved", True),
        ((ssl.SSLCertVerificationError,), "its TLS certificate is not to be trusted, or is not of this host", False),
        ((ssl.SSLError,), f"no TLS with it: {getattr(error, 'reason', None) or 'the connection broke'}", True),
        ((TimeoutError,), "no answer within the time limit", True),
        ((ConnectionError,), "the connection broke before it answered", True),
        ((http.client.HTTPException,), "what answers there is no web server", True),
        ((OSError,), f"the connection broke: {getattr(error, 'strerror', None) or type(error).__name__}", True),
        ((ValueError,), "its URL cannot be sent", False),
    ]
    return next(((why, passing) for types, why, passing in known if isinstance(error, types)), None)


def _unreachable(cause: BaseException | None) -> str:
    if isinstance(cause, TimeoutError):
        return "nothing answers within the time limit"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing answers at its address"
    return getattr(cause, "strerror", None) or type(cause).__name__


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number (Discord sends fractions), or a date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_S) if seconds == seconds else None  # noqa: PLR0124  # not a NaN
