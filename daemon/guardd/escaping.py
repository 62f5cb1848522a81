"""Text from outside, made harmless: what a path, a message or a line of code quotes does nothing to a terminal or a chat."""


def printable(path: str) -> str:
    """A path that can do nothing to a terminal: control characters and bytes of no encoding are escaped, as Python does."""
    if path.isprintable() and "\\" not in path:
        return path
    return "".join(c if c.isprintable() and c != "\\" else _escaped(c) for c in path)


def one_line(message: str) -> str:
    """A message that does nothing to a terminal and stays on its line, whatever path or argument it quotes."""
    return "".join(c if c.isprintable() else _escaped(c) for c in message)


def brief(message: str, longest: int) -> str:
    """The beginning of a message as one harmless line of at most `longest` characters; a cut shows as `…`."""
    line = one_line(message[: longest + 1])
    return line if len(line) <= longest and len(message) <= longest else line[: longest - 1] + "…"


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")
