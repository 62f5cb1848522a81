"""Faults on purpose: `make test-faults` carries out all of them, `make test` a few of each.

A test names the promise that it holds with `@pytest.mark.promise(promise, fault)`, is parametrised with `seed` by `seeds`, and
draws everything that chance decides from `random.Random(seed)`, so that `pytest 'TEST[seed]'` does the same again. Faults that it
injected beyond one go into `record_property("faults", number)`.
"""

import os
from typing import Any

import pytest

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A folder for what only processes are killed at: there a sync costs nothing."""

_FIRST = int(os.environ.get("GUARD_FAULTS_SEED", "1"))


def seeds(everyday: int, full: int) -> list[Any]:
    """Seeds from GUARD_FAULTS_SEED (1) on: so many for the everyday suite, so many in all."""
    return [_FIRST + at if at < everyday else pytest.param(_FIRST + at, marks=pytest.mark.faults) for at in range(full)]
