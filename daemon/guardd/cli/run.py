"""guardctl run: a bulk command as a transaction."""

import shlex
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import click

from guardd.cli.capturing import capture
from guardd.cli.context import NUMBER, Context, common_options, pass_context
from guardd.cli.output import tell, whoever_reads
from guardd.cli.progress import bar
from guardd.cli.ran import tell_of_interrupted
from guardd.errors import Exit, GuardError, NothingMatched, StoreError, UsageError
from guardd.escaping import printable

if TYPE_CHECKING:
    from guardd.checking.check import Conditions
    from guardd.store.runs import Run
    from guardd.transactions.command import Ended
    from guardd.transactions.critical import CriticalModules
    from guardd.transactions.rollback import RolledBack
    from guardd.transactions.transaction import Changed, Transaction
    from guardd.transactions.verdict import Policy, Verdict


@dataclass(slots=True)
class Told:
    """What there is to tell of a run in the end. `back` None: its changes were kept. `lost`: and no store knows of it."""

    run: "Run"
    ended: "Ended | None"
    changed: "Changed"
    verdict: "Verdict"
    back: "RolledBack | None"
    strangers: list[str]
    seconds: float
    lost: bool = False


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("words", metavar="-- CMD [ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--verify", multiple=True, metavar="CMD", help="Keep the changes only if this command passes, too (repeatable; no shell)."
)
@click.option("--allow-protected", is_flag=True, help="Protected paths may change.")
@click.option("--max-files", type=click.IntRange(min=0), metavar="N", help="Roll back if more files changed.")
@click.option("--ignore-exit", is_flag=True, help="Also keep the changes of a command that fails.")
@click.option("--leave-running", is_flag=True, help="Do not end what the command leaves running in the background.")
@click.option("--rollback", "rollback_id", type=NUMBER, metavar="ID", help="Take back a run that was kept or interrupted.")
@click.option("--keep", "keep_id", type=NUMBER, metavar="ID", help="Let the changes of an interrupted run stay.")
@common_options
@pass_context
def command(
    context: Context, words: tuple[str, ...], verify: tuple[str, ...], allow_protected: bool, max_files: int | None,
    ignore_exit: bool, leave_running: bool, rollback_id: int | None, keep_id: int | None,
) -> int:  # fmt: skip
    """Run a bulk command, and keep what it changed only if that passes; else everything is put back, byte for byte.

    It passes if the command exits 0, nothing is newly broken (markers, syntax, lost code, imports), the repo's verify commands
    and those of --verify pass, and no protected path changed. Only files that guard keeps are put back.
    """
    if bool(words) + (rollback_id is not None) + (keep_id is not None) != 1:
        raise UsageError(
            "say what to run, after two dashes: guardctl run -- CMD ARGUMENT...; or give --rollback ID, or --keep ID"
        )
    if rollback_id is not None:
        return _roll_back_earlier(context, rollback_id)
    if keep_id is not None:
        return _keep_interrupted(context, keep_id)
    from guardd.cli.run_report import report
    from guardd.transactions.transaction import Transaction, sole_runner

    policy, how, critical = _conditions(context, verify, allow_protected, max_files, ignore_exit=ignore_exit)
    if shutil.which(words[0]) is None:
        raise UsageError(f"{words[0]}: command not found (127); nothing was run")
    with sole_runner(context.store, context.repo):
        tell_of_interrupted(context)
        critical.learn()
        capture(context)
        transaction = Transaction(context.store, context.repo, shlex.join(words), policy, how, critical)
        told = _transact(context, transaction, words, leave_running=leave_running)
        told.lost = not _keep_store(context)
    with whoever_reads():
        report(context, told)
    if told.lost:
        return Exit.UNUSABLE
    interrupted = told.ended is None or (told.ended.interrupted and not told.ended.told_to_stop)
    if interrupted:
        return Exit.INTERRUPTED
    return Exit.DONE if told.back is None else Exit.PARTIAL


def _conditions(
    context: Context, verify: Sequence[str], allow_protected: bool, max_files: int | None, *, ignore_exit: bool
) -> "tuple[Policy, Conditions, CriticalModules]":
    """What the run must hold, and what its changes are checked by; a config that is broken is an error before anything ran."""
    from guardd.checking.check import Conditions
    from guardd.transactions.critical import CriticalModules
    from guardd.transactions.verdict import Policy

    for one in verify:
        try:
            if not shlex.split(one):
                raise UsageError("--verify: a command must not be empty")
        except ValueError as error:
            raise UsageError(f"--verify {one!r} cannot be split into words ({error})") from error
    settings, repo = context.settings, context.repo
    about = next((one for one in settings.repo if one.path == repo.path), None)
    policy = Policy(
        (*(about.verify if about else ()), *verify), about.protected if about else (), allow_protected, ignore_exit, max_files,
        settings.response.verify_timeout / 1e9,
    )  # fmt: skip
    return policy, Conditions.of(repo.path, settings.detection, about), CriticalModules(about)


# -- one run, from begin to end -------------------------------------------------------------------------------------


class _ToldToStop(KeyboardInterrupt):
    """A SIGTERM or SIGHUP while no command was there to hand it on to."""


class _NothingRun(UsageError):
    """The command could not be started: there is nothing to decide."""


def _transact(context: Context, transaction: "Transaction", words: Sequence[str], *, leave_running: bool) -> Told:
    begun = time.monotonic()
    with _stoppable(), transaction.begun():
        try:
            told = _carry_through(context, transaction, words, leave_running=leave_running)
        except _NothingRun:
            raise
        except (GuardError, OSError) as error:
            raise _undecided(context, transaction, error) from error
    told.seconds = time.monotonic() - begun
    return told


def _carry_through(context: Context, transaction: "Transaction", words: Sequence[str], *, leave_running: bool) -> Told:
    ended: Ended | None = None
    try:
        ended = _run_command(context, transaction, words, leave_running=leave_running)
        changed = transaction.look(ended)
        cut_off = ended.interrupted or ended.told_to_stop is not None
        verdict = transaction.judge(closely=not cut_off)
        strangers = transaction.strangers
        stays = not verdict.reasons or (
            ended.interrupted and bool(changed.paths) and not _wants_back(context, len(changed.paths))
        )
        if stays:
            return Told(transaction.keep(), ended, changed, verdict, None, strangers, 0.0)
    except KeyboardInterrupt as error:
        with _undisturbed():
            changed = transaction.look(ended)
            told_to_stop = isinstance(error, _ToldToStop)
            verdict = transaction.because(f"guardctl was told to stop ({error})" if told_to_stop else "interrupted (Ctrl-C)")
            ended = ended if told_to_stop else None
            strangers = transaction.strangers
    with _undisturbed(), bar(context, "rolling back") as progress:
        total = len(changed.paths)
        run, back = transaction.roll_back(lambda done: progress(done, total))
    return Told(run, ended, transaction.changed, verdict, back, strangers, 0.0)


def _run_command(context: Context, transaction: "Transaction", words: Sequence[str], *, leave_running: bool) -> "Ended":
    from guardd.transactions.command import NotStarted, carry_out_command

    try:
        return carry_out_command(
            words, stdout_to_stderr=context.json, leave_running=leave_running, say=lambda text: tell(context, text)
        )
    except NotStarted as error:
        transaction.forget()
        raise _NothingRun(f"{words[0]}: {error.strerror} (126); nothing was run") from error


def _wants_back(context: Context, count: int) -> bool:
    if context.json or not context.on_terminal:
        return True
    try:
        return click.confirm(f"The command was interrupted. Roll back {count:,} changed files?", default=True, err=True)
    except (click.Abort, OSError):  # no answer, or the terminal is gone
        return True


def _keep_store(context: Context) -> bool:
    """A command may remove the store as well: it is written anew from what is still open. Whether it is there."""
    if context.store.is_there():
        return True
    what = f"the store in {context.state_dir} was removed while the command ran"
    try:
        context.store.bring_back()
    except StoreError as error:
        tell(context, f"{what}, with all that was kept ({error}); 'git restore' has what was committed; run 'guardctl init'")
        return False
    tell(context, f"{what}; it was written anew, with all that was kept. Restart guardd, if it runs")
    return True


def _undecided(context: Context, transaction: "Transaction", error: Exception) -> GuardError:
    """What failed kept guard from deciding: the run stays open, and can be taken back later, as long as there is a store."""
    message = str(error) if isinstance(error, GuardError) else f"{getattr(error, 'filename', None) or 'system'}: {error}"
    if not _keep_store(context):
        return StoreError(f"{message}; run {transaction.run.id} is neither kept nor rolled back: see 'git diff'")
    way_out = (
        f"run {transaction.run.id} is neither kept nor rolled back: 'guardctl run --rollback {transaction.run.id}' takes it back"
    )
    found = GuardError(f"{message}; {way_out}")
    found.exit_code = error.exit_code if isinstance(error, GuardError) and error.exit_code != Exit.USAGE else Exit.PARTIAL
    return found


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt what goes on, so that it is rolled back; where they are ignored (nohup), they stay so."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise _ToldToStop(signal.Signals(number).name)

    yield from _with_handlers((signal.SIGTERM, signal.SIGHUP), stop)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A roll-back takes a second at most, and half of one helps no one."""
    yield from _with_handlers((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)


def _with_handlers(numbers: Sequence[signal.Signals], handler: "signal._HANDLER") -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in numbers}
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


# -- earlier runs ---------------------------------------------------------------------------------------------------


def _earlier(context: Context, run_id: int) -> "Run":
    run = context.store.runs.get(run_id)
    if run is None or run.repo_id != context.repo.id:
        raise NothingMatched(f"there is no run {run_id} of {context.repo.path}; see 'guardctl log'")
    return run


def _roll_back_earlier(context: Context, run_id: int) -> int:
    from guardd.cli.run_report import report_rolled_back
    from guardd.store.runs import RunState
    from guardd.transactions.rollback import roll_back_run
    from guardd.transactions.transaction import sole_runner
    from guardd.transactions.writers import begun_since

    with sole_runner(context.store, context.repo):
        _earlier(context, run_id)
        capture(context, refilled=True)
        run = _earlier(context, run_id)
        begun = time.monotonic()
        with _undisturbed(), bar(context, "rolling back") as progress:
            back = roll_back_run(context.store, context.repo, run, lambda done: progress(done, run.files))
        if run.state is RunState.INTERRUPTED and (at_work := begun_since(context.repo.path, run.from_ns)):
            names = "; ".join(map(printable, at_work))
            tell(
                context,
                f"begun since run {run_id}, still at work here, and free to change more: {names}; then look with 'guardctl log'",
            )
        with whoever_reads():
            report_rolled_back(context, _earlier(context, run_id), back, time.monotonic() - begun)
    return Exit.PARTIAL if back.unrestored else Exit.DONE


def _keep_interrupted(context: Context, run_id: int) -> int:
    from guardd.cli.output import emit, say
    from guardd.cli.ran import run_document
    from guardd.store.runs import RunState

    context.store.runs.alive(context.repo.id)
    run = _earlier(context, run_id)
    if run.state is not RunState.INTERRUPTED:
        raise UsageError(f"run {run_id} is {run.state}: only an interrupted one waits for this")
    context.store.runs.settle(run_id, RunState.KEPT)
    if context.json:
        emit(context, run_document(_earlier(context, run_id)))
    say(context, f"the changes of run {run_id} stay")
    return Exit.DONE
