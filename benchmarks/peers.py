"""The peers: git, restic, borg, cp, inotifywait and watchman, each as its manual shows it, on the same tree."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.processes import clean_environment, memory, timed

PEERS = ("git", "restic", "borg", "cp", "inotifywait", "watchman")
GIT = ["git", "-c", "user.name=b", "-c", "user.email=b@example.org", "-c", "gc.auto=0"]


def tree_bytes(folder: Path) -> int:
    """Bytes of all files below, as their lengths say (what `du --apparent-size` adds up, without the directories)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Git:
    """git with its directory outside the tree, so that no other peer has to copy it; or inside (`inside`), for checkouts."""

    def __init__(self, base: Path, root: Path, *, inside: bool = False) -> None:
        self.folder, self.root = root / ".git" if inside else base / "git", root
        self._env = clean_environment()
        if not inside:
            self._env |= {"GIT_DIR": str(self.folder), "GIT_WORK_TREE": str(root)}

    def run(self, *words: str, stdin: str = "") -> float:
        """Seconds of one git command."""
        begun = time.perf_counter()
        subprocess.run(
            [*GIT, *words], cwd=self.root, env=self._env, input=stdin, text=True, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        return time.perf_counter() - begun

    def init(self) -> None:
        """An empty repository."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.run("init", "-q", "-b", "main")

    def commit(self) -> float:
        """Seconds of the first `git add` and `git commit` in an empty repository."""
        self.init()
        return self.run("add", "-A") + self.run("commit", "-qm", "all")

    def loose_bytes(self) -> int:
        """Bytes of all loose objects."""
        return tree_bytes(self.folder / "objects")


class Restic:
    """restic with a repository and a cache beside the tree; it encrypts, which cannot be turned off."""

    def __init__(self, base: Path, root: Path) -> None:
        self.repository, self._cache, self.root = base / "restic", base / "restic-cache", root
        self._env = clean_environment() | {
            "RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": "benchmark", "RESTIC_CACHE_DIR": str(self._cache)
        }  # fmt: skip

    def init(self) -> None:
        """An empty repository."""
        for folder in (self.repository, self._cache):
            shutil.rmtree(folder, ignore_errors=True)
        timed(["restic", "init", "--quiet"], self.root, self._env)

    def first_backup(self) -> float:
        """Seconds of a backup of all into an empty repository, on all cores."""
        self.init()
        return self.backup()

    def backup(self) -> float:
        """Seconds of a backup."""
        return timed(["restic", "backup", "--quiet", "."], self.root, self._env)

    def backup_files(self, paths: Sequence[Path]) -> None:
        """A snapshot of exactly these files."""
        listing = self.repository.with_name("restic-files")
        listing.write_text("".join(f"{path.relative_to(self.root)}\n" for path in paths))
        timed(["restic", "backup", "--quiet", "--files-from-verbatim", listing], self.root, self._env)

    def restore(self) -> float:
        """Seconds of a restore of the latest snapshot over the tree."""
        return timed(["restic", "restore", "latest", "--quiet", "--target", self.root], self.root, self._env)

    def bytes(self) -> int:
        """Bytes of the repository."""
        return tree_bytes(self.repository)


class Borg:
    """borg, not encrypted, with zstd at the level that guardd uses."""

    def __init__(self, base: Path, root: Path) -> None:
        self.repository, self._home, self.root = base / "borg", base / "borg-home", root
        self._env = clean_environment() | {
            "BORG_REPO": str(self.repository), "BORG_BASE_DIR": str(self._home),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }  # fmt: skip
        self._number = 0

    def first_backup(self) -> float:
        """Seconds of an archive of all in an empty repository."""
        for folder in (self.repository, self._home):
            shutil.rmtree(folder, ignore_errors=True)
        self._home.mkdir(parents=True)
        timed(["borg", "init", "-e", "none"], self.root, self._env)
        return self.backup()

    def backup(self) -> float:
        """Seconds of another archive."""
        self._number += 1
        return timed(["borg", "create", "-C", "zstd,3", f"::{self._number}", "."], self.root, self._env)

    def bytes(self) -> int:
        """Bytes of the repository."""
        return tree_bytes(self.repository)


class Copy:
    """`cp -a`."""

    def __init__(self, base: Path, root: Path) -> None:
        self._target, self.root = base / "copy", root
        self.synced: list[float] = []

    def run(self) -> float:
        """Seconds of a copy; with the sync that makes it durable it took what is added to `synced`."""
        shutil.rmtree(self._target, ignore_errors=True)
        taken = timed(["cp", "-a", self.root, self._target], self.root)
        self.synced.append(taken + timed(["sync", "-f", self._target], self.root))
        shutil.rmtree(self._target)
        return taken


class Inotifywait:
    """`inotifywait -m -r` over the tree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.memories: list[float] = []

    def establish(self) -> float:
        """Seconds until its watches are established; its memory then is added to `memories` (MB)."""
        begun = time.perf_counter()
        with self.running() as pid:
            taken = time.perf_counter() - begun
            self.memories.append(memory(pid))
        return taken

    @contextlib.contextmanager
    def running(self) -> Iterator[int]:
        """Its process, from when its watches are established."""
        command = ["inotifywait", "-m", "-r", "-e", "close_write,create,delete,move", str(self.root)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert process.stderr is not None
                for line in process.stderr:
                    if "established" in line:
                        break
                yield process.pid
            finally:
                process.terminate()


class Watchman:
    """A watchman server of our own, apart from the user's."""

    def __init__(self, base: Path, root: Path) -> None:
        self._base, self.root = base / "watchman", root
        self.memories: list[float] = []

    def establish(self) -> float:
        """Seconds from the server's start until it has crawled the tree and answers; its memory is added to `memories` (MB)."""
        shutil.rmtree(self._base, ignore_errors=True)
        self._base.mkdir(parents=True)
        socket = self._base / "socket"
        begun = time.perf_counter()
        with self._server(socket) as server:
            while not socket.exists():
                time.sleep(0.002)
            ask: list[str | Path] = ["watchman", "--no-spawn", "--sockname", socket]
            timed([*ask, "watch", self.root], self._base, self._env())
            timed([*ask, "clock", self.root], self._base, self._env())
            taken = time.perf_counter() - begun
            self.memories.append(memory(server.pid))
        return taken

    @contextlib.contextmanager
    def _server(self, socket: Path) -> Iterator["subprocess.Popen[bytes]"]:
        command: list[str | Path] = [
            "watchman", "--foreground", "--no-save-state", "--sockname", socket, "--logfile", self._base / "log",
            "--pidfile", self._base / "pid", "--statefile", self._base / "statefile",
        ]  # fmt: skip
        with subprocess.Popen(command, env=self._env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.terminate()

    def _env(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self._base), "HOME": str(self._base)}
