"""The kinds of targets, one module each: `send(message, endpoint)` gives what the target answered, or raises NotDelivered.

A new kind is its module here and one line in `config.alerts.KINDS`. Modules import nothing heavy before they send.
"""

import importlib

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.message import Message


def send(message: Message, to: Endpoint) -> str:
    """Send a message to a target; what it answered. Raises NotDelivered."""
    answer: str = importlib.import_module(f"{__name__}.{to.kind}").send(message, to)
    return answer


def least_interval_s(kind: str) -> float:
    """The least time between two messages that this kind of target allows."""
    return float(getattr(importlib.import_module(f"{__name__}.{kind}"), "INTERVAL_S", 0.0))
