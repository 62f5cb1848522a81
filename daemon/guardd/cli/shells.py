"""The shells that complete guardctl's command lines: click's own, but that bash sees `incident:7` as three words."""

import os

from click.shell_completion import BashComplete, CompletionItem, ShellComplete, add_completion_class, split_arg_string

NAMES = ("bash", "zsh", "fish")


@add_completion_class
class Bash(BashComplete):
    """bash, which splits words at the colons of COMP_WORDBREAKS and completes only what comes after one."""

    _cut = 0

    def source(self) -> str:
        """The script; whether this bash is new enough (4.4) is not tried by starting one, as click would."""
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is being typed, and that one, as a person reads them."""
        at = int(os.environ["COMP_CWORD"])
        words = split_arg_string(os.environ["COMP_WORDS"])[1 : at + 1]
        is_new = len(words) < at
        joined, was_split = _rejoined(words)
        if is_new or not joined:
            return joined, ""
        *args, incomplete = joined
        self._cut = incomplete.rfind(":") + 1 if was_split else 0
        return args, incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        """What bash puts in the place of its own word."""
        return f"{item.type},{item.value[self._cut :]}"


def _rejoined(words: list[str]) -> tuple[list[str], bool]:
    """The words with those that were split at a colon put together, and whether the last one was."""
    joined: list[str] = []
    is_open, was_split = False, False
    for word in words:
        if word == ":" and joined:
            joined[-1] += word
            is_open = was_split = True
        elif is_open:
            joined[-1] += word
            is_open = False
        else:
            joined.append(word)
            was_split = False
    return joined, was_split
