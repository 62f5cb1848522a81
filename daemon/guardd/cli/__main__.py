"""`python -m guardd.cli` is guardctl."""

from guardd.cli.main import main

main()
