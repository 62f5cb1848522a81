"""What the config sets for detection, as its pure parts want it."""

from typing import TYPE_CHECKING

from guardd.detection.bursts import Limits

if TYPE_CHECKING:
    from guardd.config.settings import DetectionSettings, ResponseSettings


def limits_of(detection: "DetectionSettings", response: "ResponseSettings") -> Limits:
    """The limits that the config sets."""
    files = detection.thresholds
    return Limits(
        detection.window, detection.slow_window, response.settle, files.damaged, files.protected, files.slow, files.deleted,
        detection.approve_above,
    )  # fmt: skip
