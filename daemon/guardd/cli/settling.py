"""From a plan to its report on a command line: show, ask, carry out, verify, tell. Shared by restore and undo."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from guardd.cli.asking import confirm
from guardd.cli.context import Context
from guardd.cli.output import emit, files, iso, say, say_all, when
from guardd.cli.progress import bar
from guardd.cli.ran import refuse_during_run
from guardd.errors import ConfigError, Exit, UsageError
from guardd.escaping import one_line, printable
from guardd.recovery.plan import Action, Item, Plan
from guardd.recovery.report import Report
from guardd.store.blobs import Blobs
from guardd.store.codec import Encoded, decode

if TYPE_CHECKING:
    from guardd.recovery.patches import Contents
    from guardd.recovery.verify import ImportCounts, Verified

_SHOWN = 20
_SIGNS = {Action.WRITE: ("~", "yellow"), Action.REMOVE: ("-", "red"), Action.SKIP: ("!", "magenta")}


class Choices(NamedTuple):
    """How a plan is to be carried out."""

    dry_run: bool
    show_diff: bool
    yes: bool
    check: bool
    anyway: bool


def settling_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `Choices`, given to the command as `choices`."""

    @functools.wraps(function)
    def wrapped(*, dry_run: bool, show_diff: bool, yes: bool, no_verify: bool, anyway: bool, **rest: Any) -> Any:
        return function(choices=Choices(dry_run, show_diff, yes, not no_verify, anyway), **rest)

    options = (
        click.option("--dry-run", "-n", is_flag=True, help="Show the plan, write nothing."),
        click.option("--diff", "show_diff", is_flag=True, help="Show what would change in each file."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask."),
        click.option("--no-verify", is_flag=True, help="Do not read back, do not run the repo's verify commands."),
        click.option("--anyway", is_flag=True, help="Also in the middle of a git rebase or merge."),
    )
    for option in reversed(options):
        wrapped = option(wrapped)
    return wrapped


def check_choices(context: Context, choices: Choices) -> None:
    """Refuse before any work what would be refused after it."""
    if choices.dry_run:
        return
    from guardd.recovery.sources import git_operation

    if not choices.yes and (context.json or context.quiet or not context.on_terminal):
        where = "there is no terminal to ask on" if not context.on_terminal else "--json and --quiet show no plan to ask about"
        raise UsageError(f"{where}: add --yes to carry it out, or --dry-run to see the plan")
    if choices.check:
        _check_config(context)
    refuse_during_run(context)
    operation = git_operation(context.repo.path)
    if operation and not choices.anyway:
        raise UsageError(f"a git {operation} is under way here; end it first, or add --anyway")


def _check_config(context: Context) -> None:
    """The config names the commands that verify a restore: it must be readable before the first file is written."""
    try:
        _ = context.settings
    except ConfigError as error:
        way_out = "mend the config, or add --no-verify to restore without the repo's own verify commands"
        raise ConfigError([*error.problems, way_out]) from error


def settle(
    context: Context,
    plan: Plan,
    words: str,
    title: str,
    choices: Choices,
    *,
    blobs: Sequence[Encoded] = (),
    undoes: int | None = None,
    on_success: Callable[[int | None], None] | None = None,
    then_ns: int | None = None,
) -> int:
    """Show the plan, ask, carry it out, verify, report; the exit code. `on_success` gets the restore's id.

    `then_ns` is the moment that is gone back to, where it is one.
    """
    _show(context, plan, title, choices, _Foreseen(context.store.blobs, {blob.hash: blob for blob in blobs}))
    if choices.dry_run:
        _report(context, _foreseen(plan), None, then_ns, dry_run=True, plan=plan)
        return Exit.DONE if plan.items else Exit.NOTHING
    if plan.items and not plan.work:
        say(context, "nothing to do")
    if plan.work:
        confirm(
            context,
            f"Write {files(len(plan.of(Action.WRITE)))} and remove {files(len(plan.of(Action.REMOVE)))}?",
            yes=choices.yes,
        )
    from guardd.cli.verifying import verify  # now: what is about to be written may be guardd's own sources
    from guardd.recovery.restore import carry_out

    with bar(context, "restoring") as progress:
        total = len(plan.work)
        report = carry_out(
            context.store,
            context.repo,
            plan,
            words,
            undoes=undoes,
            blobs=blobs,
            on_progress=lambda done: progress(done, total),
        )
    verified = verify(context, plan, report) if choices.check and report.restore_id is not None else None
    _report(context, report, verified, then_ns, dry_run=False)
    if not plan.items:
        return Exit.NOTHING
    if on_success is not None and not report.failed and not report.skipped:
        on_success(report.restore_id)
    troubled = report.failed or report.skipped or (verified and not verified.passed)
    return Exit.PARTIAL if troubled else Exit.DONE


def _foreseen(plan: Plan) -> Report:
    return Report(
        restored=[item.path for item in plan.of(Action.WRITE)],
        removed=[item.path for item in plan.of(Action.REMOVE)],
        unchanged=len(plan.of(Action.LEAVE)),
        skipped=[(item.path, item.reason) for item in plan.of(Action.SKIP)],
    )


class _Foreseen(NamedTuple):
    """The contents in the store, and those that the restore would put there first (merged ones, git's)."""

    stored: Blobs
    whole: Mapping[bytes, Encoded]

    def read(self, hash_: bytes, /) -> bytes:
        """The content with this hash."""
        one = self.whole.get(hash_)
        return self.stored.read(hash_) if one is None or one.data is None else decode(one.codec, one.data, one.size)


def _show(context: Context, plan: Plan, title: str, choices: Choices, contents: "Contents") -> None:
    if not plan.items:
        say(context, f"{title}: nothing has changed since, there is nothing to do")
        return
    say(context, f"{title}:", bold=True)
    counts = Counter(item.action for item in plan.items)
    verdicts = Counter(item.verdict for item in plan.work if not item.source)  # no moment is gone back to: there is no since
    say(
        context,
        f"  {files(counts[Action.WRITE])} to write, {counts[Action.REMOVE]} to remove, {counts[Action.SKIP]} to skip, "
        f"{counts[Action.LEAVE]} as they were",
    )
    if verdicts:
        say(context, f"  {', '.join(f'{count} {verdict}' for verdict, count in verdicts.items())}")
    listed = [item for item in plan.items if item.action is not Action.LEAVE]
    shown = listed if choices.dry_run or choices.show_diff or context.verbose else list(islice(listed, _SHOWN))
    say_all(context, _lines(shown, contents if choices.show_diff else None))
    if len(shown) < len(listed):
        say(context, f"    and {len(listed) - len(shown)} more (-v shows all)")


def _lines(items: Iterable[Item], contents: "Contents | None") -> Iterator[str]:
    """What would become of each file, and with `contents` what would change in it."""
    for item in items:
        yield _line(item)
        if contents is not None:
            from guardd.recovery.patches import patch

            yield from (f"      {line}" for line in patch(contents, item.path, item.current, item.target).shown)


def _line(item: Item) -> str:
    sign, color = _SIGNS[item.action]
    about = [] if item.source else [item.verdict.value]
    if item.action is Action.WRITE and item.source_ns is not None:
        about.append(f"version of {when(item.source_ns)}")
    if item.reason:
        about.append(item.reason)
    return f"    {click.style(f'{sign} {printable(item.path)}', fg=color)}  ({'; '.join(map(printable, about))})"


def _report(
    context: Context, report: Report, verified: "Verified | None", then_ns: int | None, *, dry_run: bool, plan: Plan | None = None
) -> None:
    if context.json:
        document = {**_document(report, verified, dry_run=dry_run), "at": iso(then_ns) if then_ns is not None else None}
        emit(context, {**document, **_sources(plan)})
        return
    for path, reason in report.failed:
        click.echo(f"guardctl: {printable(path)}: {one_line(reason)}", err=True)
    if dry_run:
        return
    for path, reason in report.skipped:
        click.echo(f"guardctl: {printable(path)} skipped: {one_line(reason)}", err=True)
    if report.restore_id is None:
        return
    failed = f", {len(report.failed)} FAILED" if report.failed else ""
    skipped = f", {len(report.skipped)} skipped" if report.skipped else ""
    say(
        context,
        f"restored {files(len(report.restored))}, removed {len(report.removed)}{skipped}{failed} in {report.seconds:.2f} s",
        fg="red" if report.failed else "green",
        bold=True,
    )
    if verified is not None and report.written:
        _say_verified(context, verified)
    say(context, f"take it back with: guardctl undo {report.restore_id}")


def _say_verified(context: Context, verified: "Verified") -> None:
    if verified.hash_ok:
        syntax = (
            "syntax not checked in time" if verified.syntax_errors is None else f"{verified.syntax_errors} with syntax errors"
        )
        say(context, f"verified: every file is byte for byte as planned; {verified.markers_left} with markers, {syntax}")
    _say_imports(context, verified.imports)
    for path in verified.wrong:
        click.echo(f"guardctl: {printable(path)}: changed again right after the restore", err=True)
    for one in verified.commands:
        passed = f"exit {one.exit}" if one.exit else "passed"
        say(context, one_line(f"verify: {one.command}: {passed}"), fg="red" if one.exit else "green")
        for line in one.output.splitlines()[-_SHOWN:] if one.exit else ():
            say(context, f"    {printable(line)}")


def _say_imports(context: Context, imports: "ImportCounts | None") -> None:
    if imports is None:
        say(context, "imports: not checked in time; 'guardctl check' takes its time")
        return
    where = "in the whole tree" if imports.whole_tree else "in these files (the rest was not checked in time)"
    before = "unknown" if imports.before is None else imports.before
    say(context, f"imports that lead nowhere {where}: {before} before, {imports.after} now")
    for path, what in imports.new[:_SHOWN]:
        say(context, f"    {printable(path)}: {printable(what)}", fg="red")
    if len(imports.new) > _SHOWN:
        say(context, f"    and {len(imports.new) - _SHOWN} more that led somewhere before")


def _sources(plan: Plan | None) -> dict[str, object]:
    """Where the content of each file is from, if not all are from the same place."""
    items = [item for item in plan.items if item.action is not Action.LEAVE] if plan is not None else []
    if not any(item.source for item in items):
        return {}
    return {
        "plan": [{"path": i.path, "action": i.action, "source": i.source or None, "why": i.reason} for i in items],
    }


def _document(report: Report, verified: "Verified | None", *, dry_run: bool) -> dict[str, object]:
    return {
        "restore_id": report.restore_id,
        "dry_run": dry_run,
        "restored": report.restored,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "skipped": [{"path": path, "reason": reason} for path, reason in report.skipped],
        "failed": [{"path": path, "reason": reason} for path, reason in report.failed],
        "verify": {  # nulls: not verified
            "hash_ok": verified.hash_ok if verified else None,
            "markers_left": verified.markers_left if verified else None,
            "syntax_errors": verified.syntax_errors if verified else None,
            **_import_keys(verified.imports if verified else None),
            "commands": [one._asdict() for one in verified.commands] if verified else [],
        },
        "seconds": round(report.seconds, 3),
    }


def _import_keys(imports: "ImportCounts | None") -> dict[str, object]:
    return {
        "imports_before": imports.before if imports else None,
        "imports_after": imports.after if imports else None,
        "imports_new": [{"path": path, "message": what} for path, what in imports.new] if imports else [],
        "imports_in": None if imports is None else "tree" if imports.whole_tree else "restored",
    }
