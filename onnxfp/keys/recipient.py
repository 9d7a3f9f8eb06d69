"""The one spelling of a recipient's name: a codeword is keyed by it, so one recipient must have exactly one.

Normal form C; every run of Unicode spaces becomes one plain space, and none stays at either end. Characters that show
nothing or turn the text around are refused rather than dropped, since whoever typed them should know. So are characters
that this release of Python does not know: a later one might normalise them differently, and the recipient would become
another. Names that merely look alike (another case, another script, full-width letters) remain different names.
"""

from __future__ import annotations

import re
import unicodedata

from onnxfp.errors import UsageError

LONGEST_NAME = 200
_LONGEST_INPUT = 4 * LONGEST_NAME  # normal form C may shorten a name, hardly ever to less than a quarter
_REFUSED = {
    "Cc": "a control character",
    "Cf": "an invisible formatting character",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
    "Cs": "half a surrogate pair",
    "Co": "a private-use character",
    "Cn": "an unassigned character",
}
# Letters, marks and symbols by category, blank or without effect to the eye: joiner, fillers, selectors, empty Braille.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
_SPACES = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")  # category Zs


def canonical_name(text: str) -> str:
    """Return the canonical spelling of a recipient's name; applying it again changes nothing.

    Args:
        text: the name as typed.

    Raises:
        UsageError: nothing is left of it, it is too long, or a character is refused; the text is not echoed.
    """
    if len(text) > _LONGEST_INPUT:
        raise _too_long(len(text))
    name = _SPACES.sub(" ", unicodedata.normalize("NFC", text)).strip(" ")
    for character in name:
        _refuse_unseen(character)
    if not name:
        raise UsageError("the recipient's name is empty; give a name")
    if len(name) > LONGEST_NAME:
        raise _too_long(len(name))
    return name


def _refuse_unseen(character: str) -> None:
    what = _REFUSED.get(unicodedata.category(character))
    if what is None and _BLANK.match(character):
        what = "a blank character"
    if what is not None:
        raise UsageError(f"the recipient's name contains {what} (U+{ord(character):04X}); leave it out")


def _too_long(length: int) -> UsageError:
    return UsageError(f"the recipient's name has {length} characters; {LONGEST_NAME} are the most: shorten it")
