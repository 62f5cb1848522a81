"""Transactions: a bulk command, kept if what it changed passes, rolled back if not. Used by `guardctl run`.

`transaction` is one run; `command` carries the command out, `writers` and `surroundings` look at what goes on besides, `verdict`
(pure) says what speaks against its changes, `critical` imports the critical modules, `rollback` puts the changes back.
"""
