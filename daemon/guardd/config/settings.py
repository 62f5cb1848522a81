"""The settings: every key, its type, its default, what is allowed. The one place where a key is defined."""

import keyword
import os
import re
import shlex
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from guardd.analysis.markers import DEFAULT_MARKERS, marker_pattern
from guardd.config import defaults
from guardd.config.alerts import AlertSettings, Duration
from guardd.config.listening import parse_listen
from guardd.config.places import expand
from guardd.selection import DEFAULT_INCLUDE, SelectionRules

_SECOND_NS = 1_000_000_000
_SIZE = re.compile(r"(\d{1,15}) ?(B|KiB|MiB|GiB|TiB)", re.ASCII)
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def _size(value: object) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a size in quotes, as "512KiB", "16MiB" or "1GiB"')
    return int(match[1]) * _UNITS[match[2]]


def format_size(count: int) -> str:
    """A size in the largest unit that it is so many of: as a config has it."""
    unit = max((unit for unit, size in _UNITS.items() if count % size == 0), key=_UNITS.__getitem__)
    return f"{count // _UNITS[unit]}{unit}"


def _path(value: str) -> str:
    if not value or "\0" in value or not os.path.isabs(expand(value)):
        raise ValueError("must be an absolute path, or one that begins with ~")
    return expand(value)


def _patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    from pathspec import GitIgnoreSpec

    for pattern in value:
        try:
            GitIgnoreSpec.from_lines([pattern])
        except (ValueError, re.error) as error:
            raise ValueError(f"{pattern!r} is no gitignore pattern") from error
    return value


def _markers(value: tuple[str, ...]) -> tuple[str, ...]:
    for marker in value:
        if not marker or marker == "re:":
            raise ValueError("a marker must not be empty: it would match every line")
        try:
            marker_pattern([marker])
        except ValueError as error:
            what = "regular expression (as RE2 has them, without look-around and back-references)"
            raise ValueError(f"{marker!r} is no {what}: {error}") from error
    return value


def _listen(value: str | None) -> str | None:
    if value is not None:
        parse_listen(value)
    return value


def _commands(value: tuple[str, ...]) -> tuple[str, ...]:
    for command in value:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise ValueError(f"{command!r} cannot be split into words ({error})") from error
        if not words:
            raise ValueError("a command must not be empty")
    return value


def _interpreter(value: str | None) -> str | None:
    if value is not None and (not value or "\0" in value):
        raise ValueError("must be the path of a Python interpreter, as .venv/bin/python")
    return value if value is None else os.path.expanduser(value)


def is_module_name(text: str) -> bool:
    """Whether an import statement could name it: identifiers with dots between them."""
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))


def _modules(value: tuple[str, ...]) -> tuple[str, ...]:
    for module in value:
        if not is_module_name(module):
            raise ValueError(f"{module!r} must be the name of a module, as pkg.core")
    return value


def _inside(value: tuple[str, ...]) -> tuple[str, ...]:
    for folder in value:
        if not folder or os.path.isabs(folder) or ".." in folder.split("/"):
            raise ValueError(f"{folder!r} must be a folder inside of the repo, as lib or packages/core")
    return value


AS_SIZE = BeforeValidator(_size, json_schema_input_type=str)
Size = Annotated[int, AS_SIZE]
Strings = Annotated[tuple[str, ...], Field(strict=False)]
Patterns = Annotated[Strings, AfterValidator(_patterns)]
AbsolutePath = Annotated[str, AfterValidator(_path)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DaemonSettings(_Table):
    """[daemon]: the process itself."""

    state_dir: AbsolutePath | None = Field(None, description="Where the store lies; default: guard in the user's state dir.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        defaults.LOG_LEVEL, description="The least level that is logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        defaults.LOG_FORMAT, description="auto: for people on a terminal, else JSON."
    )
    scan_interval: Duration = Field(
        defaults.SCAN_INTERVAL_NS, ge=10 * _SECOND_NS, description="How often the whole tree is scanned."
    )
    metrics_listen: Annotated[str | None, AfterValidator(_listen)] = Field(
        None, description='Where Prometheus may scrape, on this machine only, as "127.0.0.1:9464"; default: nowhere.'
    )


class RepoSettings(_Table):
    """[[repo]]: one guarded tree."""

    path: AbsolutePath = Field(description="The top directory of the repo.")
    include: Annotated[Patterns, Field(min_length=1)] = Field(
        DEFAULT_INCLUDE, description="Which files are kept (gitignore syntax)."
    )
    exclude: Patterns = Field(
        (), description="Which are not (gitignore syntax), over the built-in ones; !pattern takes one back."
    )
    respect_gitignore: bool = Field(False, description="Leave out what git ignores.")
    verify: Annotated[Strings, AfterValidator(_commands)] = Field((), description="Commands to run after a restore.")
    protected: Patterns = Field((), description="Paths with lower thresholds (gitignore syntax).")
    python: Annotated[str | None, AfterValidator(_interpreter)] = Field(
        None, description="The interpreter whose packages the code may import; default: the environment in the repo."
    )
    source_roots: Annotated[Strings, AfterValidator(_inside)] = Field(
        (), description="Where imports start from, besides the top and src."
    )
    critical_modules: Annotated[Strings, AfterValidator(_modules)] = Field(
        (), description="Modules that check and run really import, each in a process of its own."
    )
    import_timeout: Duration = Field(10 * _SECOND_NS, ge=_SECOND_NS // 10, description="How long the import of one may take.")
    import_memory: Size = Field(2 * 2**30, ge=64 * 2**20, description="The most memory that the import of one may take.")
    max_file_size: Size = Field(16 * 2**20, gt=0, description="Of larger files only the hash is kept.")

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        object.__setattr__(self, "path", os.path.realpath(self.path))
        return self

    def selection_rules(self) -> SelectionRules:
        """Which files of the repo are kept."""
        return SelectionRules(self.include, self.exclude, self.respect_gitignore, self.max_file_size)


class ThresholdSettings(_Table):
    """[detection.thresholds]: how many files make an incident."""

    damaged: int = Field(5, ge=1, description="Damaged files within the window.")
    protected: int = Field(2, ge=1, description="Damaged files within the window, where they are protected.")
    slow: int = Field(8, ge=1, description="Files damaged one by one within slow_window, and still damaged.")
    deleted: int = Field(
        20, ge=1, description="Files deleted (not by git) within the window, or moved from under their importers."
    )


class DetectionSettings(_Table):
    """[detection]: what counts as damage."""

    window: Duration = Field(60 * _SECOND_NS, ge=_SECOND_NS, description="How far apart the changes of one burst may be.")
    slow_window: Duration = Field(7200 * _SECOND_NS, ge=_SECOND_NS, description="How far back slow damage is added up.")
    approve_above: int = Field(
        100, ge=1, description="A bulk change of more files that nothing explains stays open until it is approved."
    )
    markers: Annotated[Strings, AfterValidator(_markers)] = Field(
        DEFAULT_MARKERS, description="Lines that tools leave behind: literals, or regular expressions after re:."
    )
    thresholds: ThresholdSettings = ThresholdSettings()


class ResponseSettings(_Table):
    """[response]: what guard does by itself."""

    auto_restore: Literal["off", "protected", "all"] = Field("off", description="Which damaged files guard puts back by itself.")
    settle: Duration = Field(
        2 * _SECOND_NS, ge=100_000_000, description="How long no change must come before an incident has settled."
    )
    max_rounds: int = Field(3, ge=1, description="How often guard restores against a writer that goes on, before it asks people.")
    verify_timeout: Duration = Field(600 * _SECOND_NS, ge=_SECOND_NS, description="How long a verify command may take.")


class RetentionSettings(_Table):
    """[retention]: how long versions stay. The newest version of a file always does."""

    keep_all: Duration = Field(defaults.KEEP_ALL_NS, description="Every version, this long.")
    keep_hourly: Duration = Field(defaults.KEEP_HOURLY_NS, description="One an hour, this long.")
    keep_daily: Duration = Field(defaults.KEEP_DAILY_NS, description="One a day, this long.")
    quota: Size = Field(defaults.QUOTA, ge=2**20, description="The most that the store may take.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.keep_all <= self.keep_hourly <= self.keep_daily:
            raise ValueError(
                "keep_all, keep_hourly, keep_daily must not fall: each reaches at least as far back as the one before"
            )
        return self


class Settings(_Table):
    """All of the config."""

    daemon: DaemonSettings = DaemonSettings()
    repo: Annotated[tuple[RepoSettings, ...], Field(strict=False)] = ()
    detection: DetectionSettings = DetectionSettings()
    response: ResponseSettings = ResponseSettings()
    retention: RetentionSettings = RetentionSettings()
    alert: Annotated[tuple[AlertSettings, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        labels = [one.label for one in self.alert]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f'must give each [[alert]] a name of its own: {twice!r} is there twice; add name = "..."')
        return self
