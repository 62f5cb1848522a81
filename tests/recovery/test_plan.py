"""Plans: which path goes to which state, and why."""

from guardd.model import ABSENT, FileState, Kind, Origin, Version
from guardd.recovery.plan import Action, Plan, Verdict, Wanted, plan_return, plan_states, with_merged
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
