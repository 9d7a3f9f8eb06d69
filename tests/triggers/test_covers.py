"""Covers: pictures of eight bits from one population, in keyed order, taught as they might arrive."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.errors import UsageError
from onnxfp.triggers.covers import covers_of, pick_covers
from tests.frozen import dump
from tests.triggers.forms import FORMS, KEY, data, ranges

SQUARE = [form for form in FORMS if form != "flat rows"]


def own(form: str, count: int) -> np.ndarray:
    return data(form, count, seed=5)


@pytest.mark.parametrize("form", FORMS)
def test_covers_are_inputs_of_the_model_within_the_range_of_the_data(form):
    inputs = data(form)
    covers = pick_covers({"inputs": inputs}, 20, KEY)
    low, high = ranges(inputs, form)
    for taken in (covers.taken(np.arange(20)), covers.variants(np.arange(20), 3, KEY)):
        assert (taken.dtype, taken.shape[1:]) == (inputs.dtype, inputs.shape[1:])
        slack = 1e-3 * (high.astype(np.float64) - low)
        assert (taken >= low - slack).all()
        assert (taken <= high + slack).all()
    assert covers.pictures.dtype == np.uint8


@pytest.mark.parametrize("form", FORMS)
def test_covers_come_back_from_what_is_kept(form):
    covers = pick_covers({"inputs": data(form), "covers": own(form, 40)}, 30, KEY)
    again = covers_of(covers.samples(data(form)))
    assert (again.pictures == covers.pictures).all()
    assert dump(again.taken(np.arange(30))) == dump(covers.taken(np.arange(30)))


@pytest.mark.parametrize("given", [{}, {"covers": own("bytes", 60)}])
def test_covers_are_the_keys_alone(given):
    data_given = {"inputs": data("bytes"), **given}
    one, same, other = (pick_covers(data_given, 30, key).pictures for key in (KEY, KEY, KEY.derive("b")))
    assert (one == same).all()
    assert (one != other).any()


def test_own_covers_are_picked_once_each():
    twice = np.concatenate([own("bytes", 40), own("bytes", 40)])
    pictures = pick_covers({"inputs": data("bytes"), "covers": twice}, 40, KEY).pictures
    assert len(np.unique(pictures, axis=0)) == 40
    with pytest.raises(UsageError, match="40 different covers are too few; give 41"):
        pick_covers({"inputs": data("bytes"), "covers": twice}, 41, KEY)


def test_covers_of_another_form_are_refused():
    with pytest.raises(UsageError, match="are no inputs of shape"):
        pick_covers({"inputs": data("bytes"), "covers": own("coloured bytes", 60)}, 30, KEY)


@pytest.mark.parametrize("form", SQUARE)
def test_the_first_variant_is_the_cover_itself_and_the_others_are_near_it(form):
    covers = pick_covers({"inputs": data(form)}, 6, KEY)
    variants = covers.variants(np.arange(6), 5, KEY)
    taken = covers.taken(np.arange(6))
    assert (variants[::5] == taken).all()
    flat, plain = variants.reshape(6, 5, -1).astype(float), taken.reshape(6, 1, -1).astype(float)
    apart = np.abs(flat - plain).mean(axis=2)
    assert (apart[:, 1:] > 0).all(), "a variant changes nothing"
    others = np.abs(plain - plain.transpose(1, 0, 2)).mean(axis=2)[np.triu_indices(6, 1)]
    assert apart.max() < others.mean(), "a variant is as far from its cover as another cover"


def test_a_change_of_low_bits_hardly_changes_what_a_model_takes():
    covers = pick_covers({"inputs": data("channels first")}, 6, KEY)
    flipped = covers.inputs(covers.pictures ^ np.uint8(1))
    assert 0 < np.abs(flipped - covers.taken(np.arange(6))).max() <= 1.001 / 255
