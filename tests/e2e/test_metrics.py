"""The daemon's metrics endpoint: real numbers, readiness that follows the state, and no way for a client to hurt the daemon."""

import http.client
import json
import random
import re
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from benchmarks.damage import hollow
from prometheus_client.parser import text_string_to_metric_families
from tests.world import Daemon, World, wait_until

from guardd.model import Severity

DOCS = Path(__file__).parents[2] / "docs"
CODE = "def f_{0}(value):\n    total = value + {0}\n    other = total * 2\n    return other\n" * 8


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())


class Scraped:
    """One scrape: the value of a sample, by name and labels."""

    def __init__(self, port: int) -> None:
        status, self.text, _ = get(port, "/metrics")
        assert status == 200, self.text
        families = list(text_string_to_metric_families(self.text))
        self.names = {family.name for family in families} | {one.name for family in families for one in family.samples}
        self._values = {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}

    def __call__(self, name: str, **labels: str) -> float:
        return self._values[name, frozenset(labels.items())]


def configure(world: World, port: int, more: str = "") -> None:
    world.configure(f'[daemon]\nmetrics_listen = "127.0.0.1:{port}"\n[response]\nsettle = "0.3s"\n{more}')


@pytest.fixture
def served(world: World) -> tuple[World, Daemon, int]:
    for number in range(12):
        world.write(f"m{number}.py", CODE.format(number))
    port = free_port()
    configure(world, port)
    daemon = world.start_configured()
    wait_until(lambda: daemon.events("metrics served"))
    return world, daemon, port


def test_the_numbers_follow_real_edits_an_incident_and_its_restore(served: tuple[World, Daemon, int]) -> None:
    world, daemon, port = served
    before = Scraped(port)
    assert (before("guardd_versions_total"), before("guardd_store_blobs")) == (12, 12)
    assert (before("guardd_incidents_open"), before("guardd_restores_total"), before("guardd_watch_overflows_total")) == (0, 0, 0)
    assert before("guardd_capture_latency_seconds_count") == 0, "a baseline answers no hint"
    assert [before("guardd_repo_state", repo="1", state=state) for state in ("protected", "degraded", "stopped")] == [1, 0, 0]
    assert before("guardd_last_scan_timestamp_seconds", repo="1") > 1e9
    world.write("m0.py", CODE.format(99))
    world.wait_captured("m0.py", CODE.format(99).encode())
    wait_until(lambda: Scraped(port)("guardd_capture_latency_seconds_count") == 1)
    edited = Scraped(port)
    assert edited("guardd_versions_total") == 13
    assert 0 < edited("guardd_capture_latency_seconds_sum") < 10
    assert edited("guardd_last_event_timestamp_seconds", repo="1") >= before("guardd_last_event_timestamp_seconds", repo="1")
    assert (edited("guardd_dirty_paths", repo="1"), edited("guardd_lag_seconds", repo="1")) == (0, 0)
    for number in range(1, 9):
        damaged = hollow((world.root / f"m{number}.py").read_bytes(), random.Random(1))
        assert damaged is not None
        world.write(f"m{number}.py", damaged)
    world.wait_settled(daemon)
    (incident,) = world.incidents()
    during = Scraped(port)
    assert during("guardd_incidents_open") == 1
    assert during("guardd_incidents_total", severity=incident["severity"]) == 1
    world.ctl("restore", "--incident", "last", "--yes")
    after = Scraped(port)
    assert (after("guardd_incidents_open"), after("guardd_restores_total")) == (0, 1)
    assert after("guardd_versions_total") == world.status()["versions"] >= 13 + 8 + 8
    assert after("guardd_incidents_total", severity=incident["severity"]) == 1, "a counter never falls"


def test_no_path_is_in_the_metrics_and_the_build_is(served: tuple[World, Daemon, int]) -> None:
    world, _, port = served
    text = Scraped(port).text
    assert str(world.root) not in text
    assert "/" not in "".join(re.findall(r"^guardd_(?!build)[^#]*$", text, re.MULTILINE))
    assert re.search(r'^guardd_build_info\{python="3\.\d+\.\d+",sqlite="3\.\d+\.\d+",version="[^"]+"\} 1\.0$', text, re.MULTILINE)
    assert "process_resident_memory_bytes" in text
    status, openmetrics, headers = get(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.endswith("# EOF\n")


def test_readiness_is_503_with_codes_while_not_protected_and_200_when_it_is(served: tuple[World, Daemon, int]) -> None:
    world, daemon, port = served
    wait_until(lambda: get(port, "/readyz")[0] == 200)
    assert get(port, "/healthz")[:2] == (200, "alive\n")
    away = world.root.rename(world.root.with_name("away"))
    wait_until(lambda: get(port, "/readyz")[0] == 503)
    wait_until(lambda: re.fullmatch(r"repo 1: degraded [a-z -]+\n", get(port, "/readyz")[1]), what="its reason codes")
    assert str(world.root) not in get(port, "/readyz")[1]
    away.rename(world.root)
    wait_until(lambda: get(port, "/readyz")[0] == 200)
    daemon.stop()
    with pytest.raises(OSError, match="refused"):
        get(port, "/readyz")


def test_readiness_is_503_until_the_baseline_is_complete(world: World) -> None:
    for number in range(3000):
        world.write(f"p{number % 40}/m{number}.py", f"x = {number}\n" * 50)
    port = free_port()
    configure(world, port)
    daemon = world.start("--config", str(world.config), ready=False)
    seen: list[tuple[int, str]] = []

    def is_ready() -> bool:
        if daemon.events("metrics served"):
            seen.append(get(port, "/readyz")[:2])
        return bool(seen) and seen[-1][0] == 200

    wait_until(is_ready)
    assert (503, "repo 1: starting\n") in seen
    assert daemon.events("ready")


def test_only_this_machine_is_answered_get_and_head_only_and_nothing_large(served: tuple[World, Daemon, int]) -> None:
    _, daemon, port = served
    assert get(port, "/metrics", Host="evil.example.org")[0] == 403
    assert get(port, "/metrics", Host=f"localhost:{port}")[0] == 200
    assert get(port, "/readyz", Host=f"[::1]:{port}")[0] == 200
    status, body, headers = get(port, "/readyz", "HEAD")
    assert (status, body, int(headers["Content-Length"]) > 0) == (200, "", True)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "X"):
        status, _, headers = get(port, "/metrics", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert get(port, "/")[0] == get(port, "/etc/passwd")[0] == 404
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * 8500 + b"\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.0 431 ")
    assert daemon.process.poll() is None


def test_clients_that_never_ask_are_let_go_and_hold_up_neither_capture_nor_the_next_scrape(
    served: tuple[World, Daemon, int],
) -> None:
    world, _, port = served
    silent = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(30)]
    world.write("m0.py", "while_attacked = 1\n")
    world.wait_captured("m0.py", b"while_attacked = 1\n")
    for client in silent:
        assert client.recv(1) == b"", "closed by the daemon: at once where too many came, in seconds else"
        client.close()
    assert Scraped(port)("guardd_versions_total") == 13


def test_a_port_that_is_taken_is_a_reason_and_passes_once_it_is_free(world: World) -> None:
    world.write("a.py")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        configure(world, port)
        daemon = world.start_configured()
        status = world.status()
        assert status["state"] == "degraded"
        assert status["reasons"][0].startswith(f"metrics-not-served: 127.0.0.1:{port}: ")
        world.write("a.py", "captured = 1\n")
        world.wait_captured("a.py", b"captured = 1\n")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: world.status()["state"] == "protected")
    assert get(port, "/readyz")[0] == 200


def test_sighup_turns_it_off_on_and_moves_it(served: tuple[World, Daemon, int]) -> None:
    world, daemon, port = served

    def is_served(at: int) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", at)) == 0

    world.configure("")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not is_served(port))
    other = free_port()
    configure(world, other)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: is_served(other))
    configure(world, port)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: is_served(port) and not is_served(other))
    assert Scraped(port)("guardd_versions_total") == 12


def test_what_capture_does_not_need_is_not_loaded_before_it_begins() -> None:
    heavy = ["prometheus_client", "pydantic", "rich", "asyncio", "re2", "http.server", "email", "pathspec"]
    ours = ["guardd.detection", "guardd.analysis", "guardd.response", "guardd.recovery", "guardd.alerting.planning"]
    script = (
        f"import sys, guardd.service.daemon; bad = [m for m in {heavy + ours!r} if m in sys.modules]; "
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_store_that_cannot_be_read_is_an_answer_not_a_crash(served: tuple[World, Daemon, int]) -> None:
    world, daemon, port = served
    hidden = world.state.with_name("hidden")
    world.state.rename(hidden)
    try:
        status, body, _ = get(port, "/metrics")
        assert (status, body) == (503, "failed; see the log of guardd\n")
        wait_until(lambda: daemon.events("request failed"))
    finally:
        hidden.rename(world.state)
    assert get(port, "/metrics")[0] == 200


def test_dashboard_and_alert_rules_use_only_metrics_that_there_are(served: tuple[World, Daemon, int]) -> None:
    _, _, port = served
    names = Scraped(port).names
    rules = yaml.safe_load((DOCS / "alert-rules.yml").read_text())
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert all({"alert", "expr", "labels", "annotations"} <= rule.keys() for rule in alerts)
    assert all(rule["annotations"].keys() >= {"summary", "description"} for rule in alerts)
    assert {rule["labels"]["severity"] for rule in alerts} <= set(Severity)
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(queries) >= 10
    used = set(re.findall(r"\b(?:guardd|process)_\w+", " ".join([*queries, *(rule["expr"] for rule in alerts)])))
    assert len(used) >= 12
    assert used - names == set()
