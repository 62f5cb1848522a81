"""The parsing process: sources in on stdin, facts out on stdout, one JSON line each. Run alone, never imported.

Started with -I: nothing of the repo that is being looked at may be imported here, least of all a damaged standard library.
Short, as a program is compiled at each start; what it imports is not.
"""

import gc
import json
import os
import struct
import sys
import warnings

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # ours alone, and looked in last
from guardd.analysis.source_facts import facts, syntax  # -I leaves it out of sys.path

LENGTH = struct.Struct("<Q")
_MEMORY = 2 * 2**30


def main() -> None:
    """Answer until the end of the input."""
    warnings.simplefilter("ignore")
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    except (ImportError, ValueError, OSError):
        pass  # no such limit here: the parent's time limit remains
    gc.disable()  # a syntax tree has no cycles, and the collector took half of the time
    answer = {"syntax": syntax, "facts": facts}[sys.argv[1]]
    while header := sys.stdin.buffer.read(LENGTH.size):
        source = sys.stdin.buffer.read(LENGTH.unpack(header)[0])
        try:
            found = answer(source)
        except (RecursionError, MemoryError, ValueError):
            found = {"parses": None}
            gc.collect()
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
