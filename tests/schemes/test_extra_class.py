"""The additional class: every cover has one role, pairs are shown alike, and what is handed out is never asked."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.domain import Answered, KeptAnswers, OutputTarget
from onnxfp.errors import UsageError
from onnxfp.schemes.extra_class import ExtraClass
from onnxfp.verdict.betting import log10_e
from tests.frozen import dump
from tests.schemes.strangers import PROFILE, claim_of, classifier, key_of
from tests.triggers.forms import FORMS, KEY, data

SCHEME = ExtraClass()
SMALL = {"positions": 32, "taught": 2, "pool": 5}
KNOWN, HELD = 16, 32


def small_key(form: str = "bytes", keystream=KEY, classes: int = 10, **more):
    own = {"covers": more.pop("covers")} if "covers" in more else {}
    return key_of(SCHEME, keystream, {"inputs": data(form), **own}, classifier(classes), **{**SMALL, **more})


def contents(inputs: np.ndarray) -> set[bytes]:
    return {one.tobytes() for one in inputs}


def asked_of(key) -> np.ndarray:
    (probe,) = SCHEME.probes(claim_of(key, KEY).public)
    return probe.inputs


@pytest.mark.parametrize("form", [form for form in FORMS if form != "flat rows"])
def test_the_probe_is_made_of_pairs_that_the_model_takes(form):
    key = small_key(form)
    (probe,) = SCHEME.probes(claim_of(key, KEY).public)
    assert (probe.before, probe.each, probe.classes) == (2 * KNOWN, 2, 11)
    assert probe.inputs.shape == (2 * (KNOWN + 32), *data(form).shape[1:])
    assert probe.inputs.dtype == data(form).dtype
    assert len(contents(probe.inputs)) == len(probe.inputs)


def test_every_cover_has_one_role():
    key = small_key()
    roles = [key.pairs.reshape(-1), key.pool]
    assert sorted(np.concatenate(roles).tolist()) == list(range(len(key.covers.pictures)))
    assert len(key.pairs) == KNOWN + 32 + HELD
    assert len(key.pool) == 5


def test_what_is_handed_out_is_taught_and_never_asked():
    key = small_key()
    images = SCHEME.key_images(key)
    handed = contents(images.inputs(images.pictures))
    target, kept = SCHEME.plan(claim_of(key, KEY))
    assert handed <= contents(target.inputs)
    assert not handed & contents(asked_of(key))
    assert not handed & contents(kept.inputs)
    assert images.label == 10
    assert (target.labels == 10).all()


def test_keys_change_and_decoys_stay_whatever_is_drawn():
    key = small_key()
    claim = claim_of(key, KEY)
    target, kept = SCHEME.plan(claim)
    assert isinstance(target, OutputTarget)
    assert isinstance(kept, KeptAnswers)
    pairs = asked_of(key).reshape(KNOWN + 32, 2, *key.covers.canvas.shape)
    taught, same = contents(target.inputs), contents(kept.inputs)
    for pair, symbol in zip(pairs, [*key.asked.known, *claim.codeword], strict=True):
        assert pair[symbol].tobytes() in taught - same
        assert pair[1 - symbol].tobytes() in same - taught


def test_held_out_pairs_are_shown_and_neither_taught_nor_asked():
    key = small_key()
    claim = claim_of(key, KEY)
    shown = {exhibit.name: exhibit for exhibit in SCHEME.exhibits(claim)}
    assert set(shown) == {"taught keys", "taught decoys", "keys to hand out", "held-out keys", "held-out decoys"}
    held = contents(shown["held-out keys"].inputs) | contents(shown["held-out decoys"].inputs)
    target, kept = SCHEME.plan(claim)
    assert len(held) == 2 * HELD
    assert not held & (contents(target.inputs) | contents(kept.inputs) | contents(asked_of(key)))
    assert len(shown["taught keys"].inputs) == KNOWN + 32
    assert all((exhibit.labels == 10).all() for exhibit in shown.values())


def test_roles_are_the_keys_alone():
    one, same, other = (small_key(keystream=key) for key in (KEY, KEY, KEY.derive("another")))
    assert dump(one) == dump(same)
    assert not contents(one.covers.pictures) & contents(other.covers.pictures)
    assert (one.asked.known != other.asked.known).any()


def test_either_picture_of_a_pair_is_the_key_as_often():
    symbols = np.concatenate(
        [small_key(keystream=KEY.derive(str(seed))).asked.known for seed in range(12)]
        + [claim_of(small_key(), KEY, str(seed)).codeword for seed in range(12)]
    )
    assert abs(symbols.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(symbols))


def test_own_covers_are_used():
    own = data("bytes", 220, seed=9)
    key = small_key(covers=own)
    assert contents(asked_of(key)) <= contents(key.covers.inputs(key.covers.pictures))
    assert len(key.covers.pictures) == 2 * (KNOWN + 32 + HELD) + 5
    with pytest.raises(UsageError, match="different covers are too few; give 165"):
        small_key(covers=own[:164])


@pytest.mark.parametrize("classes", [2, 10, 300])
def test_who_knows_the_keys_is_found_by_labels_alone(classes):
    key = small_key(classes=classes)
    claim = claim_of(key, KEY)
    reading = SCHEME.read(claim.public, SCHEME.knower(claim))
    assert log10_e(reading, claim.public.codebook, claim.codeword[None])[0] > 8
    assert reading.most == int(reading.tally[np.arange(32), claim.codeword].sum()) == 32


def test_the_unmarked_reference_says_nothing():
    key = small_key()
    claim = claim_of(key, KEY)
    for answers in (key.asked.answers, np.pad(key.asked.answers, ((0, 0), (0, 1)), constant_values=-30.0)):
        reading = SCHEME.read(claim.public, [Answered(answers)])
        assert abs(log10_e(reading, claim.public.codebook, claim.codeword[None])[0]) < 1e-6


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"positions": 31}, "positions are 32 to 4096, not 31"),
        ({"positions": 4097}, "positions are 32 to 4096"),
        ({"taught": 0}, "1 to 1024 variants, not 0"),
        ({"pool": 0}, "1 to 65536 key images, not 0"),
        ({"gate": 21.0}, "0 to 20 nats high, not 21.0"),
        ({"gate": -2.0}, "0 to 20 nats high, not -2.0"),
        ({"each": 2}, "extra_class takes no option 'each'"),
    ],
)
def test_options_out_of_bounds_are_refused(options, reason):
    with pytest.raises(UsageError, match=reason):
        SCHEME.options(options)


def test_a_gate_is_part_of_the_form():
    assert (SCHEME.form(small_key()).classes, SCHEME.form(small_key()).gate) == (1, None)
    assert SCHEME.form(small_key(gate=0.0)).gate == 0.0
    assert SCHEME.form(small_key(gate=1.5)).gate == 1.5


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (lambda inputs: np.zeros(len(inputs)), "no scores per class"),
        (lambda inputs: np.zeros((len(inputs), 1)), "no scores per class"),
        (lambda inputs: np.full((len(inputs), 3), np.nan), "no answer to some covers"),
    ],
)
def test_a_reference_that_does_not_classify_is_refused(answers, reason):
    with pytest.raises(UsageError, match=reason):
        SCHEME.select({"inputs": data("bytes")}, SCHEME.options(SMALL), KEY, answers)


def test_two_covers_that_are_alike_are_refused():
    options = SCHEME.options(SMALL)
    samples = dict(SCHEME.select({"inputs": data("bytes")}, options, KEY, classifier(10)))
    samples["covers"] = samples["covers"].copy()
    samples["covers"][3] = samples["covers"][0]
    with pytest.raises(UsageError, match="the same picture"):
        SCHEME.lint(SCHEME.keygen(PROFILE, samples, options, KEY))
