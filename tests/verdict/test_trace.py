"""Whose copy? Thresholds, counts, memory, and that whatever befalls a reading names no innocent."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxfp.codes.coalition import coalition_scores, symbol_moments
from onnxfp.codes.tardos import Tardos
from onnxfp.codes.uniform import Uniform
from onnxfp.domain import Codebook, Decision, Reading
from onnxfp.keys.keystream import Keystream
from onnxfp.verdict.look import Look
from onnxfp.verdict.trace import trace
from tests.verdict.looks import each, look_saying, shut_look

NAMES = tuple(f"recipient {at}" for at in range(300))


def test_the_recipient_whose_word_is_read_is_named():
    verdict = trace(each(look_saying("recipient 77")), NAMES, len(NAMES), 1e-6)
    assert (verdict.decision, verdict.accused) == (Decision.SUPPORTED, ("recipient 77",))
    assert verdict.evidence[0].name == "recipient 77"
    assert (verdict.question, verdict.scheme) == ("trace", "fake")


def test_a_stranger_to_all_is_not_named():
    verdict = trace(each(look_saying("nobody we know")), NAMES, len(NAMES), 1e-6)
    assert (verdict.decision, verdict.accused) == (Decision.NOT_SUPPORTED, ())


def test_all_who_pass_are_named_best_first():
    def words(names):
        return np.stack([(np.arange(64) < int(name)).astype(np.uint8) for name in names])

    scores = np.zeros((1, 64, 2))
    scores[0, :, 1] = 3.0
    look = Look("fake", Codebook(np.full((64, 1), 1 << 15, dtype=np.uint32)), words, True, Reading(scores, np.ones(1)))
    verdict = trace(each(look), ("60", "64", "5", "62"), 4, 1e-6)
    assert verdict.accused == ("64", "62", "60")
    assert [item.name for item in verdict.evidence] == ["64", "62", "60", "5"]


def test_the_threshold_counts_all_who_were_ever_issued_a_copy_and_not_only_the_weighed():
    look = look_saying("recipient 7", positions=64)
    few = trace(each(look), NAMES[:10], 10, 1e-6)
    assert few.log10_threshold == pytest.approx(7)
    assert few.accused == ("recipient 7",)
    many = trace(each(look), NAMES[:10], 10**14, 1e-6)
    assert many.log10_threshold == pytest.approx(20)
    assert (many.accused, many.recipients_tested) == ((), 10**14)
    assert many.evidence[0] == few.evidence[0]


def test_the_threshold_is_met_from_above():
    look, names = look_saying("recipient 7"), NAMES[:100]
    score = trace(each(look), names, 100, 1e-6).evidence[0].log10_e
    at = 10 ** -(score - 2)
    assert trace(each(look), names, 100, at * (1 + 1e-9)).accused == ("recipient 7",)
    assert trace(each(look), names, 100, at * (1 - 1e-9)).accused == ()


def test_a_claim_that_could_not_be_read_keeps_its_weight():
    alone = trace(each(look_saying("recipient 7")), NAMES, 300, 1e-6).log10_e
    shared = trace(each(look_saying("recipient 7"), *[shut_look()] * 9), NAMES, 300, 1e-6)
    assert shared.log10_e == pytest.approx(alone - 1)
    assert shared.unread == ("the door was shut",)


def test_evidence_is_the_mean_over_claims_and_not_the_best_of_them():
    right, wrong = look_saying("recipient 7"), look_saying("nobody we know")
    scores = [trace(each(look), ["recipient 7"], 1, 1e-6).log10_e for look in (right, wrong)]
    both = trace(each(right, wrong), ["recipient 7"], 1, 1e-6).log10_e
    assert both == pytest.approx(np.log10(np.mean(10.0 ** np.array(scores))))


def test_of_those_not_named_the_five_strongest_are_kept():
    look = look_saying("recipient 7")
    verdict = trace(each(look), NAMES, 300, 1e-6)
    rest = [trace(each(look), [name], 1, 1e-6).log10_e for name in NAMES if name != "recipient 7"]
    assert [item.log10_e for item in verdict.evidence[1:]] == pytest.approx(sorted(rest, reverse=True)[:5])


def test_the_order_and_the_batch_in_which_recipients_come_change_nothing():
    look = look_saying("recipient 7")
    forth = trace(each(look), NAMES, 300, 1e-6)
    assert trace(each(look), reversed(NAMES), 300, 1e-6) == forth


def test_nobody_to_weigh_names_nobody():
    verdict = trace(each(look_saying("a")), (), 0, 1e-6)
    assert (verdict.decision, verdict.evidence, verdict.log10_threshold) == (
        Decision.NOT_SUPPORTED,
        (),
        pytest.approx(6),
    )


def test_nothing_read_is_inconclusive_and_asks_for_no_words():
    def words(names):
        raise AssertionError("words were drawn to be weighed against nothing")

    shut = shut_look()
    look = Look("fake", shut.codebook, words, True, shut.reading)
    verdict = trace(each(look), NAMES, 300, 1e-6)
    assert (verdict.decision, verdict.evidence) == (Decision.INCONCLUSIVE, ())
    assert "the door was shut" in verdict.reason


@pytest.mark.parametrize(("coverage", "decision"), [(0.3, Decision.INCONCLUSIVE), (0.5, Decision.NOT_SUPPORTED)])
def test_nobody_named_on_less_than_half_is_inconclusive(coverage, decision):
    assert trace(each(look_saying("stranger", coverage=coverage)), NAMES, 300, 1e-6).decision is decision


def test_words_that_depend_on_one_another_name_nobody():
    looks = (look_saying("recipient 7"), look_saying("recipient 7", independent=False))
    with pytest.raises(ValueError, match="independent between recipients"):
        trace(each(*looks), NAMES, 300, 1e-6)


def test_progress_is_told_after_every_block():
    told: list[int] = []
    trace(each(look_saying("a")), NAMES, 300, 1e-6, told.append)
    assert told == [256, 300]


def test_the_null_says_over_what_the_probability_is():
    null = trace(each(look_saying("a", positions=48)), NAMES, 4321, 1e-5).null
    assert all(part in null for part in ("48 secret symbols", "4321", "1e-05", "drew the key honestly"))


# --- memory -----------------------------------------------------------------------------------------------------------


def peak_of(recipients: int) -> int:
    keystream = Keystream(bytes(32))
    codebook = Tardos().codebook(keystream, 64)
    reading = coalition_reading(codebook, np.random.default_rng(1).normal(size=64))
    look = Look("fake", codebook, lambda names: Tardos().words(keystream, codebook, names), True, reading)
    names = (f"recipient {at}" for at in range(recipients))
    tracemalloc.start()
    try:
        trace(each(look), names, recipients, 1e-6)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def coalition_reading(codebook: Codebook, values: np.ndarray) -> Reading:
    scores = coalition_scores(values, *symbol_moments(codebook))
    return Reading(scores, np.full(len(scores), 1 / len(scores)))


def test_memory_is_flat_in_the_number_of_recipients():
    peak_of(256)  # imports and caches
    few = peak_of(1_000)
    assert peak_of(20_000) < 1.2 * few + 20_000


def test_the_measure_of_memory_notices_a_list_of_all_names():
    tracemalloc.start()
    kept = [f"recipient {at}" for at in range(20_000)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(kept) == 20_000
    assert peak > 1_000_000


# --- failing safe -----------------------------------------------------------------------------------------------------

POSITIONS = 256
CANDIDATES = tuple(f"candidate {at}" for at in range(64))
KEY = Keystream(bytes(range(32)))
CODES = {"tardos": Tardos(), "uniform": Uniform()}
DRAWN = {name: code.codebook(KEY, POSITIONS) for name, code in CODES.items()}
WORDS = {name: code.words(KEY, DRAWN[name], CANDIDATES) for name, code in CODES.items()}


def fused(code: str, colluders: list[int], how: str) -> np.ndarray:
    """What is read of a coalition's common copy, position by position."""
    symbols = 2.0 * WORDS[code][colluders] - 1
    fusions = {
        "average": symbols.mean(axis=0),
        "min": symbols.min(axis=0),
        "max": symbols.max(axis=0),
        "median": np.median(symbols, axis=0),
        "pick": symbols[np.arange(POSITIONS) % len(colluders), np.arange(POSITIONS)],
        "minority": -np.sign(symbols.sum(axis=0)),
    }
    return fusions[how] - symbol_moments(DRAWN[code])[0]


damages = st.one_of(
    st.tuples(st.just("shrink"), st.floats(0, 1)),
    st.tuples(st.just("noise"), st.floats(0, 10)),
    st.tuples(st.just("truncate"), st.integers(0, POSITIONS)),
    st.tuples(st.just("flip"), st.integers(0, POSITIONS)),
    st.tuples(st.just("offset"), st.floats(-3, 3)),
    st.tuples(st.just("constant"), st.floats(-3, 3)),
    st.tuples(st.just("lose"), st.integers(0, POSITIONS)),
    st.tuples(st.just("lean"), st.floats(-3, 3)),
)


def damaged(values: np.ndarray, code: str, damage: tuple[str, float], seed: int) -> np.ndarray:
    what, size = damage
    rng, places = np.random.default_rng(seed), np.arange(POSITIONS)
    shuffled = rng.permutation(POSITIONS)
    return {
        "shrink": lambda: values * size,
        "noise": lambda: values + size * rng.normal(size=POSITIONS),
        "truncate": lambda: np.where(places < size, values, 0.0),
        "flip": lambda: np.where(shuffled < size, -values, values),
        "offset": lambda: values + size,
        "constant": lambda: np.full(POSITIONS, size),
        "lose": lambda: np.where(shuffled < size, np.nan, values),
        "lean": lambda: values + size * symbol_moments(DRAWN[code])[0],
    }[what]()


def named(code: str, values: np.ndarray) -> set[str]:
    book, words = DRAWN[code], WORDS[code]
    rows = {name: row for name, row in zip(CANDIDATES, words, strict=True)}
    reading = coalition_reading(book, values)
    look = Look("fake", book, lambda names: np.stack([rows[name] for name in names]), True, reading)
    return set(trace(each(look), CANDIDATES, len(CANDIDATES), 1e-6).accused)


def named_by_correlation(code: str, values: np.ndarray) -> set[str]:
    """A decoder as they are often published: whoever correlates with the reading is a colluder."""
    correlation = (2.0 * WORDS[code] - 1) @ np.nan_to_num(values) / POSITIONS
    return {name for name, score in zip(CANDIDATES, correlation, strict=True) if score > 0.3}


coalitions = st.lists(st.integers(0, len(CANDIDATES) - 1), min_size=1, max_size=20, unique=True)
fusions = st.sampled_from(["average", "min", "max", "median", "pick", "minority"])


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(CODES)), coalitions, fusions, st.lists(damages, max_size=3), st.integers(0, 9))
def test_whatever_befalls_a_reading_only_colluders_are_named(code, colluders, how, blows, seed):
    values = fused(code, colluders, how)
    for blow in blows:
        values = damaged(values, code, blow, seed)
    assert named(code, values) <= {CANDIDATES[at] for at in colluders}


def test_a_decoder_without_a_null_names_innocents_under_the_same_blows():
    values = damaged(fused("tardos", [1, 2, 3], "average"), "tardos", ("lean", 2.0), 0)
    assert named_by_correlation("tardos", values) - {CANDIDATES[at] for at in (1, 2, 3)}
    assert named("tardos", values) <= {CANDIDATES[at] for at in (1, 2, 3)}


@pytest.mark.parametrize("code", sorted(CODES))
def test_colluders_are_named_when_nothing_befalls_the_reading(code):
    """Without this the test above could pass by naming nobody ever."""
    for colluders in ([5], [1, 2, 3]):
        assert named(code, fused(code, colluders, "average")) == {CANDIDATES[at] for at in colluders}
