"""The README's figures: written between their markers by the benchmarks, never by hand."""

import os
import platform
from datetime import date
from pathlib import Path

README = Path(__file__).with_name("README.md")


def write(section: str, text: str) -> None:
    """Put a section's text between its markers. Raises ValueError where the README has no such section."""
    README.write_text(put(README.read_text(), section, text))


def put(page: str, section: str, text: str) -> str:
    """The page with this text between the markers of a section. Pure."""
    begin, end = f"<!-- figures:{section} -->", f"<!-- end:{section} -->"
    if begin not in page or end not in page:
        raise ValueError(f"no section {section} in the README")
    head, _, rest = page.partition(begin)
    return f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


def machine() -> str:
    """When and on what was measured."""
    return f"{date.today()}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
