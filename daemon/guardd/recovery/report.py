"""What a restore did."""

from dataclasses import dataclass, field

from guardd.model import FileState, RepoPath


@dataclass(slots=True)
class Report:
    """What a restore did. `restore_id` is None where there was nothing to do."""

    restore_id: int | None = None
    restored: list[RepoPath] = field(default_factory=list)
    removed: list[RepoPath] = field(default_factory=list)
    unchanged: int = 0
    skipped: list[tuple[RepoPath, str]] = field(default_factory=list)
    failed: list[tuple[RepoPath, str]] = field(default_factory=list)
    written: list[tuple[RepoPath, FileState]] = field(default_factory=list)
    seconds: float = 0.0
