"""The best version: the newest healthy one of all sources, and the reason in words."""

import pytest

from guardd.model import FileState, Kind
from guardd.rescue.best import Candidate, Judged, Source, choose, newest_first


def candidate(name: str, time_ns: int = 0, source: Source = Source.LOG) -> Candidate:
    return Candidate("x.py", time_ns, source, name, state=FileState(Kind.FILE, name.encode().ljust(32)))


SOUND = Judged(candidate("sound"))
MARKED = Judged(candidate("marked"), "has markers")
HOLLOW = Judged(candidate("hollow"), hollow=True)
LOST = Judged(candidate("lost"), unresolved=("there is no module 'a'",))
LOST_TWICE = Judged(candidate("lost twice"), unresolved=("there is no module 'a'", "b has no 'c'"))


@pytest.mark.parametrize(
    ("judged", "is_all", "last_resort", "expected"),
    [
        ([SOUND], False, True, SOUND),
        ([MARKED, SOUND], False, True, SOUND),
        ([LOST, HOLLOW, SOUND, SOUND], False, True, SOUND),
        ([MARKED], False, True, None),  # there are older ones
        ([LOST], False, True, None),
        ([LOST], True, False, None),  # as it is now it is no worse
        ([MARKED], True, True, None),
        ([], True, True, None),
        ([LOST_TWICE, LOST], True, True, LOST),
        ([LOST, LOST_TWICE, LOST], True, True, LOST),
        ([MARKED, LOST], True, True, LOST),
        ([HOLLOW, LOST], True, True, LOST),
        ([MARKED, HOLLOW], True, True, HOLLOW),
    ],
)
def test_the_newest_healthy_one_goes_back(judged: list[Judged], is_all: bool, last_resort: bool, expected: Judged | None) -> None:
    found = choose(judged, is_all=is_all, last_resort=last_resort)
    assert (found.judged if found else None) is expected
    if found is not None:
        assert list(found.passed_over) == judged[: judged.index(found.judged)]


def test_candidates_of_all_sources_are_tried_by_their_time() -> None:
    mine = [candidate("12", 5), candidate("1a2b", 9, Source.GIT), candidate("x.py.bak", 7, Source.ADOPTED), candidate("13", 9)]
    assert [one.name for one in newest_first(mine)] == ["13", "1a2b", "x.py.bak", "12"]


def test_the_reason_names_the_damage_the_source_and_what_was_newer() -> None:
    backup = Judged(candidate("x.py.bak", 1, Source.ADOPTED))
    choice = choose(
        [Judged(candidate("12", 3), "has markers"), Judged(candidate("11", 2), "does not parse"), backup],
        is_all=True,
        last_resort=True,
    )
    assert choice is not None
    assert choice.why(str, "has markers") == (
        "has markers; from adopted backup x.py.bak of 1: parses, no marker, imports resolve; "
        "newer: log version 12 has markers, log version 11 does not parse"
    )
    never = choose([LOST], is_all=True, last_resort=True)
    assert never is not None
    assert "of its imports 1 never resolved (there is no module 'a')" in never.why(str, "is empty")
