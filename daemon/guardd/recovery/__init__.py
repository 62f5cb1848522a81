"""Recovery: plan (pure) -> safety capture -> apply -> verify -> report. The only part of guard that writes into a repo.

`plan` decides, `apply` writes, `verify` reads back, `sources` and `merge` ask git, `restore` leads through it. `past` is what was
there at a moment, adopted versions included; `resolving` counts the imports that lead nowhere before and after.
"""
