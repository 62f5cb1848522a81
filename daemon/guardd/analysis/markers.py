"""Markers: lines that a bulk script or a merge left behind."""

import re
from collections.abc import Iterable

DEFAULT_MARKERS = ("REMOVED_SYNTAX_ERROR", r"re:^(<{7}|>{7}) \S")
"""The founding incident's marker, and git's conflict markers (gitattributes(5): conflict-marker-size 7)."""


def marker_pattern(markers: Iterable[str]) -> re.Pattern[bytes]:
    """One pattern for all markers: literals, or regular expressions after `re:` (per line). Raises re.error."""
    parts = [m[3:] if m.startswith("re:") else re.escape(m) for m in markers]
    return re.compile("|".join(f"(?:{part})" for part in parts).encode() or rb"(?!)", re.MULTILINE)
