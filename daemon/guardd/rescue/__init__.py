"""Rescue: for a tree that was damaged before guard came. Used by `guardctl adopt` and `restore --best`.

`backups` and `stamps` (pure) say which file a backup belongs to and of when it is, `adopting` takes it in. `choosing` leads to
the best version of each damaged file: `health` says what is damaged, `history` is git's, `best` (pure) decides.
"""
