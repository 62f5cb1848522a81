"""The rules: one small class each, in a module of its own. They read changes and facts, never the disk, and never write.

A rule has a `name`, says whether it `needs_facts`, and yields findings for a change. A new rule is one file and one line here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from guardd.analysis.imports import Modules
from guardd.analysis.markers import Pattern
from guardd.detection.change import Change
from guardd.detection.rules.code_loss import CodeLoss
from guardd.detection.rules.emptied import Emptied
from guardd.detection.rules.encoding import Encoding
from guardd.detection.rules.imports import Imports
from guardd.detection.rules.marker import Marker
from guardd.detection.rules.null_bytes import NullBytes
from guardd.detection.rules.syntax import Syntax
from guardd.model import Finding


class Rule(Protocol):
    """What a rule is."""

    name: ClassVar[str]
    needs_facts: ClassVar[bool]

    def look(self, change: Change) -> Iterable[Finding]:
        """What is wrong with a change."""


@dataclass(frozen=True)
class Rules:
    """The rules as configured for one repo."""

    markers: Pattern
    modules: Modules

    def all(self) -> tuple[Rule, ...]:
        """The registry, cheapest first."""
        return (Marker(self.markers), Emptied(), NullBytes(), Encoding(), Syntax(), CodeLoss(), Imports(self.modules))
