"""Which incident is named on a command line."""

from guardd.cli.context import NUMBER, Context
from guardd.errors import NothingMatched, UsageError
from guardd.model import Incident


def choose_incident(context: Context, text: str, *, any_repo: bool = False) -> Incident:
    """The incident with this number, or the `last` one of the repo. Raises UsageError, NothingMatched."""
    incidents = context.store.incidents
    if text == "last":
        found = incidents.last(context.repo.id)
        if found is None:
            raise NothingMatched(f"there was no incident in {context.repo.path} so far")
        return found
    if not text.isdecimal() or len(text) > 12:
        raise UsageError(f"{text!r} is no incident: give its number, or 'last'")
    found = incidents.get(int(text))
    if found is None or not (any_repo or found.repo_id == context.repo.id):
        where = "" if any_repo else f" in {context.repo.path}"
        raise NothingMatched(f"there is no incident {text}{where}; see 'guardctl incidents'")
    return found


def number_of(context: Context, text: str) -> int:
    """The number of an incident that may not exist, or of the `last` one of the repo. Raises UsageError, NothingMatched."""
    return choose_incident(context, text).id if text == "last" else NUMBER(text)
