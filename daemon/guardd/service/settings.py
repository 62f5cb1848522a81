"""Settings as the layers below want them."""

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from guardd.errors import UsageError
from guardd.selection import SelectionRules
from guardd.store.retention import Policy

if TYPE_CHECKING:
    from guardd.config import Settings


def policy_of(settings: "Settings") -> Policy:
    """The retention policy of a config."""
    kept = settings.retention
    return Policy(kept.keep_all, kept.keep_hourly, kept.keep_daily, kept.quota)


def repos_of(settings: "Settings", named: Sequence[str]) -> list[tuple[str, SelectionRules]]:
    """The repos to guard: the named ones (with the config's rules, if it has any for them), else all of the config."""
    configured = {repo.path: repo.selection_rules() for repo in settings.repo}
    if not named:
        return list(configured.items())
    roots = sorted({os.path.realpath(path) for path in named})
    for root in roots:
        if not os.path.isdir(root):
            raise UsageError(f"--repo {root} is not a directory; name the top directory of a repo")
    for outer, inner in pairwise(roots):
        if inner.startswith(outer.rstrip("/") + "/"):
            raise UsageError(f"--repo {inner} lies inside of --repo {outer}; name only one of them")
    return [(root, configured.get(root, SelectionRules())) for root in roots]
