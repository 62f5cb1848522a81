"""Write the man pages to docs/man."""

from pathlib import Path

from docs.manual.pages import pages

MAN = Path(__file__).parents[1] / "man"

for name, text in pages().items():
    (MAN / name).write_text(text, encoding="ascii")
