"""One HTTP request to a target: no redirect followed, every answer bounded in size and time, no URL in any error."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from guardd import __version__
from guardd.alerting.message import harmless

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_MOST_BYTES = 4096
"""Of an answer; it is only for people to read."""

_LONGEST_WAIT_S = 3600.0
"""Of a Retry-After that is believed."""

_PASSING = (408, 425, 429)
"""Refusals that pass by themselves (RFC 9110, RFC 8470, RFC 6585)."""

_OF_THE_MESSAGE = (400, 413, 415, 422)
"""Refusals of what was sent: it would be refused again."""


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
    """A POST of JSON."""

    url: str = field(repr=False)
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def post(request: Request, timeout_s: float) -> str:
    """Send it; what the target answered, on one line. Raises NotDelivered."""
    import urllib3

    deadline = time.monotonic() + timeout_s
    headers = {"Content-Type": "application/json", "User-Agent": f"guardd/{__version__}", "Accept": "*/*", **request.headers}
    with urllib3.PoolManager(retries=False) as pool:
        try:
            answer = pool.request(
                "POST", request.url, body=request.body, headers=headers, redirect=False, preload_content=False,
                timeout=urllib3.Timeout(total=timeout_s),
            )  # fmt: skip
            try:
                text = _text(answer, deadline)
            finally:
                answer.close()
        except urllib3.exceptions.HTTPError as error:
            raise NotDelivered(_told(error)) from None
        except (OSError, ValueError) as error:  # a URL that is none, a name that does not encode
            raise NotDelivered(harmless(type(error).__name__), passing=isinstance(error, OSError)) from None
    said = f"HTTP {answer.status}" + (f": {text}" if text else "")
    if 200 <= answer.status < 300:
        return said
    if 300 <= answer.status < 400:
        raise NotDelivered(f"HTTP {answer.status}: a redirect, which is not followed; set the final URL")
    wait_s = _retry_after(answer.headers.get("Retry-After"))
    raise NotDelivered(
        said, retry_after_s=wait_s, passing=answer.status >= 500 or answer.status in _PASSING,
        refused=answer.status in _OF_THE_MESSAGE,
    )  # fmt: skip


def _text(answer: "BaseHTTPResponse", deadline: float) -> str:
    """The beginning of the answer: whoever drips it, or sends a gigabyte, is read no further."""
    taken = b""
    while len(taken) < _MOST_BYTES and time.monotonic() < deadline:
        part = answer.read1(_MOST_BYTES - len(taken), decode_content=False)
        if not part:
            break
        taken += part
    return harmless(taken.decode("utf-8", "replace").strip(), 200)


def _told(error: Exception) -> str:
    """What went wrong on the way. The library's own words hold the URL's path, which is the secret of a webhook."""
    name = type(error).__name__
    return {
        "NewConnectionError": "no connection: nothing answers at its address",
        "NameResolutionError": "its host name cannot be resolved",
        "ConnectTimeoutError": "no connection within the time limit",
        "ReadTimeoutError": "no answer within the time limit",
        "SSLError": "its TLS certificate is not valid for this host",
        "ProtocolError": "the connection broke",
        "LocationValueError": "its URL names no host",
        "LocationParseError": "its URL cannot be read",
    }.get(name, name)


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number (Discord sends fractions), or a date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_S) if seconds == seconds else None  # noqa: PLR0124  # not a NaN
