"""Text that is safe on a terminal: what a hostile name could do there is shown as an escape instead."""

from __future__ import annotations

import unicodedata

_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, invisible formatting, lone surrogates, line and paragraph ends


def printable(text: str) -> str:
    """Return `text` as one line, with backslash escapes for every character that would act instead of being shown."""
    if text.isprintable():
        return text
    return "".join(
        _escaped(character) if unicodedata.category(character) in _ACTING else character for character in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
