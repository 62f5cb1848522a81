"""Checking: what is wrong with a tree, or newly wrong with it, held against the rules of detection and its own imports.

Used by `recovery` (what a restore or a run leaves behind) and by `guardctl check`. Reads trees, writes nothing but facts.
"""
