"""Git as a source, in a repo whose config names programs to run: none of them is run."""

import subprocess
from pathlib import Path

import pytest

from guardd.errors import GuardError
from guardd.recovery.sources import git_files
from guardd.rescue.history import GitHistory


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.promise("nothing of the repo runs", "a partial clone whose config names programs to fetch with")
@pytest.mark.parametrize(("protocol", "url"), [("ext", "ext::{trap}"), ("ssh", "ssh://nowhere/x"), ("file", "{root}")])
def test_what_a_partial_clone_lacks_is_not_fetched(tmp_path: Path, protocol: str, url: str) -> None:
    root, trap, sprung = tmp_path / "repo", tmp_path / "trap", tmp_path / "sprung"
    root.mkdir()
    trap.write_text(f"#!/bin/sh\ntouch {sprung}\nexit 1\n")
    trap.chmod(0o755)
    git(root, "init", "-q")
    (root / "a.py").write_bytes(b"a = 1\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    lacking = git(root, "rev-parse", "HEAD:a.py")
    (root / ".git/objects" / lacking[:2] / lacking[2:]).unlink()
    settings = {
        "core.repositoryformatversion": "1", "extensions.partialClone": "origin", "remote.origin.promisor": "true",
        "remote.origin.url": url.format(trap=trap, root=root), "remote.origin.uploadpack": str(trap),
        "core.sshCommand": str(trap), f"protocol.{protocol}.allow": "always",
    }  # fmt: skip
    for key, value in settings.items():
        git(root, "config", key, value)
    with pytest.raises(GuardError, match="cannot read object"):
        list(git_files(str(root), "HEAD", lambda path: True))
    with GitHistory(str(root)) as history:
        (found,) = history.walk({"a.py"}).contents["a.py"]
        with pytest.raises(GuardError):
            history.read(found.object_id)
    assert not sprung.exists()


def test_a_history_with_more_contents_than_are_looked_at_says_so_and_one_that_cannot_be_asked_too(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    commits = "".join(
        f"commit refs/heads/x\ncommitter a <a@b> {n} +0000\ndata 1\nxM 100644 inline a.py\ndata {len(str(n))}\n{n}\n"
        for n in range(302)
    )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=tmp_path, input=commits, text=True, check=True)
    git(tmp_path, "symbolic-ref", "HEAD", "refs/heads/x")
    with GitHistory(str(tmp_path)) as history:
        walked = history.walk({"a.py"})
        assert history.read(walked.contents["a.py"][299].object_id) == b"2"
        assert (walked.cut, history.trouble) == ({"a.py"}, None)
        (tmp_path / ".git/HEAD").write_text("garbage\n")
        assert history.walk({"a.py"}).contents == {}
        assert history.trouble is not None
