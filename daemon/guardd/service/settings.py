"""Settings as the layers below want them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from guardd.config import defaults
from guardd.errors import UsageError
from guardd.selection import SelectionRules
from guardd.store.retention import Policy

if TYPE_CHECKING:
    from guardd.config import RepoSettings, Settings
    from guardd.response.responder import Policy as ResponsePolicy


def policy_of(settings: "Settings") -> Policy:
    """The retention policy of a config."""
    kept = settings.retention
    return Policy(kept.keep_all, kept.keep_hourly, kept.keep_daily, kept.quota)


@dataclass(frozen=True)
class Duties:
    """What a daemon has to do.

    The repos with their rules, the retention, the seconds between two scans of everything, where metrics are served, and what
    gives the settings of all else when they are first asked for.
    """

    repos: tuple[tuple[str, SelectionRules], ...]
    policy: Policy
    scan_interval_s: float
    metrics_listen: str | None
    give_settings: Callable[[], "Settings"]

    @cached_property
    def settings(self) -> "Settings":
        """The settings of all else."""
        return self.give_settings()

    def about(self, path: str) -> "RepoSettings | None":
        """What the config says of the repo at this root."""
        return next((repo for repo in self.settings.repo if repo.path == path), None)

    def response_to(self, path: str) -> "ResponsePolicy":
        """What may be done by itself about an incident of the repo at this root."""
        from guardd.response.responder import Policy as ResponsePolicy  # with all of recovery: when it is needed

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
    daemon = settings.daemon
    return Duties(
        _repos(configured, named), policy_of(settings), daemon.scan_interval / 1e9, daemon.metrics_listen, lambda: settings
    )


def default_duties(named: Sequence[str]) -> Duties:
    """The duties without a config file. Raises UsageError as `duties_of` does."""
    policy = Policy(defaults.KEEP_ALL_NS, defaults.KEEP_HOURLY_NS, defaults.KEEP_DAILY_NS, defaults.QUOTA)
    return Duties(_repos({}, named), policy, defaults.SCAN_INTERVAL_NS / 1e9, None, _default_settings)


def _default_settings() -> "Settings":
    from guardd.config import Settings

    return Settings()


def _repos(configured: Mapping[str, SelectionRules], named: Sequence[str]) -> tuple[tuple[str, SelectionRules], ...]:
    roots = sorted({os.path.realpath(path) for path in named}) or list(configured)
    if not roots:
        raise UsageError("no repo to guard: run 'guardctl init' in one, or give --repo PATH")
    for root in roots:
        if named and not os.path.isdir(root):
            raise UsageError(f"--repo {root} is not a directory; name the top directory of a repo")
        for other in roots:
            if root.startswith(os.path.join(other, "")):
                raise UsageError(f"--repo {root} lies inside of --repo {other}; name only one of them")
    return tuple((root, configured.get(root, SelectionRules())) for root in roots)
