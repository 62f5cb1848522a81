"""Problems as GitHub's workflow commands, which show them beside the lines of a pull request. Pure."""

from guardd.checking.check import Problem
from guardd.escaping import one_line

_IN_MESSAGE = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTY = {**_IN_MESSAGE, ":": "%3A", ",": "%2C"}


def annotation(one: Problem) -> str:
    """One line of the workflow's log."""
    where = f"file={_escaped(one.path, _IN_PROPERTY)}" + (f",line={one.line}" if one.line else "")
    return f"::error {where},title={_escaped(f'guardctl: {one.rule}', _IN_PROPERTY)}::{_escaped(one.message, _IN_MESSAGE)}"


def _escaped(text: str, marks: dict[str, str]) -> str:
    """With what the runner or a terminal would take for its own escaped; bytes of no encoding become U+FFFD: the log is UTF-8."""
    told = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return "".join(marks.get(char) or one_line(char) for char in told)
