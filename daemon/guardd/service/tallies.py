"""What the daemon counts from its start on: how soon changes were captured, lost events, incidents. For the metrics."""

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from guardd.model import Incident, Severity

LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram: a save takes some 2 ms, a burst of 1,381 files half a second, a file in the making 0.2 s."""


class Counted(NamedTuple):
    """The tallies at one moment. `latencies` counts captures by bound, the last of them those above all bounds."""

    latencies: tuple[int, ...]
    latency_sum_s: float
    overflows: int
    incidents: Mapping[Severity, int]


class Tallies:
    """Safe for any thread; nothing here falls. `now_ns` is when the daemon started: older incidents were counted then."""

    def __init__(self, now_ns: int = 0) -> None:
        self._begun_ns = now_ns
        self._lock = threading.Lock()
        self._latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self._latency_sum_s = 0.0
        self._overflows = 0
        self._incidents = Counter[Severity]()
        self._known: dict[int, set[Severity]] = {}

    def captured(self, hinted_s: Iterable[float]) -> None:
        """Versions have just become durable; when each of their paths was first hinted (monotonic seconds)."""
        now = time.monotonic()
        with self._lock:
            for since in hinted_s:
                self._latencies[bisect_left(LATENCY_BOUNDS_S, now - since)] += 1
                self._latency_sum_s += now - since

    def overflowed(self) -> None:
        """The kernel dropped events of a watch."""
        with self._lock:
            self._overflows += 1

    def incident(self, incident: Incident) -> None:
        """An incident is, or has become, this severe: it counts once for each severity that it reaches."""
        with self._lock:
            known = self._known.get(incident.id)
            if known is None:
                known = self._known[incident.id] = {incident.severity} if incident.opened_ns < self._begun_ns else set()
            if incident.severity not in known:
                known.add(incident.severity)
                self._incidents[incident.severity] += 1

    def counted(self) -> Counted:
        """The tallies now, all of the same moment."""
        with self._lock:
            incidents = {severity: self._incidents[severity] for severity in Severity}
            return Counted(tuple(self._latencies), self._latency_sum_s, self._overflows, incidents)
