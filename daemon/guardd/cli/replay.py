"""guardctl replay: what the rules would have said of the recorded past."""

import json
from typing import TYPE_CHECKING, Any

import click

from guardd.cli import completing
from guardd.cli.capturing import capture
from guardd.cli.context import Context, common_options, pass_context
from guardd.cli.incidents import document
from guardd.cli.moments import moment, place
from guardd.cli.output import emit, say, when
from guardd.errors import ConfigError, Exit, UsageError
from guardd.escaping import printable
from guardd.timespec import format_duration

if TYPE_CHECKING:
    from guardd.config import Settings


@click.command()
@click.option(
    "--since", metavar="T", shell_complete=completing.moments, default="1d", show_default=True, help="From this moment to now."
)
@click.option("--set", "changes", multiple=True, metavar="detection.KEY=V", help="With this setting instead (repeatable).")
@common_options
@pass_context
def command(context: Context, since: str, changes: tuple[str, ...]) -> int:
    """What the rules would have said of the recorded past, with the config's thresholds or with others. Changes nothing."""
    from guardd.detection.replay import replay
    from guardd.detection.settings import limits_of

    begin = moment(context, since)
    settings = _changed(context.settings, changes)
    capture(context)
    start = place(context, begin, since=True)
    repo = context.repo
    about = next((one for one in settings.repo if one.path == repo.path), None)
    limits = limits_of(settings.detection, settings.response)
    found = replay(context.store, repo, settings.detection, limits, about, start.seq)
    if context.json:
        emit(context, [{**document(context, incident), "members": [one.path for one in members]} for incident, members in found])
        return Exit.DONE
    say(context, f"since {when(start.time_ns)}: {len(found) or 'no'} incident{'' if len(found) == 1 else 's'}")
    for incident, _ in found:
        say(context, f"  {when(incident.opened_ns)}  {incident.severity}: {printable(incident.summary)}")
    return Exit.DONE


def _changed(settings: "Settings", changes: tuple[str, ...]) -> "Settings":
    """The settings with `detection.KEY=V` put in, validated as the config is. V is written as in JSON; quotes may be left out."""
    from guardd.config.loading import validated

    raw: dict[str, Any] = {"detection": settings.detection.model_dump(exclude_unset=True)}
    for change in changes:
        key, equals, value = change.partition("=")
        table, *keys = key.strip().split(".")
        if not equals or table != "detection" or not 1 <= len(keys) <= 2:
            raise UsageError(f"--set {change}: must be detection.KEY=VALUE, as detection.approve_above=50")
        target = raw["detection"] if len(keys) == 1 else raw["detection"].setdefault(keys[0], {})
        target[keys[-1]] = _value(value.strip())
    try:
        changed = validated(_durations_as_text(raw), "--set", {})
    except ConfigError as error:
        raise UsageError(error.problems[0].replace("--set:1: ", "--set ")) from error
    return settings.model_copy(update={"detection": changed.detection})


def _durations_as_text(raw: dict[str, Any]) -> dict[str, Any]:
    """Durations are ns once they are loaded, and text in a config."""
    detection = raw["detection"]
    for key in ("window", "slow_window"):
        if isinstance(detection.get(key), int):
            detection[key] = format_duration(detection[key])
    return raw


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
