"""What may be typed, and what is said when it is wrong."""

from __future__ import annotations

import pytest

from onnxfp.attacks import CATALOGUE, parse, run
from onnxfp.attacks.chip_learning import LearnedChips, Rule
from onnxfp.attacks.noise import Noise
from onnxfp.attacks.prune import Prune
from onnxfp.attacks.rounding import Round
from onnxfp.errors import UsageError
from tests.attacks.small_models import save, two_layers

GOOD = {
    "prune:0.5": Prune(0.5),
    "prune:1": Prune(1.0),
    "noise:0": Noise(0.0),
    "noise:1e-1": Noise(0.1),
    "round:4": Round(4),
    "learned:pick": LearnedChips(Rule.PICK),
    "learned:minority:4": LearnedChips(Rule.MINORITY, 4.0),
}
BAD = {
    "": "expected an attack",
    "shrink": "prune:SHARE",
    "prune": "0 to 1",
    "prune:": "0 to 1",
    "prune:half": "0 to 1",
    "prune:1.01": "0 to 1",
    "prune:-0.1": "0 to 1",
    "prune:0.5\nx": "0 to 1",
    "prune\nx": "prune:SHARE",
    "prune:nan": "0 to 1",
    "noise:inf": "0 to 100",
    "noise:-1": "0 to 100",
    "round:1": "2 to 16",
    "round:17": "2 to 16",
    "round:4.5": "2 to 16",
    "round:٤": "2 to 16",
    "round:" + "9" * 5000: "2 to 16",
    "fp16:1": "no value",
    "average:3": "no value",
    "learned": "pick, minority, majority",
    "learned:all": "pick, minority, majority",
    "learned:pick:x": "0 to 100",
}


@pytest.mark.parametrize("text", GOOD)
def test_a_good_text_is_parsed(text):
    assert parse(text) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_a_bad_text_is_refused_with_what_would_do(text):
    with pytest.raises(UsageError) as refusal:
        parse(text)
    assert BAD[text] in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_an_unknown_name_is_refused_with_all_names():
    with pytest.raises(UsageError) as refusal:
        parse("shrink:3")
    assert all(attack.usage in str(refusal.value) for attack in CATALOGUE.values())


def test_every_attack_is_called_by_its_own_name():
    assert all(name == attack.name and attack.usage.startswith(name) for name, attack in CATALOGUE.items())


@pytest.mark.parametrize(
    ("text", "count"), [("prune:0.5", 0), ("prune:0.5", 2), ("fp16", 2), ("average", 1), ("learned:pick", 2)]
)
def test_the_wrong_number_of_artifacts_is_refused(tmp_path, text, count):
    source = save(tmp_path / "a.onnx", two_layers())
    with pytest.raises(UsageError, match="artifact"):
        run(parse(text), [source] * count, tmp_path / "out.onnx", 0)
    assert not (tmp_path / "out.onnx").exists()
