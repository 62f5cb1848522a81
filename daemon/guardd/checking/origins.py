"""Origins: which file of an earlier tree each file of a later one goes back to. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar

from guardd.model import RepoPath

_Key = TypeVar("_Key")


def origins(then: Mapping[RepoPath, bytes], now: Mapping[RepoPath, bytes]) -> dict[RepoPath, RepoPath]:
    """The earlier path of each later one that has one: its own, else where its content was, or the only file of its name.

    Only a file that is gone from its place can have moved: a copy is a new file.
    """
    found = {path: path for path in now if path in then}
    gone = sorted(then.keys() - now.keys())
    born = sorted(now.keys() - then.keys())
    if not gone or not born:
        return found
    by_content = _grouped((then[path], path) for path in gone)
    for path in born:
        places = by_content.get(now[path])
        if places:
            found[path] = places.pop(_alike(places, path))
    taken = set(found.values())
    names_gone = _grouped((_name(path), path) for path in gone if path not in taken)
    names_born = _grouped((_name(path), path) for path in born if path not in found)
    for name, places in names_born.items():
        if len(places) == len(names_gone.get(name, ())) == 1:
            found[places[0]] = names_gone[name][0]
    return found


def _alike(places: list[RepoPath], path: RepoPath) -> int:
    return next((at for at, one in enumerate(places) if _name(one) == _name(path)), 0)


def _name(path: RepoPath) -> str:
    return path.rpartition("/")[2]


def _grouped(pairs: Iterable[tuple[_Key, RepoPath]]) -> dict[_Key, list[RepoPath]]:
    found: defaultdict[_Key, list[RepoPath]] = defaultdict(list)
    for key, path in pairs:
        found[key].append(path)
    return found
