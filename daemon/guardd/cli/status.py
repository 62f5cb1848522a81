"""guardctl status: the daemon, each repo's state, the store."""

from collections.abc import Iterator

import click

from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.output import emit, iso, relapse_line, say, size, when
from guardd.cli.ran import interrupted_line, run_document
from guardd.errors import Exit
from guardd.escaping import printable
from guardd.service.standing import RepoStanding, Standing, standing
from guardd.store.incidents import Pause
from guardd.store.runs import RunState

_COLORS = {"protected": "green", "starting": "yellow", "degraded": "red", "desynced": "red", "stopped": "red"}
_MOST_INCIDENTS = 5


@click.command()
@common_options
@pass_context
def command(context: Context) -> int:
    """How well each repo is protected right now."""
    now = standing(context.store, context.now)
    if context.json:
        emit(context, _document(now))
    else:
        _print(context, now)
    return Exit.DONE


def _document(now: Standing) -> dict[str, object]:
    return {
        "daemon": {"running": now.pid is not None, "pid": now.pid or None, "version": now.version},
        "repos": [_repo_document(repo) for repo in now.repos],
        "incidents_open": now.incidents_open,
        "alerts": {
            "pending": sum(now.pending.values()),
            "failing": [{"target": one.target, "since": iso(one.since_ns)} for one in now.failing],
        },
        "store": {"path": now.store_path, "bytes": now.size.bytes, "blobs": now.size.blobs},
    }  # fmt: skip


def _repo_document(repo: RepoStanding) -> dict[str, object]:
    return {
        "path": repo.path,
        "state": repo.state,
        "reasons": list(repo.reasons),
        "files": repo.files,
        "versions": repo.versions,
        "dirty": repo.dirty,
        "lag_seconds": repo.lag_ns / 1e9,
        "interrupted_restore": repo.interrupted,
        "last_scan": iso(repo.scan_ns) if repo.scan_ns else None,
        "run": run_document(repo.run) if repo.run else None,
        "pause": _pause_document(repo.pause) if repo.pause else None,
        "relapse": {"incident": repo.relapse.incident_id, "files": repo.relapse.files} if repo.relapse else None,
    }


def _pause_document(pause: Pause) -> dict[str, object]:
    return {"from": iso(pause.from_ns), "until": iso(pause.to_ns), "reason": pause.reason}


def _bulk_work(repo: RepoStanding) -> Iterator[str]:
    """The run that is under way or was interrupted, and the pause."""
    run = repo.run
    if run is not None and run.state is RunState.RUNNING:
        yield f"run {run.id} is under way since {when(run.from_ns)}: {printable(run.command)}; no incident until it has ended"
    elif run is not None:
        yield interrupted_line(run)
    if repo.pause:
        why = f" ({printable(repo.pause.reason)})" if repo.pause.reason else ""
        yield f"paused until {when(repo.pause.to_ns)}{why}: no incident meanwhile; 'guardctl resume' ends it"


def _print(context: Context, now: Standing) -> None:
    if now.pid is None:
        say(context, "guardd is not running: nothing is protected. Start it with 'guardd'.", fg="red", bold=True)
    else:
        say(context, f"guardd {now.version} is running (pid {now.pid})")
    for repo in now.repos:
        _print_repo(context, repo)
    if not now.repos:
        say(context, "No repo is guarded yet: run 'guardctl init' in one.")
    if now.incidents_open:
        what = "incident waits" if now.incidents_open == 1 else "incidents wait"
        say(context)
        say(
            context,
            f"{now.incidents_open} {what} for an answer: 'guardctl incidents', 'guardctl restore --incident last --dry-run'",
            fg="red",
            bold=True,
        )
    waiting = sum(now.pending.values())
    if waiting and not now.failing:
        say(context)
        say(
            context,
            f"{waiting} {'message waits' if waiting == 1 else 'messages wait'} to be told: 'guardctl alerts list'",
            fg="yellow",
        )
    for one in now.failing:
        waiting = now.pending.get(one.target, 0)
        say(context)
        say(
            context,
            f"the alert target {one.target} takes no message since {when(one.since_ns)}, {waiting} wait: 'guardctl alerts list'",
            fg="red",
        )
    say(context)
    say(context, f"store {printable(now.store_path)}: {size(now.size.bytes)}, {now.size.blobs:,} blobs")


def _print_repo(context: Context, repo: RepoStanding) -> None:
    say(context)
    say(context, printable(repo.path), bold=True)
    say(context, f"  {repo.state}", fg=_COLORS[repo.state], bold=True)
    for reason in repo.reasons:
        say(context, f"    {printable(reason)}", fg="red")
    for incident in repo.incidents[-_MOST_INCIDENTS:]:
        say(context, f"    incident {incident.id}, {incident.severity}: {printable(incident.summary)}", fg="red")
    if repo.relapse:
        say(context, f"    {relapse_line(repo.relapse)}", fg="yellow")
    lag = f" for {repo.lag_ns / 1e9:.1f} s" if repo.dirty and repo.lag_ns else ""
    if repo.interrupted:
        say(
            context,
            f"    restore {repo.interrupted} was interrupted: finish it with 'guardctl restore --resume',"
            f" or take it back with 'guardctl undo {repo.interrupted}'",
            fg="yellow",
        )
    for line in _bulk_work(repo):
        say(context, f"    {line}", fg="yellow")
    scanned = f"scanned {when(repo.scan_ns)}" if repo.scan_ns else "not scanned yet"
    say(context, f"  {repo.files:,} files, {repo.versions:,} versions, {repo.dirty} dirty{lag}, {scanned}")
