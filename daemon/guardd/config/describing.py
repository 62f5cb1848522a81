"""The config described: its values in force with where each comes from, its JSON schema, what is odd about it."""

import json
import os
import stat
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from guardd.config.alerts import AS_DURATION
from guardd.config.lines import Key, key_lines
from guardd.config.loading import read_text
from guardd.config.places import default_state_dir
from guardd.config.settings import AS_SIZE, Settings, format_size
from guardd.timespec import format_duration


class Effective(NamedTuple):
    """A setting in force, in ns or bytes; `text`: as it is written in a config; `source`: default, environment or FILE:LINE."""

    key: str
    value: Any
    text: str
    source: str


def effective(settings: Settings, path: str) -> list[Effective]:
    """Every setting in force, in the order of the schema."""
    lines = key_lines(read_text(path, named=False) or "")
    found: list[Effective] = []
    for table, value in settings:
        for at, one in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            for keys, setting, field in _leaves(one):
                full: Key = (table, *keys) if at is None else (table, at, *keys)
                source = f"{path}:{lines[full]}" if full in lines else "default"
                name = ".".join((table if at is None else f"{table}[{at}]", *keys))
                shown = _shown(setting)
                if name == "daemon.state_dir":
                    shown, source = _state_dir(setting, source)
                found.append(Effective(name, shown, _as_written(shown, field), source))
    return found


def _shown(setting: Any) -> Any:
    if isinstance(setting, SecretStr):
        return "***"
    return list(setting) if isinstance(setting, tuple) else setting


def _as_written(value: Any, field: FieldInfo) -> str:
    if value is None:
        return "(not set)"
    if AS_DURATION in field.metadata:
        value = format_duration(value)
    if AS_SIZE in field.metadata:
        value = format_size(value)
    return json.dumps(value, ensure_ascii=False)


def _leaves(table: BaseModel) -> Iterator[tuple[tuple[str, ...], Any, FieldInfo]]:
    for key, setting in table:
        if isinstance(setting, BaseModel):
            yield from (((key, *keys), value, field) for keys, value, field in _leaves(setting))
        else:
            yield (key,), setting, type(table).model_fields[key]


def schema() -> dict[str, Any]:
    """The JSON schema of the config."""
    document: dict[str, Any] = json.loads(json.dumps(Settings.model_json_schema(mode="validation")))
    return document


def oddities(settings: Settings, path: str) -> list[str]:
    """What is allowed but hardly meant."""
    odd = [f"{path}: the repo {repo.path} is not a directory now" for repo in settings.repo if not os.path.isdir(repo.path)]
    if not settings.repo:
        odd.append(f"{path}: no [[repo]] yet; run 'guardctl init' in one")
    return [*odd, *exposures(settings, path)]


def exposures(settings: Settings, path: str) -> list[str]:
    """What others may do with the config file that they should not."""
    found = []
    keeps_secret = any(one.url is not None or one.secret is not None for one in settings.alert)
    try:
        if keeps_secret and os.stat(path).st_mode & (stat.S_IRGRP | stat.S_IROTH):
            found.append(
                f"{path}: it holds the URL of an [[alert]], and others may read it; run 'chmod 600 {path}', or use url_file"
            )
        if os.stat(path).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            found.append(f"{path}: others may write to it; run 'chmod go-w {path}'")
    except FileNotFoundError:
        pass
    return found


def _state_dir(value: Any, source: str) -> tuple[str, str]:
    if os.environ.get("GUARD_STATE_DIR"):
        return os.path.abspath(os.environ["GUARD_STATE_DIR"]), "environment: GUARD_STATE_DIR"
    return value or default_state_dir(), source
