"""Undefined names: what two who look at it differently, our own facts and ruff, both say can only fail."""

from collections.abc import Mapping

from guardd.analysis.sources import Facts, asked_of_ruff, ruff_program

_TIMEOUT_S = 30.0
_GIVEN_BY_OTHERS = {
    "_", "_n", "N_", "ngettext", "get_ipython", "get_config", "display", "snakemake", "profile", "reveal_type", "reveal_locals",
    "unicode", "basestring", "long", "xrange", "raw_input", "unichr", "reduce", "file", "cmp", "execfile", "reload", "intern",
    "apply", "buffer", "coerce",
}  # fmt: skip
"""Names that gettext, IPython, profilers or type checkers put into the built-in ones, and those that Python 2 had."""


def suspicious(facts: Facts) -> frozenset[tuple[str, int]]:
    """(name, line) of the uses that may be undefined, by our own facts."""
    return frozenset(
        (name, line)
        for name, line in facts.undefined | facts.early
        if name not in _GIVEN_BY_OTHERS and not (name.startswith("__") and name.endswith("__"))
    )


def undefined_names(sources: Mapping[bytes, tuple[bytes, Facts]]) -> dict[bytes, list[tuple[int, str]]] | None:
    """By key, (line, message) of the names in each of these sources that can only fail; `noqa` comments are honoured.

    Nothing where there is no ruff: one opinion alone is not sure. None where it failed, or took too long: ask again another time.
    """
    doubtful = {key: (source, uses) for key, (source, facts) in sources.items() if (uses := suspicious(facts))}
    answers = _ask_ruff({key: source for key, (source, _) in doubtful.items()}) if doubtful else {}
    if answers is None:
        return None
    found = {}
    for key, (_, uses) in doubtful.items():
        facts = sources[key][1]
        agreed = sorted((line, name) for name, line in uses & answers.get(key, frozenset()))
        if agreed:
            found[key] = [(line, _message(name, line, facts)) for line, name in agreed]
    return found


def _message(name: str, line: int, facts: Facts) -> str:
    if (name, line) in facts.early:
        return f"{name!r} is used while the module is imported, and defined only further down"
    return not_defined(name)


def not_defined(name: str) -> str:
    """What is said of a name that nothing binds."""
    return f"{name!r} is not defined"


def _ask_ruff(sources: Mapping[bytes, bytes]) -> dict[bytes, frozenset[tuple[str, int]]] | None:
    """By key, the (name, line)s that ruff's F821 names: the name stands in its message in backquotes. None if it fails."""
    if ruff_program() is None:
        return {}
    problems = asked_of_ruff(list(sources.values()), "F821", _TIMEOUT_S)
    if problems is None:
        return None
    keys = list(sources)
    answers: dict[bytes, set[tuple[str, int]]] = {}
    try:
        for number, problem in problems:
            if problem["code"] == "F821":
                use = problem["message"].split("`")[1], problem["location"]["row"]
                answers.setdefault(keys[number], set()).add(use)
    except (KeyError, IndexError, TypeError):
        return None
    return {key: frozenset(uses) for key, uses in answers.items()}
