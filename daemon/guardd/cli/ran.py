"""What commands tell of runs that are over, under way, or were cut off."""

from guardd.cli.context import Context
from guardd.cli.output import files, iso, warn, when
from guardd.errors import UsageError
from guardd.escaping import printable
from guardd.store.runs import Run


def run_document(run: Run) -> dict[str, object]:
    """The JSON of a run."""
    return {
        "id": run.id,
        "command": run.command,
        "state": run.state,
        "from": iso(run.from_ns),
        "until": iso(run.to_ns) if run.to_ns else None,
        "seconds": round((run.to_ns - run.from_ns) / 1e9, 3) if run.to_ns else None,
        "command_exit": run.command_exit,
        "changed": run.files,
        "reasons": list(run.reasons),
        "concurrent": sorted(run.concurrent),
        "restore_id": run.restore_id,
    }


def run_line(run: Run) -> str:
    """A run in one line."""
    seconds = f" in {(run.to_ns - run.from_ns) / 1e9:.1f} s" if run.to_ns else ""
    return f"{run.id}, {run.state}: {printable(run.command)} changed {files(run.files)}{seconds}, begun {when(run.from_ns)}"


def interrupted_line(run: Run) -> str:
    """That a run lost its guardctl in the middle, and what to type."""
    return (
        f"run {run.id} of {when(run.from_ns)} was interrupted ({printable(run.command)}): take its changes back with "
        f"'guardctl run --rollback {run.id}', or let them stay with 'guardctl run --keep {run.id}'"
    )


def refuse_during_run(context: Context) -> None:
    """Raise UsageError while a run is under way in the repo: it may have to put back what is asked to be changed."""
    running = context.store.runs.alive(context.repo.id)
    if running is not None:
        raise UsageError(f"run {running.id} (pid {running.pid}: {running.command}) is under way here; wait for it to end")


def tell_of_interrupted(context: Context) -> None:
    """Say on stderr that a run of the repo was interrupted, if one was and no one has said what becomes of it."""
    run = context.store.runs.interrupted(context.repo.id)
    if run is not None:
        warn(context, interrupted_line(run))
