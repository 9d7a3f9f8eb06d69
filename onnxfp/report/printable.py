"""Text that is safe on a terminal: what a hostile name could do there is shown as an escape instead."""

from __future__ import annotations

import json
import unicodedata

_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, invisible formatting, lone surrogates, line and paragraph ends


def printable(text: str) -> str:
    """Return `text` as one line, with backslash escapes for every character that would act instead of being shown."""
    if text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode("ascii") if _acts(c) else c for c in text)


def printable_json(text: str) -> str:
    """Return a JSON document that says the same, with JSON's own escapes; its line breaks stay."""
    return "".join(json.dumps(c)[1:-1] if c != "\n" and _acts(c) else c for c in text)


def _acts(character: str) -> bool:
    return not character.isprintable() and unicodedata.category(character) in _ACTING
