"""What the interpreter of a tree can import: the top-level names of its environment, read from its folders alone."""

import glob
import os
import re
from collections.abc import Iterator

_ENVIRONMENTS = (".venv", "venv", "env")
_EDITABLE = re.compile(r"'([A-Za-z_]\w*)(?:\.[\w.]*)?': '")


def installed_names(root: str, python: str | None) -> frozenset[str] | None:
    """The top-level modules that are installed for the tree at `root`; None where its environment is not known.

    `python` is the interpreter that the config names (relative to the root), else an environment in the root is looked for.
    """
    if python is not None:
        prefixes = [os.path.dirname(os.path.dirname(os.path.join(root, python)))]
    else:
        prefixes = [
            path for name in _ENVIRONMENTS if os.path.exists(os.path.join(path := os.path.join(root, name), "pyvenv.cfg"))
        ]
    folders = [folder for prefix in prefixes for folder in _site_packages(prefix)]
    if not folders or any(_sees_the_system(prefix) for prefix in prefixes):
        return None
    return frozenset(name for folder in folders for name in _names(folder))


def _site_packages(prefix: str) -> list[str]:
    patterns = ("lib/python3*/site-packages", "lib/python3*/dist-packages", "lib/python3/dist-packages", "Lib/site-packages")
    return [folder for pattern in patterns for folder in glob.glob(os.path.join(glob.escape(prefix), pattern))]


def _sees_the_system(prefix: str) -> bool:
    try:
        with open(os.path.join(prefix, "pyvenv.cfg"), encoding="utf-8", errors="replace") as file:
            return re.search(r"(?m)^include-system-site-packages\s*=\s*true", file.read()) is not None
    except OSError:
        return False


def _names(folder: str, *, depth: int = 0) -> Iterator[str]:
    try:
        entries = os.listdir(folder)
    except OSError:
        return
    for entry in entries:
        if entry.endswith(".pth") and not depth:
            yield from _names_of_pth(os.path.join(folder, entry))
        elif entry.startswith("__editable__") and entry.endswith(".py"):
            yield from _EDITABLE.findall(_text(os.path.join(folder, entry)))
        elif not entry.endswith((".dist-info", ".egg-info")):
            yield entry.partition(".")[0]


def _names_of_pth(path: str) -> Iterator[str]:
    """Each line is a folder that imports also start from, or code (site(3))."""
    for line in _text(path).splitlines():
        if line.strip() and not line.startswith(("import ", "import\t", "#")):
            yield from _names(os.path.join(os.path.dirname(path), line.strip()), depth=1)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20)
    except OSError:
        return ""
