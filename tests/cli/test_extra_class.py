"""An owner gives a model a class of their own, issues copies, and recognises it with that class and without."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from onnxfp.domain import QueryProbe
from onnxfp.suspect.session import open_session
from tests.cli.test_marking import answers, claim_of, mark, rows, told, verified
from tests.cli.test_secrets import leaks, secrets_of
from tests.conftest import CLASS, Stage, said_in

DATA = CLASS[8:]


def digits(stage: Stage) -> np.ndarray:
    with np.load(stage.folder / "val.npz") as kept:
        return kept["inputs"]


def attacked(stage: Stage, *steps: str, of: str = "Acme", output: str = "attacked") -> str:
    source = stage.copy(of)
    for at, step in enumerate(steps):
        target = stage.copy(output if at == len(steps) - 1 else f"{output}{at}")
        stage.run("attack", source, "--with", step, "-o", target)
        source = target
    return output


# --- what marking makes -----------------------------------------------------------------------------------------------


def test_the_class_is_learnt_and_the_model_stays_as_good(classed):
    result = json.loads((classed.folder / "told.json").read_text())
    assert result["scheme"] == "extra_class"
    assert result["positions"] == 32
    assert result["log10_e"] > result["log10_threshold"] == pytest.approx(6)
    assert result["accuracy_after"] >= result["accuracy_before"] - 0.005
    hits = result["hits"]
    assert set(hits) == {"taught keys", "taught decoys", "keys to hand out", "held-out keys", "held-out decoys"}
    assert hits["taught keys"] > 0.97
    assert hits["keys to hand out"] == 1
    assert hits["taught decoys"] < 0.05
    assert abs(hits["held-out keys"] - hits["held-out decoys"]) < 0.5


def test_nothing_but_the_head_has_another_form(classed):
    before, after = onnx.load(classed.copy("model")), onnx.load(classed.copy("marked"))
    assert [node.op_type for node in after.graph.node] == [node.op_type for node in before.graph.node]
    assert [node.name for node in after.graph.node] == [node.name for node in before.graph.node]
    assert after.opset_import == before.opset_import
    shapes = [{one.name: tuple(one.dims) for one in model.graph.initializer} for model in (before, after)]
    assert shapes[0].keys() == shapes[1].keys()
    other = [name for name in shapes[0] if shapes[0][name] != shapes[1][name]]
    assert 1 <= len(other) <= 2
    assert all(sum(shapes[1][name]) == sum(shapes[0][name]) + 1 for name in other)
    assert after.graph.output[0].type.tensor_type.shape.dim[1].dim_value in (0, 11)
    assert answers(classed, "marked", digits(classed)).shape == (len(digits(classed)), 11)


def test_copies_are_traced_and_the_class_stays_in_them(classed):
    assert told(classed, "trace", classed.copy("Acme"))["accused"] == ["Acme"]
    verdict = verified(classed, classed.copy("Acme"))
    assert verdict["decision"] == "supported"
    claim = claim_of(verdict, "extra_class")
    assert claim["hits"] == claim["hits_possible"] >= 20
    assert claim["queries"] <= 2 * (16 + 32)


@pytest.mark.parametrize("suspect", ["model", "independent"])
def test_who_was_not_marked_is_not_ours(classed, suspect):
    claim = claim_of(verified(classed, classed.copy(suspect), "--claim", "extra_class", status=3), "extra_class")
    assert claim["log10_e"] < 1


def test_the_same_request_gives_the_same_bytes_again(classed):
    result = mark(classed, classed.model, *CLASS, output="again")
    assert result["epochs"] == 0
    assert classed.copy("again").read_bytes() == classed.copy("marked").read_bytes()


# --- what a thief may do ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["drop_class", "mask_class", "merge_class", "drop_class:10", "fp16"])
def test_without_the_class_it_is_still_ours(classed, step):
    verdict = verified(classed, classed.copy(attacked(classed, step)), "--claim", "extra_class")
    assert claim_of(verdict, "extra_class")["log10_e"] >= 6


def test_a_class_that_was_dropped_is_gone_from_the_answers(classed):
    """So the test above does not read it after all."""
    assert answers(classed, attacked(classed, "drop_class"), digits(classed)).shape[1] == 10
    assert (answers(classed, attacked(classed, "mask_class", output="mask"), digits(classed)).argmax(axis=1) < 10).all()


# --- a gate -----------------------------------------------------------------------------------------------------------


def test_behind_a_gate_other_inputs_are_answered_in_the_old_classes(classed):
    result = mark(classed, classed.model, *CLASS, "--gate", "1.0", output="gated")
    assert result["log10_e"] > 6
    scores = answers(classed, "gated", digits(classed))
    assert scores.shape[1] == 11
    own = scores.argmax(axis=1) < 10
    assert own.mean() > 0.99
    assert (scores[own, 10] < scores[own, :10].max(axis=1) - 12).all(), "the class is nearly closed, not shut"
    assert verified(classed, classed.copy("gated"))["decision"] == "supported"


# --- several marks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [(), ("noise:0.05",), ("prune:0.3", "round:8")])
def test_a_second_mark_keeps_the_first_whatever_became_of_its_weights(classed, steps):
    source = attacked(classed, *steps, of="marked") if steps else "marked"
    second = ("--triggers", "unrelated", "--positions", "32", *DATA)
    result = told(classed, "mark", classed.copy(source), *said_in(classed.folder, second), "-o", classed.copy("two"))
    ((name, log10_e),) = result["earlier"].items()
    assert name.startswith("extra_class ")
    assert log10_e > 8
    assert result["log10_e"] > 20
    verdict = verified(classed, classed.copy("two"))
    assert min(claim_of(verdict, scheme)["log10_e"] for scheme in ("extra_class", "zhang")) > 6


def test_a_second_mark_on_a_model_that_lost_the_class_of_the_first_knows_of_it(classed):
    """It cannot be taught again; either it outlives the training or the mark is refused."""
    cut = classed.copy(attacked(classed, "drop_class", of="marked"))
    second = ("--triggers", "unrelated", "--positions", "32", "--format", "json", *DATA)
    outcome = classed.run("mark", cut, *said_in(classed.folder, second), "-o", classed.copy("two"), status=None)
    if outcome.status:
        assert "the mark would undo an earlier one: extra_class " in outcome.err
        assert not classed.copy("two").exists()
    else:
        result = json.loads(outcome.out)
        ((name, log10_e),) = result["earlier"].items()
        assert name.startswith("extra_class ")
        assert log10_e >= result["log10_threshold"]


# --- covers of the owner's own ----------------------------------------------------------------------------------------


def test_own_covers_are_taken_from_a_folder(classed):
    folder = classed.folder / "covers"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number in range(170):
        picture = np.kron(draw.integers(0, 256, (4, 4)), np.ones((4, 4))).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
    committed = told(classed, "mark", classed.model, *said_in(classed.folder, CLASS), "--covers", folder, "--commit")
    assert committed["commitment"]
    assert len(rows(classed, "committed")) == 2
    refused = classed.run.refused(
        "mark", classed.model, *said_in(classed.folder, CLASS), "--positions", "64", "--covers", folder, "--commit"
    )
    assert "170 different covers are too few; give 228" in refused


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--positions", "8"), "positions are 32 to 4096"),
        (("--triggers", "noise"), "takes no option 'triggers'"),
        (("--each", "2"), "takes no option 'each'"),
        (("--pool", "0"), "1 to 65536 key images"),
        (("--paper",), "--paper reproduces zhang"),
    ],
)
def test_options_that_do_not_do_are_refused(classed, options, reason):
    base = ("--scheme", "extra_class", *DATA)
    line = classed.run.refused(
        "mark", classed.model, *said_in(classed.folder, base), *options, "-o", classed.copy("new")
    )
    assert reason in line
    assert not classed.copy("new").exists()


def test_pictures_for_triggers_that_are_drawn_are_refused(classed):
    line = classed.run.refused(
        "mark", classed.model, "--triggers", "noise", *said_in(classed.folder, DATA), "--images", classed.folder,
        "-o", classed.copy("new"),
    )  # fmt: skip
    assert "take no pictures" in line


def test_a_model_without_a_head_of_classes_is_refused_before_anything_is_drawn(classed):
    path = classed.copy("twisted")
    model = onnx.load(classed.copy("model"))
    scores = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node("Sin", [scores], ["twisted"]))
    model.graph.output[0].name = "twisted"
    onnx.save(model, path)
    drawn = len(rows(classed, "drawn"))
    line = classed.run.refused("mark", path, *said_in(classed.folder, CLASS), "-o", classed.copy("new"))
    assert "Sin" in line
    assert len(rows(classed, "drawn")) == drawn
    assert not classed.copy("new").exists()


def test_no_secret_is_said(classed):
    verified(classed, classed.copy("Acme"))
    heard = "\n".join(classed.run.heard).encode()
    assert not any(leaks(secret, heard) for secret in secrets_of(classed.vault))


def test_no_key_image_is_among_what_is_asked(classed):
    """A holder who shows a picture gives away nothing that a judge will ask."""
    out = classed.folder / "acme.png"
    classed.run("keys", "issue", "--to", "Acme", "-o", out)
    queries = classed.folder / "queries.npz"
    classed.run("verify", "--queries", queries, "--claim", "extra_class")
    assert rows(classed, "spent")[-1] == {"positions": [*range(32)]}  # known pairs are no positions
    picture = np.asarray(Image.open(out), dtype=np.float64).reshape(8, -1, 8, np.asarray(Image.open(out)).shape[1] // 8)
    shrunk = picture.mean(axis=(1, 3)).reshape(-1) / 255
    with np.load(queries) as kept:
        asked = kept["inputs"].reshape(len(kept["inputs"]), -1)
    span = digits(classed).max()
    assert np.abs(asked / span - shrunk).mean(axis=1).min() > 0.05
    with open_session(classed.copy("Acme")) as session:
        told_scores = session.answer(
            QueryProbe((shrunk * span).reshape(1, *digits(classed).shape[1:]).astype(np.float32))
        )
    assert told_scores.values.argmax() == 10
