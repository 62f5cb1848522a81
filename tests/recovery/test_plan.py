"""Plans: which path goes to which state, and why."""

from dataclasses import replace

import pytest

from guardd.model import ABSENT, FileState, Kind, Origin, Version
from guardd.recovery.plan import Action, Item, Plan, Verdict, Wanted, plan_return, plan_states, plan_version, with_merged
from guardd.store.log import Knowledge, Passage


def state(text: str, *, stored: bool = True) -> FileState:
    return FileState(Kind.FILE, text.encode().ljust(32), len(text), 0o644, stored)


def version(seq: int, what: FileState, path: str = "a.py") -> Version:
    return Version(seq, path, what, 0, seq, Origin.WATCH)


def passage(*states: FileState | None, path: str = "a.py", knowledge: Knowledge = Knowledge.KNOWN) -> Passage:
    """A path with the first state in force at the place (None: nothing was there), the others after it."""
    after = [version(at, what or ABSENT, path) for at, what in enumerate(states[1:], start=11)]
    then = version(1, states[0], path) if states[0] else None
    head = after[-1] if after else then
    assert head
    return Passage(path, then, knowledge, after[0] if after else None, head)


def only(plan: Plan) -> tuple[Action, Verdict, FileState]:
    (item,) = plan.items
    return item.action, item.verdict, item.target


GOOD, BAD, EDITED = state("good"), state("bad"), state("edited")


def test_changed_once_is_written_back_as_unchanged_since() -> None:
    assert only(plan_return([passage(GOOD, BAD)])) == (Action.WRITE, Verdict.UNCHANGED, GOOD)


def test_changed_again_is_edited_since() -> None:
    assert only(plan_return([passage(GOOD, BAD, EDITED)])) == (Action.WRITE, Verdict.EDITED, GOOD)


def test_back_to_what_it_was_is_left() -> None:
    assert only(plan_return([passage(GOOD, BAD, GOOD)]))[0] is Action.LEAVE


def test_deleted_since_is_written_back() -> None:
    assert only(plan_return([passage(GOOD, BAD, None)])) == (Action.WRITE, Verdict.DELETED, GOOD)


def test_renamed_since_names_the_new_path() -> None:
    plan = plan_return([passage(GOOD, None), passage(None, GOOD, path="b.py")])
    assert [(item.path, item.action, item.verdict) for item in plan.items] == [
        ("a.py", Action.WRITE, Verdict.RENAMED), ("b.py", Action.REMOVE, Verdict.UNCHANGED),
    ]  # fmt: skip
    assert "b.py" in plan.items[0].reason


def test_born_since_is_removed_unless_new_files_are_kept() -> None:
    assert only(plan_return([passage(None, BAD)]))[0] is Action.REMOVE
    assert only(plan_return([passage(None, BAD)], keep_new=True))[0] is Action.LEAVE


def test_what_retention_forgot_is_skipped_and_never_removed() -> None:
    assert only(plan_return([passage(None, BAD, knowledge=Knowledge.FORGOTTEN)]))[0] is Action.SKIP


def test_contents_that_were_not_kept_are_neither_restored_nor_overwritten() -> None:
    assert only(plan_return([passage(state("huge", stored=False), BAD)]))[0] is Action.SKIP
    assert only(plan_return([passage(GOOD, state("huge", stored=False))]))[0] is Action.SKIP
    assert only(plan_return([passage(None, state("huge", stored=False))]))[0] is Action.SKIP


def test_only_the_mode_differs_is_written() -> None:
    assert only(plan_return([passage(GOOD, FileState(Kind.FILE, GOOD.blob, GOOD.size, 0o755))]))[0] is Action.WRITE


def test_merging_concerns_what_was_edited_since_only() -> None:
    merged = state("merged")
    plan = plan_return([passage(GOOD, BAD), passage(GOOD, BAD, EDITED, path="b.py"), passage(GOOD, BAD, EDITED, path="c.py")])
    result = with_merged(plan, lambda item: merged if item.path == "b.py" else "conflict")
    assert [(item.action, item.target) for item in result.items] == [
        (Action.WRITE, GOOD), (Action.WRITE, merged), (Action.SKIP, GOOD),
    ]  # fmt: skip


def test_given_states_are_held_against_the_heads() -> None:
    heads = {"same.py": GOOD, "other.py": EDITED, "gone.py": ABSENT}
    wanted = [Wanted("same.py", GOOD), Wanted("other.py", GOOD, BAD), Wanted("gone.py", GOOD, BAD), Wanted("lost.py", None)]
    plan = plan_states(wanted, lambda path: (1, heads.get(path, ABSENT)))
    assert [(item.action, item.verdict) for item in plan.items] == [
        (Action.LEAVE, Verdict.UNCHANGED), (Action.WRITE, Verdict.EDITED), (Action.WRITE, Verdict.DELETED),
        (Action.SKIP, Verdict.UNCHANGED),
    ]  # fmt: skip


HUGE = state("huge", stored=False)
FORGOTTEN = "retention has removed what it was then; choose a later time"


@pytest.mark.parametrize(
    ("what", "keep_new", "action", "reason"),
    [
        (passage(GOOD, BAD), False, Action.WRITE, ""),
        (passage(None, BAD, knowledge=Knowledge.FORGOTTEN), False, Action.SKIP, FORGOTTEN),
        (passage(None, BAD), True, Action.LEAVE, "born since, kept (--keep-new)"),
        (passage(None, BAD, None), True, Action.LEAVE, ""),
        (passage(GOOD, BAD, knowledge=Knowledge.FIRST_SEEN), False, Action.WRITE, "guard first saw it after that time"),
        (
            passage(HUGE, BAD),
            False,
            Action.SKIP,
            "of its content then only the hash is kept: it was over max_file_size, or lost by damage",
        ),
        (passage(GOOD, HUGE), False, Action.SKIP, "its content now is over max_file_size and not stored; move it away first"),
        (passage(None, HUGE), False, Action.SKIP, "its content is over max_file_size and not stored; remove it by hand"),
    ],
)
def test_each_path_is_told_why(what: Passage, keep_new: bool, action: Action, reason: str) -> None:
    (item,) = plan_return([what], keep_new=keep_new).items
    assert (item.action, item.reason) == (action, reason)
    if action is Action.LEAVE:
        assert item.target == item.current


def test_an_item_tells_its_head_its_base_and_from_when_it_is() -> None:
    (item,) = plan_return([passage(GOOD, BAD, EDITED)]).items
    assert (item.path, item.current, item.head_seq, item.base, item.source_ns) == ("a.py", EDITED, 12, BAD, 1)
    (item,) = plan_return([passage(GOOD)]).items
    assert item == Item("a.py", Action.LEAVE, Verdict.UNCHANGED, GOOD, GOOD, 1, GOOD, 1)
    (item,) = plan_return([passage(None, BAD)]).items
    assert (item.source_ns, item.target) == (None, ABSENT)


@pytest.mark.parametrize(
    ("others", "renamed_to"),
    [
        ([passage(None, GOOD, path="b.py")], "b.py"),
        ([passage(None, BAD, path="b.py")], "b.py"),
        ([passage(ABSENT, GOOD, path="b.py")], "b.py"),
        ([passage(EDITED, GOOD, path="b.py")], None),
        ([passage(GOOD, path="b.py")], None),
        ([passage(None, GOOD, path="b.py", knowledge=Knowledge.FIRST_SEEN)], None),
        ([passage(None, replace(GOOD, kind=Kind.LINK), path="b.py")], None),
        ([], None),
    ],
)
def test_only_what_was_born_since_with_its_content_is_where_a_file_went(others: list[Passage], renamed_to: str | None) -> None:
    item = plan_return([passage(GOOD, BAD, None), *others]).items[0]
    assert item.verdict is (Verdict.RENAMED if renamed_to else Verdict.DELETED)
    assert item.reason == (f"renamed since to {renamed_to}" if renamed_to else "")


def test_edited_and_back_to_the_damage_is_unchanged_since() -> None:
    assert only(plan_return([passage(GOOD, BAD, EDITED, BAD)])) == (Action.WRITE, Verdict.UNCHANGED, GOOD)


def test_work_is_what_changes_the_disk() -> None:
    plan = plan_return(
        [passage(GOOD, BAD), passage(None, BAD, path="b.py"), passage(GOOD, path="c.py"), passage(HUGE, BAD, path="d.py")]
    )
    assert [[item.path for item in plan.of(action)] for action in Action] == [["a.py"], ["b.py"], ["c.py"], ["d.py"]]
    assert [item.path for item in plan.work] == ["a.py", "b.py"]


def test_one_path_goes_back_to_one_of_its_versions() -> None:
    plan = plan_version(version(3, GOOD), version(9, BAD))
    assert plan.items == (Item("a.py", Action.WRITE, Verdict.UNCHANGED, BAD, GOOD, 9, BAD, 3),)
    assert only(plan_version(version(3, ABSENT), version(9, BAD)))[0] is Action.REMOVE
    assert only(plan_version(version(3, GOOD), version(9, ABSENT))) == (Action.WRITE, Verdict.DELETED, GOOD)


def test_what_merging_makes_of_an_item_is_told() -> None:
    plan = plan_return([passage(GOOD, BAD, EDITED)])
    assert [(item.action, item.reason) for item in with_merged(plan, lambda item: "lines 3 and 4").items] == [
        (Action.SKIP, "lines 3 and 4")
    ]
    (item,) = with_merged(plan, lambda item: state("merged")).items
    assert (item.action, item.reason) == (Action.WRITE, "merged with the edits made since")
    assert only(with_merged(plan, lambda item: EDITED))[0] is Action.LEAVE
    assert with_merged(plan, lambda item: None) == plan


def test_given_states_are_told_with_their_heads_and_bases() -> None:
    wanted = [Wanted("a.py", GOOD, BAD), Wanted("b.py", None), Wanted("c.py", GOOD)]
    assert plan_states(wanted, lambda path: (7, EDITED)).items == (
        Item("a.py", Action.WRITE, Verdict.EDITED, EDITED, GOOD, 7, BAD),
        Item("b.py", Action.SKIP, Verdict.UNCHANGED, EDITED, EDITED, 7, EDITED, reason=FORGOTTEN),
        Item("c.py", Action.WRITE, Verdict.UNCHANGED, EDITED, GOOD, 7, EDITED),
    )
