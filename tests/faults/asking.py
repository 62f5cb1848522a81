"""All that detection asks of git. As a program, it asks with no more than a gigabyte: `python asking.py ROOT`."""

import resource
import sys

from guardd.detection.benign.git import GitEvidence

_NEVER = 1 << 62


def ask_git(root: str) -> None:
    """Ask about a few paths, known and unknown ones."""
    evidence = GitEvidence(root)
    for path in ("a/module_1.py", "gone.py", "\udcff.py"):
        evidence.holds(path, lambda: b"x = 1\n", 0, 6, written_ns=_NEVER)
        evidence.removed(path, lambda: b"x = 1\n", 0)
        evidence.is_conflicted(path)
        evidence.is_busy(path)
    evidence.look()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    ask_git(sys.argv[1])
