"""Problems as SARIF 2.1.0 (OASIS), as code-scanning services read it. Pure."""

import os
from collections.abc import Sequence
from urllib.parse import quote

from guardd import __version__
from guardd.checking.check import Problem
from guardd.escaping import one_line

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "SRCROOT"

ABOUT = {
    "marker": "A line with a marker that a bulk script left behind",
    "conflict-marker": "A conflict that a merge left behind",
    "syntax": "A file that is no Python",
    "code-loss": "Code that is gone or turned into comments",
    "import": "An import that does not resolve",
    "undefined-name": "A name that nothing defines, or only too late",
    "null-bytes": "NUL bytes in a source",
    "encoding": "Bytes that are no text",
    "emptied": "A file that is emptied or cut off",
    "import-hang": "A module whose import does not end",
    "import-error": "A module whose import fails",
}
"""What each rule is about, in words."""


def sarif(problems: Sequence[Problem], root: str) -> dict[str, object]:
    """The log of one run over the tree at `root`."""
    rules = sorted({one.rule for one in problems})
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "guardctl check",
                        "version": __version__,
                        "rules": [{"id": rule, "shortDescription": {"text": ABOUT.get(rule, rule)}} for rule in rules],
                    }
                },
                "originalUriBaseIds": {_ROOT: {"uri": f"file://{_uri(root)}/"}},
                "columnKind": "unicodeCodePoints",
                "results": [_result(one, rules.index(one.rule)) for one in problems],
            }
        ],
    }


def _result(one: Problem, rule_index: int) -> dict[str, object]:
    place: dict[str, object] = {"artifactLocation": {"uri": _uri(one.path), "uriBaseId": _ROOT}}
    if one.line:
        place["region"] = {"startLine": one.line}
    return {
        "ruleId": one.rule,
        "ruleIndex": rule_index,
        "level": "error",
        "message": {"text": one_line(one.message)},
        "locations": [{"physicalLocation": place}],
    }


def _uri(path: str) -> str:
    return quote(os.fsencode(path))
