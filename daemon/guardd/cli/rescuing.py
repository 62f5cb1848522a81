"""The plan of `restore --best`: what is damaged now, and what is left of it."""

from collections.abc import Sequence

from guardd.analysis.sources import Parsers
from guardd.checking.check import Conditions
from guardd.checking.facts import TreeFacts
from guardd.cli.context import Context
from guardd.cli.output import warn, when
from guardd.cli.paths import choose, chooser, relative
from guardd.errors import NothingMatched
from guardd.recovery.past import known_paths
from guardd.recovery.plan import Plan
from guardd.rescue.choosing import Rescue
from guardd.rescue.history import GitHistory
from guardd.store.codec import Encoded


def plan_best(context: Context, paths: Sequence[str]) -> tuple[Plan, list[Encoded]]:
    """Each damaged file of PATHS to its newest healthy version. Raises NothingMatched where nothing is damaged."""
    store, repo, settings = context.store, context.repo, context.settings
    if paths:
        choose(context, paths, known_paths(store, repo))  # refuses what chooses nothing
    named = {relative(context, path) for path in paths}
    about = next((one for one in settings.repo if one.path == repo.path), None)
    how = Conditions.of(repo.path, settings.detection, about)
    with Parsers() as parsers, GitHistory(repo.path) as history:
        facts = TreeFacts(parsers, store)
        facts.judge_by(how.markers)
        rescue = Rescue(store, repo, how, facts, history, chooser(context, paths), named)
        plan, contents = rescue.plan(when)
    if history.trouble is not None:
        warn(context, f"without git's history: {history.trouble}")
    if not plan.items:
        raise NothingMatched(
            "no file is damaged: each parses, none has a marker, and the tree's imports resolve; 'guardctl check' looks closer"
        )
    return plan, contents
