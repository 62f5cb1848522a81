"""What a running process can reach of the disk: the sandbox of its unit, or a container, may leave it less than its user has."""

import os


def may_write(pid: int, directory: str) -> bool | None:
    """Whether a process may write to a directory (absolute, resolved) in its own view of the disk; None: we cannot look there.

    /proc/PID/root leads into the mounts of the process, and access(2) tells a read-only one: proc_pid_root(5).
    """
    view = f"/proc/{pid}/root"
    if not os.access(view, os.X_OK) or not os.path.isdir(view + directory):
        return None
    return os.access(view + directory, os.W_OK)
