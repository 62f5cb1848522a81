"""The modules that a repo calls critical: those that came up before a command must come up after it, too."""

from typing import TYPE_CHECKING

from guardd.checking.check import Problem
from guardd.errors import GuardError

if TYPE_CHECKING:
    from guardd.config.settings import RepoSettings


class CriticalModules:
    """The critical modules of a repo (`about` None: it has none), really imported, each in a process of its own."""

    def __init__(self, about: "RepoSettings | None") -> None:
        self._about = about if about is not None and about.critical_modules else None
        self._came_up: frozenset[str] = frozenset()

    def learn(self) -> None:
        """See which of them come up as things are now. Raises ConfigError where the interpreter does not."""
        if self._about is not None:
            from guardd.checking.probing import probe_repo

            self._came_up = frozenset(one.module for one in probe_repo(self._about) if one.problem is None)

    def broken(self) -> list[Problem]:
        """What is wrong with those that came up before, and do not any more."""
        if self._about is None or not self._came_up:
            return []
        from guardd.checking.probing import probe_repo

        try:
            probes = probe_repo(self._about)
        except GuardError as error:  # the interpreter came up before
            return [Problem(self._about.python or ".", 0, "import-error", str(error))]
        return [one.problem for one in probes if one.problem is not None and one.module in self._came_up]
