"""Stepping aside for git, by a clock of our own."""

import pytest

from guardd.detection.benign.git_at_work import GitAtWork


def waited(held: list[tuple[float, bool]]) -> float:
    """The seconds of waiting while the lock is there, or not, for so long each; asked ten times a second."""
    now_s, is_held, total_s = 0.0, False, 0.0
    git = GitAtWork(lambda: is_held, lambda: now_s)
    for seconds, is_held in held:  # noqa: B007 - the lambda reads it
        for _ in range(round(seconds * 10)):
            total_s += 0.1 * git.asks_to_wait()
            now_s += 0.1
    return total_s


@pytest.mark.parametrize(
    ("held", "least_s", "most_s"),
    [
        ([(60, False)], 0, 0),
        ([(2, True), (1, False)], 1.9, 2.1),
        ([(60, True)], 4.9, 33),
        ([(4.9, True), (0.1, False)] * 20, 4.9, 55),
        ([(0.2, True), (0.8, False)] * 60, 11.9, 12.1),
        ([(3, True), (10, False), (3, True)], 5.9, 6.1),
    ],
)
def test_git_is_waited_for_until_it_is_done_and_by_half_of_the_time_at_most(
    held: list[tuple[float, bool]], least_s: float, most_s: float
) -> None:
    assert least_s <= waited(held) <= most_s


def test_no_wait_is_longer_than_five_seconds() -> None:
    now_s = 0.0
    git = GitAtWork(lambda: True, lambda: now_s)
    assert git.asks_to_wait()
    now_s = 4.9
    assert git.asks_to_wait()
    now_s = 5.1
    assert not git.asks_to_wait()
    now_s = 5000.0
    assert git.asks_to_wait()
