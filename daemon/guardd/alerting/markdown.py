"""Text from outside in Markdown, as Discord and Mattermost have it: it formats nothing, links nowhere, mentions no one. Pure."""

import re
from collections.abc import Iterable

from guardd.alerting.fitting import Measure, fitted_lines, utf16

_SPECIAL = re.compile(r"[\\`*_{}\[\]()<>#+!|~&$^=]|:(?=\S)|(?<=www)\.", re.IGNORECASE)
_UNSEEN = "\u200b"
_FENCE = "```"


def markdown(text: str) -> str:
    """One line in which nothing is markup, a link or a mention.

    A backslash does not keep `@channel` from waking a channel: Mattermost looks for mentions after it took the backslash away.
    """
    return _SPECIAL.sub(r"\\\g<0>", text).replace("@", f"@{_UNSEEN}")


def fenced(lines: Iterable[str], limit: int, line_limit: int, language: str = "", measure: Measure = utf16) -> str:
    """A code block of at most `limit` with as many of the lines as fit; empty without any."""
    begin, end = f"{_FENCE}{language}\n", f"\n{_FENCE}"
    taken = fitted_lines(lines, limit - measure(begin) - measure(end), line_limit, _unfenced, measure)
    return begin + "\n".join(taken) + end if taken else ""


def _unfenced(line: str) -> str:
    return re.sub("``(?=`)", f"``{_UNSEEN}", line.replace("\n", " "))
