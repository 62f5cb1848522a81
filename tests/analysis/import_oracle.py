"""Run alone: whether an import statement really fails. Lines of `package TAB statement` in, what Python says of each out.

Uses nothing but built-in modules, so that the standard library under test is the one in the tree: python -I -S this ROOT...
"""

import _signal
import posix
import sys


def fails(package, statement):
    """The ImportError that a statement raises in a module of this package; nothing if there is none."""
    reader, writer = posix.pipe()
    child = posix.fork()
    if not child:
        for descriptor in (1, 2):
            posix.dup2(posix.open("/dev/null", posix.O_RDWR), descriptor)
        _signal.alarm(20)
        said = ""
        try:
            exec(statement, {"__name__": package + ".x" if package else "x", "__package__": package})
        except ImportError as error:
            said = str(error)
        except BaseException:
            said = ""
        posix.write(writer, said.replace("\n", " ").encode()[:4000])
        posix._exit(0)
    posix.close(writer)
    said = b""
    while part := posix.read(reader, 4096):
        said += part
    posix.close(reader)
    posix.waitpid(child, 0)
    return said.decode()


if __name__ == "__main__":
    sys.path[:0] = sys.argv[1:]
    if "--alone" in sys.path:  # with the tree's standard library, not with ours
        at = sys.path.index("--alone")
        sys.path[at:] = [path for path in sys.path[at:] if "lib-dynload" in path]
    sys.dont_write_bytecode = True
    for line in sys.stdin:
        sys.stdout.write(fails(*line.rstrip("\n").split("\t")) + "\n")
        sys.stdout.flush()
