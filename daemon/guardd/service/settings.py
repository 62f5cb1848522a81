"""Settings as the layers below want them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardd.errors import UsageError
from guardd.response.responder import Policy as ResponsePolicy
from guardd.selection import SelectionRules
from guardd.store.retention import Policy

if TYPE_CHECKING:
    from guardd.config import RepoSettings, Settings


def policy_of(settings: "Settings") -> Policy:
    """The retention policy of a config."""
    kept = settings.retention
    return Policy(kept.keep_all, kept.keep_hourly, kept.keep_daily, kept.quota)


@dataclass(frozen=True, slots=True)
class Duties:
    """What a daemon has to do.

    The repos with their rules, the retention, the seconds between two scans of everything, and the settings of all else.
    """

    repos: tuple[tuple[str, SelectionRules], ...]
    policy: Policy
    scan_interval_s: float
    settings: "Settings"

    def about(self, path: str) -> "RepoSettings | None":
        """What the config says of the repo at this root."""
        return next((repo for repo in self.settings.repo if repo.path == path), None)

    def response_to(self, path: str) -> ResponsePolicy:
        """What may be done by itself about an incident of the repo at this root."""
        response, about = self.settings.response, self.about(path)
        return ResponsePolicy(
            response.auto_restore, response.max_rounds, about.protected if about else (), self.settings.detection.markers,
            about.verify if about else (), response.verify_timeout / 1e9,
        )  # fmt: skip


def duties_of(settings: "Settings", named: Sequence[str]) -> Duties:
    """The duties that a config sets, for the `named` repos (with the config's rules, if it has any for them) or all of its own.

    Raises UsageError where there is nothing to guard, or a named repo is no directory or lies inside of another.
    """
    configured = {repo.path: repo.selection_rules() for repo in settings.repo}
    roots = sorted({os.path.realpath(path) for path in named}) or list(configured)
    if not roots:
        raise UsageError("no repo to guard: run 'guardctl init' in one, or give --repo PATH")
    for root in roots:
        if named and not os.path.isdir(root):
            raise UsageError(f"--repo {root} is not a directory; name the top directory of a repo")
        for other in roots:
            if root.startswith(os.path.join(other, "")):
                raise UsageError(f"--repo {root} lies inside of --repo {other}; name only one of them")
    repos = tuple((root, configured.get(root, SelectionRules())) for root in roots)
    return Duties(repos, policy_of(settings), settings.daemon.scan_interval / 1e9, settings)
