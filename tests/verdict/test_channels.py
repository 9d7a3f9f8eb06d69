"""Several channels of one copy: their mean stays 1 by enumeration, they add to one another, and may disagree."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest

from onnxfp.domain import Decision, Reading
from onnxfp.verdict.betting import log10_e
from onnxfp.verdict.channels import Copies, still_needed, together
from onnxfp.verdict.crowd import Crowd, KeptWords
from onnxfp.verdict.look import Look
from onnxfp.verdict.trace import trace
from tests.verdict.looks import fair, look_saying, say, shut_look
from tests.verdict.test_betting import PRIORS, all_words, probabilities

NAMES = tuple(f"recipient {at}" for at in range(300))


def some_reading(positions: int, alphabet: int, seed: int) -> Reading:
    scores = np.random.default_rng(seed).normal(0, 3, (4, positions, alphabet))
    return Reading(scores, np.array([0.5, 0.25, 0.25, 0.0]))


# --- the mean over sets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("seed", range(3))
def test_over_all_pairs_of_words_the_mean_is_one(prior, seed):
    books = [prior(4, 3, seed), prior(5, 2, seed + 10)]
    words = [all_words(4, 3), all_words(5, 2)]
    chances = [probabilities(book, every) for book, every in zip(books, words, strict=True)]
    alone = [
        log10_e(some_reading(book.positions, book.alphabet, seed), book, every)
        for book, every in zip(books, words, strict=True)
    ]
    pairs = np.asarray([np.repeat(alone[0], len(alone[1])), np.tile(alone[1], len(alone[0]))])
    both = np.repeat(chances[0], len(chances[1])) * np.tile(chances[1], len(chances[0]))
    assert np.sum(both * 10.0 ** together(pairs, 2)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_it_is_the_mean_over_all_sets_that_are_not_empty(channels):
    values = np.random.default_rng(channels).normal(0, 2, (channels, 7))
    sets = list(chain.from_iterable(combinations(range(channels), size) for size in range(1, channels + 1)))
    mean = np.mean([np.prod(10.0 ** values[list(chosen)], axis=0) for chosen in sets], axis=0)
    assert together(values, channels) == pytest.approx(np.log10(mean))


def test_what_could_not_be_read_keeps_its_weight_at_nothing():
    read = np.array([[3.0, -2.0]])
    unread = np.array([[-np.inf, -np.inf]])
    assert together(read, 1) == pytest.approx(read[0])
    for values in (read, np.concatenate([read, unread]), np.concatenate([unread, read])):
        assert together(values, 2) == pytest.approx(read[0] - np.log10(3))
    assert (together(unread, 2) == -np.inf).all()
    assert (together(np.zeros((0, 2)), 2) == -np.inf).all()


def test_no_evidence_is_too_large():
    assert together(np.array([[1500.0], [60.0]]), 2) == pytest.approx(1560 - np.log10(3))
    assert together(np.array([[1500.0], [-1500.0]]), 2) == pytest.approx(1500 - np.log10(3))


def test_what_is_still_needed_is_what_names_and_no_less():
    others = np.array([[-np.inf, -3.0, 0.0, 4.0, 10.0, 11.0]])
    needed = still_needed(others, 2, 11.0)
    assert needed[0] == pytest.approx(11 + np.log10(3))
    assert together(np.concatenate([others, needed[None]]), 2) == pytest.approx(np.full(6, 11.0))
    assert (np.diff(needed) < 0).all()


def test_where_weights_name_somebody_answers_are_to_name_somebody_by_themselves():
    needed = still_needed(np.array([[0.0, 8.0, 300.0]]), 2, 11.0)
    assert needed == pytest.approx(np.full(3, 11 + np.log10(3)))
    assert still_needed(np.zeros((0, 2)), 1, 11.0) == pytest.approx([11.0, 11.0])


# --- a verdict of two channels ----------------------------------------------------------------------------------------


def of_two(weights: str, answers: str, **more) -> tuple[Copies, ...]:
    """A suspect whose weights show one name's word, and whose answers show another's."""
    asked = replace(look_saying(answers, scheme="asked", **more), asks=True, queries=64)
    return (Copies((look_saying(weights, scheme="read"), asked)),)


def verdict_of(copies, alpha: float = 1e-6):
    return trace(copies, NAMES, len(NAMES), alpha)


def test_two_channels_that_agree_multiply():
    verdict = verdict_of(of_two("recipient 7", "recipient 7"))
    alone = [verdict_of((Copies((look,)),)).log10_e for look in of_two("recipient 7", "recipient 7")[0].looks]
    assert verdict.accused == ("recipient 7",)
    assert verdict.log10_e == pytest.approx(sum(alone) - np.log10(3), abs=1e-6)
    assert verdict.disagreement == ""
    assert [(claim.channel, claim.named) for claim in verdict.claims] == [
        ("weights", ("recipient 7",)),
        ("answers", ("recipient 7",)),
    ]
    assert [claim.log10_e for claim in verdict.claims] == pytest.approx(alone)
    assert verdict.queries == 64


def test_two_channels_that_disagree_are_a_finding_of_its_own():
    verdict = verdict_of(of_two("recipient 7", "recipient 8"))
    assert set(verdict.accused) == {"recipient 7", "recipient 8"}
    assert verdict.disagreement.startswith("the weights are recipient 7's, the answers are recipient 8's: ")
    assert [claim.named for claim in verdict.claims] == [("recipient 7",), ("recipient 8",)]


def test_answers_that_are_nobodys_disagree_with_nobody():
    verdict = verdict_of(of_two("recipient 7", "nobody we know"))
    assert (verdict.accused, verdict.disagreement) == (("recipient 7",), "")
    assert [claim.named for claim in verdict.claims] == [("recipient 7",), ()]


def test_one_of_a_coalition_that_answers_disagrees_with_nobody():
    def words(names):
        return np.stack([(np.arange(64) < int(name)).astype(np.uint8) for name in names])

    scores = np.zeros((1, 64, 2))
    scores[0, :, 1] = 3.0
    read = Look("read", fair(64), words, True, Reading(scores, np.ones(1)))
    asked = Look("asked", fair(64), words, True, say(words(["64"])[0], 40.0), asks=True)
    verdict = trace((Copies((read, asked)),), ("60", "64", "5", "62"), 4, 1e-6)
    assert [set(claim.named) for claim in verdict.claims] == [{"64", "62", "60"}, {"64"}]
    assert verdict.disagreement == ""


@pytest.mark.parametrize("references", [1, 2, 5])
@pytest.mark.parametrize("confidence", [0.4, 0.5, 0.6, 0.7, 5.0])
def test_whoever_one_channel_names_by_itself_is_accused(references, confidence):
    copies = of_two("recipient 7", "recipient 8", confidence=confidence) * references
    verdict = verdict_of(copies)
    assert {name for claim in verdict.claims for name in claim.named} <= set(verdict.accused)


def test_a_channel_that_is_lost_keeps_its_weight_and_nobody_is_cleared():
    alone = verdict_of((Copies((look_saying("recipient 7"),)),))
    lost = verdict_of((Copies((look_saying("recipient 7"),), ("deeptrace 12: the corpus is missing",)),))
    assert lost.log10_e == pytest.approx(alone.log10_e - np.log10(3))
    assert lost.unread == ("deeptrace 12: the corpus is missing",)
    cleared = verdict_of((Copies((look_saying("nobody"),), ("deeptrace 12: the corpus is missing",)),))
    assert (cleared.decision, cleared.reason) == (Decision.INCONCLUSIVE, "deeptrace 12: the corpus is missing")
    nothing = verdict_of((Copies((), ("deeptrace 12: the corpus is missing",)),))
    assert (nothing.decision, nothing.evidence) == (Decision.INCONCLUSIVE, ())


def test_a_channel_that_was_not_read_is_told_with_its_reason():
    shut = replace(shut_look(), asks=True)
    verdict = verdict_of((Copies((look_saying("recipient 7"), shut)),))
    assert (verdict.claims[1].log10_e, verdict.claims[1].unread) == (None, ("the door was shut",))
    assert verdict.accused == ("recipient 7",)


# --- everybody at once ------------------------------------------------------------------------------------------------


def crowd_of(positions: int, alphabet: int, seed: int, count: int = 5000):
    book = PRIORS[seed % 2](positions, alphabet, seed)
    prior = np.cumsum(book.prior, axis=1)
    drawn = np.random.default_rng(seed).random((count, positions))
    words = (drawn[:, :, None] >= prior[:, :-1]).sum(axis=2).astype(np.uint8)
    return book, words


@pytest.mark.parametrize("alphabet", [2, 10])
@pytest.mark.parametrize("seed", range(4))
def test_the_crowd_has_passed_exactly_when_somebody_has(alphabet, seed):
    book, words = crowd_of(12, alphabet, seed)
    scores = np.zeros((3, 12, alphabet))
    told = np.random.default_rng(seed).normal(0, 2, scores.shape)
    needed = np.full(len(words), 2.0)
    needed[::7] = 1.5
    crowd, seen = Crowd(words, needed), set()
    for position in range(12):
        scores[:, position] = told[:, position]
        reading = Reading(scores.copy(), np.full(3, 1 / 3))
        passed = bool((log10_e(reading, book, words) >= needed).any())
        assert crowd.has_passed(Look("fake", book, lambda names: words, True, reading)) is passed
        seen.add(passed)
    assert True in seen


def test_the_crowd_follows_scores_that_change_afterwards_and_hypotheses_that_come():
    book, words = crowd_of(8, 3, 1, 600)
    crowd = Crowd(words, np.full(600, 0.8))
    for seed in range(6):
        for hypotheses in (2, 3):
            scores = np.random.default_rng(seed).normal(0, 1, (hypotheses, 8, 3))
            reading = Reading(scores, np.full(hypotheses, 1 / hypotheses))
            passed = bool((log10_e(reading, book, words) >= 0.8).any())
            assert crowd.has_passed(Look("fake", book, lambda names: words, True, reading)) is passed


def test_nobody_and_nothing_never_passes():
    _, words = crowd_of(8, 3, 1, 10)
    assert not Crowd(words[:0], np.zeros(0)).has_passed(look_saying("a", 8))
    assert not Crowd(words, np.full(10, -9.0)).has_passed(shut_look(positions=8))


def test_kept_words_are_drawn_once_and_those_of_others_when_they_are_asked_for():
    asked: list[tuple[str, ...]] = []

    def draw(names):
        asked.append(tuple(names))
        return np.asarray([[len(name), 1] for name in names], dtype=np.uint8)

    kept = KeptWords(draw, ("a", "bbb", "cc"), fair(2))
    assert kept(["cc", "a"]).tolist() == [[2, 1], [1, 1]]
    assert kept(["a", "dddd"]).tolist() == [[1, 1], [4, 1]]
    assert asked == [("a", "bbb", "cc"), ("a", "dddd")]
