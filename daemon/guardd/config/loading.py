"""From file to settings: all that is wrong at once, each with file, line, key, value and what is allowed."""

import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import tomli
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from guardd.config.alerts import SECRETS, AlertSettings
from guardd.config.lines import Key, key_lines, line_of
from guardd.config.settings import (
    DaemonSettings,
    DetectionSettings,
    RepoSettings,
    ResponseSettings,
    RetentionSettings,
    Settings,
    ThresholdSettings,
)
from guardd.errors import ConfigError

_LARGEST = 1024 * 1024
_TABLES: dict[str, type[BaseModel]] = {
    "daemon": DaemonSettings, "repo": RepoSettings, "detection": DetectionSettings, "response": ResponseSettings,
    "retention": RetentionSettings, "alert": AlertSettings,
}  # fmt: skip
_LEAST = {"scan_interval": "10s", "quota": "1MiB", "max_file_size": "1B", "window": "1s", "slow_window": "1s", "settle": "0.1s",
          "verify_timeout": "1s", "update_every": "1s", "repeat_after": "1s", "dead_after": "1s", "timeout": "0.1s",
          "import_timeout": "0.1s", "import_memory": "64MiB"}  # fmt: skip


def load(path: str, *, named: bool) -> Settings:
    """The settings of the file at `path`. Raises ConfigError with a line for each thing that is wrong."""
    text = read_text(path, named=named)
    if text is None:
        return Settings()
    lines = key_lines(text)
    try:
        raw = tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([f"{path}: not valid TOML: {error or 'nested too deep'}"]) from error
    settings = validated(raw, path, lines)
    overlaps = _overlaps(path, lines, settings)
    if overlaps:
        raise ConfigError(overlaps)
    return settings


def validated(raw: Mapping[str, Any], path: str, lines: dict[Key, int]) -> Settings:
    """The settings that a parsed config holds. Raises ConfigError with a line for each thing that is wrong."""
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([_describe(path, lines, raw, detail) for detail in error.errors()]) from error


def read_text(path: str, *, named: bool = True) -> str | None:
    """The text of a config file; None where there is none and no one named it. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError as error:
        if not named:
            return None
        raise ConfigError([f"{path}: there is no such file; run 'guardctl init' to make one"]) from error
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}; name a readable file with --config"]) from error
    if len(content) > _LARGEST:
        raise ConfigError([f"{path}: larger than 1 MiB, this is no config; name another with --config"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError([f"{path}:{line}: not UTF-8; save it as UTF-8"]) from error


def _describe(path: str, lines: dict[Key, int], raw: Mapping[str, Any], detail: ErrorDetails) -> str:
    key = tuple(detail["loc"])
    where = f"{path}:{line_of(lines, key)}: {_dotted(key)}"
    if detail["type"] == "extra_forbidden":
        return f"{where}: unknown key; {_allowed_keys(key)}"
    if detail["type"] == "missing":
        return f"{where}: missing; every [[repo]] needs it"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if detail["type"] in ("model_type", "model_attributes_type", "dict_type"):
        message = f"a table: [{_dotted(key)}] and its keys below"
    elif detail["type"] in ("tuple_type", "list_type"):
        message = f"a list of tables: write [[{_dotted(key)}]]" if key in (("repo",), ("alert",)) else 'a list, as ["one", "two"]'
    allowed = message if message.startswith(("must", "keep_all")) or " is no " in message else f"must be {message}"
    if "greater than" in message and key[-1] in _LEAST:
        allowed = f"must be at least {_LEAST[str(key[-1])]}"
    if key and key[0] == "alert" and (len(key) < 3 or key[-1] in SECRETS):  # its value is, or holds, a secret
        return f"{where}: {allowed}"
    value = _shorten(_raw_value(raw, key))
    return f"{where} = {value}: {allowed}" if key else f"{path}: {allowed}"


def _raw_value(raw: Any, key: Key) -> Any:
    for part in key:
        try:
            raw = raw[part]
        except (KeyError, IndexError, TypeError):
            return raw
    return raw


def _shorten(value: Any) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


def _allowed_keys(key: Key) -> str:
    if len(key) == 1:
        known = list(_TABLES)
        what = "tables are"
    else:
        table = ThresholdSettings if "thresholds" in key[:-1] else _TABLES[str(key[0])]
        known = list(table.model_fields)
        what = f"[{'.'.join(str(part) for part in key[:-1] if isinstance(part, str))}] has"
    near = get_close_matches(str(key[-1]), known, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"{what} {', '.join(known)}"


def _dotted(key: Key) -> str:
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _overlaps(path: str, lines: dict[Key, int], settings: Settings) -> list[str]:
    """Two repos of which one contains the other would keep each file twice, and restore it twice."""
    problems = []
    roots = [repo.path for repo in settings.repo]
    for at, inner in enumerate(roots):
        for other, outer in enumerate(roots):
            if other == at or (inner == outer and other > at):
                continue
            if inner == outer or inner.startswith(os.path.join(outer, "")):
                line, other_line = line_of(lines, ("repo", at, "path")), line_of(lines, ("repo", other, "path"))
                problems.append(
                    f"{path}:{line}: repo[{at}].path = {inner!r}: overlaps with repo[{other}] {outer!r} (line {other_line}); "
                    "keep one of them"
                )
    return problems
