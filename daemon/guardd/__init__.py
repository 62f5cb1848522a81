"""guardd keeps every version of the Python files of a repo, and puts them back on command.

Programs: `guardd` (the daemon, `guardd.service`) and `guardctl` (for people and scripts, `guardd.cli`).
"""

__version__ = "0.1.0"
