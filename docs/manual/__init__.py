"""The man pages, built from one source: click's help for the programs, the settings and the example for the config.

`make man` writes them to docs/man; what only a manual says (files, environment, examples) stands in `prose`.
"""
