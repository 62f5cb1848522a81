"""Evidence that a change is no damage: one module for each kind. What is explained is never part of an incident.

ours: restored or adopted by guard; announced by a pause. runs: inside of `guardctl run`. git: git has this content. returned: an
earlier version is back.
same_code: the same code in another layout. Moves of modules are seen over a burst, in `detection.moves`.
"""
