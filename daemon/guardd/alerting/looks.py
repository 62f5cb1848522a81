"""How a message looks: a sign and a colour that tell its stage before a word of it is read. Pure."""

from typing import NamedTuple

from guardd.alerting.message import Message
from guardd.model import Severity, Stage


class Look(NamedTuple):
    """A sign for the title, a colour (`rgb`), and the nearest style of an Adaptive Card."""

    sign: str
    rgb: int
    style: str

    @property
    def hex(self) -> str:
        """The colour as `#rrggbb`."""
        return f"#{self.rgb:06x}"


_RED = (0xC62828, "attention")
_AMBER = (0xF9A825, "warning")
_GREEN = (0x2E7D32, "good")
_BLUE = (0x1565C0, "accent")

_SIGNS = {
    Stage.UPDATED: "🔄",
    Stage.ESCALATED: "🚨",
    Stage.REPEATED: "🔁",
    Stage.RESOLVED: "✅",
    Stage.TEST: "🔵",
}


def look(message: Message) -> Look:
    """Green when it is over, blue for a test; else red or amber, as bad as it is."""
    if message.is_over:
        colour = _GREEN
    elif message.stage is Stage.TEST:
        colour = _BLUE
    else:
        colour = _RED if message.severity in (Severity.HIGH, Severity.CRITICAL) else _AMBER
    return Look(_SIGNS.get(message.stage, "🔴" if colour is _RED else "🟡"), *colour)
