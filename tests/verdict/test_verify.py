"""Ours? Pure functions from looks to verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.domain import Decision, Evidence, Verdict
from onnxfp.verdict.look import decided, weigh
from onnxfp.verdict.verify import OWNER, verify
from tests.frozen import dump, freeze
from tests.verdict.looks import look_saying, shut_look


def bare(log10_e: float | None, recipients: int) -> Verdict:
    evidence = () if log10_e is None else (Evidence("a", log10_e), Evidence("b", log10_e - 3))
    return Verdict(Decision.NOT_SUPPORTED, "fake", "trace", evidence, (), 6.0, 1e-6, recipients, "null")


def test_the_owners_word_is_supported():
    verdict = verify([look_saying(OWNER)], 1e-6)
    assert verdict.decision is Decision.SUPPORTED
    assert verdict.log10_e > 6
    assert (verdict.log10_threshold, verdict.question, verdict.accused) == (pytest.approx(6), "verify", ())


def test_somebody_elses_word_is_not_supported():
    assert verify([look_saying("somebody else")], 1e-6).decision is Decision.NOT_SUPPORTED


def test_the_threshold_is_the_level_and_is_met_from_above():
    score = verify([look_saying(OWNER)], 1e-6).log10_e
    assert verify([look_saying(OWNER)], 10 ** -(score - 1e-9)).decision is Decision.SUPPORTED
    assert verify([look_saying(OWNER)], 10 ** -(score + 1e-9)).decision is Decision.NOT_SUPPORTED


def test_the_e_value_is_the_mean_over_all_claims():
    one, other = look_saying(OWNER), look_saying("somebody else")
    alone = [verify([look], 1e-6).log10_e for look in (one, other)]
    assert verify([one, other], 1e-6).log10_e == pytest.approx(np.log10(np.mean(10.0 ** np.array(alone))))


def test_a_claim_that_could_not_be_read_keeps_its_weight():
    alone = verify([look_saying(OWNER)], 1e-6).log10_e
    verdict = verify([look_saying(OWNER), shut_look(), shut_look()], 1e-6)
    assert verdict.log10_e == pytest.approx(alone - np.log10(3))
    assert verdict.unread == ("the door was shut",)


def test_nothing_read_is_inconclusive_and_weighs_nothing():
    verdict = verify([shut_look("gone"), shut_look("shut")], 1e-6)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert (verdict.evidence, verdict.log10_e, verdict.p_value) == ((), None, None)
    assert verdict.reason == "0% of what would decide could be read: gone; shut"


def test_nothing_registered_is_inconclusive():
    verdict = verify([], 1e-6)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "nothing is registered" in verdict.reason


@pytest.mark.parametrize(
    ("coverage", "decision"),
    [(0.49, Decision.INCONCLUSIVE), (0.5, Decision.NOT_SUPPORTED), (1.0, Decision.NOT_SUPPORTED)],
)
def test_not_supported_needs_half_of_what_was_asked(coverage, decision):
    assert verify([look_saying("somebody else", coverage=coverage)], 1e-6).decision is decision


def test_enough_evidence_in_little_coverage_is_supported():
    assert verify([look_saying(OWNER, coverage=0.1)], 1e-6).decision is Decision.SUPPORTED


def test_one_reference_read_well_is_enough_to_say_no():
    looks = [look_saying("somebody else", coverage=0.1), look_saying("somebody else", coverage=0.9)]
    assert verify(looks, 1e-6).decision is Decision.NOT_SUPPORTED


def test_words_that_depend_on_one_another_may_be_verified():
    assert verify([look_saying(OWNER, independent=False)], 1e-6).decision is Decision.SUPPORTED


def test_nothing_changes_what_was_looked_at():
    look = look_saying(OWNER)
    freeze(look.reading)
    before = dump(look.reading)
    assert verify([look], 1e-6) == verify([look], 1e-6)
    assert dump(look.reading) == before


def test_what_was_unread_or_undone_is_said_once():
    looks = [
        look_saying(OWNER, unread=("a", "b"), transforms=("t",)),
        look_saying(OWNER, unread=("b",), transforms=("t",)),
    ]
    verdict = verify(looks, 1e-6)
    assert (verdict.unread, verdict.transforms) == (("a", "b"), ("t",))


def test_the_null_says_over_what_the_probability_is():
    null = verify([look_saying(OWNER, positions=48)], 1e-5).null
    assert "48 secret symbols" in null
    assert "1e-05" in null
    assert "drew the key honestly" in null


@pytest.mark.parametrize(
    ("log10_e", "recipients", "p_value"),
    [(7.0, 0, 1e-7), (7.0, 1, 1e-7), (7.0, 100, 1e-5), (1.0, 100, 1.0), (-3.0, 1, 1.0), (400.0, 1, 0.0)],
)
def test_the_p_value_is_one_over_e_times_the_recipients(log10_e, recipients, p_value):
    assert bare(log10_e, recipients).p_value == pytest.approx(p_value, rel=1e-9, abs=1e-300)


def test_nothing_weighed_has_no_p_value():
    assert bare(None, 5).p_value is None


def test_weighing_survives_e_values_beyond_floats():
    looks = [look_saying(OWNER, positions=4096), look_saying("x", positions=4096)]
    score = weigh(looks, [look.bet() for look in looks], [OWNER])
    assert np.isfinite(score).all()
    assert score[0] > 400


def test_decisions_follow_from_support_and_coverage():
    assert decided([shut_look()], supported=True) == (Decision.SUPPORTED, "")
