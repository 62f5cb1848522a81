"""man(7) out of plain text."""

import inspect
import re
import textwrap
from collections.abc import Iterable

_ESCAPES = {"\\": "\\e", "-": "\\-", "'": "\\(aq", '"': "\\(dq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
_MARKED = re.compile(r"`([^`\n]+)`|'((?:guardctl|guardd|git)[^'\n]*)'")
_WIDTH = 110


def escaped(text: str) -> str:
    """Text in which nothing is a request or an escape to roff."""
    return "".join(_ESCAPES.get(char, char if char.isascii() else f"\\[u{ord(char):04X}]") for char in text)


def bold(text: str) -> str:
    """Text as it is to be typed."""
    return f"\\fB{escaped(text)}\\fR"


def italic(text: str) -> str:
    """A word that stands for another."""
    return f"\\fI{escaped(text)}\\fR"


def running(text: str) -> str:
    """Text in which `code` and 'guardctl ...' are bold, wrapped."""
    parts, at = [], 0
    for match in _MARKED.finditer(text):
        parts += [escaped(text[at : match.start()]), bold(match[1] or match[2])]
        at = match.end()
    whole = " ".join("".join([*parts, escaped(text[at:])]).split())
    lines = textwrap.wrap(whole, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{_guarded(line)}\n" for line in lines)


def title(name: str, section: int, version: str) -> str:
    """The first line of a page. No date: the same source must give the same page."""
    return f'.TH {escaped(name.upper())} {section} "" "guardd {escaped(version)}" "guardd manual"\n.nh\n.ad l\n'


def heading(words: str) -> str:
    """A section."""
    return f".SH {escaped(words)}\n"


def subheading(words: str) -> str:
    """A part of a section; `words` is escaped already."""
    return f".SS {words}\n"


def paragraphs(text: str) -> str:
    r"""Paragraphs, one or more; one that begins with \b (as in click's help) keeps its lines."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", inspect.cleandoc(text)) if block.strip()]
    return ".PP\n".join(_literal(block[2:]) if block.startswith("\b\n") else running(block) for block in blocks)


def literal(text: str) -> str:
    """Lines as they are, for examples."""
    return f".PP\n.RS 4\n{_literal(text)}.RE\n"


def entries(rows: Iterable[tuple[str, str]]) -> str:
    """A list of terms (escaped already), each with its paragraphs."""
    return "".join(f".TP\n{term}\n{paragraphs(about).replace('.PP', '.IP') or '.br' + chr(10)}" for term, about in rows)


def _literal(text: str) -> str:
    lines = textwrap.dedent(text).strip("\n").split("\n")
    return ".nf\n" + "".join(f"{_guarded(escaped(line))}\n" for line in lines) + ".fi\n"


def _guarded(line: str) -> str:
    return f"\\&{line}" if line.startswith((".", "'")) else line
