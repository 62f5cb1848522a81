"""Capture: hints and scans become verified versions in the store. Reads the repo, never writes to it.

`reading` reads one path, `scanning` finds what differs from the heads, `capturer` records it, `dirty` holds hints.
"""
