"""What the benchmarks make of what they measured: ratios, goals, the verdict, the README. Nothing is measured here."""

from pathlib import Path

import pytest
from benchmarks.goals import Figure, Row, exit_code, figure, measured, p95, p99, ratio, slope, summary, table
from benchmarks.peers import PEERS
from benchmarks.readme import put
from benchmarks.results import Results
from benchmarks.rows import GROUPS, ROWS


def test_a_ratio_is_the_median_of_the_pairs_so_that_a_drift_meets_both() -> None:
    assert ratio([1, 2, 30], [2, 4, 10]) == 0.5
    assert ratio([1, 10], [1, 5]) == 1.5


def test_a_goal_is_held_against_the_ratio_where_there_is_a_peer_and_else_against_the_value() -> None:
    series = {"guardd": [2.0, 2.0], "git": [4.0, 4.0]}
    beside = figure(Row("g", "w", "guardd", "git", 0.5), "stdlib", series)
    assert beside is not None
    assert (beside.ratio, beside.is_met) == (0.5, True)
    alone = figure(Row("g", "w", "guardd", goal={"stdlib": 1.0}), "stdlib", series)
    assert alone is not None
    assert not alone.is_met
    elsewhere = figure(Row("g", "w", "guardd", goal={"stdlib": 1.0}), "25k", series)
    assert elsewhere is not None
    assert elsewhere.goal is None


def test_a_missing_peer_leaves_its_row_out_and_never_counts_as_met() -> None:
    assert figure(Row("g", "w", "guardd", "restic", 0.5), "stdlib", {"guardd": [1.0]}) is None


def test_the_exit_code_is_1_as_soon_as_one_goal_is_missed_and_the_summary_names_it() -> None:
    met, missed, shown = Figure("t", "a", 1, "s", goal=1), Figure("t", "b", 2, "s", goal=1), Figure("t", "c", 9, "s")
    assert exit_code([met, shown]) == 0
    assert exit_code([met, missed]) == 1
    assert summary([met, missed, shown]) == "1 of 2 goals met; missed: b (t)."
    assert table([missed]).count("**missed**") == 1


def test_a_goal_that_the_least_would_miss_is_out_of_reach() -> None:
    series = {"guardd": [4.0, 4.0], "git": [4.0, 4.0], "least": [3.0, 3.0]}
    beside = figure(Row("g", "w", "guardd", "git", 0.5, least="least"), "stdlib", series)
    alone = figure(Row("g", "w", "guardd", goal=3.5, least="least"), "stdlib", series)
    assert beside is not None
    assert alone is not None
    assert (beside.least, beside.is_out_of_reach) == (0.75, True)
    assert (alone.least, alone.is_out_of_reach) == (3.0, False)
    assert table([beside, alone]).count("out of reach") == 1
    assert summary([beside, alone]).endswith("Of these, 1 would be missed by the least that can be done, too.")


def test_the_rank_of_a_percentile_is_one_of_the_values() -> None:
    values = list(range(1, 201))
    assert (p95(values), p99(values)) == (190, 198)
    assert p95([3.0]) == 3.0


def test_a_slope_is_the_exponent_of_growth() -> None:
    sizes = [1_900, 25_000, 100_000]
    assert slope(sizes, [5 * size for size in sizes]) == pytest.approx(1)
    assert slope(sizes, [7.0] * 3) == pytest.approx(0)
    assert slope(sizes, [size**2 for size in sizes]) == pytest.approx(2)


@pytest.mark.parametrize(("value", "unit", "text"), [(0.0123, "s", "12.3 ms"), (1.5, "s", "1.5 s"), (1234, "MB", "1,234 MB")])
def test_a_value_is_shown_with_three_digits(value: float, unit: str, text: str) -> None:
    assert measured(value, unit) == text


def test_the_readme_changes_between_the_markers_only() -> None:
    page = "before\n<!-- figures:a -->\nold\n<!-- end:a -->\nafter\n"
    assert put(page, "a", "new") == "before\n<!-- figures:a -->\nnew\n<!-- end:a -->\nafter\n"
    with pytest.raises(ValueError, match="no section b"):
        put(page, "b", "new")


def test_a_run_that_was_cut_goes_on_with_what_it_had_measured(tmp_path: Path) -> None:
    one = Figure("stdlib", "w", 1.0, "s", "git", 2.0, 0.5, 0.25)
    Results(tmp_path / "kept").add("restore", "stdlib", [one], 60.0)
    again = Results(tmp_path / "kept")
    assert ("restore", "stdlib") in again
    assert again.seconds == 60.0
    assert again.figures([("baseline", "stdlib"), ("restore", "stdlib")]) == [one]


def test_every_row_has_a_group_that_measures_it_and_every_peer_with_a_goal_is_known() -> None:
    assert {row.group for row in ROWS} == {group.name for group in GROUPS}
    with_goal = {row.peer.split()[0] for row in ROWS if row.peer and row.goal is not None}
    assert with_goal - set(PEERS) == {"guardd", "without"}, "a script of our own, and life without guardd"
