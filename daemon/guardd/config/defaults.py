"""The defaults that a start without a config file needs: told without pydantic, whose import takes 0.1 s."""

from typing import Final

_SECOND_NS = 1_000_000_000
_DAY_NS = 86_400 * _SECOND_NS

LOG_LEVEL: Final = "info"
LOG_FORMAT: Final = "auto"
SCAN_INTERVAL_NS = 600 * _SECOND_NS
KEEP_ALL_NS = 3 * _DAY_NS
KEEP_HOURLY_NS = 30 * _DAY_NS
KEEP_DAILY_NS = 365 * _DAY_NS
QUOTA = 2**30
"""Bytes."""
