"""How modules of our own are run as programs."""

import sys


def of_module(name: str) -> list[str]:
    """The command that runs one of our modules, whatever lies in the working directory.

    With a plain `-m` Python looks there first (sys.path[0]): a repo's own `queue.py` would be run. `-P`: Python 3.11 and newer.
    """
    return [sys.executable, "-P", "-m", name]
