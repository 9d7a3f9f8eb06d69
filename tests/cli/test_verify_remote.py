"""Is the model behind a URL ours? Asked of a server that nobody here wrote, and of strangers of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_marking import answers, claim_of, rows, told_alike, verified
from tests.cli.test_secrets import leaks
from tests.conftest import Stage
from tests.suspect import misbehaving
from tests.suspect.misbehaving import SERVER, WAYS, Misbehaving
from tests.suspect.servers import free_ports

MODEL = {"name": "m", "platform": "onnx", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]}
Answers = Callable[[np.ndarray], np.ndarray]


def runs(path: Path) -> Answers:
    """What a model answers, as a server would have it run."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: session.run(None, {name: np.asarray(inputs, np.float32)})[0].astype(np.float64)


@pytest.fixture(scope="session")
def knows(marked_once) -> Answers:
    """The marked model."""
    return runs(marked_once / "marked.onnx")


@pytest.fixture(scope="session")
def innocent(marked_once) -> Answers:
    """A model that never saw the mark."""
    return runs(marked_once / "independent.onnx")


@pytest.fixture
def strange(monkeypatch, knows) -> Iterator[Callable[..., Misbehaving]]:
    """``strange(ways, model)`` serves a model, the marked one unless another is given, in some ways of answering."""
    opened: list[Misbehaving] = []

    def serve(*ways: str, answers: Answers = knows, **facts) -> Misbehaving:
        monkeypatch.setattr(misbehaving, "logits", answers)
        served = Misbehaving(list(ways) or ["good"], **{"model": dict(MODEL), **facts})
        opened.append(served.__enter__())
        return served

    yield serve
    for served in opened:
        served.__exit__()


# --- a server that nobody here wrote ----------------------------------------------------------------------------------


def spent(stage: Stage, url: str) -> list[int]:
    """The positions that the ledger says a server has seen."""
    return [position for row in rows(stage, "spent", subject=url) for position in row["positions"]]


def test_the_marked_model_is_found_behind_a_server_that_nobody_here_wrote(mlserver, marked_once, marked):
    web, other = (mlserver(marked_once / "marked.onnx", scheme) for scheme in ("http", "grpc"))
    verdicts = [verified(marked, url) for url in (web, web, other)]
    for verdict in verdicts:
        (claim,) = verdict["claims"]
        assert claim["hits"] == claim["queries"] <= 12
        assert verdict["provider"] == "remote: mlserver 1.7.1"
        assert verdict["unread"] == []
    assert [verdict["alpha"] for verdict in verdicts] == [1e-6, 0.5e-6, 1e-6]  # another address is another suspect
    assert len(spent(marked, web)) == len(set(spent(marked, web))) == verdicts[0]["queries"] + verdicts[1]["queries"]
    assert len(spent(marked, other)) == verdicts[2]["queries"]
    told = marked.run("verify", web, "--max-queries", "2", status=4).out
    assert "2 queries; answered by remote: mlserver" in told


def test_an_innocent_model_behind_a_server_is_not_ours(mlserver, marked_once, marked):
    url = mlserver(marked_once / "independent.onnx")
    verdict = verified(marked, url, status=3)
    assert claim_of(verdict, "zhang")["queries"] == 32
    assert verdict["log10_e"] < 1
    wrong = verified(marked, url + "arvellous", status=4)
    assert "not found" in wrong["reason"]


# --- strangers that give the right answers in some form ---------------------------------------------------------------

RIGHT = ("good", "nested", "labels", "names", "top_two", "classification", "one_at_a_time", "eight_at_a_time")


@pytest.mark.parametrize("way", RIGHT)
def test_right_answers_are_heard_in_whatever_form_they_come(strange, marked, innocent, way):
    verdict = verified(marked, strange(way).url)
    assert verdict["decision"] == "supported"
    assert verdict["unread"] == []
    assert claim_of(verdict, "zhang")["queries"] <= 12
    assert verified(marked, strange(way, answers=innocent).url, status=3)["decision"] == "not_supported"


def test_right_answers_are_heard_in_binary(strange, marked):
    served = strange("binary", server=SERVER | {"extensions": ["binary_tensor_data"]})
    assert verified(marked, served.url)["decision"] == "supported"


def test_constant_answers_are_not_ours(strange, marked):
    for constant in (np.arange(10.0), np.zeros(10)):
        served = strange("good", answers=lambda inputs, row=constant: np.tile(row, (len(inputs), 1)))
        assert verified(marked, served.url, status=3)["log10_e"] < 2


# --- strangers that do not --------------------------------------------------------------------------------------------

ENDLESS = {
    *("slow", "streams", "drips", "drips_headers", "goes_on_with_headers", "continues", "drips_an_error"),
    *("promises_more", "promises_too_much"),
}
WRONG = sorted(set(WAYS) - {*RIGHT, "wide_index"})


@pytest.mark.parametrize("way", WRONG)
def test_whatever_a_stranger_does_is_inconclusive_with_a_reason_in_one_line(strange, marked, way):
    served = strange(way)
    served.elsewhere = served.origin
    timeout = "0.3" if way in ENDLESS else "20"
    outcome = marked.run("verify", served.url, "--retries", "0", "--timeout", timeout, "--format", "json", status=4)
    verdict = json.loads(outcome.out)
    assert outcome.err == ""
    assert verdict["decision"] == "inconclusive"
    assert "3 of 3 triggers without an answer" in verdict["reason"]
    assert verdict["reason"].isprintable()
    assert len(verdict["reason"]) < 600
    assert verdict["log10_e"] is verdict["p_value"] is None
    assert len(served.batches) == 3  # then it is left alone


def test_the_check_of_strangers_can_fail(strange, marked):
    with pytest.raises(AssertionError):
        test_whatever_a_stranger_does_is_inconclusive_with_a_reason_in_one_line(strange, marked, "good")


def test_labels_beyond_all_classes_are_not_ours(strange, marked):
    assert verified(marked, strange("wide_index").url, status=None)["decision"] in ("not_supported", "inconclusive")


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_at_home_is_inconclusive(marked, scheme):
    (port,) = free_ports(1)
    verdict = verified(marked, f"{scheme}://127.0.0.1:{port}/v2/models/m", "--retries", "0", "--timeout", "5", status=4)
    assert "without an answer" in verdict["reason"]
    assert "no connection" in verdict["reason"]


def test_a_stranger_that_breaks_off_in_between_is_asked_again(strange, marked):
    served = strange("closes", "good", "closes", "good")
    verdict = verified(marked, served.url, "--retries", "1", "--rate", "1000")
    assert verdict["unread"] == []
    assert len(served.batches) == verdict["queries"] + 2


def test_a_stranger_that_refuses_half_is_judged_by_the_other_half(strange, marked, innocent):
    half = [way for _ in range(40) for way in ("good", "error_404")]
    verdict = verified(marked, strange(*half).url, "--retries", "0")
    claim = claim_of(verdict, "zhang")
    assert claim["hits"] == claim["hits_possible"] < claim["queries"]
    assert any("triggers without an answer" in reason for reason in verdict["unread"])
    assert any("HTTP 404" in reason for reason in verdict["unread"])
    other = verified(marked, strange(*half, answers=innocent).url, "--retries", "0", status=None)
    assert other["decision"] in ("not_supported", "inconclusive")
    assert other["unread"]


def test_a_stranger_that_answers_one_in_four_cannot_be_judged(strange, marked, innocent):
    rarely = [way for _ in range(40) for way in ("good", "error_404", "nan", "html")]
    assert verified(marked, strange(*rarely, answers=innocent).url, "--retries", "0", status=4)["reason"]


def fickle(honest: Answers) -> Answers:
    """Right the first time, and another label every time that the same input comes again."""
    seen: dict[bytes, count] = {}

    def answer(inputs: np.ndarray) -> np.ndarray:
        before = [next(seen.setdefault(one.tobytes(), count())) for one in inputs]
        return np.stack([np.roll(row, times) for row, times in zip(honest(inputs), before, strict=True)])

    return answer


def test_a_stranger_that_changes_its_mind_is_caught_by_asking_twice(strange, marked, knows):
    assert verified(marked, strange(answers=fickle(knows)).url)["decision"] == "supported"
    verdict = verified(marked, strange(answers=fickle(knows)).url, "--twice", status=4)
    assert any("another answer when the same input was sent again" in reason for reason in verdict["unread"])
    assert "another answer" in verdict["reason"]
    steady = verified(marked, strange().url, "--twice")
    assert steady["unread"] == []


# --- how it is asked --------------------------------------------------------------------------------------------------


def heard(honest: Answers) -> tuple[Answers, list[bytes]]:
    """A model, and all inputs that it has been asked."""
    asked: list[bytes] = []

    def answer(inputs: np.ndarray) -> np.ndarray:
        asked.extend(np.asarray(one, np.float32).tobytes() for one in inputs)
        return honest(inputs)

    return answer, asked


def test_a_second_look_asks_other_triggers_and_halves_alpha(strange, marked, knows):
    answer, asked = heard(knows)
    served = strange(answers=answer)
    first = verified(marked, served.url)
    early = list(asked)
    second = verified(marked, served.url)
    assert len(early) == first["queries"] <= 12
    assert len(asked) == first["queries"] + second["queries"]
    assert not set(early) & set(asked[len(early) :])
    assert second["alpha"] == first["alpha"] / 2


def test_triggers_that_were_handed_out_are_asked_of_nobody_first(strange, marked, knows):
    marked.run("verify", "--queries", marked.folder / "queries.npz")
    verdict = verified(marked, strange().url)
    assert verdict["decision"] == "supported"  # all are spent: they are better than none


def test_as_many_are_asked_as_was_said(strange, marked, knows):
    served = strange()
    verdict = verified(marked, served.url, "--max-queries", "3", status=4)
    assert (verdict["queries"], served.batches) == (3, [1, 1, 1])
    other = strange()
    fixed = verified(marked, other.url, "--max-queries", "20", "--fixed")
    assert (claim_of(fixed, "zhang")["queries_fixed"], len(other.batches)) == (True, 20)
    assert claim_of(fixed, "zhang")["p_value"] == pytest.approx((1 / 9) ** 20, rel=0.05)


def test_triggers_hide_among_ordinary_inputs_of_the_task(strange, marked, knows):
    answer, asked = heard(knows)
    served = strange(answers=answer)
    verdict = verified(marked, served.url, "--camouflage", "4")
    assert set(served.batches) == {5}
    assert len(asked) == 5 * verdict["queries"] == verdict["queries"] + verdict["ordinary_queries"]
    with np.load(marked.folder / "train.npz") as data:
        ordinary = {one.tobytes() for one in data["inputs"]}
    places = [at % 5 for at, one in enumerate(asked) if one not in ordinary]
    assert len(places) == verdict["queries"]
    assert len(set(places)) > 1  # a trigger has no place of its own in the batch


def test_inputs_are_brought_into_the_form_that_the_server_expects(strange, marked, knows):
    scaled = {"answers": lambda inputs: knows(np.asarray(inputs) / 255)}
    verdict = verified(marked, strange(**scaled).url, "--transform", "scale=255")
    assert verdict["decision"] == "supported"
    assert verified(marked, strange(**scaled).url, status=3)["decision"] == "not_supported"
    assert "transform" in marked.run.refused("verify", strange().url, "--transform", "spin=3").lower()


def test_one_of_several_inputs_is_named(strange, marked):
    two = MODEL | {"inputs": [*MODEL["inputs"], MODEL["inputs"][0] | {"name": "mask"}]}
    verdict = verified(marked, strange(model=two).url, status=4)
    assert "x, mask" in verdict["reason"]
    assert verified(marked, strange(model=two).url, "--input", "x")["decision"] == "supported"


def test_a_stranger_that_says_nothing_of_itself_may_still_answer(strange, marked):
    verdict = verified(marked, strange(model=None, server={}).url)
    assert verdict["decision"] == "supported"


def test_the_answers_of_a_stranger_make_the_same_verdict_again(strange, marked, innocent):
    for served, status, more in (
        (strange(), 0, ()),
        (strange(*["good", "error_404", "nan"] * 40), None, ("--twice",)),
        (strange("html"), 4, ()),
    ):
        transcript = marked.folder / f"{len(served.batches)}{status}.json"
        verdict = verified(marked, served.url, *more, "--retries", "0", "--transcript", transcript, status=status)
        asked = len(served.batches)
        assert told_alike(verified(marked, "--replay", transcript, status=None), verdict)
        assert len(served.batches) == asked


# --- the token --------------------------------------------------------------------------------------------------------

SECRET = "correct-horse-battery-staple-4711"


@pytest.mark.parametrize(("way", "status"), [("good", 0), ("echo", 4), ("echo_in_a_name", 4), ("closed_door", 4)])
def test_a_token_reaches_the_server_and_is_shown_nowhere(strange, marked, way, status):
    served, env = strange(way), {"ONNXFP_TOKEN": SECRET}
    for form in ("text", "json"):
        transcript = marked.folder / f"{form}.transcript"
        arguments = ("verify", served.url, "--retries", "0", "--transcript", transcript, "--format", form)
        marked.run(*arguments, status=status, env=env)
    assert served.headers
    assert {headers["Authorization"] for headers in served.headers} == {f"Bearer {SECRET}"}
    places = [path.read_bytes() for path in marked.folder.rglob("*") if path.is_file()]
    places += [said.encode() for said in marked.run.heard]
    assert not leaks(SECRET.encode(), *places)


def test_a_token_is_not_sent_in_the_clear_to_another_machine(marked):
    outcome = marked.run("verify", "http://example.invalid/v2/models/m", status=2, env={"ONNXFP_TOKEN": SECRET})
    assert "encrypted" in outcome.err
    assert SECRET not in outcome.err
    assert rows(marked, "look") == []
    broken = marked.run("verify", "https://example.invalid/v2/models/m", status=2, env={"ONNXFP_TOKEN": SECRET + "\n"})
    assert SECRET not in broken.err


def test_what_a_server_says_of_itself_is_shown_harmlessly(strange, marked):
    served = strange(server=SERVER | {"name": "evil\n\x1b[31m\u202e name", "version": "1" * 10_000})
    outcome = marked.run("verify", served.url)
    assert not set("\x1b\u202e") & set(outcome.out)
    assert max(map(len, outcome.out.splitlines())) < 1000


@pytest.mark.parametrize(
    "url",
    ["http://", "http://127.0.0.1:x/v2/models/m", "http://me:secret@127.0.0.1/v2/models/m", "grpc://127.0.0.1/"],
)
def test_what_is_no_address_is_refused(marked, url):
    line = marked.run.refused("verify", url)
    assert "secret" not in line
    assert rows(marked, "look") == []


def test_a_url_without_any_claim_is_inconclusive(bare):
    verdict = verified(bare, "http://127.0.0.1:9/v2/models/m", status=4)
    assert verdict["claims"] == []


def test_the_stand_in_for_a_server_answers_as_the_model(marked: Stage, knows):
    with np.load(marked.folder / "val.npz") as data:
        np.testing.assert_allclose(knows(data["inputs"]), answers(marked, "marked", data["inputs"]), atol=1e-5)
