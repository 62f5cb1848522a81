"""The parsing process: reads sources from stdin, prints how many of them do not compile. Run alone, never imported.

Started with -I: nothing of the repo that is being looked at may be imported here, least of all a damaged standard library.
"""

import struct
import sys
import warnings

LENGTH = struct.Struct("<Q")


def compiles(source: bytes) -> bool:
    """Whether this interpreter accepts the source."""
    try:
        compile(source, "<source>", "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
        return False
    return True


def main() -> None:
    """Count until the end of the input."""
    warnings.simplefilter("ignore")
    refused = 0
    while header := sys.stdin.buffer.read(LENGTH.size):
        refused += not compiles(sys.stdin.buffer.read(LENGTH.unpack(header)[0]))
    print(refused)  # noqa: T201  # the answer


if __name__ == "__main__":
    main()
