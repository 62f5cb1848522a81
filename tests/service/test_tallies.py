"""What the daemon counts never falls, and counts no incident twice."""

import time

from guardd.model import Incident, IncidentState, Severity
from guardd.service.tallies import LATENCY_BOUNDS_S, Tallies


def incident(id_: int, severity: Severity, opened_ns: int) -> Incident:
    return Incident(id_, 1, IncidentState.OPEN, severity, opened_ns, None, 1, opened_ns, (), 5, 5, "")


def test_an_incident_counts_once_for_each_severity_that_it_reaches() -> None:
    tallies = Tallies(100)
    for severity in (Severity.WARNING, Severity.HIGH, Severity.HIGH, Severity.WARNING, Severity.CRITICAL):
        tallies.incident(incident(1, severity, 200))
    tallies.incident(incident(2, Severity.WARNING, 200))
    assert tallies.counted().incidents == {
        Severity.INFO: 0, Severity.WARNING: 2, Severity.HIGH: 1, Severity.CRITICAL: 1,
    }  # fmt: skip


def test_an_incident_from_before_the_start_counts_only_where_it_gets_worse() -> None:
    tallies = Tallies(100)
    tallies.incident(incident(1, Severity.HIGH, 50))
    assert sum(tallies.counted().incidents.values()) == 0
    tallies.incident(incident(1, Severity.CRITICAL, 50))
    assert tallies.counted().incidents[Severity.CRITICAL] == 1


def test_latencies_fall_into_their_buckets() -> None:
    tallies = Tallies()
    now = time.monotonic()
    tallies.captured([now - 0.0001, now - 0.7, now - 1000])
    counted = tallies.counted()
    assert counted.latencies[LATENCY_BOUNDS_S.index(1.0)] == 1
    assert counted.latencies[-1] == 1
    assert sum(counted.latencies) == 3
    assert 1000 < counted.latency_sum_s < 1010
