"""What a run came to is added up, and kept over several runs."""

from pathlib import Path

from tests.faults.figures import Figures, read, table


def test_runs_are_added_up_by_test_and_a_new_run_replaces_an_old_one(tmp_path: Path) -> None:
    kept = tmp_path / "figures.json"
    first = Figures()
    first.add("no loss", "kill -9", "test_a", faults=1, outcome="failed")
    first.add("no loss", "bit flips", "test_b", faults=1, outcome="skipped")
    first.write(kept)
    again = Figures()
    again.add("no loss", "kill -9", "test_a", faults=1, outcome="passed")
    again.add("no loss", "kill -9", "test_a", faults=3, outcome="passed")
    again.write(kept)
    assert [(one.test, one.runs, one.faults, one.losses, one.skipped) for one in read(kept)] == [
        ("test_a", 2, 4, 0, 0),
        ("test_b", 0, 0, 0, 1),
    ]
    again.add("no loss", "soak", "test_c", faults=1, outcome="passed", measured=["RSS: flat"])
    again.write(kept)
    assert table(read(kept)).endswith("\n\n- RSS: flat")
    assert "| no loss | kill -9 | 2 | 4 | 0 | `test_a` |" in table(read(kept))
