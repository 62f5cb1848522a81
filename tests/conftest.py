"""Fixtures of the whole suite."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world import World

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
