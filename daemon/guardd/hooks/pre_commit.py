"""The entry of `.pre-commit-config.yaml`: the file is edited as text, so that its comments and its layout stay. Pure."""

import json
import re
import shlex
from typing import NamedTuple

from guardd.errors import UsageError

FILE = ".pre-commit-config.yaml"
_ID = "guard-snapshot"
_REPOS = re.compile(r"^repos:[ \t]*(#.*)?$")
_ITEM = re.compile(r"^( *)- ")


class Edit(NamedTuple):
    """What a file is to become; None: it held nothing else, and goes."""

    text: str | None


def entry(command: str, indent: str = "") -> str:
    """Our item of the `repos` list: first of all, so that it runs before the tools that rewrite files.

    The file is committed: where this guardctl is missing, or does not know the hook, the commit goes on.
    """
    program = shlex.quote(shlex.split(command)[0])
    script = f"command -v {program} >/dev/null 2>&1 || exit 0; {command} hook pre-commit --run; exit 0"
    lines = (
        "- repo: local",
        "  hooks:",
        f"    - id: {_ID}",
        "      name: guard snapshot",
        f"      entry: {json.dumps(f'sh -c {shlex.quote(script)}', ensure_ascii=False)}",
        "      language: system",
        "      always_run: true",
        "      pass_filenames: false",
        "      stages: [pre-commit]",
    )
    return "".join(f"{indent}{line}\n" for line in lines)


def document(command: str) -> str:
    """A whole file with our entry alone."""
    return "repos:\n" + entry(command, "  ")


def installed(text: str | None, command: str) -> Edit:
    """The file with our entry as the first of its repos. Raises UsageError where that takes more than adding lines."""
    if text is None or not text.strip():
        return Edit(document(command))
    if _ID in text:
        left = _without(text)
        if left is None:
            return Edit(text)  # changed by hand: theirs
        return installed(left, command) if _holds_more(left) else Edit(document(command))
    lines = text.splitlines(keepends=True)
    heads = [number for number, line in enumerate(lines) if _REPOS.match(line.rstrip("\r\n"))]
    first = next((one for one in range(heads[0] + 1, len(lines)) if _says_something(lines[one])), None) if heads else None
    if len(heads) != 1 or first is None or "\r" in text or sum(1 for line in lines if line.startswith("---")) > 1:
        raise UsageError(f"{FILE} has no plain list under 'repos:'; add the entry by hand, 'guardctl hook pre-commit' prints it")
    item = _ITEM.match(lines[first])
    if item is None:
        raise UsageError(f"the list under 'repos:' in {FILE} is not one item a line; add the entry by hand, as printed")
    return Edit("".join([*lines[: heads[0] + 1], entry(command, item[1]), *lines[heads[0] + 1 :]]))


def removed(text: str) -> Edit:
    """The file without our entry, as it was before. Raises UsageError where the entry was changed since."""
    left = _without(text)
    if left is None:
        raise UsageError(f"the {_ID} entry in {FILE} was changed by hand; take it out by hand too")
    return Edit(left if _holds_more(left) else None)


def _without(text: str) -> str | None:
    """The text without our entry; None where the entry is not as we wrote it."""
    pattern = re.escape(entry("COMMAND", "INDENT")).replace("INDENT", "(?P=indent)").replace("COMMAND", r"(?:[^\n]*)")
    ours = re.compile(r"^(?P<indent> *)" + pattern.removeprefix("(?P=indent)"), re.MULTILINE)
    left = ours.sub("", text, count=1)
    return None if _ID in left else left


def _holds_more(text: str) -> bool:
    return text.strip() not in ("", "repos:")


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
