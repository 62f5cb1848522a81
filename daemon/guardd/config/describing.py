"""The config described: its values in force with where each comes from, its JSON schema, what is odd about it."""

import json
import os
import stat
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

from guardd.config.lines import Key, key_lines
from guardd.config.loading import read_text
from guardd.config.places import default_state_dir
from guardd.config.settings import Settings


def effective(settings: Settings, path: str) -> list[tuple[str, Any, str]]:
    """(key, value, source) of every setting in force, in ns and bytes; source: default, environment or FILE:LINE."""
    lines = key_lines(read_text(path, named=False) or "")
    found: list[tuple[str, Any, str]] = []
    for table, value in settings:
        for at, one in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            for keys, setting in _leaves(one):
                full: Key = (table, *keys) if at is None else (table, at, *keys)
                source = f"{path}:{lines[full]}" if full in lines else "default"
                name = ".".join((table if at is None else f"{table}[{at}]", *keys))
                found.append((name, _shown(setting), source))
    return [_with_state_dir(*row) for row in found]


def _shown(setting: Any) -> Any:
    if isinstance(setting, SecretStr):
        return "***"
    return list(setting) if isinstance(setting, tuple) else setting


def _leaves(table: BaseModel) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, setting in table:
        if isinstance(setting, BaseModel):
            yield from (((key, *keys), value) for keys, value in _leaves(setting))
        else:
            yield (key,), setting


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


def _with_state_dir(key: str, value: Any, source: str) -> tuple[str, Any, str]:
    if key != "daemon.state_dir":
        return key, value, source
    if os.environ.get("GUARD_STATE_DIR"):
        return key, os.path.abspath(os.environ["GUARD_STATE_DIR"]), "environment: GUARD_STATE_DIR"
    return key, value or default_state_dir(), source
