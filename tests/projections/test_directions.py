"""Directions in a head: at right angles, drawn by key within a space, and written with the smallest change there is."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from onnxfp.keys.keystream import Keystream
from onnxfp.projections.directions import Directions

KEY = Keystream(bytes(range(32)))
# Shape of the head's weights, and the axis that counts classes: Gemm with and without transB, MatMul, Conv.
HEADS = {
    "classes first": ((7, 24), 0),
    "classes last": ((24, 7), 1),
    "a convolution": ((7, 24, 1, 1), 0),
    "a convolution of one axis": ((7, 24, 1), 0),
}
COUNT, FEATURES = 5, 24
CLASSES = np.array([0, 2, 3, 6], dtype=np.int64)
each_head = pytest.mark.parametrize("head", HEADS)


def space(seed: int = 0, count: int = COUNT, features: int = FEATURES) -> np.ndarray:
    """Orthonormal columns (features, count)."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((features, count)))[0]


def directions(head: str = "classes first", key: Keystream = KEY, within: np.ndarray | None = None) -> Directions:
    shape, axis = HEADS[head]
    return Directions(key, shape, axis, CLASSES, space() if within is None else within)


def draw(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size)


def by_class(change: np.ndarray, projection: Directions) -> np.ndarray:
    """A change (size,) as (classes, features)."""
    rows = np.moveaxis(change.reshape(projection.shape), projection.axis, 0)
    return rows.reshape(projection.shape[projection.axis], -1).astype(np.float64)


def basis(projection: Directions) -> np.ndarray:
    """The directions (count, features), as they are written for the first of the classes."""
    units = np.eye(projection.positions)[:: len(CLASSES)]
    return np.stack([by_class(projection.adjoint(unit), projection)[CLASSES[0]] for unit in units])


@each_head
def test_directions_are_of_length_one_and_at_right_angles(head):
    found = basis(directions(head))
    assert np.abs(found @ found.T - np.eye(COUNT)).max() < 1e-6


def test_directions_lie_within_the_space_and_fill_it():
    found = basis(directions())
    within = space()
    assert np.abs(found - found @ within @ within.T).max() < 1e-6
    assert np.linalg.matrix_rank(found) == COUNT


@each_head
def test_what_is_written_is_read(head):
    projection = directions(head)
    values = draw(1, projection.positions)
    assert projection.apply(projection.min_norm_update(values)) == pytest.approx(values, abs=1e-5)


@each_head
def test_the_adjoint_is_the_transpose(head):
    projection = directions(head)
    for seed in range(5):
        change, values = draw(seed, projection.size).astype(np.float32), draw(seed + 100, projection.positions)
        left, right = projection.apply(change) @ values, change @ projection.adjoint(values)
        assert left == pytest.approx(right, abs=1e-4)


@each_head
def test_a_gain_is_the_row_of_its_class_times_its_direction(head):
    """Written out: positions run over directions, and within each over classes."""
    projection = directions(head)
    change = draw(2, projection.size).astype(np.float32)
    rows = by_class(change, projection)
    expected = np.array([[rows[label] @ direction for label in CLASSES] for direction in basis(projection)])
    assert projection.apply(change) == pytest.approx(expected.reshape(-1), abs=1e-5)


@each_head
def test_the_update_is_the_smallest_change_with_these_gains(head):
    projection = directions(head)
    update = projection.min_norm_update(draw(3, projection.positions)).astype(np.float64)
    matrix = np.stack([projection.adjoint(unit) for unit in np.eye(projection.positions)]).astype(np.float64)
    assert update == pytest.approx(np.linalg.pinv(matrix) @ (matrix @ update), abs=1e-5)


@each_head
def test_classes_that_are_no_symbols_gain_nothing(head):
    projection = directions(head)
    rows = by_class(projection.adjoint(draw(4, projection.positions)), projection)
    others = np.setdiff1d(np.arange(7), CLASSES)
    assert not rows[others].any()
    assert (np.abs(rows[CLASSES]).max(axis=1) > 0).all()


def test_all_forms_of_one_head_are_written_alike():
    values = draw(5, directions().positions)
    written = [by_class(directions(head).adjoint(values), directions(head)) for head in HEADS]
    assert all(np.array_equal(one, written[0]) for one in written)


def test_sizes_are_those_of_the_head():
    for head, (shape, _) in HEADS.items():
        projection = directions(head)
        assert (projection.count, projection.positions, projection.size) == (COUNT, COUNT * 4, prod(shape))
        assert projection.adjoint(np.zeros(COUNT * 4)).shape == (prod(shape),)
        assert projection.adjoint(np.zeros(COUNT * 4)).dtype == np.float32


def test_another_key_draws_other_directions_in_the_same_space():
    one, other = basis(directions()), basis(directions(key=KEY.derive("another")))
    assert np.abs(one @ other.T).max() < 1 - 1e-3
    assert np.linalg.svd(one @ other.T)[1] == pytest.approx(np.ones(COUNT), abs=1e-5)  # the space is one


def test_directions_are_drawn_evenly():
    """Of a turn by key every entry has mean zero and the same size; a QR whose signs nobody mends has not."""
    turns = np.stack([basis(directions(key=KEY.derive(str(seed)))) @ space() for seed in range(400)])
    assert np.abs(turns.mean(axis=0)).max() < 4.5 / np.sqrt(COUNT * 400)
    assert (turns**2).mean(axis=0) == pytest.approx(np.full((COUNT, COUNT), 1 / COUNT), abs=0.06)


def test_the_same_bytes_come_of_sums_in_another_order():
    """What libraries of linear algebra differ by is far less than a step of what is kept."""
    values, within = draw(6, COUNT * 4), space(1)
    nudged = within * (1 + 1e-15 * np.sign(draw(7, within.size)).reshape(within.shape))
    assert not np.array_equal(within, nudged)
    once, again = (directions(within=one)._basis for one in (within, nudged))
    assert np.array_equal(once, again)
    exact = directions(within=within + 1e-6)._basis
    assert not np.array_equal(once, exact)
    assert np.array_equal(directions(within=within).adjoint(values), directions(within=nudged).adjoint(values))


def test_every_entry_is_a_whole_number_of_steps():
    steps = directions()._basis * 2**24
    assert np.array_equal(steps, np.rint(steps))


def test_as_many_directions_as_features_will_do():
    projection = directions(within=np.eye(FEATURES))
    found = basis(projection)
    assert np.abs(found @ found.T - np.eye(FEATURES)).max() < 1e-6


@pytest.mark.parametrize(
    "within",
    [np.zeros((FEATURES, 0)), np.zeros(FEATURES), np.zeros((FEATURES + 1, 2)), np.zeros((FEATURES, FEATURES + 1))],
    ids=["none", "no columns", "of other features", "too many"],
)
def test_a_space_that_is_none_of_this_head_is_refused(within):
    with pytest.raises(ValueError, match="span no directions of 24 features"):
        replace(directions(), within=within)
