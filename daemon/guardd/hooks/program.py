"""How a hook calls guardctl."""

import os
import shlex
import shutil
from collections.abc import Mapping

from guardd.programs import of_module


def calling(argv0: str, environ: Mapping[str, str], config: str | None) -> str:
    """The shell words that call the guardctl that was called as `argv0`, with the config file that it was given.

    Just its name where that finds it in every shell: an activated environment is on the PATH of one shell only.
    """
    words = _program(argv0, environ)
    if config is not None:
        words += ["--config", os.path.abspath(config)]
    return shlex.join(words)


def _program(argv0: str, environ: Mapping[str, str]) -> list[str]:
    if os.path.basename(argv0) != "guardctl":
        return of_module("guardd.cli")
    found = shutil.which("guardctl", path=_lasting_path(environ))
    running = argv0 if os.path.dirname(argv0) else shutil.which(argv0, path=environ.get("PATH"))
    if running is None or (found is not None and os.path.samefile(found, running)):
        return ["guardctl"]
    return [os.path.abspath(running)]


def _lasting_path(environ: Mapping[str, str]) -> str:
    activated = os.path.join(environ.get("VIRTUAL_ENV", os.devnull), "")
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(folder for folder in folders if not os.path.join(folder, "").startswith(activated))
