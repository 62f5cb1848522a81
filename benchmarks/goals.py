"""What is measured beside what it should be: series, rows with their goals, and the verdict. Pure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Series = Mapping[str, Sequence[float]]
"""What was measured, by the name of who was measured: in the order of the rounds, so that equal places are a pair."""


def worst(values: Sequence[float]) -> float:
    """The largest."""
    return max(values)


def p95(values: Sequence[float]) -> float:
    """The value that 95 % do not exceed (nearest rank)."""
    return _rank(values, 0.95)


def p99(values: Sequence[float]) -> float:
    """The value that 99 % do not exceed (nearest rank)."""
    return _rank(values, 0.99)


def _rank(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: what `group` measures of `ours`, against a `peer` (then the figure is a ratio) or by itself.

    `goal` is what the figure must not exceed, for every tree or by tree; None: only shown. `unit` is that of the measured values.
    `pick` makes the figure of a row without a peer from its series. `least` names the series of the least that can be done.
    """

    group: str
    what: str
    ours: str
    peer: str = ""
    goal: float | Mapping[str, float] | None = None
    unit: str = "s"
    pick: Callable[[Sequence[float]], float] = median
    least: str = ""

    def goal_on(self, tree: str) -> float | None:
        """The goal on this tree."""
        return self.goal.get(tree) if isinstance(self.goal, Mapping) else self.goal


@dataclass(frozen=True, slots=True)
class Figure:
    """A row as it was measured on a tree. `ratio` is the median of the ratios pair by pair; None without a peer.

    `least` is what the figure would be of the least that can be done; None where that was not measured.
    """

    tree: str
    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    ratio: float | None = None
    goal: float | None = None
    least: float | None = None

    @property
    def value(self) -> float:
        """What the goal is for."""
        return self.ours if self.ratio is None else self.ratio

    @property
    def is_met(self) -> bool:
        """Whether the goal, if there is one, is met."""
        return self.goal is None or self.value <= self.goal

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the goal is missed, and would be by the least that can be done."""
        return not self.is_met and self.least is not None and self.goal is not None and self.least > self.goal


def figure(row: Row, tree: str, series: Series) -> Figure | None:
    """A row's figure; None where the row's peer, or the row's own series, was not measured."""
    ours = series.get(row.ours)
    if not ours:
        return None
    goal = row.goal_on(tree)
    floor = series.get(row.least)
    if not row.peer:
        return Figure(tree, row.what, row.pick(ours), row.unit, goal=goal, least=row.pick(floor) if floor else None)
    theirs = series.get(row.peer)
    if not theirs:
        return None
    least = ratio(floor, theirs) if floor else None
    return Figure(tree, row.what, median(ours), row.unit, row.peer, median(theirs), ratio(ours, theirs), goal, least)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios pair by pair: a drift of the machine meets both of a pair."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def exit_code(figures: Iterable[Figure]) -> int:
    """0 where every goal is met, 1 where one is missed."""
    return 0 if all(one.is_met for one in figures) else 1


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The exponent of growth: the least-squares slope of log y over log x. 1 is linear, 0 does not grow."""
    logs = [(math.log(x), math.log(y)) for x, y in zip(xs, ys, strict=True)]
    middle_x, middle_y = (sum(part) / len(logs) for part in zip(*logs, strict=True))
    spread = math.fsum((x - middle_x) ** 2 for x, _ in logs)
    return math.fsum((x - middle_x) * (y - middle_y) for x, y in logs) / spread


def table(figures: Sequence[Figure]) -> str:
    """The figures as Markdown: by tree, beside each its goal and the least that can be done."""
    lines = ["| tree | what | guardd | peer | ratio | goal | least | |", "|---|---|---:|---|---:|---:|---:|---|"]
    return "\n".join([*lines, *(_line(one) for one in figures)])


def _line(one: Figure) -> str:
    theirs = f"{one.peer}: {measured(one.theirs, one.unit)}" if one.theirs is not None else ""
    ratio = f"{one.ratio:.3g}" if one.ratio is not None else ""
    goal, least = ("" if value is None else _figure(value, one) for value in (one.goal, one.least))
    missed = "**missed**, out of reach" if one.is_out_of_reach else "**missed**"
    verdict = "" if one.goal is None else "met" if one.is_met else missed
    return f"| {one.tree} | {one.what} | {measured(one.ours, one.unit)} | {theirs} | {ratio} | {goal} | {least} | {verdict} |"


def _figure(value: float, one: Figure) -> str:
    return f"{value:.3g}" if one.ratio is not None else measured(value, one.unit)


def summary(figures: Sequence[Figure]) -> str:
    """How many goals there are, and which are missed."""
    with_goal = [one for one in figures if one.goal is not None]
    missed = [one for one in with_goal if not one.is_met]
    met = f"{len(with_goal) - len(missed)} of {len(with_goal)} goals met"
    if not missed:
        return f"{met}."
    names = "; ".join(f"{one.what} ({one.tree}{', ' + one.peer if one.peer else ''})" for one in missed)
    beyond = sum(one.is_out_of_reach for one in missed)
    return f"{met}; missed: {names}." + (
        f" Of these, {beyond} would be missed by the least that can be done, too." if beyond else ""
    )


def measured(value: float, unit: str) -> str:
    """A value with its unit, for people: three digits, seconds below one in milliseconds."""
    if unit == "s" and value < 1:
        value, unit = 1000 * value, "ms"
    if value >= 1000:
        return f"{value:,.0f} {unit}"
    return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
