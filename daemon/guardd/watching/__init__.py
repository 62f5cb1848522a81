"""Watching: hints about which paths of a repo may have changed. Never the truth: capture reads what is hinted.

What must hold: whatever changes is hinted, or a `Reason` says what is not watched (and polling stands in for it).
"""

from guardd.watching.repo_watch import HintSink, RepoWatch

__all__ = ["HintSink", "RepoWatch"]
