"""The program that imports one module, run by the repo's own interpreter: its syntax is that of Python 3.6.

    python probe_child.py MODULE RECORDS TRACE INTERVAL SIGNAL [ROOT...]

Records are written to the descriptor RECORDS, and the stacks of all threads to TRACE: each INTERVAL seconds, when SIGNAL comes,
and when it crashes. Nothing of the repo may be imported before the module itself: a repo may hold a `json.py`. So nothing is
imported here but what is built in, and the path is the standard library's alone until the module's turn has come.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

IMPORTED, FAILED = 71, 72
"""Exit codes. Not 0 and 1, which the module itself is likely to end the process with."""

_LONGEST_MESSAGE = 4000
_MOST_FRAMES = 400
_LONGEST_CHAIN = 20
_NETWORK_ERRORS = ("ENETUNREACH", "ENETDOWN", "EHOSTUNREACH", "EADDRNOTAVAIL")


def main() -> None:
    """Import the module that the command line names, and say what came of it."""
    path_of_site = [entry for entry in sys.path if entry != __file__.rpartition("/")[0]]
    os = sys.modules["os"]  # site has imported it, before anything of the repo could be
    library = os.path.dirname(os.__file__)
    sys.path[:] = [entry for entry in sys.path if entry == library or entry == library + "/lib-dynload"]
    import errno
    import faulthandler
    from _thread import get_ident

    give_memory_back = _memory_limit()
    codes = [getattr(errno, name) for name in _NETWORK_ERRORS if hasattr(errno, name)]
    _, module, records, trace, interval, number = sys.argv[:6]
    roots = sys.argv[6:]
    write, leave, getpid, pid = os.write, os._exit, os.getpid, os.getpid()  # the module may put others in their place
    for descriptor in (int(records), int(trace)):
        os.set_inheritable(descriptor, False)

    def tell(*fields: object) -> None:
        left = _record(fields)
        try:
            while left:
                left = left[write(int(records), left) :]
        except OSError:
            pass  # the module closed what it did not open: the exit code remains

    tell("ready", ".".join(map(str, sys.version_info[:3])), get_ident(), sys.prefix, sys.exec_prefix)
    sys.argv[:] = [""]
    sys.path[:] = roots + [entry for entry in path_of_site if entry not in roots]
    faulthandler.enable(int(trace))
    faulthandler.dump_traceback_later(float(interval), True, int(trace))
    faulthandler.register(int(number), int(trace), True, False)
    try:
        __import__(module)
    except BaseException as error:
        give_memory_back()
        if getpid() == pid:
            tell("failed", *_told(error, codes))
        leave(FAILED)
    leave(IMPORTED if getpid() == pid else 0)


def _memory_limit() -> "Callable[[], None]":
    """A function that lifts the memory limit a little, for what has run into it must be able to tell."""
    try:
        import resource
    except ImportError:
        return lambda: None
    del sys.modules["resource"]  # the repo may have one of its own
    set_limit, limit = resource.setrlimit, resource.RLIMIT_DATA
    most = (resource.getrlimit(limit)[1],) * 2
    spare = [bytearray(1 << 20)]

    def give_back() -> None:
        spare.clear()
        set_limit(limit, most)

    return give_back


def _told(error: BaseException, network_codes: "list[int]") -> "list[object]":
    """Type, message, whether it came of having no network, what could not be found; then file, line, name of each frame."""
    kind = type(error)
    try:
        text = str(error)
    except BaseException:
        text = "(its message cannot be told)"
    if isinstance(error, SystemExit):
        text = repr(error.code)
    frames: list[object] = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        frames += [code.co_filename, step.tb_lineno, code.co_name]
        step = step.tb_next
    frames = frames[-3 * _MOST_FRAMES :]
    if isinstance(error, SyntaxError) and error.filename:
        frames += [error.filename, error.lineno or 0, "<module>"]
    name = error.name if isinstance(error, ModuleNotFoundError) else ""
    return [kind.__name__, text[:_LONGEST_MESSAGE], int(_is_of_network(error, network_codes)), name or "", *frames]


def _is_of_network(error: BaseException, codes: "list[int]") -> bool:
    """Whether it, or what it came of, says that there is no network."""
    one: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if one is None:
            break
        if type(one).__name__ == "gaierror" or (isinstance(one, OSError) and one.errno in codes):
            return True
        one = one.__cause__ or one.__context__
    return False


def _record(fields: "tuple[object, ...]") -> bytes:
    """Fields end with US, the record with RS (ASCII): without a module to import, and whatever is in them."""
    plain = [str(field).replace("\x1e", "?").replace("\x1f", "?") for field in fields]
    return "".join(one + "\x1f" for one in plain).encode("utf-8", "surrogatepass") + b"\x1e"


if __name__ == "__main__":
    main()
