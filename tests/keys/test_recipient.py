"""One recipient, one spelling: what is merged, what is refused, and that nothing is echoed."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxfp.errors import UsageError
from onnxfp.keys.recipient import LONGEST_NAME, canonical_name

SPACES = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Zs"]

MERGED = {
    "outer spaces": ("  Acme Corp ", "Acme Corp"),
    "inner spaces": ("Acme   Corp", "Acme Corp"),
    "no-break space": ("Acme\u00a0Corp", "Acme Corp"),
    "thin and ideographic spaces": ("\u3000Acme\u2009\u3000Corp", "Acme Corp"),
    "decomposed accent": ("Cafe\u0301", "Café"),
    "angstrom sign": ("\u212b", "Å"),
    "marks in another order": ("a\u0323\u0302", "ậ"),
}

REFUSED = {
    "empty": "",
    "only spaces": " \u00a0\u2003 ",
    "newline inside": "Acme\nCorp",
    "newline at the end": "Acme\n",
    "carriage return": "Acme\rCorp",
    "tabulator": "Acme\tCorp",
    "null": "Acme\0Corp",
    "escape sequence": "\x1b[2JAcme",
    "next line": "Acme\u0085Corp",
    "line separator": "Acme\u2028Corp",
    "paragraph separator": "Acme\u2029Corp",
    "right-to-left override": "Acme\u202eproC",
    "isolate": "\u2066Acme",
    "zero-width space": "Ac\u200bme",
    "zero-width joiner": "Ac\u200dme",
    "byte-order mark": "\ufeffAcme",
    "soft hyphen": "Ac\u00adme",
    "tag letter": "Acme\U000e0041",
    "lone surrogate": "Acme\udc80",
    "private use": "Acme\ue000",
    "unassigned": "Acme\u0378",
    "not a character": "Acme\uffff",
    "Hangul filler": "Acme\u3164Corp",
    "half-width Hangul filler": "Acme\uffa0",
    "empty Braille cell": "Acme\u2800Corp",
    "variation selector": "Acme\ufe0f",
    "grapheme joiner": "Ac\u034fme",
    "too long": "x" * (LONGEST_NAME + 1),
    "10 kB": "x" * 10_000,
    "10 MB of spaces": " " * 10_000_000,
}


@pytest.mark.parametrize("case", MERGED)
def test_spellings_that_look_alike_are_one_name(case):
    typed, canonical = MERGED[case]
    assert canonical_name(typed) == canonical


@pytest.mark.parametrize("defect", REFUSED)
def test_refused_name_gives_one_short_line_without_echo(defect):
    with pytest.raises(UsageError) as refusal:
        canonical_name(REFUSED[defect])
    message = str(refusal.value)
    assert len(message) < 120
    assert message.isprintable()
    assert "Acme" not in message
    assert "xx" not in message


def test_message_names_the_character_by_its_number():
    with pytest.raises(
        UsageError, match=r"^the recipient's name contains a control character \(U\+000A\); leave it out$"
    ):
        canonical_name("Acme\nCorp")


def test_longest_name_is_accepted_also_when_typed_decomposed():
    assert canonical_name("e\u0301" * LONGEST_NAME) == "é" * LONGEST_NAME


@pytest.mark.parametrize("space", SPACES, ids=lambda space: f"U+{ord(space):04X}")
def test_every_space_of_unicode_is_a_plain_one(space):
    assert canonical_name(f"{space}Acme{space}{space}Corp{space}") == "Acme Corp"


@pytest.mark.parametrize("name", ["Łódź S.A.", "株式会社 日本", "O'Brien & Söhne", "شركة", "नमस्ते", "x", "🚀 Inc"])
def test_names_of_many_scripts_stay_as_they_are(name):
    assert canonical_name(name) == unicodedata.normalize("NFC", name)


@given(st.text(max_size=300))
def test_canonical_name_is_a_fixed_point_of_itself(text):
    try:
        name = canonical_name(text)
    except UsageError:
        return
    assert canonical_name(name) == name
    assert unicodedata.is_normalized("NFC", name)
    assert 0 < len(name) <= LONGEST_NAME
    assert name.isprintable()


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Mn"]), max_size=60), st.sampled_from(["NFC", "NFD"]))
def test_normal_form_and_spacing_of_the_input_do_not_matter(text, form):
    try:
        name = canonical_name(text)
    except UsageError:
        return
    respelt = unicodedata.normalize(form, name).replace(" ", "\u00a0 ")
    assert canonical_name(f" {respelt}\u2003") == name
