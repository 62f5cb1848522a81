"""One HTTP request to a target: no redirect followed, every answer bounded in size and time, no URL in any error.

A request runs in a thread of its own, which is left at the time limit: an answer that drips begins the library's limit anew with
every byte. Proxies that the environment names are not used.
"""

import base64
import math
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
    from urllib3 import BaseHTTPResponse
    from urllib3.connection import HTTPConnection

_MOST_BYTES = 4096
"""Of an answer; it is only for people to read."""

_LONGEST_WAIT_S = 3600.0
"""Of a Retry-After that is believed."""

_PASSING = (408, 425, 429)
"""Refusals that pass by themselves (RFC 9110, RFC 8470, RFC 6585)."""

_OF_THE_MESSAGE = (413, 415, 422)
"""Refusals of what was sent: it would be refused again. Not 400: so Mattermost answers for a webhook that is gone."""

_NO_SECRETS = frozenset(
    {"alerts", "api", "automations", "direct", "hooks", "invoke", "manual", "paths", "powerautomate", "services", "triggers",
     "webhooks", "workflows"}
)  # fmt: skip
"""Segments of the paths of webhooks that everyone knows."""


_UNESCAPED = "/?%:;=&+$,!'()*~@[]"
"""In paths and queries, besides letters and digits."""


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
    exchange = _Exchange(request, timeout_s)
    threading.Thread(target=exchange.run, name="alert-http", daemon=True).start()
    is_done = exchange.done.wait(timeout_s)
    exchange.leave()
    if exchange.status:
        return _judged(exchange, harmless(without_secrets(exchange.said, request.url), 200))
    if not is_done:
        raise NotDelivered("no answer within the time limit")
    why, passing = exchange.failure
    raise NotDelivered(harmless(why), passing=passing)


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


def _basic(user: str | None, password: str | None) -> str:
    return base64.b64encode(f"{unquote(user or '')}:{unquote(password or '')}".encode()).decode()


class _Exchange:
    """A request under way in a thread of its own, which can be left whatever it hangs in: resolver, handshake, header, body."""

    def __init__(self, request: Request, timeout_s: float) -> None:
        self.done = threading.Event()
        self.status = 0
        self.retry_after: str | None = None
        self.said = ""
        self.failure = ("", True)
        self._request = request
        self._timeout_s = timeout_s
        self._connection: HTTPConnection | None = None
        self._left = False

    def run(self) -> None:
        """The thread: ask, and take down what is answered."""
        try:
            self._run()
        except Exception as error:  # the outermost frame of this thread: whatever it is, the message was not delivered
            self.failure = _told(error)
        finally:
            self.done.set()
            if self._connection is not None:
                self._connection.close()

    def leave(self) -> None:
        """Wait no longer: end the connection, whatever is being read from it."""
        self._left = True
        line = self._connection.sock if self._connection is not None else None
        if line is not None:
            try:
                line.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has ended by itself, or is still shaking hands: the thread ends without us
                return

    def _run(self) -> None:
        self._connection = connection = _connection(self._request.url, self._timeout_s)
        connection.connect()
        self._unless_left()  # too late, and not yet sent: it will not come twice
        parts = urlsplit(self._request.url)
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_UNESCAPED)
        connection.request(
            "POST", target, self._request.body, self._headers(parts.username, parts.password), preload_content=False
        )
        answer = connection.getresponse()
        self._unless_left()  # a header that was cut off looks like one that has ended
        self.retry_after = answer.headers.get("Retry-After")
        self.status = answer.status
        said = _text(answer)
        self.said = "" if self._left else said  # what was cut off may end in half a secret

    def _unless_left(self) -> None:
        if self._left:
            raise TimeoutError

    def _headers(self, user: str | None, password: str | None) -> dict[str, str]:
        login = {"Authorization": f"Basic {_basic(user, password)}"} if user is not None else {}
        common = {"Content-Type": "application/json", "User-Agent": f"guardd/{__version__}", "Connection": "close"}
        return {**common, **login, **self._request.headers}


def _connection(url: str, timeout_s: float) -> "HTTPConnection":
    """A connection to where a URL leads, not yet made; TLS is verified against the system's certificates."""
    import ssl

    from urllib3.connection import HTTPConnection, HTTPSConnection

    parts = urlsplit(url)
    host = (parts.hostname or "").encode("ascii" if ":" in (parts.hostname or "") else "idna").decode()
    if not host or parts.scheme not in ("http", "https"):
        raise NotDelivered("its URL is none of a web server", passing=False)
    if parts.scheme == "http":
        return HTTPConnection(host, parts.port, timeout=timeout_s)
    return HTTPSConnection(host, parts.port, timeout=timeout_s, ssl_context=ssl.create_default_context())


def _text(answer: "BaseHTTPResponse") -> str:
    """The beginning of the answer: whoever drips it, or sends a gigabyte, is read no further."""
    from urllib3.exceptions import HTTPError

    taken = b""
    try:
        while len(taken) < _MOST_BYTES and (part := answer.read1(_MOST_BYTES - len(taken), decode_content=False)):
            taken += part
    except (OSError, HTTPError, ValueError):  # the status has said what counts
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


def _told(error: BaseException) -> tuple[str, bool]:
    """What went wrong on the way, and whether it may pass. Libraries' own words hold the URL, which is a webhook's secret."""
    import http.client
    import ssl

    from urllib3 import exceptions

    if isinstance(error, NotDelivered):
        return str(error), error.passing
    known: list[tuple[tuple[type[BaseException], ...], str, bool]] = [
        ((exceptions.NameResolutionError,), "its host name cannot be resolved", True),
        ((exceptions.NewConnectionError,), "no connection: nothing answers at its address", True),
        ((exceptions.ConnectTimeoutError,), "no connection: nothing answers within the time limit", True),
        ((ssl.SSLCertVerificationError,), "its TLS certificate is not to be trusted, or is not of this host", False),
        ((ssl.SSLError,), f"no TLS with it: {getattr(error, 'reason', None) or 'the connection broke'}", True),
        ((TimeoutError,), "no answer within the time limit", True),
        ((ConnectionError,), "the connection broke before it answered", True),
        ((http.client.HTTPException,), "what answers there is no web server", True),
        ((OSError,), f"the connection broke: {getattr(error, 'strerror', None) or type(error).__name__}", True),
        ((ValueError,), "its URL cannot be read", False),
    ]
    fallback = (f"it failed: {type(error).__name__}", True)
    return next(((why, passing) for types, why, passing in known if isinstance(error, types)), fallback)


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
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _LONGEST_WAIT_S)
