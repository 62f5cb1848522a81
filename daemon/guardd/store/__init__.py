"""The store: one SQLite database for all repos of a user; log, blobs, heads, restores and the daemon's live state.

All SQL of guard stands here. Any number of processes may open it; writers meet in IMMEDIATE transactions.
"""
