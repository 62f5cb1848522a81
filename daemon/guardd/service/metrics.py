"""The metrics for Prometheus: what the store knows, read at each scrape, and what the daemon counts. No paths in them."""

import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from guardd import __version__, clock
from guardd.model import RepoState
from guardd.service.guard import Guard
from guardd.service.settings import Duties
from guardd.service.standing import states
from guardd.service.tallies import LATENCY_BOUNDS_S, Tallies
from guardd.store.database import sqlite_version
from guardd.store.store import Store

_RECOUNT_S = 60.0
"""Blobs are counted at most so often: of a million that takes 50 ms, everything else of a scrape is looked up in an index."""


class Scrape:
    """Gives all metrics in the format that a scraper accepts. Safe for any thread; raises StoreError."""

    def __init__(
        self, state_dir: str, duties: Callable[[], Duties], guards: Callable[[], Sequence[Guard]], tallies: Tallies
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(state_dir, duties, guards, tallies))
        ProcessCollector(registry=self._registry)

    def __call__(self, accept: str) -> tuple[bytes, str]:
        """(the metrics, their content type) for a request's Accept header."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


class _Collector(Collector):
    def __init__(
        self, state_dir: str, duties: Callable[[], Duties], guards: Callable[[], Sequence[Guard]], tallies: Tallies
    ) -> None:
        self._state_dir = state_dir
        self._duties = duties
        self._guards = guards
        self._tallies = tallies
        self._blobs = _BlobCount()

    def describe(self) -> list[Metric]:
        """Nothing: the names are told by a scrape, registering must not make one."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        with Store(self._state_dir, durable=False) as store:
            yield from self._of_store(store)
            yield from self._of_repos(store)
        yield from self._of_guards()
        yield from self._of_tallies()
        build = {"version": __version__, "python": platform.python_version(), "sqlite": ".".join(map(str, sqlite_version()))}
        yield InfoMetricFamily("guardd_build", "What runs.", value=build)

    def _of_store(self, store: Store) -> Iterator[Metric]:
        """What the store knows, however many processes write into it."""
        yield CounterMetricFamily("guardd_versions", "Versions ever recorded.", store.log.last_seq())
        yield CounterMetricFamily("guardd_restores", "Restores ever begun, by hand or not, undos too.", store.restores.count())
        yield _gauge("guardd_incidents_open", "Incidents that wait for an answer.", store.incidents.count_open())
        pending = sum(store.outbox.pending().values())
        yield _gauge("guardd_alerts_pending", "Alerts that are not delivered yet.", pending)
        yield _gauge("guardd_store_bytes", "Size of the store's files.", store.bytes())
        quota = self._duties().policy.quota_bytes
        yield _gauge("guardd_store_quota_bytes", "The most that the store may take.", quota)
        free = shutil.disk_usage(self._state_dir).free
        yield _gauge("guardd_store_free_bytes", "Room left on the disk of the store.", free)
        yield _gauge("guardd_store_blobs", "Contents that are kept.", self._blobs.of(store))

    def _of_repos(self, store: Store) -> Iterator[Metric]:
        state = GaugeMetricFamily("guardd_repo_state", "1 for the state that a repo is in.", labels=["repo", "state"])
        scanned = GaugeMetricFamily("guardd_last_scan_timestamp_seconds", "End of the last scan of everything.", labels=["repo"])
        for repo, now, _ in states(store, [path for path, _ in self._duties().repos], clock.now()):
            if repo is None:
                continue
            for one in RepoState:
                state.add_metric([str(repo.id), one], float(one is now))
            if repo.scan_ns:
                scanned.add_metric([str(repo.id)], repo.scan_ns / 1e9)
        yield state
        yield scanned

    def _of_guards(self) -> Iterator[Metric]:
        dirty = GaugeMetricFamily("guardd_dirty_paths", "Paths (or folders) that wait for capture.", labels=["repo"])
        lag = GaugeMetricFamily("guardd_lag_seconds", "Age of the oldest hint that waits for capture.", labels=["repo"])
        heard = GaugeMetricFamily(
            "guardd_last_event_timestamp_seconds", "When the newest event came through, heartbeats included.", labels=["repo"]
        )
        for guard in self._guards():
            repo = [str(guard.repo.id)]
            dirty.add_metric(repo, len(guard.dirty))
            lag.add_metric(repo, guard.dirty.lag_ns() / 1e9)
            if guard.last_event_ns:
                heard.add_metric(repo, guard.last_event_ns / 1e9)
        yield dirty
        yield lag
        yield heard

    def _of_tallies(self) -> Iterator[Metric]:
        counted = self._tallies.counted()
        up_to = [sum(counted.latencies[: at + 1]) for at in range(len(counted.latencies))]
        bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
        yield HistogramMetricFamily(
            "guardd_capture_latency_seconds", "From the first hint of a change until its version is durable.",
            buckets=list(zip(bounds, up_to, strict=True)), sum_value=counted.latency_sum_s,
        )  # fmt: skip
        yield CounterMetricFamily("guardd_watch_overflows", "Times that the kernel dropped file events.", counted.overflows)
        incidents = CounterMetricFamily(
            "guardd_incidents", "Incidents since the start, once for each severity that they reached.", labels=["severity"]
        )
        for severity, count in counted.incidents.items():
            incidents.add_metric([severity], count)
        yield incidents


class _BlobCount:
    """How many blobs there are, counted anew a while after the last time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted_s: float | None = None
        self._count = 0

    def of(self, store: Store) -> int:
        """The count, a minute old at most."""
        with self._lock:
            if self._counted_s is None or time.monotonic() - self._counted_s >= _RECOUNT_S:
                self._count, self._counted_s = store.size().blobs, time.monotonic()
            return self._count


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value)
