"""What is picked from the owner's data: each picture once, what is held out never among what is taught."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.errors import UsageError
from onnxfp.triggers.corpus import corpus_of, pick_corpus
from tests.triggers.forms import FORMS, KEY, data


def contents(inputs: np.ndarray) -> list[bytes]:
    return [one.tobytes() for one in inputs]


@pytest.mark.parametrize("form", FORMS)
def test_held_out_pictures_are_not_among_those_that_are_taught(form):
    inputs = data(form)
    corpus = pick_corpus({"inputs": inputs}, 32, KEY)
    held, pool = contents(corpus.held_out), contents(corpus.pool)
    assert (len(held), len(set(held))) == (32, 32)
    assert (len(pool), len(set(pool))) == (88, 88)
    assert not set(held) & set(pool)
    assert set(held) | set(pool) == set(contents(inputs))
    assert corpus.pool.dtype == corpus.held_out.dtype == inputs.dtype


def test_the_rows_are_those_of_the_held_out_pictures():
    inputs = data("bytes")
    corpus = pick_corpus({"inputs": inputs}, 32, KEY)
    assert (np.diff(corpus.rows) > 0).all()
    assert set(contents(inputs[corpus.rows])) == set(contents(corpus.held_out))


def test_repeated_pictures_are_picked_once_and_all_their_rows_are_held_out():
    """Else training would see what it must not see."""
    inputs = np.concatenate([data("bytes"), data("bytes")[::-1], data("bytes")[:7]])
    corpus = pick_corpus({"inputs": inputs}, 32, KEY)
    left = np.delete(inputs, corpus.rows, axis=0)
    assert not set(contents(left)) & set(contents(corpus.held_out))
    assert len(set(contents(corpus.pool))) == len(corpus.pool)
    assert len(corpus.rows) >= 64


@pytest.mark.parametrize("different", [0, 1, 95])
def test_too_few_different_pictures_are_refused_with_the_number_that_would_do(different):
    inputs = np.resize(data("bytes")[: max(1, different)], (300 if different else 0, 28, 28))
    with pytest.raises(UsageError, match=f"{different} different inputs are too few .* give 96"):
        pick_corpus({"inputs": inputs}, 32, KEY)
    assert len(pick_corpus({"inputs": data("bytes")[:96]}, 32, KEY).pool) == 64


def test_the_pick_is_the_keys_alone():
    one, same, other = (pick_corpus({"inputs": data("bytes")}, 32, key) for key in (KEY, KEY, KEY.derive("b")))
    assert contents(one.held_out) == contents(same.held_out)
    assert contents(one.pool) == contents(same.pool)
    assert set(contents(one.held_out)) != set(contents(other.held_out))


def test_every_picture_is_held_out_as_often_as_chance_makes_it():
    """Monte Carlo over keys: 40 of 120, so a third."""
    inputs = data("flat squares")
    times = np.zeros(120)
    for at in range(400):
        times[pick_corpus({"inputs": inputs}, 40, KEY.derive(str(at))).rows] += 1
    assert np.abs(times / 400 - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 400)


def test_of_large_data_no_more_is_kept_than_is_needed():
    inputs = np.arange(3000 * 16, dtype=np.float32).reshape(3000, 16)
    corpus = pick_corpus({"inputs": inputs}, 40, KEY)
    assert (len(corpus.pool), len(corpus.held_out)) == (512, 40)


def test_large_pictures_are_kept_up_to_a_few_megabytes():
    inputs = np.zeros((9, 1 << 21), dtype=np.float32)
    inputs[:, 0] = np.arange(9)
    assert len(pick_corpus({"inputs": inputs}, 2, KEY).pool) == 4


@pytest.mark.parametrize("own", [{}, {"pictures": data("bytes", 4, 5)}, {"logos": np.ones((2, 4, 4, 2))}])
def test_a_corpus_is_read_back_from_what_is_kept_of_it(own):
    corpus = pick_corpus({"inputs": data("bytes"), **own}, 32, KEY)
    kept = corpus.samples()
    assert set(kept) == {"pool", "held_out", "rows", *own}
    again = corpus_of({**kept, "answers": np.zeros(3)}).samples()
    assert set(again) == set(kept)
    assert all((again[name] == kept[name]).all() and again[name].dtype == kept[name].dtype for name in kept)


@pytest.mark.parametrize("own", [data("bytes", 4).astype(np.float32), data("bytes", 4)[:, :14], data("halves", 4)])
def test_pictures_of_another_form_are_refused_with_both_forms(own):
    with pytest.raises(UsageError, match=r"pictures of shape .* are no inputs of shape \(28, 28\) \(uint8\)"):
        pick_corpus({"inputs": data("bytes"), "pictures": own}, 32, KEY)


def test_picking_changes_nothing_that_was_handed_in():
    inputs = data("bytes")
    inputs.flags.writeable = False
    before = inputs.tobytes()
    pick_corpus({"inputs": inputs}, 32, KEY)
    assert inputs.tobytes() == before
