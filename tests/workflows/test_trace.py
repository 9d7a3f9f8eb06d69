"""Whose copy, by weights, by answers or by both: who is named, how much is asked, in which order, what is logged."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from onnxfp.demo import path as demo_file
from onnxfp.domain import Access, Decision, Verdict
from onnxfp.errors import UsageError
from onnxfp.verdict.betting import log10_e
from onnxfp.verdict.channels import still_needed, together
from onnxfp.verdict.crowd import Crowd
from onnxfp.workflows.interrogation import Conduct, interrogate
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.looking import ANYWHERE
from onnxfp.workflows.suspects import ALL, SEALED
from onnxfp.workflows.trace import BOTH, NO_ANSWERS, Tracing, replay_trace, trace_suspect
from onnxfp.workflows.transcript import Transcript, read_transcript
from onnxfp.workflows.verify import Asking, verify_suspect
from tests.frozen import dump
from tests.verdict.looks import fair, say
from tests.verdict.test_betting import all_words, probabilities
from tests.workflows.copies import HOLDERS, PLACE, Leaked, channels, held, prepared
from tests.workflows.quiz import Answering, good, quiz, scoring, turning
from tests.workflows.vaults import AT, FORMS, claimed, fixed_vault, quiet

OTHER = demo_file("digits_independent.onnx")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared") / "vault"
    with fixed_vault(root) as vault:
        prepared(vault)
        held(vault)
    return root


@pytest.fixture
def vault(made_once, tmp_path):
    shutil.copytree(made_once, tmp_path / "vault")
    with fixed_vault(tmp_path / "vault") as opened:
        yield opened


def traced(vault, suspect: Leaked, by: str = "answers", transcript: Transcript | None = None, **more) -> Verdict:
    """Trace a suspect that is a file, or with ``remote`` one that is an endpoint; another one each time, or `same`."""
    remote, alpha, same = more.pop("remote", False), more.pop("alpha", 1e-6), more.pop("same", False)
    identity = "the suspect" if same else f"suspect {vault.ledger.head()}"
    examined = suspect.examined(SEALED if by == "answers" else ALL, identity=identity)
    examined = suspect.remote() if remote else examined
    return trace_suspect(vault, examined, Tracing(alpha, AT, by, **more), quiet, transcript)


def positions_asked(vault, suspect: Leaked) -> list[int]:
    """Which triggers a suspect was sent, in their order."""
    (drawn,) = channels(vault, Access.LABELS)
    (probe,) = drawn.scheme.probes(drawn.public)
    rows = {one.tobytes(): row for row, one in enumerate(probe.inputs)}
    return [rows[one.tobytes()] for request in suspect.requests for one in request]


# --- who is named -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["labels", "scores", "best three", "every second", "scores, then labels"])
@pytest.mark.parametrize("holder", [HOLDERS[0], HOLDERS[5]])
def test_whoever_runs_a_copy_is_named_by_its_answers(vault, holder, form):
    suspect = Leaked(vault, answers=holder, form=form)
    verdict = traced(vault, suspect)
    assert (verdict.decision, verdict.accused) == (Decision.SUPPORTED, (holder,))
    (claim,) = verdict.claims
    assert (claim.channel, claim.named) == ("answers", (holder,))
    assert claim.queries == len(suspect.requests) < 32
    assert verdict.log10_e == pytest.approx(claim.log10_e)
    assert suspect.read == 0


def test_a_strangers_answers_name_nobody(vault):
    verdict = traced(vault, Leaked(vault))
    assert (verdict.decision, verdict.accused, verdict.queries) == (Decision.NOT_SUPPORTED, (), 32)


def test_weights_alone_ask_nobody_anything(vault):
    suspect = Leaked(vault, weights=HOLDERS[3], answers=HOLDERS[2])
    verdict = traced(vault, suspect, "weights")
    assert (verdict.accused, suspect.requests, verdict.provider) == ((HOLDERS[3],), [], "")
    assert [claim.channel for claim in verdict.claims] == ["weights"]


def test_both_say_more_than_either(vault):
    verdict = traced(vault, Leaked(vault, weights=HOLDERS[3], answers=HOLDERS[3]), BOTH)
    weights, answers = verdict.claims
    assert verdict.accused == weights.named == answers.named == (HOLDERS[3],)
    assert verdict.log10_e > weights.log10_e + answers.log10_e - 1
    assert verdict.disagreement == ""


def test_weights_of_one_and_answers_of_another_are_told_apart(vault):
    verdict = traced(vault, Leaked(vault, weights=HOLDERS[3], answers=HOLDERS[2]), BOTH)
    assert set(verdict.accused) == {HOLDERS[2], HOLDERS[3]}
    assert verdict.disagreement.startswith("the weights are Holder 3's, the answers are Holder 2's")
    assert [claim.named for claim in verdict.claims] == [(HOLDERS[3],), (HOLDERS[2],)]


def test_answers_name_whom_the_weights_do_not(vault):
    for weights, answers in ((HOLDERS[1], ""), ("", HOLDERS[1])):
        verdict = traced(vault, Leaked(vault, weights=weights, answers=answers), BOTH)
        assert (verdict.accused, verdict.disagreement) == ((HOLDERS[1],), "")


def test_where_weights_name_somebody_answers_are_asked_until_they_do(vault):
    alone = traced(vault, Leaked(vault, answers=HOLDERS[3])).queries
    both = traced(vault, Leaked(vault, weights=HOLDERS[3], answers=HOLDERS[3]), BOTH).queries
    assert alone <= both <= alone + 1  # a third of the weight is that of answers alone


# --- how much is asked ------------------------------------------------------------------------------------------------


def test_asking_stops_as_soon_as_somebody_is_named(vault):
    needed = traced(vault, Leaked(vault, answers=HOLDERS[4])).queries
    less = traced(vault, Leaked(vault, answers=HOLDERS[4]), limit=needed - 1)
    assert (less.decision, less.accused, less.queries) == (Decision.INCONCLUSIVE, (), needed - 1)
    assert traced(vault, Leaked(vault, answers=HOLDERS[4]), limit=needed).accused == (HOLDERS[4],)


def test_more_references_take_more_evidence(tmp_path):
    with fixed_vault(tmp_path / "vault") as vault:
        prepared(vault)
        held(vault)
        alone = traced(vault, Leaked(vault, answers=HOLDERS[4]))
        prepared(vault, OTHER)
        two = traced(vault, Leaked(vault, answers=HOLDERS[4]))
        assert two.accused == (HOLDERS[4],)
        assert two.claims[1].log10_e >= two.log10_threshold + np.log10(2)
        assert [claim.queries for claim in two.claims] == [32, two.queries - 32]
        assert two.queries - 32 >= alone.queries
        latest = traced(vault, Leaked(vault, answers=HOLDERS[4], reference=1))
        assert latest.accused == (HOLDERS[4],)
        assert latest.claims[1].unread == ("not asked: what was asked before was enough",)
        assert latest.claims[1].queries == 0


@pytest.mark.parametrize("limit", [1, 20, 33, 40])
def test_the_limit_is_that_of_all_references_together(tmp_path, limit):
    with fixed_vault(tmp_path / "vault") as vault:
        prepared(vault)
        prepared(vault, OTHER)
        held(vault)
        suspect = Leaked(vault)
        verdict = traced(vault, suspect, limit=limit)
        assert verdict.queries == len(suspect.requests) == limit
        assert verdict.decision is Decision.INCONCLUSIVE
        assert traced(vault, Leaked(vault, answers=HOLDERS[0], form="labels"), limit=64).accused == (HOLDERS[0],)


def test_every_trigger_sent_twice_counts_twice(vault):
    once, suspect = traced(vault, Leaked(vault, answers=HOLDERS[4])), Leaked(vault, answers=HOLDERS[4])
    assert traced(vault, suspect, twice=True).queries == 2 * once.queries == len(suspect.requests)
    assert traced(vault, Leaked(vault, answers=HOLDERS[4], form="fickle"), twice=True).accused == ()


def test_triggers_are_hidden_among_ordinary_inputs(vault):
    suspect = Leaked(vault, answers=HOLDERS[4])
    verdict = traced(vault, suspect, camouflage=3)
    assert verdict.accused == (HOLDERS[4],)
    assert {len(request) for request in suspect.requests} == {4}
    assert verdict.ordinary == 3 * verdict.queries


def test_too_few_positions_for_so_many_recipients_are_inconclusive(tmp_path):
    with fixed_vault(tmp_path / "vault") as vault:
        prepared(vault, positions=8, labels=2)
        held(vault)
        verdict = traced(vault, Leaked(vault, answers=HOLDERS[4]))
        assert (verdict.decision, verdict.accused) == (Decision.INCONCLUSIVE, ())
        assert "could not have decided" in verdict.reason


# --- whom the order depends on ----------------------------------------------------------------------------------------


def test_the_same_is_sent_whoever_holds_what(tmp_path):
    """Other names, hence other words: the same bytes go out in the same order."""
    sent = []
    for holders in (HOLDERS, ("somebody", "else"), tuple(f"nobody {at}" for at in range(50))):
        with fixed_vault(tmp_path / f"vault of {len(holders)}") as vault:
            prepared(vault)
            held(vault, holders)
            suspect = Leaked(vault)
            traced(vault, suspect)
            sent.append(b"".join(request.tobytes() for request in suspect.requests))
    assert sent[0] == sent[1] == sent[2]


def test_whoever_leads_does_not_change_what_is_sent_next(vault):
    suspects = [Leaked(vault, answers=name) for name in HOLDERS]
    assert [traced(vault, suspect).accused for suspect in suspects] == [(name,) for name in HOLDERS]
    asked = [positions_asked(vault, suspect) for suspect in suspects]
    assert all(one == list(range(len(one))) for one in asked)


def test_what_an_endpoint_has_seen_is_spent_and_comes_last(vault):
    first, again = Leaked(vault, answers=HOLDERS[2]), Leaked(vault, answers=HOLDERS[2])
    (claim,) = (f"deeptrace:{drawn.channel.commitment}" for drawn in channels(vault, Access.LABELS))
    count = traced(vault, first, remote=True).queries
    assert vault.ledger.spent(claim, PLACE, ANYWHERE) == frozenset(range(count))
    verdict = traced(vault, again, remote=True)
    fresh = list(range(count, 32))
    assert positions_asked(vault, again)[: len(fresh)] == fresh[: len(again.requests)]
    assert verdict.alpha == 0.5e-6
    assert verdict.accused == (HOLDERS[2],)


# --- looks are logged -------------------------------------------------------------------------------------------------


def test_every_setting_is_another_look_and_the_same_is_not(vault):
    suspect = Leaked(vault, weights=HOLDERS[3], answers=HOLDERS[3])
    alphas = [
        traced(vault, suspect, by, same=True, **more).alpha
        for by, more in (("weights", {}), (BOTH, {}), (BOTH, {"limit": 9}), ("weights", {}), (BOTH, {}))
    ]
    assert alphas == [1e-6, 0.5e-6, 0.25e-6, 1e-6, 0.5e-6]


def test_every_look_at_an_endpoint_counts(vault):
    alphas = [traced(vault, Leaked(vault), remote=True).alpha for _ in range(3)]
    assert alphas == [1e-6, 0.5e-6, 0.25e-6]


# --- who does not answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("by", ["answers", BOTH])
def test_whatever_is_answered_no_innocent_is_named(vault, form, by):
    verdict = traced(vault, Leaked(vault, form=form), by)
    assert verdict.accused == ()
    assert verdict.decision in (Decision.NOT_SUPPORTED, Decision.INCONCLUSIVE)
    assert verdict.reason or verdict.decision is Decision.NOT_SUPPORTED


@pytest.mark.parametrize("form", ["silent", "of another form", "garbage", "another number"])
def test_who_should_answer_and_does_not_is_inconclusive_whatever_its_weights_say(vault, form):
    verdict = traced(vault, Leaked(vault, form=form), BOTH)
    assert (verdict.decision, bool(verdict.reason)) == (Decision.INCONCLUSIVE, True)
    assert traced(vault, Leaked(vault, weights=HOLDERS[0], form=form), BOTH).accused == (HOLDERS[0],)


def test_where_no_copy_can_be_told_by_answers_that_is_said_and_nobody_is_asked(tmp_path):
    with fixed_vault(tmp_path / "vault") as vault:
        claimed(vault)
        (entry,) = vault.ledger.references()
        vault.ledger.reserve(entry.reference, "Acme", AT)
        head, examined = vault.ledger.head(), Leaked.__new__(Leaked)
        verdict = trace_suspect(vault, examined, Tracing(1e-6, AT, "answers"), quiet)  # type: ignore[arg-type]
        assert (verdict.decision, verdict.reason, verdict.claims) == (Decision.INCONCLUSIVE, NO_ANSWERS, ())
        assert vault.ledger.head() == head


def test_where_nobody_holds_a_copy_nobody_is_asked(tmp_path):
    with fixed_vault(tmp_path / "vault") as vault:
        prepared(vault)
        suspect = Leaked(vault)
        verdict = traced(vault, suspect)
        assert (verdict.decision, suspect.requests) == (Decision.INCONCLUSIVE, [])
        assert "no copy was ever issued" in verdict.reason


def test_a_channel_that_cannot_be_drawn_clears_nobody(vault):
    for path in (vault.root / "samples").iterdir():
        path.write_bytes(b"damaged")
    stranger = Leaked(vault)
    verdict = traced(vault, stranger, BOTH)
    assert (verdict.decision, stranger.requests) == (Decision.INCONCLUSIVE, [])
    assert "trigger corpus" in verdict.reason
    found = traced(vault, Leaked(vault, weights=HOLDERS[0]), BOTH)
    assert found.accused == (HOLDERS[0],)
    assert found.unread
    alone = traced(vault, Leaked(vault, weights=HOLDERS[0]), "weights")
    assert found.log10_e == pytest.approx(alone.log10_e - np.log10(3))


def test_verify_of_who_only_answers_says_that_trace_can_ask(vault):
    suspect = Leaked(vault, answers=HOLDERS[0])
    verdict = verify_suspect(vault, suspect.remote(), Asking(1e-6, AT), quiet)
    assert (verdict.decision, suspect.requests) == (Decision.INCONCLUSIVE, [])
    assert "onnxfp trace" in verdict.reason


# --- again ------------------------------------------------------------------------------------------------------------

SETTINGS = {"plain": {}, "limited": {"limit": 9}, "twice": {"twice": True}, "hidden": {"camouflage": 2}}


@pytest.mark.parametrize("by", ["weights", "answers", BOTH])
@pytest.mark.parametrize("more", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("form", ["labels", "scores", "every second", "garbage", "scores, then labels"])
def test_a_transcript_makes_the_verdict_again_to_the_bit(vault, tmp_path, by, more, form):
    for number, (weights, answers) in enumerate((("", ""), (HOLDERS[1], HOLDERS[2]), (HOLDERS[1], ""))):
        transcript = Transcript()
        verdict = traced(
            vault, Leaked(vault, weights, answers, form), by, transcript, **(more if by != "weights" else {})
        )
        transcript.write(tmp_path / f"{number}.json", force=False)
        facts, recorded = read_transcript(tmp_path / f"{number}.json", question="trace")
        head = vault.ledger.head()
        again = replay_trace(vault, facts, recorded, quiet)
        assert again.replayed_from == AT
        assert dump(replace(again, replayed_from="")) == dump(verdict)
        assert vault.ledger.head() == head


def test_who_got_a_copy_since_changes_nothing_of_a_transcript(tmp_path):
    with fixed_vault(tmp_path / "vault") as vault:
        prepared(vault)
        prepared(vault, OTHER)
        held(vault)
        for place in (False, True):
            transcript = Transcript()
            verdict = traced(vault, Leaked(vault, answers=HOLDERS[2]), "answers", transcript, remote=place)
            transcript.write(tmp_path / "t.json", force=True)
            held(vault, [f"later {place} {at}" for at in range(20)])
            facts, recorded = read_transcript(tmp_path / "t.json", question="trace")
            assert dump(replace(replay_trace(vault, facts, recorded, quiet), replayed_from="")) == dump(verdict)


def test_a_transcript_answers_one_question(vault, tmp_path):
    transcript = Transcript()
    traced(vault, Leaked(vault), "answers", transcript)
    transcript.write(tmp_path / "t.json", force=True)
    with pytest.raises(UsageError, match="onnxfp trace --replay"):
        read_transcript(tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    for change in ({"recipients": 10**6}, {"settings": {"channels": "dreams"}}, {"claims": ["deeptrace:ff"]}):
        changed = Transcript({**document, **change}, document["answers"])
        changed.facts = {name: value for name, value in changed.facts.items() if name not in ("seal", "answers")}
        changed.write(tmp_path / "u.json", force=True)
        facts, recorded = read_transcript(tmp_path / "u.json", question="trace")
        with pytest.raises(UsageError, match="this vault does not have"):
            replay_trace(vault, facts, recorded, quiet)


# --- by enumeration ---------------------------------------------------------------------------------------------------


class Rows:
    """A code that gives each name the word that it is told."""

    name, independent = "rows", True

    def __init__(self, words: dict[str, np.ndarray]) -> None:
        self.rows = words

    def words(self, keystream, codebook, recipients) -> np.ndarray:
        return np.stack([self.rows[name] for name in recipients])


LABELS = np.array([1, 1, 0, 3])
STRANGERS = {
    "labels": lambda: good(LABELS),
    "scores": lambda: scoring(LABELS, 4),
    "turning": lambda: turning(LABELS, 2, first_scores=True, classes=4),
}


def combined(words: np.ndarray, others: np.ndarray, suspect: Answering, level: float) -> np.ndarray:
    """Log10 e of some recipients: asked until one of them passes, together with what their weights say (1, names)."""
    drawn = quiz(3, 4)
    names = tuple(f"name {at}" for at in range(len(words)))
    key = replace(drawn.public.key, code=Rows(dict(zip(names, words, strict=True))))
    drawn = replace(drawn, public=replace(drawn.public, key=key))
    crowd = Crowd(words, still_needed(others, 2, level))
    conduct = Conduct(level + np.log10(3), whose=names[0], enough=crowd.has_passed)
    look = interrogate(drawn, suspect, conduct, "the claim")
    return together(np.concatenate([others, look.weigh(look.bet(), names)[None]]), 2)


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("level", [0.2, 0.8, 9.0])
def test_over_all_pairs_of_words_the_mean_at_the_stop_is_one(stranger, level):
    """All 27 words of three triggers, all 8 of three weights: stopping depends on both, and on who else is there."""
    asked, read = all_words(3, 4), all_words(3, 2)
    chances = probabilities(quiz(3, 4).public.codebook, asked)
    told = log10_e(say(read[5], 1.2), fair(3), read)
    other = asked[chances > 0][11]
    mean = passed = 0.0
    for word, chance in zip(asked[chances > 0], chances[chances > 0], strict=True):
        for by_weights in told:
            others = np.array([[by_weights, 0.1]])
            e_value = 10.0 ** combined(np.stack([word, other]), others, STRANGERS[stranger](), level)[0]
            mean += chance / len(read) * e_value
            passed += chance / len(read) * (e_value >= 10**level)
    assert mean == pytest.approx(1, abs=1e-9)
    assert passed <= 10**-level


# --- many recipients --------------------------------------------------------------------------------------------------


def test_very_many_recipients_are_weighed_after_every_answer_in_seconds(vault, monkeypatch):
    names = (*HOLDERS, *(f"recipient {at}" for at in range(20_000)))
    monkeypatch.setattr(type(vault.ledger), "recipients", lambda ledger: names)
    started = time.monotonic()
    assert traced(vault, Leaked(vault, answers=HOLDERS[6])).accused == (HOLDERS[6],)
    assert traced(vault, Leaked(vault)).queries == 32
    assert time.monotonic() - started < 30
    assert len(registered_references(vault)) == 1
