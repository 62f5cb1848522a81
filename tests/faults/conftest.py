"""Fixtures of the fault tests."""

from collections.abc import Iterator

import pytest

from tests.faults.stopper import Stopper


@pytest.fixture(scope="session")
def stopper() -> Iterator[Stopper]:
    """One for all tests: its imports take a second."""
    with Stopper() as one:
        yield one
