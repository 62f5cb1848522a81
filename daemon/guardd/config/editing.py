"""Changes to the config file by guard itself: as text, so that comments and order stay as people wrote them."""

import json
import os
import tempfile

from guardd.config.loading import load, read_text
from guardd.errors import ConfigError, UsageError
from guardd.selection import TEMPORARY


def add_repo(path: str, repo_path: str) -> bool:
    """Append a `[[repo]]` for an absolute path, unless it is there; whether something was written.

    Raises ConfigError, and UsageError where it overlaps with another.
    """
    try:
        repo_path.encode()
    except UnicodeEncodeError as error:
        raise ConfigError([f"{repo_path!r} cannot be written in TOML: its name is not UTF-8; rename the directory"]) from error
    path = os.path.realpath(path)  # a config that is a link into someone's dotfiles stays one
    text = read_text(path, named=False) or ""
    for other in load(path, named=False).repo:
        if other.path == repo_path:
            return False
        if other.path.startswith(os.path.join(repo_path, "")) or repo_path.startswith(os.path.join(other.path, "")):
            raise UsageError(f"{repo_path} overlaps with {other.path}, which is guarded already; take that out of {path} first")
    separator = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
    addition = f"{separator}[[repo]]\npath = {json.dumps(repo_path, ensure_ascii=False)}\n"
    try:
        replace_text(path, text + addition, folder_mode=0o700)
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror}; make it writable, or name another with --config"]) from error
    return True


def replace_text(path: str, text: str, *, mode: int = 0o600, folder_mode: int = 0o777) -> None:
    """Write a text file so that it is either its old self or its new self. Raises OSError.

    Its permissions stay, a new file gets `mode` (less the umask), and its folder is made. Surrogates become bytes again.
    """
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=folder_mode, exist_ok=True)
    fd, temp = tempfile.mkstemp(dir=folder, prefix=TEMPORARY, suffix=".tmp")
    try:
        with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
            os.fchmod(fd, os.stat(path).st_mode & 0o777 if os.path.exists(path) else mode & ~_umask())
        os.replace(temp, path)
    except BaseException:
        os.unlink(temp)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
