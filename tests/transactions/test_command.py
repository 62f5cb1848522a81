"""The command of a run: it is over when we say so, whatever it does about the signals that it gets."""

import signal
from pathlib import Path

import pytest

from guardd.transactions.command import Patience, carry_out_command


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_a_command_that_ignores_being_told_to_stop_is_killed(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    beside = tmp_path / "beside"
    script = f"trap '' TERM HUP; (echo yes > {beside}; exec sleep 1000) & kill -{name} $PPID; sleep 1000; wait"
    ended = carry_out_command(["sh", "-c", script], say=said.append, patience=Patience(0.0, 0.0, stopping_s=0.2))
    assert (ended.exit, ended.told_to_stop, ended.left) == (128 + signal.SIGKILL, f"SIG{name}", ())
    assert any(f"of SIG{name}; it is killed" in line for line in said)


def test_a_command_that_obeys_has_the_time_to_clean_up(tmp_path: Path) -> None:
    said: list[str] = []
    cleaned = tmp_path / "cleaned"
    script = f"trap 'sleep 0.1; echo yes > {cleaned}; exit 5' TERM; kill -TERM $PPID; while :; do sleep 0.02; done"
    ended = carry_out_command(["sh", "-c", script], say=said.append)
    assert (ended.exit, ended.told_to_stop, said) == (5, "SIGTERM", [])
    assert cleaned.read_text() == "yes\n"
