"""The hooks by which agents, git and pre-commit have a snapshot taken before they act: their texts, and how they get into place.

What goes into a file is decided here without a disk; `guardctl hook` reads and writes. Used by cli only.
"""
