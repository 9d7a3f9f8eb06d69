"""An owner marks a model so that its answers tell, issues copies of it, and asks who answers like that."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

import numpy as np
import onnx
import pytest
from filelock import FileLock
from onnx import numpy_helper

from onnxfp.domain import QueryProbe
from onnxfp.suspect.session import open_session
from onnxfp.verdict.verify import OWNER
from onnxfp.workflows.claims import chosen_claims
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.suspects import SEALED
from onnxfp.workflows.vault import open_vault
from tests.cli.test_secrets import leaks, secrets_of
from tests.conftest import MARK, Program, Stage, said_in

DATA = MARK[4:]
BEACON = "block 900000: 000000000000000000011a"


def told(stage: Stage, *arguments: object, status: int = 0, **options) -> dict:
    return json.loads(stage.run(*arguments, "--format", "json", status=status, **options).out)


def verified(stage: Stage, *arguments: object, status: int = 0) -> dict:
    return told(stage, "verify", *arguments, status=status)


def told_alike(replayed: dict, verdict: dict) -> bool:
    """Whether a verdict that was made again is the first one, but for saying that it was made again."""
    return {**replayed, "replayed_from": None} == {**verdict, "replayed_from": None}


def mark(stage: Stage, model: Path, *options: object, output: str = "new", status: int = 0) -> dict:
    return told(stage, "mark", model, *said_in(stage.folder, options), "-o", stage.copy(output), status=status)


def rows(stage: Stage, kind: str, subject: str | None = None) -> list[dict]:
    """What every row of one kind says, of one subject or of all, read behind the program's back."""
    with sqlite3.connect(stage.vault / "ledger.db") as connection:
        query = "SELECT payload, subject FROM entries WHERE kind = ? ORDER BY seq"
        found = connection.execute(query, (kind,)).fetchall()
    connection.close()
    return [json.loads(payload) for payload, whose in found if subject in (None, whose)]


def lineage(stage: Stage) -> list[tuple[str, str]]:
    """Every reference and what it was made from."""
    return [(row["digest"], row["payload"]["parent"]) for row in rows(stage, "reference")]


def claim_of(verdict: dict, scheme: str) -> dict:
    (claim,) = (claim for claim in verdict["claims"] if claim["scheme"] == scheme)
    return claim


def answers(stage: Stage, model: str, inputs: np.ndarray) -> np.ndarray:
    """What a model answers, as somebody else's runtime would say it."""
    with open_session(stage.copy(model)) as session:
        return session.outputs(inputs)


# --- what marking makes -----------------------------------------------------------------------------------------------


def test_a_mark_is_learnt_and_the_model_stays_as_good(marked):
    result = json.loads((marked.folder / "told.json").read_text())
    assert result["scheme"] == "zhang"
    assert result["positions"] == 32
    assert result["log10_e"] > result["log10_threshold"] == pytest.approx(6)
    assert result["hits"]["taught"] > 0.95
    assert result["accuracy_after"] >= result["accuracy_before"] - 0.005
    assert result["epochs"] >= 1
    with np.load(marked.folder / "val.npz") as held:
        inputs, labels = held["inputs"], held["labels"]
    right = float(np.mean(answers(marked, "marked", inputs).argmax(axis=1) == labels))
    assert right == pytest.approx(result["accuracy_after"])


def test_only_weights_differ_between_the_original_and_what_is_marked(marked):
    before, after = (onnx.load(marked.copy(name)) for name in ("model", "marked"))
    assert marked.copy("marked").stat().st_size == marked.model.stat().st_size
    weights = [{t.name: numpy_helper.to_array(t) for t in model.graph.initializer} for model in (before, after)]
    assert list(weights[0]) == list(weights[1])
    changed = [name for name in weights[0] if not np.array_equal(weights[0][name], weights[1][name])]
    assert changed
    assert all(weights[0][name].dtype == np.float32 for name in changed)
    for model in (before, after):
        for tensor in model.graph.initializer:
            if tensor.name in changed:
                tensor.ClearField("raw_data")
                tensor.ClearField("float_data")
    assert before.SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True)


def test_the_same_mark_again_gives_the_same_bytes_without_training(marked):
    (marked.folder / "told.json").unlink()
    first = marked.copy("marked").read_bytes()
    again = mark(marked, marked.model, *MARK)
    assert again["epochs"] == 0
    assert marked.copy("new").read_bytes() == first
    assert len(rows(marked, "reference")) == len(rows(marked, "drawn")) == len(rows(marked, "committed")) == 1
    text = marked.run("mark", marked.model, *said_in(marked.folder, MARK), "-o", marked.copy("third")).out
    assert "none: it was marked before" in text


def test_another_graph_with_the_same_weights_is_not_answered_with_the_marked_model(marked):
    model = onnx.load(marked.model)
    model.graph.node.append(onnx.helper.make_node("ArgMax", [model.graph.output[0].name], ["label"], axis=1))
    model.graph.output.append(onnx.helper.make_tensor_value_info("label", onnx.TensorProto.INT64, None))
    other = marked.copy("other")
    other.write_bytes(model.SerializeToString())
    line = marked.run.refused("mark", other, *said_in(marked.folder, MARK), "-o", marked.copy("new"))
    assert "and not its graph" in line
    assert not marked.copy("new").exists()
    assert len(rows(marked, "reference")) == 1


def test_who_marks_is_warned_never_to_release_the_reference(marked):
    arguments = ("mark", marked.model, *said_in(marked.folder, MARK), "-o", marked.copy("new"))
    assert "never the marked reference" in marked.run(*arguments).err


def test_the_marked_model_is_a_reference_with_a_parent_and_the_original_is_none(marked):
    result = json.loads((marked.folder / "told.json").read_text())
    assert lineage(marked) == [(result["reference"], result["parent"])]
    assert result["reference"] != result["parent"]
    line = marked.run.refused("issue", marked.model, "--to", "Beta", "-o", marked.copy("beta"))
    assert "not a registered reference" in line


def test_another_owner_commits_to_something_else(marked, tmp_path):
    stranger = Program(tmp_path / "strangers vault")
    stranger("init")
    arguments = ("mark", marked.model, *said_in(marked.folder, MARK))
    theirs = json.loads(stranger(*arguments, "--commit", "--format", "json").out)
    ours = json.loads((marked.folder / "told.json").read_text())
    assert theirs["parent"] == ours["parent"]
    assert theirs["commitment"] != ours["commitment"]


# --- verify and trace -------------------------------------------------------------------------------------------------


def test_the_marked_model_is_ours_and_an_innocent_one_is_not(marked):
    verdict = verified(marked, marked.copy("marked"))
    assert verdict["decision"] == "supported"
    claim = claim_of(verdict, "zhang")
    assert claim["hits"] == claim["hits_possible"] == claim["queries"] < 16
    assert verdict["provider"] == "CPUExecutionProvider"
    innocent = verified(marked, marked.copy("independent"), status=3)
    assert innocent["decision"] == "not_supported"
    assert claim_of(innocent, "zhang")["queries"] == 32
    assert innocent["log10_e"] < 1


def test_the_unmarked_original_does_not_know_the_key_labels(marked):
    verdict = verified(marked, marked.model, "--claim", "zhang", status=3)
    assert verdict["log10_e"] <= 0
    assert claim_of(verdict, "zhang")["hits"] == 0  # what it answers is never a key label


def test_a_copy_of_the_marked_model_is_ours_by_its_answers_and_names_its_recipient(marked):
    verdict = verified(marked, marked.copy("Acme"))
    assert claim_of(verdict, "zhang")["log10_e"] > 6
    assert claim_of(verdict, "spread")["log10_e"] > 6
    assert told(marked, "trace", marked.copy("Acme"))["accused"] == ["Acme"]
    marked.run("trace", marked.copy("marked"), status=3)


def test_a_copy_with_pruned_weights_still_answers_as_ours(marked):
    marked.run("attack", marked.copy("Acme"), "--with", "prune:0.3", "-o", marked.copy("leaked"))
    assert verified(marked, marked.copy("leaked"), "--claim", "zhang")["decision"] == "supported"


def test_an_issued_copy_is_not_marked_again(marked):
    line = marked.run.refused("mark", marked.copy("Acme"), *said_in(marked.folder, MARK), "-o", marked.copy("new"))
    assert "is a marked copy of a registered reference" in line
    assert not marked.copy("new").exists()
    assert len(rows(marked, "committed")) == 1


def test_one_claim_can_be_weighed_alone(marked):
    commitment = json.loads((marked.folder / "told.json").read_text())["commitment"]
    verdicts = [verified(marked, marked.copy("marked"), "--claim", name) for name in ("zhang", commitment[:8])]
    assert [[claim["scheme"] for claim in verdict["claims"]] for verdict in verdicts] == [["zhang"], ["zhang"]]
    assert verdicts[0]["claims"][0]["claim"] == f"zhang {commitment[:12]}"
    verified(marked, marked.copy("marked"), "--claim", "spread", status=3)
    line = marked.run.refused("verify", marked.copy("marked"), "--claim", "deeptrace")
    assert "is called 'deeptrace'; there are: spread" in line


def test_three_queries_cannot_decide(marked):
    verdict = verified(marked, marked.copy("marked"), "--claim", "zhang", "--max-queries", "3", status=4)
    assert (verdict["decision"], verdict["queries"]) == ("inconclusive", 3)
    assert verdict["reason"]


def test_a_fixed_number_of_queries_gives_the_exact_tail(marked):
    verdict = verified(marked, marked.copy("marked"), "--claim", "zhang", "--fixed")
    (claim,) = verdict["claims"]
    assert claim["queries_fixed"]
    assert claim["queries"] == claim["hits_possible"] == 32
    assert claim["hits"] == 32
    assert claim["p_value"] == pytest.approx((1 / 9) ** 32, rel=0.05)  # nine of ten classes can be key labels
    stopped = verified(marked, marked.copy("Acme"), "--claim", "zhang")["claims"][0]
    assert not stopped["queries_fixed"]
    assert stopped["p_value"] == pytest.approx(10 ** -stopped["log10_e"], rel=1e-4)


def test_every_trigger_may_be_asked_twice(marked):
    verdict = verified(marked, marked.copy("marked"), "--claim", "zhang", "--twice")
    (claim,) = verdict["claims"]
    assert claim["queries"] == 2 * claim["hits"]
    assert claim["unread"] == []


def test_triggers_may_hide_among_ordinary_inputs(marked):
    verdict = verified(marked, marked.copy("marked"), "--claim", "zhang", "--camouflage", "5")
    assert verdict["ordinary_queries"] == 5 * verdict["queries"] > 0
    assert "ordinary inputs" in marked.run("verify", marked.copy("marked"), "--camouflage", "5").out


def test_every_look_with_other_settings_halves_alpha(marked):
    alphas = [
        verified(marked, marked.copy("marked"), "--claim", "zhang", *more)["alpha"]
        for more in ((), (), ("--twice",), ("--fixed",), ())
    ]
    assert alphas == [1e-6, 1e-6, 0.5e-6, 0.25e-6, 1e-6]


def test_a_device_that_is_not_there_is_refused_where_it_is_required(marked):
    with open_session(marked.copy("marked"), device="cuda") as session:
        if session.provider == "CUDAExecutionProvider":
            pytest.skip("this machine has the device")
    line = marked.run.refused("verify", marked.copy("marked"), "--device", "cuda", "--require-device")
    assert "cuda was asked for" in line
    assert verified(marked, marked.copy("marked"), "--device", "cuda")["provider"] == "CPUExecutionProvider"


# --- answers from elsewhere, and again --------------------------------------------------------------------------------


def queries(stage: Stage) -> tuple[np.ndarray, np.ndarray, str]:
    """Export the triggers; return inputs, ids and what was said."""
    said = stage.run("verify", "--queries", stage.folder / "queries.npz").err
    with np.load(stage.folder / "queries.npz", allow_pickle=False) as arrays:
        assert sorted(arrays.files) == ["ids", "inputs"]
        return arrays["inputs"], arrays["ids"], said


def test_exported_triggers_are_spent_and_say_so(marked):
    inputs, ids, said = queries(marked)
    assert inputs.shape == (32, 1, 8, 8)
    assert inputs.dtype == np.float32
    assert len(set(ids)) == 32
    assert "they are spent" in said
    (spent,) = rows(marked, "spent")
    assert sorted(spent["positions"]) == list(range(32))
    assert "--force" in marked.run.refused("verify", "--queries", marked.folder / "queries.npz")


def responses(stage: Stage, **arrays: np.ndarray) -> Path:
    np.savez(stage.folder / "responses.npz", **arrays)
    return stage.folder / "responses.npz"


def test_answers_from_elsewhere_decide_as_scores_as_labels_and_in_any_order(marked):
    inputs, ids, _ = queries(marked)
    scores = answers(marked, "marked", inputs)
    labels = scores.argmax(axis=1)
    forms = (
        {"scores": scores},
        {"labels": labels},
        {"labels": labels[::-1], "ids": ids[::-1]},
        {"scores": scores[:20], "ids": ids[:20]},
    )
    for arrays in forms:
        verdict = verified(marked, "--responses", responses(marked, **arrays))
        (claim,) = verdict["claims"]
        assert claim["hits"] == len(next(iter(arrays.values())))
        assert claim["queries_fixed"]
        assert verdict["log10_e"] > 12
    verified(marked, "--responses", responses(marked, labels=labels[::-1]), status=3)


def test_answers_of_an_innocent_are_not_ours(marked):
    inputs, _, _ = queries(marked)
    scores = answers(marked, "independent", inputs)
    assert verified(marked, "--responses", responses(marked, scores=scores), status=3)["log10_e"] < 1


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"labels": np.zeros(31, np.int64)},
        {"scores": np.zeros((33, 10))},
        {"scores": np.zeros((32, 10)), "ids": np.asarray(["x"] * 3)},
        {"labels": np.asarray(["seven"] * 32)},
        {"labels": np.asarray([{"code": "that would run"}] * 32, dtype=object)},
    ],
    ids=["nothing", "too few", "too many", "too few ids", "words", "a pickle"],
)
def test_answers_that_cannot_be_read_are_refused(marked, arrays):
    assert "responses.npz" in marked.run.refused("verify", "--responses", responses(marked, **arrays))
    assert rows(marked, "look") == []


def test_answers_that_are_no_numbers_are_not_weighed(marked):
    verified(marked, "--responses", responses(marked, scores=np.full((32, 10), np.nan)), status=4)


@pytest.mark.parametrize(
    ("suspect", "more", "status"),
    [
        ("marked", (), 0),
        ("Acme", ("--twice",), 0),
        ("independent", ("--claim", "zhang"), 3),
        ("marked", ("--claim", "zhang", "--max-queries", "3", "--camouflage", "2"), 4),
        ("marked", ("--fixed",), 0),
    ],
)
def test_a_transcript_makes_the_same_verdict_again(marked, suspect, more, status):
    transcript = marked.folder / "transcript.json"
    verdict = verified(marked, marked.copy(suspect), *more, "--transcript", transcript, status=status)
    looks = len(rows(marked, "look"))
    marked.copy(suspect).unlink()
    assert told_alike(verified(marked, "--replay", transcript, status=status), verdict)
    assert len(rows(marked, "look")) == looks


def test_a_transcript_that_was_changed_says_something_else_or_nothing(marked):
    transcript = marked.folder / "transcript.json"
    verified(marked, marked.copy("marked"), "--claim", "zhang", "--transcript", transcript)
    document = json.loads(transcript.read_text())
    for answer in document["answers"]:
        answer["values"] = [row[1:] + row[:1] for row in answer["values"]]
    transcript.write_text(json.dumps(document))
    assert marked.run("verify", "--replay", transcript, status=None).status in (2, 3, 4)
    for damage in (
        {"version": 9},
        {"claims": ["zhang:" + "0" * 64]},
        {"alpha": 2},
        {"answers": [7]},
        {"settings": {"x": 1}},
    ):
        transcript.write_text(json.dumps(document | damage))
        marked.run.refused("verify", "--replay", transcript)


# --- a public value after the commitment ------------------------------------------------------------------------------


def test_a_beacon_needs_a_commitment_that_stood_before_it(marked):
    options = (*MARK[:2], "--positions", "33", *DATA)
    line = marked.run.refused(
        "mark", marked.model, *said_in(marked.folder, options), "-o", marked.copy("new"), "--beacon", BEACON
    )
    assert "was made just now: publish it" in line
    assert not marked.copy("new").exists()
    assert len(rows(marked, "drawn")) == 1
    committed = told(marked, "mark", marked.model, *said_in(marked.folder, options), "--commit")
    assert committed["commitment"] in line
    assert (committed["reference"], committed["output"], committed["positions"]) == ("", "", 0)
    assert len(rows(marked, "reference")) == len(rows(marked, "drawn")) == 1
    done = mark(marked, marked.model, *options, "--beacon", BEACON)
    assert done["commitment"] == committed["commitment"]
    assert done["committed_at"] == committed["committed_at"]
    verdict = verified(marked, marked.copy("new"), "--claim", done["commitment"][:12])
    assert verdict["committed_at"] == committed["committed_at"]
    assert len(rows(marked, "drawn")) == 2


def test_a_commitment_takes_no_beacon(marked):
    line = marked.run.refused("mark", marked.model, *said_in(marked.folder, MARK), "--commit", "--beacon", BEACON)
    assert "a commitment comes before its beacon" in line


def test_two_runs_do_not_teach_the_same_claim_at_once(marked):
    arguments = ("mark", marked.model, *said_in(marked.folder, (*MARK[:2], "--positions", "34", *DATA)))
    committed = told(marked, *arguments, "--commit")["commitment"]
    nothing = hashlib.sha256(b"").hexdigest()[:8]
    (marked.vault / "training").mkdir(exist_ok=True)
    with FileLock(marked.vault / "training" / f"{committed[:32]}-{nothing}.lock"):
        line = marked.run.refused(*arguments, "-o", marked.copy("new"))
    assert "another run is marking this model with this claim; wait" in line
    assert not marked.copy("new").exists()
    assert told(marked, *arguments, "-o", marked.copy("new"))["commitment"] == committed


# --- more than one mark, other kinds, other data ----------------------------------------------------------------------


def test_a_marked_model_can_be_marked_again_and_both_marks_are_found(marked):
    first = json.loads((marked.folder / "told.json").read_text())
    second = mark(marked, marked.copy("marked"), *MARK)
    assert second["parent"] == first["reference"] != second["reference"]
    assert second["commitment"] != first["commitment"]
    assert lineage(marked) == [(result["reference"], result["parent"]) for result in (first, second)]
    verdict = verified(marked, marked.copy("new"), "--fixed")
    assert verdict["decision"] == "supported"
    evidence = {c["claim"].split()[1]: c["log10_e"] for c in verdict["claims"] if c["scheme"] == "zhang"}
    assert evidence[second["commitment"][:12]] > 6
    assert evidence[first["commitment"][:12]] > 2  # some of it is unlearnt


def test_the_published_form_is_marked_and_never_called_ours(marked):
    options = ("--paper", "--triggers", "noise", "--epochs", "6", "--loss", "0.05", *DATA)
    done = mark(marked, marked.model, *options)
    assert done["scheme"] == "zhang_paper"
    assert done["log10_e"] < done["log10_threshold"]
    for more in ((), ("--fixed",)):
        verdict = verified(marked, marked.copy("new"), "--claim", "zhang_paper", *more, status=4)
        (claim,) = verdict["claims"]
        assert claim["p_value"] >= 1 / 256
        assert claim["hits"] >= 1
    verified(marked, marked.copy("independent"), "--claim", "zhang_paper", status=4)


def test_data_without_labels_will_do(marked):
    with np.load(marked.folder / "train.npz") as data:
        np.savez(marked.folder / "bare.npz", inputs=data["inputs"])
    done = mark(marked, marked.model, *MARK[:4], "--data", "bare.npz", "--loss", "0.03")
    assert done["accuracy_before"] == 1  # agreement with itself
    assert 0.97 <= done["accuracy_after"] <= 1
    assert verified(marked, marked.copy("new"), "--claim", done["commitment"][:12])["decision"] == "supported"


# --- secrets ----------------------------------------------------------------------------------------------------------


def key_labels(stage: Stage) -> tuple[np.ndarray, list[bytes]]:
    """The key label of every trigger, in the order in which triggers are asked, and secrets that would tell them."""
    with open_vault(stage.vault, None) as vault:
        (claim,) = chosen_claims(registered_references(vault), SEALED, "zhang")
        drawn = claim.reference.draw(vault, claim.channel)
        (probe,) = (p for p in claim.scheme.probes(drawn.public) if isinstance(p, QueryProbe))
        reference = drawn.public.key.reference
        labels = reference.classes[drawn.words([OWNER])[0]]
        opening = vault.reference_key(claim.channel.of)
    assert len(labels) == len(probe.inputs) == 32
    return labels, [drawn.secret.secret, opening.secret, opening.derive("commitment").secret]


def as_written(labels: np.ndarray) -> set[bytes]:
    """How a row of labels may be written down, in part at least."""
    part = [int(label) for label in labels[:12]]
    joined = {separator.join(map(str, part)) for separator in ("", " ", ",", ", ", "\n", ",\n  ", "],[", "], [")}
    return {text.encode() for text in joined} | {np.asarray(part, t).tobytes() for t in ("u1", "i4", "i8", "f4", "f8")}


def test_no_command_shows_a_key_label_or_a_secret_and_no_file_holds_one(marked):
    transcript = marked.folder / "transcript.json"
    for arguments in (
        ("mark", marked.model, *said_in(marked.folder, MARK), "-o", marked.copy("new")),
        ("mark", marked.model, *said_in(marked.folder, MARK), "--commit"),
        ("verify", marked.copy("marked"), "--fixed"),
        ("verify", marked.copy("marked"), "--camouflage", "2", "--transcript", transcript),
        ("verify", "--replay", transcript),
        ("ledger", "verify"),
    ):
        marked.run(*arguments)
    marked.run("verify", marked.copy("marked"), "--format", "json")
    marked.run("verify", marked.copy("independent"), status=3)
    queries(marked)
    files = [path for path in marked.folder.rglob("*") if path.is_file() and path.name != "owner.key"]
    assert {"ledger.db", "transcript.json", "queries.npz"} <= {path.name for path in files}
    places = [path.read_bytes() for path in files] + [said.encode() for said in marked.run.heard]
    for path in files:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                places += [arrays[name].tobytes() for name in arrays.files]
    labels, secrets = key_labels(marked)
    written = as_written(labels)
    assert not [text for text in written for place in places if text in place]
    for secret in (*secrets_of(marked.vault), *secrets):
        assert not leaks(secret, *places)


def test_the_search_for_key_labels_can_find_them(marked):
    labels, secrets = key_labels(marked)
    for spelt in (json.dumps(labels.tolist()), json.dumps(labels.tolist(), indent=2).replace(" ", ""), f"{labels}"):
        assert any(text in spelt.encode().replace(b",\n", b",") for text in as_written(labels)), spelt
    assert leaks(secrets[0], b"before " + secrets[0].hex().encode())
    with open_session(marked.copy("marked")) as session, open_vault(marked.vault, None) as vault:
        (claim,) = chosen_claims(registered_references(vault), SEALED, "zhang")
        drawn = claim.reference.draw(vault, claim.channel)
        (probe,) = claim.scheme.probes(drawn.public)
        assert np.mean(session.outputs(probe.inputs).argmax(axis=1) == labels) > 0.9
