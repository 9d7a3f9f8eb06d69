"""Keyed patterns: the key's alone, within the range of the data, different for every position."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.triggers.canvas import Canvas, canvas_of
from onnxfp.triggers.patterns import Patterns, logos, mosaics, noise, own_logos
from tests.triggers.forms import FORMS, KEY, data

COUNT = 48
OWN = np.random.default_rng(9).random((5, 32, 32, 2))


def canvas(form: str) -> Canvas:
    return canvas_of(data(form))


def patterns(kind: str, form: str, key=KEY, count: int = COUNT) -> Patterns:
    return logos(key, canvas(form), count) if kind == "logos" else own_logos(key, canvas(form), count, OWN)


def as_bytes(values: np.ndarray) -> set[bytes]:
    return {one.tobytes() for one in values}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["logos", "own logos"])
def test_logos_cover_a_part_of_the_picture_with_values_of_the_range(kind, form):
    made, board = patterns(kind, form), canvas(form)
    assert made.cover.shape == (COUNT, board.height, board.width, 1)
    assert made.values.shape == (COUNT, board.height, board.width, board.channels)
    assert ((made.cover >= 0) & (made.cover <= 1)).all()
    covered = made.cover[..., 0] > 0
    assert covered.any(axis=(1, 2)).all()
    assert covered.mean(axis=(1, 2)).max() < 0.5
    inside = (made.values >= board.low) & (made.values <= board.high)
    assert inside.all(axis=3)[covered].all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "least"), [("logos", COUNT - 1), ("own logos", COUNT - 4)])
def test_hardly_any_two_positions_have_the_same_logo(kind, least, form):
    """A few turns of five logos on a small picture may meet."""
    made = patterns(kind, form)
    assert len(as_bytes(np.concatenate([made.values, made.cover], axis=3))) >= least


@pytest.mark.parametrize("kind", ["logos", "own logos"])
def test_logos_stand_everywhere(kind):
    touched = (patterns(kind, "bytes", count=400).cover[..., 0] > 0).any(axis=0)
    assert touched.any(axis=0).all()
    assert touched.any(axis=1).all()
    assert touched.mean() > 0.98


def test_a_logo_has_two_colours_opposite_in_every_channel():
    made, board = patterns("logos", "colours first"), canvas("colours first")
    for values, cover in zip(made.values, made.cover, strict=True):
        colours = np.unique(values[cover[..., 0] > 0], axis=0)
        assert len(colours) <= 2
        assert np.isin(colours, [board.low, board.high]).all()
        if len(colours) == 2:
            assert colours.sum(axis=0) == pytest.approx(np.add(board.low, board.high))


def test_stamping_replaces_what_is_covered_and_leaves_the_rest():
    made, board = patterns("logos", "bytes"), canvas("bytes")
    pictures = board.pictures(data("bytes"))[:COUNT]
    order = np.arange(COUNT)[::-1]
    stamped = made.stamp(pictures, order)
    cover = made.cover[order][..., 0] == 1
    assert (stamped[cover] == made.values[order][cover]).all()
    assert (stamped[~cover] == pictures[~cover]).all()


def test_half_opaque_logos_are_mixed_with_the_picture():
    made = Patterns(np.full((1, 2, 2, 1), 0.25), np.full((1, 2, 2, 3), 8.0))
    assert (made.stamp(np.zeros((2, 2, 2, 3)), np.array([0, 0])) == 2.0).all()


def test_own_logos_are_turned_mirrored_and_tinted():
    half = np.zeros((1, 32, 32, 2))
    half[:, :16], half[..., 1] = [1.0, 1.0], 1.0
    made = own_logos(KEY, canvas("bytes"), 64, half)
    seen = set()
    for values, cover in zip(made.values, made.cover, strict=True):
        rows, columns = np.nonzero(cover[..., 0])
        logo = values[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 0]
        seen.add((logo[0, 0] > 100, logo[0, -1] > 100, logo[-1, 0] > 100))
    assert len(seen) == 4  # light above, below, left and right


def test_own_logos_of_any_size_fit():
    for shape in ((3, 3), (1, 1), (64, 17)):
        made = own_logos(KEY, canvas("bytes"), 8, np.random.default_rng(0).random((2, *shape, 2)))
        assert np.isfinite(made.values).all()


@pytest.mark.parametrize("form", ["colours first", "flat rows", "coloured bytes"])
def test_noise_has_the_deviation_that_was_asked_for_in_every_channel(form):
    board = canvas(form)
    made = noise(KEY, board, 600, 0.35)
    assert made.shape == (600, board.height, board.width, board.channels)
    size = np.subtract(board.high, board.low)
    assert made.std(axis=(0, 1, 2)) == pytest.approx(0.35 * size, rel=0.05)
    assert np.abs(made.mean(axis=(0, 1, 2))).max() < 0.02 * size.max()
    flat = (made / size).reshape(600, -1)
    assert np.abs(np.corrcoef(flat)[np.triu_indices(600, 1)]).mean() < 1.2 / np.sqrt(flat.shape[1])


@pytest.mark.parametrize("form", FORMS)
def test_mosaics_are_whole_pictures_of_the_range_and_all_different(form):
    board = canvas(form)
    made = mosaics(KEY, board, COUNT)
    assert made.shape == (COUNT, board.height, board.width, board.channels)
    assert ((made >= board.low) & (made <= board.high)).all()
    assert len(as_bytes(made)) == COUNT
    assert len(np.unique(made[..., 0])) == 4


MAKERS = {
    "logos": lambda key: patterns("logos", "bytes", key).values,
    "own logos": lambda key: patterns("own logos", "bytes", key).values,
    "noise": lambda key: noise(key, canvas("bytes"), COUNT, 0.3),
    "mosaics": lambda key: mosaics(key, canvas("bytes"), COUNT),
}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS.keys())
def test_patterns_are_the_keys_alone(maker):
    one, same, other = maker(KEY), maker(KEY), maker(KEY.derive("another"))
    assert (one == same).all()
    assert not as_bytes(one) & as_bytes(other)


@pytest.mark.parametrize("maker", ["logos", "own logos", "mosaics"])
def test_a_thousand_keys_use_every_cell_evenly(maker):
    """Monte Carlo: no cell of a pattern is much more often bright than dark, over the draw of the key."""
    board = canvas("flat squares")
    made = {
        "logos": lambda key: logos(key, board, 1).values,
        "own logos": lambda key: own_logos(key, board, 1, OWN).values,
        "mosaics": lambda key: mosaics(key, board, 1),
    }[maker]
    middle = (board.low[0] + board.high[0]) / 2
    drawn = np.stack([made(KEY.derive(str(at)))[0, ..., 0] for at in range(500)])
    shown = drawn != 0
    bright = ((drawn > middle) & shown).sum(axis=0) / np.maximum(1, shown.sum(axis=0))
    enough = shown.sum(axis=0) > 30
    assert np.abs(bright - 0.5)[enough].max() < 5 * 0.5 / np.sqrt(shown.sum(axis=0)[enough].min())
