"""Fixtures of the whole suite."""

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.faults.figures import Figures, code, table
from tests.world import World

settings.register_profile("everyday", max_examples=20, deadline=None)  # other ones each day: nothing fixes the seed
settings.register_profile("long", max_examples=300, deadline=None)
settings.load_profile("long" if os.environ.get("GUARD_TESTS_SPAWN") else "everyday")

for _number in (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
):  # a suite in the background ignores them, and so would what it starts
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


FIGURES = Figures()
"""Of the tests with a promise, in this run."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    promise = item.get_closest_marker("promise")
    if promise is not None:  # a report goes from the process that made it to the one that adds up, a marker does not
        report.user_properties.append(("promise", promise.args))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    properties: dict[str, Any] = dict(report.user_properties)
    if "promise" in properties and (report.when == "call" or report.outcome != "passed"):
        test = report.nodeid.partition("[")[0]
        faults, measured = properties.get("faults", 1), properties.get("measured", ())
        FIGURES.add(*properties["promise"], test, faults=faults, outcome=report.outcome, measured=measured)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    kept = os.environ.get("GUARD_FIGURES")
    if FIGURES.all and kept:
        FIGURES.write(Path(kept), code())
        terminalreporter.write_line("\n" + table(FIGURES.all))
