"""What a soak measures over its time, and how it is said whether that rises."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from statistics import median

_MOST_POINTS = 400
"""The slopes between all pairs of so many are 80,000."""


@dataclass(slots=True)
class Series:
    """One figure over the time: (seconds, value)s."""

    name: str
    unit: str
    points: list[tuple[float, float]] = field(default_factory=list)

    def add(self, seconds: float, value: float) -> None:
        self.points.append((seconds, value))

    @property
    def values(self) -> list[float]:
        return [value for _, value in self.points]

    @property
    def rise(self) -> float:
        """By how much it rose from its first point to its last, along the line of `slope`."""
        return slope(self.points) * (self.points[-1][0] - self.points[0][0])

    def __str__(self) -> str:
        found = sorted(self.values)
        return (
            f"{self.name}: median {median(found):.1f} {self.unit}, most {found[-1]:.1f}, "
            f"{len(found)} samples in {self.points[-1][0] - self.points[0][0]:.0f} s, "
            f"fitted rise {self.rise:+.2f} {self.unit} ({slope(self.points) * 3600:+.2f} an hour)"
        )


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs (Theil-Sen): some outliers do not bend it."""
    some = points[:: -(-len(points) // _MOST_POINTS)]
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0]) for earlier, later in combinations(some, 2) if later[0] > earlier[0]
    ]
    return median(slopes) if slopes else 0.0
