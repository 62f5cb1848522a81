"""Claude Code's PreToolUse hook: what it tells, and its place in a settings file. Pure.

Settings and input as Claude Code's hooks reference describes them. A hook that exits with 2 keeps the tool from running: ours
never does, not even where guardctl is missing or too old to know it (an unknown command is exit 2).
"""

import json
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from guardd.errors import UsageError

MATCHER = "Bash|Write|Edit|MultiEdit|NotebookEdit|mcp__.*"
"""The tools that can write: Claude Code's own, a shell, and those of MCP servers, of which no one knows."""

EVENT = "PreToolUse"
_TIMEOUT_S = 10
_OURS = re.compile(r"\b(guardctl|guardd\.cli)\b.* hook claude-code --run\b")
_SUBJECTS = ("command", "file_path", "notebook_path", "path")

Object = dict[str, object]


class Call(NamedTuple):
    """A tool that is about to run: its name, what it is about, and the absolute folders where it may write."""

    tool: str
    subject: str
    folders: tuple[str, ...]

    def label(self, root: str) -> str:
        """The label of the snapshot before it in the repo at `root`: `claude-code: Bash: python fix.py --all`."""
        inside = os.path.join(root, "")
        return ": ".join(part for part in ("claude-code", self.tool, self.subject.removeprefix(inside)) if part)


def parse_call(text: str, cwd: str) -> Call:
    """The call that a hook's input tells of; `cwd` stands where it names no folder. Raises ValueError."""
    try:
        told = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(told, dict):
        raise ValueError("no JSON object")
    given = told.get("tool_input")
    given = given if isinstance(given, dict) else {}
    named = next((value for key in _SUBJECTS if isinstance(value := given.get(key), str)), None)
    subject = named if named is not None else json.dumps(given, ensure_ascii=False) if given else ""
    at = _text(told, "cwd")
    at = at if os.path.isabs(at) and "\0" not in at else cwd
    target = _text(given, "file_path") or _text(given, "notebook_path")
    folders = [at, os.path.dirname(os.path.join(at, target))] if target and "\0" not in target else [at]
    return Call(_text(told, "tool_name"), subject, tuple(dict.fromkeys(folders)))


def entry(command: str) -> Object:
    """Our entry of the PreToolUse list, for a guardctl that is called with these shell words."""
    hook = {"type": "command", "command": f"{command} hook claude-code --run || :", "timeout": _TIMEOUT_S}
    return {"matcher": MATCHER, "hooks": [hook]}


def with_hook(settings: Object, command: str) -> Object:
    """The settings with our hook, once, and all else as it was. Raises UsageError where they are not shaped as settings."""
    ours = entry(command)
    groups = _groups(settings)
    if [one for one in groups if _is_ours(one)] == [ours] and groups == _without_ours(groups, keep=ours):
        return settings
    hooks = _object(settings, "hooks")
    return {**settings, "hooks": {**hooks, EVENT: [*_without_ours(groups), ours]}}


def without_hook(settings: Object) -> Object:
    """The settings without our hook, and without the tables that it leaves empty. Raises UsageError."""
    groups = _groups(settings)
    left = _without_ours(groups)
    if left == groups:
        return settings
    hooks = {**_object(settings, "hooks"), EVENT: left}
    hooks = {key: value for key, value in hooks.items() if key != EVENT or left}
    return {key: value for key, value in {**settings, "hooks": hooks}.items() if key != "hooks" or hooks}


def read_settings(text: str) -> Object:
    """The settings in a file's text. Raises UsageError where writing them back would lose something."""
    if not text.strip():
        return {}
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError as error:
        raise UsageError("it is nested too deep to be read") from error
    except ValueError as error:
        raise UsageError(f"it is not valid JSON ({error}); mend it first") from error
    if not isinstance(found, dict):
        raise UsageError("it holds no JSON object; mend it first")
    return found


def settings_text(settings: Object, before: str = "") -> str:
    """Settings as text, indented as the text `before` was."""
    indent = re.search(r"^\{\s*\n([ \t]+)\S", before)
    text = json.dumps(settings, indent=indent[1] if indent else 2, ensure_ascii=False)
    if any("\ud800" <= char <= "\udfff" for char in text):  # half of an escaped pair: only its escape can be written
        text = json.dumps(settings, indent=indent[1] if indent else 2)
    return text + "\n"


def _text(holder: Object, key: str) -> str:
    value = holder.get(key)
    return value if isinstance(value, str) else ""


def _object(holder: Object, key: str) -> Object:
    found = holder.get(key, {})
    if not isinstance(found, dict):
        raise UsageError(f"its {key!r} is no object; mend it first")
    return found


def _groups(settings: Object) -> list[object]:
    found = _object(settings, "hooks").get(EVENT, [])
    if not isinstance(found, list):
        raise UsageError(f"its 'hooks.{EVENT}' is no list; mend it first")
    return found


def _hooks_of(group: object) -> list[object]:
    found = group.get("hooks") if isinstance(group, dict) else None
    return found if isinstance(found, list) else []


def _is_our_hook(hook: object) -> bool:
    return isinstance(hook, dict) and _OURS.search(_text(hook, "command")) is not None


def _is_ours(group: object) -> bool:
    return any(_is_our_hook(hook) for hook in _hooks_of(group))


def _without_ours(groups: Iterable[object], keep: object = None) -> list[object]:
    """The groups without our hooks; one that held nothing else is left out, one that equals `keep` is kept."""
    left: list[object] = []
    for group in groups:
        if group == keep or not isinstance(group, dict) or not _is_ours(group):
            left.append(group)
        elif others := [hook for hook in _hooks_of(group) if not _is_our_hook(hook)]:
            left.append({**group, "hooks": others})
    return left


def _unique(pairs: list[tuple[str, object]]) -> Object:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
