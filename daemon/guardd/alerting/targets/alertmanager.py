"""Prometheus Alertmanager, API v2: one alert a thread, which its last message ends.

Labels are its identity, so they hold nothing that changes; the severity does, and is an annotation. What the query of the
URL says (`?severity=page`) are more labels, for routing.

An alert without an end ends by itself after `resolve_timeout` (5 min), but guard tells an incident only every few hours, and
what a repo lacks once. So an alert that goes on ends in a year, and the message that it is over ends it before.
"""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.fitting import encoded, fitted, fitted_lines
from guardd.alerting.http import Request, post
from guardd.alerting.message import Message, details
from guardd.model import Stage

_PATH = "/api/v2/alerts"
_SECOND_NS = 1_000_000_000
_YEAR_NS = 365 * 86_400 * _SECOND_NS
_TEST_NS = 300 * _SECOND_NS
_LABEL, _SUMMARY, _DESCRIPTION, _LINE = 1024, 1024, 16_384, 2048
"""Alertmanager has no limits for them by default; these are ours."""


def send(message: Message, to: Endpoint) -> str:
    """Post it."""
    query = parse_qsl(urlsplit(to.url).query)
    return post(Request(_url(to), encoded(payload(message, dict(query)))), to.timeout_s)


def _url(to: Endpoint) -> str:
    prefix = urlsplit(to.url).path.rstrip("/").removesuffix(_PATH)
    return to.http_url(path=prefix + _PATH)


def payload(message: Message, labels: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """The message as Alertmanager takes it; `labels` come on top of its own."""
    about = message.incident
    kind = "GuarddTest" if message.stage is Stage.TEST else "GuarddIncident" if about else "GuarddProtection"
    own = {
        "alertname": kind, "service": "guardd", "host": message.host, "repo": message.repo,
        "incident": str(about.id) if about else "", "thread": message.thread,
    }  # fmt: skip
    annotations = {
        "summary": fitted(message.title, _SUMMARY), "description": _lines(details(message)), "severity": message.severity,
        "stage": message.stage, "commands": _lines(message.commands),
    }  # fmt: skip
    times = {"startsAt": about.opened_ns} if about else {} if message.is_over else {"startsAt": message.time_ns}
    return [
        {
            "labels": {name: fitted(value, _LABEL) for name, value in {**(labels or {}), **own}.items() if value},
            "annotations": annotations,
            **{key: _rfc3339(time_ns) for key, time_ns in {**times, "endsAt": _end_ns(message)}.items()},
        }
    ]


def _lines(lines: tuple[str, ...] | list[str]) -> str:
    return "\n".join(fitted_lines(lines, _DESCRIPTION, _LINE))


def _end_ns(message: Message) -> int:
    lasts_ns = 0 if message.is_over else _TEST_NS if message.stage is Stage.TEST else _YEAR_NS
    begin_ns = message.incident.opened_ns if message.incident else 0
    return max(message.time_ns + lasts_ns, begin_ns)  # an end before the begin is refused, and clocks are set


def _rfc3339(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / _SECOND_NS, UTC).isoformat(timespec="milliseconds")
