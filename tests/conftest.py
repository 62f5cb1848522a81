"""Fixtures of the whole suite."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

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
