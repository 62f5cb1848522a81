"""The report of a run, on stderr, for stdout is the command's; or as the one JSON document."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from guardd.cli.context import Context
from guardd.cli.output import colors, emit, files
from guardd.escaping import one_line, printable
from guardd.transactions.verdict import how_it_ended

if TYPE_CHECKING:
    from guardd.cli.run import Told
    from guardd.store.runs import Run
    from guardd.transactions.rollback import RolledBack
    from guardd.transactions.transaction import Changed

_SHOWN = 10
_OUTPUT_LINES = 20


def report(context: Context, told: "Told") -> None:
    """Say what became of a run."""
    if context.json:
        emit(context, _document(told))
        return
    for line in _lines(context, told):
        click.echo(line, err=True, color=colors(context))


def report_rolled_back(context: Context, run: "Run", back: "RolledBack", seconds: float) -> None:
    """Say what became of a run that was taken back later."""
    if context.json:
        emit(context, {"run_id": run.id, "kept": False, "outcome": run.state, "seconds": round(seconds, 3), **_back(back)})
        return
    for line in _back_lines(back, run, seconds):
        click.echo(line, err=True, color=colors(context))


def _document(told: "Told") -> dict[str, object]:
    return {
        "run_id": told.run.id,
        "command_exit": told.run.command_exit,
        "kept": told.back is None,
        "outcome": told.run.state,
        "changed": len(told.changed.paths),
        "paths": sorted(told.changed.paths),
        "reasons": list(told.verdict.reasons),
        "findings": [
            {"path": one.path, "line": one.line, "rule": one.rule, "message": one.message} for one in told.verdict.problems
        ],
        "verify": [{"command": one.command, "exit": one.exit, "output": one.output} for one in told.verdict.verified],
        "concurrent": sorted(told.changed.concurrent),
        "others_at_work": told.strangers,
        "not_guarded": list(told.changed.others),
        "ended": list(told.ended.ended) if told.ended else [],
        "left_running": list(told.ended.left) if told.ended else [],
        "incident": told.run.incident_id,
        "seconds": round(told.seconds, 3),
        **_back(told.back),
    }


def _back(back: "RolledBack | None") -> dict[str, object]:
    report = back.report if back else None
    troubled = (*report.skipped, *report.failed) if report else ()
    return {
        "restore_id": report.restore_id if report else None,
        "restored": report.restored if report else [],
        "removed": report.removed if report else [],
        "not_restored": [{"path": path, "reason": reason} for path, reason in troubled]
        + [{"path": path, "reason": "it is not what was written"} for path in (back.wrong if back else ())],
        "moved_aside": [{"path": one.path, "to": one.to} for one in (back.aside if back else ())],
    }


def _lines(context: Context, told: "Told") -> Iterator[str]:
    exit_code = told.run.command_exit
    if not context.quiet:
        how = how_it_ended(exit_code) if exit_code is not None else "did not come to its end"
        yield f"run {told.run.id}: the command {how}; {_counted(told.changed)}"
        yield from _beside(told)
    if told.verdict.reasons:
        yield click.style("not fit to be kept:" if told.back else "kept, as you said, although:", fg="red", bold=True)
        yield from (f"  - {one_line(reason)}" for reason in told.verdict.reasons)
        if not told.verdict.looked and told.changed.paths and not context.quiet:
            yield "  what the changed files hold was not looked at, as they do not stay"
        yield from _findings(context, told)
        yield from _verify_output(told)
    if told.back is not None:
        yield from _back_lines(told.back, told.run, told.seconds, lost=told.lost)
    elif not context.quiet:
        count = len(told.changed.paths)
        what = f"kept the changes of {files(count)}" if count else "there was nothing to keep"
        yield click.style(f"{what}, in {told.seconds:.1f} s", fg="green", bold=True)
        if count and not told.lost:
            yield f"take it back with: guardctl run --rollback {told.run.id}"


def _counted(changed: "Changed") -> str:
    kinds = Counter(
        "removed" if not after.present else "modified" if before.present else "created"
        for before, after in changed.paths.values()
    )
    counted = ", ".join(f"{kinds[kind]:,} {kind}" for kind in ("modified", "created", "removed") if kinds[kind])
    return f"{files(len(changed.paths))} changed{f' ({counted})' if counted else ''}"


def _beside(told: "Told") -> Iterator[str]:
    """What went on besides, and what guard cannot answer for."""
    if told.changed.concurrent:
        yield f"  others changed {files(len(told.changed.concurrent))} meanwhile; left as they are:"
        yield from _some(sorted(told.changed.concurrent))
    if told.strangers:
        yield f"  at work here too, and not to be told apart from the command: {'; '.join(map(printable, told.strangers))}"
    if told.changed.others:
        yield f"  {files(len(told.changed.others))} that guard does not keep changed as well, and cannot be rolled back:"
        yield from _some(told.changed.others)
    if told.ended is not None and told.ended.ended:
        yield f"  left running by the command, and ended: {'; '.join(map(printable, told.ended.ended))}"
    if told.ended is not None and told.ended.left:
        yield f"  still running, and free to change more: {'; '.join(map(printable, told.ended.left))}"


def _some(paths: "list[str] | tuple[str, ...]") -> Iterator[str]:
    yield from (f"    {printable(path)}" for path in paths[:_SHOWN])
    if len(paths) > _SHOWN:
        yield f"    and {len(paths) - _SHOWN:,} more (--json lists all)"


def _findings(context: Context, told: "Told") -> Iterator[str]:
    found = told.verdict.problems
    of_each_file = list({one.path: one for one in reversed(found)}.values())[::-1]  # one line a file says more
    shown = found if context.verbose else of_each_file[:_SHOWN]
    for one in shown:
        yield f"    {printable(one.path)}:{one.line}: {one.rule}: {printable(one.message)}"
    if len(shown) < len(found):
        yield f"    and {len(found) - len(shown):,} more (-v shows all)"


def _verify_output(told: "Told") -> Iterator[str]:
    for one in told.verdict.verified:
        if one.exit:
            yield f"  the end of what {printable(one.command)} said:"
            yield from (f"    {printable(line)}" for line in one.output.splitlines()[-_OUTPUT_LINES:])


def _back_lines(back: "RolledBack", run: "Run", seconds: float, *, lost: bool = False) -> Iterator[str]:
    count = len(back.report.restored) + len(back.report.removed)
    if not back.unrestored:
        what = f"rolled back {files(count)}, byte for byte, in {seconds:.1f} s" if count else "there was nothing to roll back"
        yield click.style(what, fg="green", bold=True)
    else:
        yield click.style(f"rolled back {files(count)}; {files(len(back.unrestored))} NOT:", fg="red", bold=True)
        yield from (f"  {printable(path)}: {one_line(reason)}" for path, reason in back.report.skipped + back.report.failed)
        yield from (f"  {printable(path)}: it is not what was written; something changed it again" for path in back.wrong)
        if back.report.failed and not lost:
            yield f"what is left: guardctl run --rollback {run.id}"
    if back.aside:
        yield "in the way, not kept by guard, and so moved aside:"
        yield from _some([f"{one.path} -> {one.to}" for one in back.aside])
    if back.report.restore_id is not None and not lost:
        yield f"bring the changes back with: guardctl undo {back.report.restore_id}"
