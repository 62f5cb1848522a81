"""Recovery: plan (pure) -> safety capture -> apply -> verify -> report. The only part of guard that writes into a repo.

`plan` decides, `apply` writes, `verify` reads back, `sources` and `merge` ask git, `restore` leads through it.
`transaction` is a bulk command's: `command` carries it out, `writers` and `surroundings` look at what goes on besides, `verdict`
(pure) says what speaks against its changes, `rollback` puts them back.
"""
