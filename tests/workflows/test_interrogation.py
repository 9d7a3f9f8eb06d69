"""Asking: in which order, how much, when to stop; and that stopping costs nothing, whatever the suspect does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxfp.domain import Answered, Decision, Unanswered
from onnxfp.verdict.verify import verify
from onnxfp.workflows.interrogation import Conduct, interrogate
from tests.verdict.test_betting import all_words, probabilities
from tests.workflows.quiz import (
    ORDINARY,
    Answering,
    every_second,
    fickle,
    good,
    key_labels,
    miscounting,
    own_labels,
    pairs_quiz,
    quiz,
    refusing_after,
    scores,
    scoring,
    silent,
    table,
    turning,
)

SIX = Conduct(threshold=6.0)


def ask(drawn, suspect, conduct=SIX):
    return interrogate(drawn, suspect, conduct, "the claim")


def decision(look, alpha=1e-6) -> Decision:
    return verify([look], alpha).decision


@pytest.fixture
def drawn():
    return quiz()


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "needed"), [(good, 7), (scoring, 7)])
def test_asking_stops_as_soon_as_the_e_value_passes(form, needed, drawn):
    suspect = form(key_labels(drawn))
    look = ask(drawn, suspect)
    assert (len(suspect.requests), look.queries) == (needed, needed)
    assert suspect.triggers == list(range(needed))
    assert look.log10_e(drawn.words(["owner"])) >= 6
    less = ask(drawn, form(key_labels(drawn)), replace(SIX, limit=needed - 1))
    assert less.log10_e(drawn.words(["owner"])) < 6
    assert decision(look) is Decision.SUPPORTED


def test_all_is_asked_when_nothing_is_enough(drawn):
    suspect = good(own_labels(drawn))
    assert (ask(drawn, suspect).queries, len(suspect.requests)) == (24, 24)


@pytest.mark.parametrize("conduct", [replace(SIX, stop=False), replace(SIX, stop=False, fixed=True)])
def test_who_does_not_stop_asks_all(conduct, drawn):
    suspect = good(key_labels(drawn))
    look = ask(drawn, suspect, conduct)
    assert (look.queries, look.fixed) == (24, conduct.fixed)
    assert look.log10_e(drawn.words(["owner"])) > 18


def test_the_e_value_does_not_depend_on_having_stopped(drawn):
    """What is asked later is not known yet: the scores of what was asked are what they are."""
    stopped = ask(drawn, good(key_labels(drawn))).reading.log_scores
    whole = ask(drawn, good(key_labels(drawn)), replace(SIX, stop=False)).reading.log_scores
    assert (stopped[:, :7] == whole[:, :7]).all()
    assert not stopped[:, 7:].any()


LABELS = np.array([1, 1, 0, 3])
STRANGERS = {
    "always the same": lambda: good([2]),
    "labels": lambda: good(LABELS),
    "scores": lambda: scoring(LABELS, 4),
    "silent": silent,
    "every second": lambda: every_second(LABELS),
    "refusing after two": lambda: refusing_after(LABELS, 2),
    "fickle": lambda: fickle(LABELS, 4),
    "scores, then labels": lambda: turning(LABELS, 1, first_scores=True, classes=4),
    "scores, then labels, later": lambda: turning(LABELS, 2, first_scores=True, classes=4),
    "labels, then scores": lambda: turning(LABELS, 1, first_scores=False, classes=4),
    "too many": lambda: miscounting(LABELS, 1),
    "too few": lambda: miscounting(LABELS, -1),
    "refusing first": lambda: Answering(
        lambda at, numbers: Unanswered("wait") if at == 0 else Answered(scores(table(LABELS)(numbers), 4))
    ),
    "garbage first": lambda: Answering(
        lambda at, numbers: Answered(np.full(1, -3.0)) if at == 0 else Answered(table(LABELS)(numbers))
    ),
    "of another form": lambda: silent(unfit=True),
}


@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_over_all_key_labels_the_mean_e_value_at_the_stop_is_one(stranger, twice):
    """The whole of it, by enumeration: 27 words of three positions, each asked for anew and stopped when it passes."""
    codebook = quiz(3, 4).public.codebook
    words = all_words(3, 4)
    chances = probabilities(codebook, words)
    possible = chances > 0
    for level in (1.3, 2.0, 8.0):
        conduct = Conduct(threshold=float(np.log10(level)), twice=twice)
        mean = passed = 0.0
        for word, chance in zip(words[possible], chances[possible], strict=True):
            drawn = quiz(3, 4, word=word)
            look = ask(drawn, STRANGERS[stranger](), conduct)
            e_value = 10.0 ** look.log10_e(word[None])
            mean, passed = mean + chance * e_value, passed + chance * (e_value >= level)
        heard = look.reading.coverage > 0
        assert mean == pytest.approx(1 if heard else 0, abs=1e-9)
        assert passed <= 1 / level


# --- what is asked before ---------------------------------------------------------------------------------------------


def pairs_labels(drawn) -> np.ndarray:
    return drawn.scheme.knower(drawn.claim("owner"))[0].values


@pytest.mark.parametrize("limit", [0, 40, 41])
def test_what_belongs_to_no_position_is_sent_first_and_counted(limit):
    drawn = pairs_quiz([0, 1] * 8)
    suspect = good(pairs_labels(drawn))
    look = ask(drawn, suspect, replace(SIX, stop=False, limit=limit))
    assert suspect.triggers == list(range(look.queries))
    assert [len(request) for request in suspect.requests] == [32] + [2] * ((look.queries - 32) // 2)
    assert look.queries == (64 if not limit else 40)


@pytest.mark.parametrize("limit", [1, 32, 33])
def test_a_limit_without_room_for_a_position_asks_nothing(limit):
    drawn = pairs_quiz([0, 1] * 20)
    suspect = good(pairs_labels(drawn))
    look = ask(drawn, suspect, replace(SIX, limit=limit))
    assert (suspect.requests, look.queries) == ([], 0)
    assert decision(look) is Decision.INCONCLUSIVE


def test_spent_positions_are_those_of_the_codeword_and_come_last():
    spent: list[int] = []
    drawn = pairs_quiz([0, 1] * 4)
    conduct = replace(SIX, stop=False, last=frozenset({0, 2}), spend=spent.extend)
    suspect = good(pairs_labels(drawn))
    ask(drawn, suspect, conduct)
    assert spent == [1, 3, 4, 5, 6, 7, 0, 2]
    assert suspect.triggers[32:36] == [34, 35, 38, 39]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_marked_suspect_is_found_even_if_it_hides_what_is_asked_before(share):
    """Refusing or lying about the known pairs spoils what is learnt of them and nothing else."""
    drawn = pairs_quiz([0, 1] * 20)
    labels = pairs_labels(drawn)
    labels[: int(32 * share)] = 3 - labels[: int(32 * share)] % 4
    look = ask(drawn, good(labels))
    assert look.log10_e(drawn.words(["owner"])) >= 6
    assert decision(look) is Decision.SUPPORTED


ON_PAIRS = {
    "labels": lambda: good(np.random.default_rng(1).integers(0, 5, 44)),
    "scores": lambda: scoring(np.random.default_rng(2).integers(0, 5, 44), 5),
    "fewer scores": lambda: scoring(np.random.default_rng(3).integers(0, 4, 44), 4),
    "one who knows another word": lambda: good(pairs_labels(pairs_quiz([1, 0, 1, 1, 0, 0]))),
    "one who turns": lambda: turning(np.random.default_rng(4).integers(0, 5, 44), 3, first_scores=True, classes=5),
    "one who stops answering": lambda: refusing_after(np.random.default_rng(5).integers(0, 5, 44), 4),
}


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("stranger", ON_PAIRS)
def test_over_all_words_the_mean_e_value_of_pairs_at_the_stop_is_one(stranger, twice):
    words = all_words(6, 2)
    for level in (1.2, 2.0, 8.0):
        conduct = Conduct(threshold=float(np.log10(level)), twice=twice)
        e_values = np.empty(len(words))
        for number, word in enumerate(words):
            look = ask(pairs_quiz(word), ON_PAIRS[stranger](), conduct)
            e_values[number] = 10.0 ** look.log10_e(word[None])
        assert e_values.mean() == pytest.approx(1, abs=1e-9)
        assert (e_values >= level).mean() <= 1 / level


# --- who does not answer ----------------------------------------------------------------------------------------------


def test_a_silent_suspect_is_left_alone_after_three_positions(drawn):
    suspect = silent()
    look = ask(drawn, suspect)
    assert len(suspect.requests) == 3
    assert decision(look) is Decision.INCONCLUSIVE
    assert "the door was shut" in verify([look], 1e-6).reason
    assert look.failed


def test_three_positions_in_a_row_are_needed_to_be_left_alone(drawn):
    suspect = every_second(own_labels(drawn))
    ask(drawn, suspect)
    assert len(suspect.requests) == 24


def test_who_answers_half_is_judged_and_who_answers_less_has_failed(drawn):
    half = ask(drawn, every_second(own_labels(drawn)))
    assert (half.failed, half.reading.coverage) == (False, pytest.approx(0.5))
    assert decision(half) is Decision.NOT_SUPPORTED
    own = table(own_labels(drawn))
    third = ask(drawn, Answering(lambda at, numbers: Unanswered("busy") if at % 3 else Answered(own(numbers))))
    assert third.failed
    assert decision(third) is Decision.INCONCLUSIVE


def test_whoever_knows_the_key_labels_is_found_even_if_it_refuses_every_second_time(drawn):
    look = ask(drawn, every_second(key_labels(drawn)))
    assert decision(look) is Decision.SUPPORTED
    assert look.reading.unread[0] == "6 of 13 triggers without an answer"


def test_who_refuses_after_three_is_asked_three_more_and_has_failed_nothing(drawn):
    suspect = refusing_after(own_labels(drawn), 3)
    look = ask(drawn, suspect)
    assert len(suspect.requests) == 6
    assert look.reading.unread == ("3 of 6 triggers without an answer", "enough (3 times)")
    assert not look.failed
    assert look.reading.coverage == 0.5
    assert not look.decisive
    assert decision(look) is Decision.INCONCLUSIVE


def test_refusals_count_as_misses_in_a_fixed_number_of_queries(drawn):
    fixed = replace(SIX, stop=False, fixed=True)
    claims = [
        verify([ask(drawn, suspect, fixed)], 1e-6).claims[0]
        for suspect in (good(key_labels(drawn)), every_second(key_labels(drawn)))
    ]
    assert [(claim.points, claim.most, claim.queries) for claim in claims] == [(24, 24, 24), (12, 12, 24)]
    assert claims[0].p_value < claims[1].p_value < 1e-9
    nine = 9.0 ** -np.array([24, 12])
    assert [claim.p_value for claim in claims] == pytest.approx(nine, rel=1e-3)


@pytest.mark.parametrize("more", [-1, 1, 7])
@pytest.mark.parametrize("camouflage", [0, 1, 3])
def test_another_number_of_answers_is_no_answer(more, camouflage, drawn):
    """Also when it happens to be the number of the triggers that were hidden."""
    suspect = miscounting(key_labels(drawn), more)
    look = ask(drawn, suspect, replace(SIX, camouflage=camouflage, ordinary=ORDINARY))
    assert decision(look) is Decision.INCONCLUSIVE
    assert look.failed
    assert f"numbers came back for {1 + camouflage} inputs" in look.reading.unread[0]


def test_a_number_instead_of_answers_is_no_answer(drawn):
    suspect = Answering(lambda at, numbers: Answered(np.array(1.0)))
    look = ask(drawn, suspect, replace(SIX, camouflage=1, ordinary=ORDINARY))
    assert "() numbers came back for 2 inputs" in look.reading.unread[0]


def test_a_suspect_of_another_form_is_left_alone_at_once_and_has_not_failed(drawn):
    suspect = silent("takes text", unfit=True)
    look = ask(drawn, suspect)
    assert len(suspect.requests) == 1
    assert not look.failed
    assert decision(look) is Decision.INCONCLUSIVE
    assert decision(look, 0.5) is Decision.INCONCLUSIVE


def test_one_claim_that_a_suspect_does_not_fit_leaves_the_other_to_decide(drawn):
    looks = [ask(drawn, silent("takes text", unfit=True)), ask(drawn, good(own_labels(drawn)))]
    assert verify(looks, 1e-6).decision is Decision.NOT_SUPPORTED


# --- asked twice ------------------------------------------------------------------------------------------------------


def test_asked_twice_a_steady_suspect_is_found_with_twice_the_queries(drawn):
    suspect = good(key_labels(drawn))
    look = ask(drawn, suspect, replace(SIX, twice=True))
    assert (look.queries, suspect.triggers) == (14, [at // 2 for at in range(14)])
    assert decision(look) is Decision.SUPPORTED


def test_asked_twice_a_suspect_that_changes_its_mind_says_nothing(drawn):
    look = ask(drawn, fickle(key_labels(drawn)), replace(SIX, twice=True))
    assert decision(look) is Decision.INCONCLUSIVE
    assert "another answer when the same input was sent again (24 times)" in look.reading.unread[0]
    assert decision(ask(drawn, fickle(key_labels(drawn)))) is not Decision.INCONCLUSIVE


# --- forms of answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_scores", [True, False])
def test_who_turns_between_labels_and_scores_is_found_all_the_same(first_scores, drawn):
    look = ask(drawn, turning(key_labels(drawn), 3, first_scores=first_scores))
    assert decision(look) is Decision.SUPPORTED
    assert look.queries == 7
    stranger = ask(drawn, turning(own_labels(drawn), 3, first_scores=first_scores))
    assert decision(stranger) is Decision.NOT_SUPPORTED


# --- how much ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("each", "twice", "limit", "sent"),
    [
        (1, False, 0, 24),
        (1, False, 1, 1),
        (1, False, 23, 23),
        (1, False, 99, 24),
        (1, True, 9, 8),
        (4, False, 9, 8),
        (4, False, 3, 0),
        (4, True, 16, 16),
    ],
)
def test_no_more_triggers_are_sent_than_the_limit(each, twice, limit, sent):
    drawn = quiz(24, each=each)
    suspect = good(own_labels(drawn))
    look = ask(drawn, suspect, replace(SIX, limit=limit, twice=twice, camouflage=2, ordinary=ORDINARY))
    assert (look.queries, len(suspect.triggers)) == (sent, sent)
    assert look.ordinary == 2 * sent


def test_a_limit_that_allows_no_position_is_inconclusive_and_says_so():
    drawn = quiz(each=4)
    look = ask(drawn, good(key_labels(drawn)), replace(SIX, limit=3))
    assert not look.failed
    verdict = verify([look], 1e-6)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "the limit allows no whole position" in verdict.reason


@pytest.mark.parametrize(
    ("limit", "expected"), [(3, Decision.INCONCLUSIVE), (6, Decision.INCONCLUSIVE), (7, Decision.NOT_SUPPORTED)]
)
def test_too_few_queries_to_decide_are_inconclusive(limit, expected, drawn):
    """Nine symbols a position: even a suspect that knows all of them needs seven."""
    look = ask(drawn, good(own_labels(drawn)), replace(SIX, limit=limit))
    assert look.decisive is (expected is Decision.NOT_SUPPORTED)
    assert decision(look) is expected
    known = ask(drawn, good(key_labels(drawn)), replace(SIX, limit=limit))
    assert decision(known) is (Decision.SUPPORTED if look.decisive else Decision.INCONCLUSIVE)
    assert not look.failed


def test_a_position_counts_as_read_only_when_all_its_triggers_are_answered():
    drawn = quiz(24, each=2)
    own = table(own_labels(drawn))
    look = ask(drawn, Answering(lambda at, numbers: Answered(np.where(numbers % 2, np.nan, own(numbers)))))
    assert not look.decisive
    assert decision(look) is Decision.INCONCLUSIVE


# --- in which order ---------------------------------------------------------------------------------------------------


def test_positions_that_were_seen_before_come_last(drawn):
    seen = frozenset({0, 1, 5, 23})
    suspect = good(own_labels(drawn))
    ask(drawn, suspect, replace(SIX, last=seen))
    assert suspect.triggers == [at for at in range(24) if at not in seen] + sorted(seen)


def test_with_a_limit_positions_that_were_seen_before_are_spared(drawn):
    suspect = good(own_labels(drawn))
    ask(drawn, suspect, replace(SIX, last=frozenset(range(10)), limit=14))
    assert suspect.triggers == list(range(10, 24))


def test_only_what_can_be_asked_is_asked(drawn):
    suspect = good(own_labels(drawn))
    look = ask(drawn, suspect, replace(SIX, can_be_asked=lambda inputs: bool((inputs % 3 == 0).all())))
    assert suspect.triggers == list(range(0, 24, 3))
    assert look.reading.coverage == 1.0


def test_where_nothing_can_be_asked_nobody_has_failed_and_another_claim_decides(drawn):
    suspect = good(own_labels(drawn))
    look = ask(drawn, suspect, replace(SIX, can_be_asked=lambda inputs: False))
    assert suspect.requests == []
    assert not look.failed
    assert decision(look) is Decision.INCONCLUSIVE
    other = ask(drawn, good(own_labels(drawn)))
    assert verify([look, other], 1e-6).decision is Decision.NOT_SUPPORTED


def test_positions_are_spent_before_they_are_seen(drawn):
    spent = []
    own = table(own_labels(drawn))

    def reply(at, numbers):
        assert spent[-1] == [int(numbers[0])]
        return Answered(own(numbers))

    ask(drawn, Answering(reply), replace(SIX, spend=lambda positions: spent.append(list(positions)), limit=5))
    assert spent == [[at] for at in range(5)]


def test_the_order_does_not_depend_on_the_word():
    sent = []
    for word in (np.full(24, 3), np.arange(24) % 3 + 4):
        suspect = good(np.arange(24) % 10)
        ask(quiz(word=word), suspect, replace(SIX, stop=False, camouflage=3, ordinary=ORDINARY))
        sent.append(np.concatenate(suspect.requests))
    assert (sent[0] == sent[1]).all()


# --- camouflage -------------------------------------------------------------------------------------------------------


def test_triggers_are_hidden_among_ordinary_inputs_in_every_place(drawn):
    suspect = good(own_labels(drawn))
    look = ask(drawn, suspect, replace(SIX, camouflage=3, ordinary=ORDINARY))
    places = [int(np.flatnonzero(request[:, 0] < 1000)[0]) for request in suspect.requests]
    assert {len(request) for request in suspect.requests} == {4}
    assert {int((request < 1000).sum()) for request in suspect.requests} == {1}
    assert set(places) == {0, 1, 2, 3}
    assert (look.queries, look.ordinary) == (24, 72)
    hidden = np.concatenate(suspect.requests)[:, 0]
    assert len(set(hidden[hidden >= 1000].tolist())) == len(ORDINARY)


@pytest.mark.parametrize("each", [1, 3])
@pytest.mark.parametrize("form", [good, scoring])
def test_ordinary_answers_are_dropped_and_each_trigger_keeps_its_own(form, each):
    drawn = quiz(24, each=each)
    plain = ask(drawn, form(key_labels(drawn)))
    hidden = ask(drawn, form(key_labels(drawn)), replace(SIX, camouflage=5, ordinary=ORDINARY))
    assert (hidden.reading.log_scores == plain.reading.log_scores).all()
    assert hidden.queries == plain.queries
    assert decision(hidden) is Decision.SUPPORTED


def test_triggers_of_a_position_do_not_stand_together_when_they_are_hidden():
    drawn = quiz(24, each=3)
    suspect = good(own_labels(drawn))
    ask(drawn, suspect, replace(SIX, camouflage=4, ordinary=ORDINARY))
    gaps = [np.diff(np.flatnonzero(request[:, 0] < 1000)).max() for request in suspect.requests]
    assert np.mean(np.array(gaps) > 1) > 0.5
    assert any((np.diff(request[request[:, 0] < 1000, 0]) < 0).any() for request in suspect.requests)


def test_asked_twice_the_same_trigger_is_hidden_otherwise(drawn):
    suspect = good(own_labels(drawn))
    ask(drawn, suspect, replace(SIX, twice=True, camouflage=5, ordinary=ORDINARY))
    pairs = zip(suspect.requests[::2], suspect.requests[1::2], strict=True)
    assert all(not np.array_equal(one, other) for one, other in pairs)


def test_what_hides_is_the_keys_and_the_same_again(drawn):
    sent = []
    for at in range(3):
        suspect = good(own_labels(drawn))
        other = replace(drawn, secret=drawn.secret.derive("another")) if at == 2 else drawn
        ask(other, suspect, replace(SIX, camouflage=5, ordinary=ORDINARY))
        sent.append(np.concatenate(suspect.requests))
    assert (sent[0] == sent[1]).all()
    assert not (sent[0] == sent[2]).all()


def test_without_ordinary_inputs_nothing_is_hidden(drawn):
    suspect = good(own_labels(drawn))
    assert ask(drawn, suspect, replace(SIX, camouflage=3)).ordinary == 0
    assert {len(request) for request in suspect.requests} == {1}
