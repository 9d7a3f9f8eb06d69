"""Pools: which rows are trained on, what is asked about them, and what a model gives away."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfp.codes.uniform import Uniform
from onnxfp.domain import Access, Answered, Membership, Unanswered
from onnxfp.errors import CapacityError, UsageError
from onnxfp.membership.alike import groups
from onnxfp.schemes.pools import Pools, PoolsKey
from onnxfp.verdict.betting import log10_e
from tests.frozen import dump
from tests.membership.simulated import KEY, every_word
from tests.schemes.strangers import PROFILE, claim_of

SCHEME = Pools()
ROWS, CLASSES = 400, 4


def data(rows: int = ROWS, twins: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows of which the last few are equal to the first ones."""
    draw = np.random.default_rng(seed)
    inputs = draw.random((rows, 1, 8, 8), dtype=np.float32)
    labels = draw.integers(0, CLASSES, rows)
    if twins:
        inputs[-twins:], labels[-twins:] = inputs[:twins], labels[:twins]
    return {"inputs": inputs, "labels": labels}


def nobody(inputs: np.ndarray) -> np.ndarray:
    raise AssertionError("pools are drawn before there is a model to ask")


def samples_of(given: dict[str, np.ndarray] | None = None, keystream=KEY, **options) -> dict[str, np.ndarray]:
    return dict(SCHEME.select(given or data(), SCHEME.options(options), keystream, nobody))


def drawn_key(given: dict[str, np.ndarray] | None = None, keystream=KEY, handed=None, **options) -> PoolsKey:
    samples = {**samples_of(given, keystream, **options), **(handed or {})}
    return SCHEME.keygen(PROFILE, samples, SCHEME.options(options), keystream)


def rows_of(claim) -> np.ndarray:
    (membership,) = SCHEME.plan(claim)
    assert isinstance(membership, Membership)
    return membership.rows


def weighed(claim, answers: np.ndarray, words: np.ndarray | None = None) -> np.ndarray:
    reading = SCHEME.read(claim.public, [Answered(answers)])
    return log10_e(reading, claim.public.codebook, claim.codeword[None] if words is None else words)


def memorised(key: PoolsKey, trained: np.ndarray, seed: int = 5) -> np.ndarray:
    """Log-probabilities (samples, classes) of a model that is surer of the rows that it was trained on."""
    draw = np.random.default_rng(seed)
    logits = draw.standard_normal((len(key.views), CLASSES))
    samples = np.repeat(key.views.rows, key.views.each)
    logits[np.arange(len(samples)), np.repeat(key.asked.labels, key.views.each)] += 1 + 2.0 * trained[samples]
    return logits - np.logaddexp.reduce(logits, axis=1)[:, None]


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"positions": -1}, "positions are 1 to 1000000, or 0 for as many as suit, not -1"),
        ({"positions": 1_000_001}, "positions are 1 to 1000000"),
        ({"pools": 1}, "one of 2 to 1024 pools is trained on, not of 1"),
        ({"pools": 1025}, "one of 2 to 1024 pools"),
        ({"size": 0}, "a pool has 1 to 1000000 rows, not 0"),
        ({"size": 1_000_001}, "a pool has 1 to 1000000 rows"),
        ({"alike": 0.0}, r"a correlation in \(0, 1\], not 0.0"),
        ({"alike": 1.01}, r"a correlation in \(0, 1\]"),
        ({"alike": float("nan")}, r"a correlation in \(0, 1\]"),
        ({"strength": 2}, "pools takes no option 'strength'; it takes alike, pools, positions, size"),
    ],
)
def test_options_out_of_bounds_are_refused(options, reason):
    with pytest.raises(UsageError, match=reason):
        SCHEME.options(options)


@pytest.mark.parametrize("options", [{}, {"positions": 20}, {"pools": 3}, {"size": 5}, {"pools": 4, "alike": 0.5}])
def test_settled_options_draw_the_same_key(options):
    key, chosen = drawn_key(**options), SCHEME.options(options)
    kept = asdict(SCHEME.settled(chosen, key))
    assert kept == {**asdict(chosen), "positions": key.positions}
    assert dump(drawn_key(**kept)) == dump(key)


# --- how many positions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pools", "size"), [(2, 1), (3, 1), (2, 4), (5, 3)])
def test_nobody_says_how_many_and_there_are_as_many_as_there_are_rows_for(pools, size):
    given = data(twins=50)
    counts = np.bincount(given["labels"][:-50])
    expected = int((counts // pools).sum()) // size
    key = drawn_key(given, pools=pools, size=size)
    assert key.rows.shape == (expected, pools, size)
    with pytest.raises(CapacityError, match=f"350 that are not near-duplicates .* {expected + 1} are asked for"):
        drawn_key(given, pools=pools, size=size, positions=expected + 1)


def test_five_thousand_positions_are_as_many_as_anybody_gets_without_asking():
    given = {"inputs": np.random.default_rng(0).random((10_002, 16)), "labels": np.zeros(10_002, dtype=int)}
    assert drawn_key(given, alike=1.0).positions == 5000
    assert drawn_key(given, alike=1.0, positions=5001).positions == 5001


def test_too_few_rows_are_refused():
    given = {"inputs": data()["inputs"][:3], "labels": np.arange(3)}
    with pytest.raises(CapacityError, match="make 0 positions of 2 pools of 1 with equal labels, 1 are asked for"):
        drawn_key(given)


# --- how rows are pooled ----------------------------------------------------------------------------------------------


def test_pools_have_equal_labels_and_no_row_is_in_two():
    given = data(twins=50)
    key = drawn_key(given, pools=3, size=2)
    kinds = np.sort(given["labels"][key.rows], axis=2)
    assert (kinds == kinds[:, :1]).all()
    assert len(np.unique(key.rows)) == key.rows.size
    assert key.rows.max() < 350
    assert np.array_equal(key.group, groups(given["inputs"]))
    assert np.array_equal(key.asked.labels, given["labels"][key.rows.reshape(-1)])


def test_the_same_key_pools_the_same_rows_and_another_others():
    assert dump(drawn_key()) == dump(drawn_key())
    drawn = {drawn_key(keystream=KEY.derive(label)).rows.tobytes() for label in "abcdef"}
    assert len(drawn) == 6


def test_which_rows_are_pooled_depends_on_no_word_and_the_word_on_no_row():
    names = ["owner", "Acme"]
    one, other = data(seed=1), data(seed=2)
    books = [claim_of(drawn_key(given, positions=50), KEY, name) for given in (one, other) for name in names]
    assert dump(books[0].public.key) == dump(books[1].public.key)
    assert not np.array_equal(books[0].codeword, books[1].codeword)
    assert np.array_equal(books[0].codeword, books[2].codeword)


def test_nearly_equal_rows_stay_together_as_far_as_is_asked():
    given = data(twins=60)
    given["inputs"][-60:] += 0.02
    assert drawn_key(given).rows.max() < 340
    assert drawn_key(given, alike=0.9999).rows.max() >= 340


# --- the plan ---------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 30), st.integers(1, 20), st.text(max_size=5))
def test_the_plan_trains_on_the_words_pools_and_on_all_that_is_in_none(pools, size, twins, positions, name):
    key = drawn_key(data(200, twins), pools=pools, size=size, positions=min(positions, 40 // size // pools))
    claim = claim_of(key, KEY, name)
    rows = rows_of(claim)
    assert (np.diff(rows) > 0).all()
    own = {int(row) for at, symbol in enumerate(claim.codeword) for row in key.rows[at, symbol]}
    held = set(key.rows.reshape(-1).tolist()) - own
    assert set(rows.tolist()) == {row for row in range(200) if int(key.group[row]) not in held}
    assert own <= set(rows.tolist())


def test_two_names_are_trained_on_different_rows():
    key = drawn_key()
    plans = {rows_of(claim_of(key, KEY, f"recipient {at}")).tobytes() for at in range(50)}
    assert len(plans) == 50


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [0, 2])
@pytest.mark.parametrize(("pools", "size"), [(2, 1), (3, 4)])
def test_all_rows_of_all_pools_are_asked_and_weighed_together(pools, size, moved):
    given = data()
    key = drawn_key(given, pools=pools, size=size, positions=20, handed={"moved": np.asarray(moved)})
    (probe,) = SCHEME.probes(claim_of(key, KEY).public)
    assert (probe.each, probe.whole, probe.before) == (pools * size * (1 + moved), True, 0)
    assert len(probe.inputs) == 20 * probe.each
    assert np.array_equal(np.asarray(probe.inputs)[:: 1 + moved], given["inputs"][key.rows.reshape(-1)])


def test_what_it_takes_of_the_owner_is_handed_over_at_every_look():
    assert SCHEME.handed == {"inputs", "labels", "moved", "shadows", "members"}
    assert SCHEME.access is Access.LABELS
    assert set(samples_of()) == {"inputs", "labels", "rows", "group"}


def test_a_person_is_told_how_much_the_rows_can_tell():
    lint = SCHEME.lint(drawn_key(data(twins=50), pools=4, size=2, positions=30))
    assert lint == (
        "30 positions of 4 pools of 2 rows; they tell log10 e = 18 at most",
        "50 rows stay with near-duplicates of theirs",
    )


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pools", "size", "moved"), [(2, 1, 0), (2, 5, 0), (7, 1, 0), (3, 2, 2), (40, 1, 0)])
def test_who_knows_every_symbol_answers_its_rows_right_and_is_found(pools, size, moved):
    key = drawn_key(pools=pools, size=size, handed={"moved": np.asarray(moved)})
    claim = claim_of(key, KEY)
    (known,) = SCHEME.knower(claim)
    trained = np.isin(key.views.rows, rows_of(claim))
    right = known.values == np.repeat(key.asked.labels, 1 + moved)
    assert np.array_equal(right, np.repeat(trained, 1 + moved))
    assert right.sum() == key.positions * size * (1 + moved)
    words = Uniform(pools).words(KEY, claim.public.codebook, ["owner", *[f"other {at}" for at in range(50)]])
    found = weighed(claim, known.values, words)
    assert found[0] == found.max()
    assert found[0] > 0.6 * key.positions * np.log10(pools)
    assert found[1:].max() < 3


@pytest.mark.parametrize("pools", [2, 3])
def test_a_model_that_was_trained_as_planned_is_found_and_its_twin_is_not(pools):
    key = drawn_key(pools=pools)
    claim, other = claim_of(key, KEY), claim_of(key, KEY, "other")
    trained, otherwise = (np.isin(np.arange(ROWS), rows_of(one)) for one in (claim, other))
    assert weighed(claim, memorised(key, trained))[0] > 6
    assert weighed(claim, memorised(key, otherwise))[0] < 1
    assert weighed(claim, memorised(key, np.ones(ROWS, dtype=bool)))[0] < 1


def test_shadow_models_are_put_beside_the_suspect():
    draw = np.random.default_rng(3)
    bare = drawn_key()
    members = draw.random((3, ROWS)) < 0.5
    shadows = np.stack([memorised(bare, member, 10 + at) for at, member in enumerate(members)])
    key = drawn_key(handed={"shadows": shadows.astype(np.float32), "members": members})
    assert [one.member.tolist() for one in key.asked.shadows] == [m[key.views.rows].tolist() for m in members]
    assert key.asked.shadows[0].told.values[:, 0] == pytest.approx(shadows[0], abs=1e-5)
    claim = claim_of(key, KEY)
    answered = memorised(key, np.isin(np.arange(ROWS), rows_of(claim)))
    readings = [SCHEME.read(claim_of(one, KEY).public, [Answered(answered)]) for one in (bare, key)]
    assert len(readings[0].weights) < len(readings[1].weights)
    assert weighed(claim, answered)[0] > 6


def test_as_many_shadow_models_as_lists_of_their_members_are_wanted():
    bare = drawn_key()
    shadows = np.stack([memorised(bare, np.ones(ROWS))] * 2)
    with pytest.raises(ValueError, match="shorter"):
        drawn_key(handed={"shadows": shadows, "members": np.ones((1, ROWS), dtype=bool)})


@pytest.mark.parametrize(("pools", "positions"), [(2, 9), (3, 6), (5, 4)])
def test_the_e_value_of_all_words_is_one_on_average(pools, positions):
    key = drawn_key(pools=pools, positions=positions)
    claim = claim_of(key, KEY)
    words, probability = every_word(claim.public.codebook)
    trained = np.isin(np.arange(ROWS), rows_of(claim))
    (known,) = SCHEME.knower(claim)
    for answers in (memorised(key, trained), known.values, np.full(len(key.views), np.nan)):
        assert probability @ 10.0 ** weighed(claim, answers, words) == pytest.approx(1, abs=1e-9)
    reading = SCHEME.read(claim.public, [Unanswered("shut")])
    assert (reading.log_scores == 0).all()


def test_one_of_more_than_256_pools_is_planned_and_found():
    given = {"inputs": data(3000)["inputs"], "labels": np.zeros(3000, dtype=int)}
    key = drawn_key(given, pools=300)
    claim = claim_of(key, KEY, "Acme 1")
    assert claim.codeword.dtype == np.uint16
    assert key.rows.shape == (10, 300, 1)
    assert len(rows_of(claim)) == 10
    (known,) = SCHEME.knower(claim)
    words = Uniform(300).words(KEY, claim.public.codebook, [f"Acme {at}" for at in range(20)])
    assert words.max() > 255
    found = weighed(claim, known.values, words)
    assert found.argmax() == 1
    assert found[1] > 0.8 * 10 * np.log10(300)
