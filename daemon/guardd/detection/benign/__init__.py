"""Evidence that a change is no damage: one module for each kind. What is explained is never part of an incident.

ours: restored, adopted or run by guard; announced by a pause. git: git has this content. returned: an earlier version is back.
same_code: the same code in another layout. Moves of modules are seen over a burst, in `detection.moves`.
"""
