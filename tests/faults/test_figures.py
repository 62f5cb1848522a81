"""What a run came to is added up, and kept over several runs."""

import ast
import re
from pathlib import Path

from tests.faults.figures import Figures, read, summary, table


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
    again.write(kept, "abc1234 of today")
    assert table(read(kept)).endswith("\n\n- RSS: flat")
    assert "| no loss | kill -9 | 2 | 4 | 0 | `test_a` |" in table(read(kept))
    assert (
        summary(read(kept)) == "3 runs, 5 faults, 0 losses: 2 tests at abc1234 of today; 1 test at a commit that was not noted."
    )


def promised() -> set[str]:
    """The tests that are marked as holding a promise."""
    tests = Path(__file__).parents[1]
    return {
        f"{path.relative_to(tests.parent).as_posix()}::{node.name}"
        for path in tests.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(one).startswith("pytest.mark.promise(") for one in node.decorator_list)
    }


def test_the_page_has_every_test_of_a_promise_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    told = page.partition("<!-- figures:faults -->")[2].partition("<!-- end:faults -->")[0]
    assert set(re.findall(r"`(tests/\S+)` \|$", told, re.MULTILINE)) == promised()
