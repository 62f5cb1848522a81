"""Every other chat system, through Apprise (the extra `guardd[apprise]`), which is imported only to send.

Its logger quotes URLs, so it is silenced; of what it says only HTTP statuses are told. It follows no redirect. It knows no time
limit for the whole, so it works in a thread that is left at the limit; what it is at by then may still arrive. Its services read
all of an answer (a gigabyte took two of memory), so an answer ends early here.
"""

import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.fitting import fitted, fitted_lines
from guardd.alerting.http import NotDelivered
from guardd.alerting.looks import look
from guardd.alerting.message import Message, details
from guardd.model import Severity, Stage

_TITLE, _BODY, _LINE = 250, 8000, 500
"""What is longer than a service takes, Apprise cuts, or splits into several messages."""

_CURE = "pip install --upgrade 'guardd[apprise]'"
_STATUS = re.compile(r"\berror=(\d{3})\b")
_LONGEST_ANSWER = 1 << 20

_QUOTING = ("apprise", "urllib3", "requests")
"""Loggers that quote URLs."""


def send(message: Message, to: Endpoint) -> str:
    """Send it."""
    try:
        import apprise
    except ImportError:
        raise NotDelivered(f"its URL is Apprise's, which is not installed: {_CURE}", passing=False) from None
    if not hasattr(apprise.AppriseAsset, "http_redirects"):
        raise NotDelivered(f"this version of Apprise would follow redirects: {_CURE}", passing=False)
    _bound_answers()
    sending = _Sending(_service(apprise, to), title(message), body(message), notify_type(message))
    sending.start()
    sending.join(to.timeout_s)
    if sending.is_alive():
        raise NotDelivered("no answer within the time limit")
    if not sending.went:
        told = sorted(set(sending.statuses))
        raise NotDelivered(f"Apprise did not get it through{': HTTP ' if told else ''}{', '.join(told)}")
    return "Apprise sent it"


def title(message: Message) -> str:
    """The title, with its sign."""
    return fitted(f"{look(message).sign} {message.title}", _TITLE)


def body(message: Message) -> str:
    """The rest, as plain text; Apprise escapes what the service would take for markup."""
    return "\n".join(fitted_lines(details(message), _BODY, _LINE))


def notify_type(message: Message) -> str:
    """What Apprise calls the severity: failure, warning, info or success."""
    if message.is_over:
        return "success"
    if message.stage is Stage.TEST or message.severity is Severity.INFO:
        return "info"
    return "warning" if message.severity is Severity.WARNING else "failure"


def _bound_answers() -> None:
    """Have requests, by which Apprise's services speak, give no more than the beginning of any answer."""
    import requests.adapters

    adapters: Any = requests.adapters
    if adapters.Response.__name__ != "Bounded":
        adapters.Response = _bounded(adapters.Response)


def _bounded(response: Any) -> Any:
    class Bounded(response):  # type: ignore[misc]  # a class that is only known then
        def iter_content(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
            left = _LONGEST_ANSWER
            for part in super().iter_content(*args, **kwargs):
                yield part
                left -= len(part)
                if left < 0:
                    self.close()
                    return

    return Bounded


def _service(apprise: Any, to: Endpoint) -> Any:
    """The one service of the URL; a container that holds it."""
    for name in _QUOTING:
        logger = logging.getLogger(name)
        logger.propagate = False
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
    asset = apprise.AppriseAsset(app_id="guardd", app_desc="guardd", http_redirects=False, async_mode=False, service_timeout=0)
    service = apprise.Apprise.instantiate(to.url, asset=asset)
    if service is None:
        raise NotDelivered("Apprise does not know its URL; `apprise --dry-run` tells more", passing=False)
    service.redirects = False  # whatever the URL says
    service.socket_connect_timeout = service.socket_read_timeout = to.timeout_s
    services = apprise.Apprise(asset=asset)
    services.add(service)
    return services


class _Sending(threading.Thread):
    """A call of Apprise under way; `went` says whether all of it arrived."""

    def __init__(self, services: Any, title: str, body: str, notify_type: str) -> None:
        super().__init__(name="alert-apprise", daemon=True)
        self.went = False
        self.statuses: list[str] = []
        self._services = services
        self._said = {"title": title, "body": body, "notify_type": notify_type, "body_format": "text"}

    def run(self) -> None:
        """Send, and note the statuses that this thread logs."""
        listener = logging.Handler(logging.WARNING)
        listener.emit = self._note  # type: ignore[method-assign]  # a handler of one method needs no class
        logger = logging.getLogger("apprise")
        logger.addHandler(listener)
        try:
            self.went = bool(self._services.notify(**self._said))
        finally:
            logger.removeHandler(listener)

    def _note(self, record: logging.LogRecord) -> None:
        if record.thread == self.ident:
            self.statuses += _STATUS.findall(record.getMessage())
