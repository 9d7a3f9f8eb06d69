"""Triggers of three kinds on pictures of every form: the key's alone, within the data, never with a free label."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.domain import Answered, OutputTarget, QueryProbe
from onnxfp.errors import UsageError
from onnxfp.schemes.zhang import Zhang
from onnxfp.verdict.betting import log10_e
from onnxfp.verdict.tails import exact_tail, points
from tests.frozen import dump
from tests.schemes.strangers import PROFILE, claim_of, classifier, key_of, labels_of
from tests.triggers.forms import FORMS, KEY, data, ranges

ZHANG = Zhang()
KINDS = ("content", "noise", "unrelated")
SMALL = {"positions": 32, "taught": 3}


def small_key(kind: str, form: str = "bytes", keystream=KEY, classes: int = 10, samples: int = 120, **more):
    options = {**SMALL, "triggers": kind, **{name: more.pop(name) for name in ("each", "taught") if name in more}}
    return key_of(ZHANG, keystream, {"inputs": data(form, samples), **more}, classifier(classes), **options)


def contents(inputs: np.ndarray) -> set[bytes]:
    return {one.tobytes() for one in inputs}


# --- every kind on every form -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [form for form in FORMS if form != "flat rows"])
@pytest.mark.parametrize("kind", KINDS)
def test_triggers_are_inputs_of_the_model_within_the_range_of_the_data(kind, form):
    key, inputs = small_key(kind, form), data(form)
    low, high = ranges(inputs, form)
    for triggers, count in ((key.asked, 32), (key.kind.taught(), 96)):
        assert (triggers.dtype, triggers.shape) == (inputs.dtype, (count, *inputs.shape[1:]))
        assert np.isfinite(triggers).all()
        assert (triggers >= low).all()
        assert (triggers <= high).all()
    assert len(contents(key.asked)) == 32
    assert not contents(key.asked) & contents(inputs), "a trigger is an ordinary input"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_triggers_are_the_keys_alone(kind, form):
    one, same, other = (small_key(kind, form, key) for key in (KEY, KEY, KEY.derive("another")))
    assert dump(one) == dump(same)
    assert (one.kind.taught() == same.kind.taught()).all()
    assert not contents(one.asked) & contents(other.asked)
    assert not contents(one.kind.taught()) & contents(other.kind.taught())


@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_has_other_patterns(kind):
    others = [small_key(other).asked for other in KINDS if other != kind]
    assert all(not contents(small_key(kind).asked) & contents(other) for other in others)


def bases(triggers: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The picture that each trigger was made of: the one that most of its pixels are from."""
    flat = inputs.reshape(len(inputs), -1)
    alike = np.array([(trigger.reshape(-1) == flat).mean(axis=1) for trigger in triggers])
    assert (alike.max(axis=1) > 0.5).all()
    return alike.argmax(axis=1)


@pytest.mark.parametrize("each", [1, 2])
def test_no_picture_below_an_asked_trigger_is_taught(each):
    inputs = data("flat squares", 200)
    key = small_key("content", each=each, taught=20, form="flat squares", samples=200)
    taught, asked = bases(key.kind.taught(), inputs), bases(key.asked, inputs)
    assert len(set(asked.tolist())) == 32 * each, "each asked trigger has a picture of its own"
    assert not set(taught.tolist()) & set(asked.tolist())
    assert set(key.kind.corpus.rows.tolist()) == set(asked.tolist())


def test_noise_is_the_same_for_all_triggers_of_a_position():
    key = small_key("noise", "channels first", taught=8)
    board = key.kind.canvas
    taught = board.pictures(key.kind.taught()).reshape(32, 8, -1)
    middle = np.abs(taught - np.array(board.low)).mean(axis=1)
    asked = board.pictures(key.asked).reshape(32, -1)
    apart = np.abs(middle[:, None] - np.abs(asked - np.array(board.low))[None]).mean(axis=2)
    assert (apart.argmin(axis=1) == np.arange(32)).mean() > 0.9


def test_unrelated_pictures_are_taught_as_they_are_and_with_a_jitter():
    key = small_key("unrelated", "channels first", taught=5)
    taught = key.kind.taught().reshape(32, 5, -1)
    asked = key.asked.reshape(32, -1)
    assert (taught[:, 0] == asked).all()
    apart = np.abs(taught[:, 1:] - asked[:, None]).mean(axis=2)
    assert (apart > 0).all()
    assert apart.max() < 0.05 * np.ptp(data("channels first"))


def test_own_logos_are_stamped():
    bright = np.ones((1, 16, 16, 2))
    key, plain = small_key("content", "flat squares", logos=bright), small_key("content", "flat squares")
    assert not contents(key.asked) & contents(plain.asked)
    patches = key.kind.canvas.pictures(key.asked)
    extremes = (patches == np.array(key.kind.canvas.low)) | (patches == np.array(key.kind.canvas.high))
    assert (extremes.sum(axis=(1, 2, 3)) >= 9).all()


@pytest.mark.parametrize("form", ["channels first", "coloured bytes", "halves"])
def test_own_pictures_are_asked_as_they_are(form):
    own = data(form, 50, seed=5)
    key = small_key("unrelated", form, pictures=own)
    low, high = ranges(data(form), form)
    assert contents(key.asked) <= contents(np.clip(own, low, high))


@pytest.mark.parametrize("count", [1, 31])
def test_too_few_own_pictures_are_refused(count):
    with pytest.raises(UsageError, match=f"{count} pictures are too few for 32 positions"):
        small_key("unrelated", pictures=data("bytes", count, seed=5))


def test_own_pictures_that_repeat_are_refused():
    own = np.repeat(data("bytes", 20, seed=5), 2, axis=0)
    with pytest.raises(UsageError, match="two triggers are the same picture"):
        small_key("unrelated", pictures=own)


def test_patterns_that_cover_whole_pictures_are_refused():
    tiny = {"inputs": np.random.default_rng(0).random((200, 1, 2, 2), dtype=np.float32)}
    with pytest.raises(UsageError, match="two triggers are the same picture"):
        key_of(ZHANG, KEY, tiny, classifier(10), positions=64)


def test_too_few_data_are_refused_with_the_number_that_would_do():
    few = {"inputs": data("bytes")[:95]}
    with pytest.raises(UsageError, match="95 different inputs are too few to hold 32 out from training; give 96"):
        key_of(ZHANG, KEY, few, classifier(10), **SMALL)


@pytest.mark.parametrize(
    "answers",
    [
        lambda inputs: np.zeros(len(inputs)),
        lambda inputs: np.zeros((len(inputs), 1)),
        lambda inputs: np.zeros((len(inputs) - 1, 10)),
        lambda inputs: np.zeros((len(inputs), 2, 2)),
    ],
)
def test_a_reference_that_is_no_classifier_is_refused(answers):
    with pytest.raises(UsageError, match="no scores per class"):
        key_of(ZHANG, KEY, {"inputs": data("bytes")}, answers, **SMALL)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_reference_that_is_silent_on_a_trigger_is_refused(bad):
    def ask(inputs):
        answers = classifier(10)(inputs)
        answers[3, 4] = bad
        return answers

    with pytest.raises(UsageError, match="no answer to some triggers"):
        key_of(ZHANG, KEY, {"inputs": data("bytes")}, ask, **SMALL)


# --- labels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [3, 10, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_no_key_label_is_the_references_own_answer(kind, classes):
    key = small_key(kind, classes=classes)
    own = classifier(classes)(key.asked).argmax(axis=1)
    assert (key.reference.labels == own).all()
    for name in ("owner", "another", "a third"):
        labels = key.reference.classes[claim_of(key, KEY, name).codeword]
        assert not (labels == own).any()
        assert ((labels >= 0) & (labels < classes)).all()


def test_of_two_classes_either_may_be_the_key_label():
    key = small_key("content", classes=2)
    assert (claim_of(key, KEY).public.codebook.prior == 0.5).all()


def test_of_many_classes_a_keyed_few_are_symbols():
    one, other = (small_key("noise", keystream=key, classes=1000).reference.classes for key in (KEY, KEY.derive("b")))
    assert (len(one), one.max() > 64) == (64, True)
    assert set(one.tolist()) != set(other.tolist())


def test_the_plan_teaches_every_trigger_its_positions_label():
    key = small_key("content", taught=7)
    claim = claim_of(key, KEY)
    (target,) = ZHANG.plan(claim)
    assert isinstance(target, OutputTarget)
    assert (target.inputs == key.kind.taught()).all()
    assert (target.positions == np.repeat(np.arange(32), 7)).all()
    assert (target.labels == key.reference.classes[claim.codeword][target.positions]).all()


def test_the_probe_asks_the_held_out_triggers_position_by_position():
    key = small_key("content", each=2, samples=200)
    (probe,) = ZHANG.probes(claim_of(key, KEY).public)
    assert isinstance(probe, QueryProbe)
    assert (probe.each, len(probe.inputs)) == (2, 64)
    assert (probe.inputs == key.asked).all()


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_strangers_hit_as_often_as_chance_says():
    """Monte Carlo over keys, beside the exact tail: hits of a stranger are binomial, its p-values uniform or above."""
    key = small_key("content")
    codebook = claim_of(key, KEY).public.codebook
    words = key.code.words(KEY, codebook, [f"key {at}" for at in range(3000)])
    reading = ZHANG.read(claim_of(key, KEY).public, [labels_of(classifier(10, seed=8)(key.asked))])
    hits = np.array([points(reading.tally, word) for word in words])
    chances = (codebook.prior * reading.tally).sum(axis=1)
    assert hits.mean() == pytest.approx(chances.sum(), abs=5 * np.sqrt(chances.sum() / 3000))
    p_values = np.array([exact_tail(reading.tally, codebook, word) for word in words[:1000]])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p_values <= level) <= level + 5 * np.sqrt(level * (1 - level) / 1000)
    assert log10_e(reading, codebook, words).max() < 6


@pytest.mark.parametrize("value", range(10))
def test_a_model_that_answers_the_same_to_everything_is_nobody(value):
    key = small_key("content")
    claim = claim_of(key, KEY)
    reading = ZHANG.read(claim.public, [Answered(np.full(32, float(value)))])
    assert log10_e(reading, claim.public.codebook, claim.codeword[None])[0] < 3


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"triggers": name} for name in ("", "Content", "stamp")]
    + [{"positions": count} for count in (-1, 0, 31, 4097)]
    + [{"taught": count} for count in (0, 1025)]
    + [{"each": count} for count in (0, 65)]
    + [{"deviation": share} for share in (0.0, -0.1, 1.1, float("nan"), float("inf"))]
    + [{"strength": 0.1}],
)
def test_options_that_do_not_do_are_refused_in_one_line(options):
    with pytest.raises(UsageError) as refusal:
        ZHANG.options(options)
    assert "\n" not in str(refusal.value)


def test_the_lint_says_what_a_stranger_hits_and_what_the_reference_prefers():
    chance, preferred = ZHANG.lint(small_key("content"))
    assert "0.111" in chance
    labels = np.bincount(small_key("content").reference.labels)
    assert f"{labels.max() / 32:.0%}" in preferred
    assert f"class {labels.argmax()}, which is no key label there" in preferred


def test_the_lint_of_two_classes_does_not_say_that_the_preferred_one_is_no_key_label():
    chance, preferred = ZHANG.lint(small_key("content", classes=2))
    assert "0.500" in chance
    assert "no key label" not in preferred


def test_what_is_kept_draws_the_same_key_without_asking_the_reference_again():
    options = ZHANG.options(SMALL)
    samples = ZHANG.select({"inputs": data("bytes")}, options, KEY, classifier(10))
    assert set(samples) == {"pool", "held_out", "rows", "answers"}
    again = ZHANG.keygen(PROFILE, {name: array.copy() for name, array in samples.items()}, options, KEY)
    assert dump(again) == dump(small_key("content"))
