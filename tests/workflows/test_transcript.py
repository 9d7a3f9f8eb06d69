"""A transcript makes the same verdict again, to the bit; a hostile one makes an error in one line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxfp.demo import path as demo_file
from onnxfp.domain import Answered, Decision, QueryProbe, Unanswered, Verdict
from onnxfp.errors import UsageError
from onnxfp.workflows.commit import drawn_for
from onnxfp.workflows.recorded import Recorded, input_digests
from onnxfp.workflows.suspects import Device, ExaminedSealed, examined_file
from onnxfp.workflows.transcript import Transcript, read_transcript, seal
from onnxfp.workflows.verify import Asking, replay, verify_suspect
from tests.frozen import dump
from tests.workflows.vaults import (
    AT,
    FORMS,
    MODEL,
    Model,
    claimed,
    committed,
    fixed_vault,
    quiet,
    registered,
    the_claim,
)

PLACE = "https://suspect.example"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("claimed") / "vault"
    with fixed_vault(root) as vault:
        claimed(vault)
    return root


@pytest.fixture
def vault(made_once, tmp_path):
    shutil.copytree(made_once, tmp_path / "vault")
    with fixed_vault(tmp_path / "vault") as opened:
        yield opened


def looked(vault, path, suspect, *, place="", **more) -> Verdict:
    """Look at a suspect that only answers, and write the transcript."""
    transcript = Transcript()
    examined = ExaminedSealed("the suspect", suspect, place=place)
    verdict = verify_suspect(vault, examined, Asking(1e-6, AT, **more), quiet, transcript)
    transcript.write(path, force=True)
    return verdict


def replayed(vault, path) -> Verdict:
    facts, recorded = read_transcript(path)
    verdict = replay(vault, facts, recorded, quiet)
    assert verdict.replayed_from == facts["at"]
    return replace(verdict, replayed_from="")


SETTINGS = {
    "plain": {},
    "twice": {"twice": True},
    "hidden": {"camouflage": 2},
    "hidden twice": {"twice": True, "camouflage": 1},
    "limited": {"limit": 9},
    "fixed": {"fixed": True},
}


@pytest.mark.parametrize("more", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("form", FORMS)
def test_the_verdict_is_made_again_to_the_bit(form, more, vault, tmp_path):
    for knowing in (True, False):
        suspect = Model(the_claim(vault) if knowing else None, form=form, share=0.8)
        verdict = looked(vault, tmp_path / "t.json", suspect, **more)
        assert dump(replayed(vault, tmp_path / "t.json")) == dump(verdict)


def test_that_comparison_sees_verdicts_of_all_kinds(vault, tmp_path):
    decisions = {looked(vault, tmp_path / "t.json", Model(form=form)).decision for form in FORMS}
    decisions.add(looked(vault, tmp_path / "t.json", Model(the_claim(vault))).decision)
    assert decisions == set(Decision)


@pytest.mark.parametrize("form", ["every second", "scores, then labels", "labels"])
@pytest.mark.parametrize("more", [{}, {"limit": 12}, {"camouflage": 2}])
def test_positions_that_were_seen_before_come_last_again(form, more, vault, tmp_path):
    """The order decides who is left alone, and in which form answers are taken."""
    claim = f"zhang:{the_claim(vault).channel.commitment}"
    vault.ledger.spend(claim, PLACE, [0, 1, 2, 3, 7, 8], AT)
    verdict = looked(vault, tmp_path / "t.json", Model(form=form), place=PLACE, **more)
    head = vault.ledger.head()
    assert dump(replayed(vault, tmp_path / "t.json")) == dump(verdict)
    assert vault.ledger.head() == head, "a replay asks nobody and logs nothing"


def test_who_falls_silent_where_others_were_seen_before_is_judged_alike(vault, tmp_path):
    """Three silent positions end the asking: in another order, others would."""
    drawn = the_claim(vault)
    (probe,) = drawn.scheme.probes(drawn.public)
    hushed = {one.tobytes() for one in probe.inputs[[0, 1, 2, 9]]}

    class Moody(Model):
        def answer(self, probe):
            silent = any(one.tobytes() in hushed for one in probe.inputs)
            return Unanswered("not that one") if silent else super().answer(probe)

    vault.ledger.spend(f"zhang:{drawn.channel.commitment}", PLACE, [0, 1, 2], AT)
    verdict = looked(vault, tmp_path / "t.json", Moody(drawn), place=PLACE, fixed=True)
    assert verdict.decision is Decision.SUPPORTED
    assert verdict.claims[0].queries == 32
    assert dump(replayed(vault, tmp_path / "t.json")) == dump(verdict)


def test_a_file_is_judged_again_by_weights_and_answers_whichever_reference_it_resembles(tmp_path):
    others = demo_file("digits_independent.onnx")
    with fixed_vault(tmp_path / "vault") as vault:
        registered(vault, drawn_for(vault, committed(vault), "", AT), MODEL, weights=True)
        registered(vault, drawn_for(vault, committed(vault, positions=40), "", AT), others)
        for suspect in (MODEL, others):
            transcript = Transcript()
            with examined_file(vault, suspect, Device("cpu"), allow_links=False) as file:
                verdict = verify_suspect(vault, file, Asking(1e-6, AT), quiet, transcript)
            transcript.write(tmp_path / "t.json", force=True)
            assert [claim.scheme for claim in verdict.claims] == ["spread", "zhang", "zhang"]
            assert verdict.provider
            assert dump(replayed(vault, tmp_path / "t.json")) == dump(verdict)


def test_a_transcript_of_another_vault_is_refused(vault, tmp_path):
    looked(vault, tmp_path / "t.json", Model())
    with fixed_vault(tmp_path / "other") as other, pytest.raises(UsageError, match="use the vault it is of"):
        replayed(other, tmp_path / "t.json")


def test_no_transcript_depends_on_the_key_labels(tmp_path):
    """Two vaults that differ in nothing but the beacon, hence in all key labels: the same answers are taken down."""
    written, words = [], []
    for beacon in ("one", "other"):
        with fixed_vault(tmp_path / beacon) as vault:
            words.append(claimed(vault, beacon).claim("owner").codeword)
            path = tmp_path / f"{beacon}.json"
            looked(vault, path, Model())
            written.append(json.loads(path.read_text())["answers"])
    assert (words[0] != words[1]).any()
    assert written[0] == written[1]


def test_an_answer_that_was_changed_changes_the_verdict(vault, tmp_path):
    path = tmp_path / "t.json"
    assert looked(vault, path, Model(the_claim(vault))).decision is Decision.SUPPORTED
    document = json.loads(path.read_text())
    for item in document["answers"]:
        item["values"] = [(item["values"][0] + 1) % 10]
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match="it was changed, or is of another vault"):
        read_transcript(path)
    path.write_text(dumps(document))  # by somebody who has the key
    assert replayed(vault, path).decision is not Decision.SUPPORTED


def test_a_transcript_under_another_seal_is_refused(tmp_path):
    Transcript({}).write(tmp_path / "t.json", force=False, key=b"mine")
    with pytest.raises(UsageError, match="it was changed, or is of another vault"):
        read_transcript(tmp_path / "t.json", b"another")


def test_a_transcript_is_written_whole_or_not_at_all(vault, tmp_path):
    path = tmp_path / "t.json"
    path.write_text("mine")
    with pytest.raises(UsageError):
        Transcript({"alpha": 0.5}).write(path, force=False)
    with pytest.raises(ValueError, match="JSON"):
        Transcript({"alpha": float("nan")}).write(path, force=True)
    assert path.read_text() == "mine"


# --- hostile transcripts ----------------------------------------------------------------------------------------------

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.sampled_from(["nan", "-inf", "1e999", "zhang:", "\n"]),
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)
NAMES = ("version", "answers", "suspect", "at", "alpha", "besides", "settings", "claims", "spent")
PARTS = ("inputs", "weights", "values", "coverage", "unread", "transforms", "provider", "unanswered", "unfit")
SETTING_NAMES = ("claim", "limit", "fixed", "twice", "camouflage", "alpha", "at", "other")


def dumps(document: dict[str, object]) -> str:
    """A transcript with a seal that fits."""
    return json.dumps({**document, "seal": seal(document, b"")})


def fine() -> dict[str, object]:
    answer = {"inputs": ["00" * 16], "values": [3.0], "coverage": 1.0, "unread": [], "transforms": [], "provider": ""}
    facts = {"suspect": "s", "at": AT, "alpha": 1e-6, "besides": 0, "settings": {}, "claims": [], "spent": {}}
    return {"version": 1, **facts, "answers": [answer, {"weights": "00", "unanswered": "shut", "unfit": False}]}


@st.composite
def nearly_fine(draw):
    """A transcript of which a few parts were replaced or left out."""
    document = fine()
    places = [(document, NAMES), (document["settings"], SETTING_NAMES), (document["answers"][0], PARTS)]
    for _ in range(draw(st.integers(1, 3))):
        where, names = draw(st.sampled_from(places))
        name = draw(st.sampled_from(names))
        if draw(st.booleans()):
            where[name] = draw(JSON)
        else:
            where.pop(name, None)
    return document


def refused_or_read(path) -> tuple[object, Recorded] | str:
    """What a transcript says, or the refusal."""
    try:
        return read_transcript(path)
    except UsageError as refusal:
        return str(refusal).removeprefix(str(path))


def one_line(refusal: str) -> bool:
    return "\n" not in refusal and len(refusal) < 400


CAREFUL = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(st.one_of(st.binary(max_size=40), JSON.map(lambda value: json.dumps(value).encode())))
@CAREFUL
def test_arbitrary_bytes_are_no_transcript(tmp_path, content):
    path = tmp_path / "t.json"
    path.write_bytes(content)
    refusal = refused_or_read(path)
    assert isinstance(refusal, str)
    assert one_line(refusal)


@given(nearly_fine())
@CAREFUL
def test_whatever_a_transcript_says_it_is_refused_in_one_line_or_weighed(vault, tmp_path, document):
    path = tmp_path / "t.json"
    path.write_text(dumps(document))
    found = refused_or_read(path)
    if isinstance(found, str):
        assert one_line(found)
        return
    facts, recorded = found
    claims = [f"zhang:{the_claim(vault).channel.commitment}"] if facts["claims"] == [] else facts["claims"]
    try:
        decision, refusal = replay(vault, {**facts, "claims": claims}, recorded, quiet).decision, ""
    except UsageError as problem:
        decision, refusal = None, str(problem)
    assert decision is not Decision.SUPPORTED
    assert one_line(refusal)


BROKEN = {
    "empty": b"",
    "not text": b"\xff\xfe\x00",
    "a list": b"[]",
    "deep": b"[" * 100_000,
    "deep values": dumps(fine()).encode().replace(b"[3.0]", b"[" * 500 + b"3" + b"]" * 500),
    "ragged values": dumps(fine()).encode().replace(b"[3.0]", b"[[1.0], [1.0, 2.0]]"),
    "a number beyond floats": dumps(fine()).encode().replace(b"3.0", b"1" + b"0" * 400),
    "a number beyond integers": dumps(fine()).encode().replace(b"3.0", b"1" * 5000),
    "another version": dumps({**fine(), "version": 2}).encode(),
    "alpha of one": dumps({**fine(), "alpha": 1.0}).encode(),
    "alpha of none": dumps({**fine(), "alpha": 0.0}).encode(),
    "alpha that is no number": dumps({**fine(), "alpha": float("nan")}).encode(),
    "fewer claims than none": dumps({**fine(), "besides": -1}).encode(),
    "claims beyond counting": dumps({**fine(), "besides": 10**400}).encode(),
    "claims that are lists": dumps({**fine(), "claims": [["zhang"]]}).encode(),
    "a limit below none": dumps({**fine(), "settings": {"limit": -1}}).encode(),
    "a limit that is text": dumps({**fine(), "settings": {"limit": "9"}}).encode(),
    "half an ordinary input": dumps({**fine(), "settings": {"camouflage": 0.5}}).encode(),
    "spent positions that are text": dumps({**fine(), "spent": {"zhang": "abc"}}).encode(),
    "spent positions that are no list": dumps({**fine(), "spent": {"zhang": 3}}).encode(),
    "nothing spent": dumps({name: value for name, value in fine().items() if name != "spent"}).encode(),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_transcript_is_refused_in_one_line(what, tmp_path):
    path = tmp_path / "t.json"
    path.write_bytes(BROKEN[what])
    with pytest.raises(UsageError, match="is no transcript of version 1") as refusal:
        read_transcript(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("path", ["missing.json", "."])
def test_a_transcript_that_cannot_be_read_is_refused_with_the_reason(path, tmp_path):
    with pytest.raises(UsageError, match=r"cannot be read: .*; name a transcript"):
        read_transcript(tmp_path / path)


def test_a_transcript_that_is_fine_is_read(tmp_path):
    (tmp_path / "t.json").write_text(dumps(fine()))
    assert not isinstance(refused_or_read(tmp_path / "t.json"), str)


def test_settings_of_a_later_release_are_refused(vault, tmp_path):
    (tmp_path / "t.json").write_text(dumps({**fine(), "settings": {"patience": 9}}))
    with pytest.raises(UsageError, match="settings that this release does not know"):
        replayed(vault, tmp_path / "t.json")


# --- what was recorded ------------------------------------------------------------------------------------------------

RESPONSES = {
    "labels": Answered(np.array([3.0, 1.0])),
    "a third of a probability": Answered(np.log(np.array([[1 / 3, 2 / 3], [0.1, 0.9]])), 0.7, ("a",), ("b",), "c"),
    "nothing": Answered(np.array([np.nan, np.nan])),
    "infinities": Answered(np.array([[np.inf, -np.inf], [np.nan, 0.0]])),
    "subnormal": Answered(np.array([5e-324, 1.7976931348623157e308])),
    "too few": Answered(np.array([3.0])),
    "none": Answered(np.zeros(0)),
    "no classes": Answered(np.zeros((2, 0))),
    "a number": Answered(np.array(3.0)),
    "three axes": Answered(np.arange(8.0).reshape(2, 2, 2)),
    "shut": Unanswered("the door was shut\nand locked"),
    "unfit": Unanswered("takes text", unfit=True),
}
PROBE = QueryProbe(np.arange(6, dtype=np.float32).reshape(2, 3))


class Parrot:
    """Says what it is told to say, one thing after the other."""

    def __init__(self, *said):
        self.said = list(said)

    def answer(self, probe):
        return self.said.pop(0)


def taken_down(path, *said) -> Recorded:
    """Let a parrot answer the same request again and again; return what is read back."""
    transcript = Transcript({name: value for name, value in fine().items() if name not in ("version", "answers")})
    overheard = transcript.of(Parrot(*said))
    for _ in said:
        overheard.answer(PROBE)
    transcript.write(path, force=False)
    return read_transcript(path)[1]


@pytest.mark.parametrize("what", RESPONSES)
def test_every_answer_is_read_back_to_the_bit(what, tmp_path):
    recorded = taken_down(tmp_path / "t.json", RESPONSES[what])
    assert dump(recorded.answer(PROBE)) == dump(RESPONSES[what])
    assert recorded.knows(PROBE.inputs)
    assert not recorded.knows(PROBE.inputs + 1)


def test_the_same_request_is_answered_in_the_order_in_which_it_was(tmp_path):
    said = [*RESPONSES.values()]
    recorded = taken_down(tmp_path / "t.json", *said)
    assert [dump(recorded.answer(PROBE)) for _ in range(len(said) + 2)] == [dump(one) for one in said + said[-1:] * 2]


def test_answers_from_elsewhere_are_found_input_by_input():
    recorded = Recorded(provider="elsewhere")
    for digest, row in zip(input_digests(PROBE.inputs), ([-1.0, -2.0], [-3.0, -0.5, -9.0]), strict=True):
        recorded.queries[digest].append(np.array(row))
    assert recorded.knows(PROBE.inputs)
    response = recorded.answer(QueryProbe(PROBE.inputs[::-1]))
    assert response.values.tolist() == [[-3, -0.5, -9], [-1, -2, -np.inf]]
    assert response.provider == "elsewhere"
    unknown = recorded.answer(QueryProbe(np.concatenate([PROBE.inputs, PROBE.inputs + 9])))
    assert np.isnan(unknown.values[2:]).all()
    assert set(recorded.queries) == set(input_digests(PROBE.inputs)), "asking makes nothing known"


CHANGES = (lambda one: one.astype(np.float64), lambda one: one.reshape(2, 1, 3), lambda one: -one)


@pytest.mark.parametrize("change", CHANGES)
def test_an_input_is_known_by_its_form_and_its_content(change):
    digests = set(input_digests(PROBE.inputs + 1))
    assert not digests & set(input_digests(change(PROBE.inputs + 1)))
    assert len(digests) == 2
