"""guardctl: one module a command; each asks the layers below and prints. Nothing is decided here.

`main` knows the commands by name only; a command's module, and what it needs, is imported when it is called.
"""

from guardd.cli.main import main

__all__ = ["main"]
