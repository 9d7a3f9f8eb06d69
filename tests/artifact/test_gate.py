"""The gate: the last class answers when it leads by the margin, and otherwise as if it were not there."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from artifact_models import save
from head_models import CLASSES, ENDINGS, FEATURES, HEADS, KINDS, Builder, answers, classifier, examples, since
from onnx import TensorProto

from onnxfp.artifact import classes_of, gate, open_artifact, write_gated, write_widened
from onnxfp.errors import UsageError

MARGIN = 0.5
TOLERANCE = {"float": 1e-5, "double": 1e-5, "float16": 2e-2, "bfloat16": 1e-1}


def gated(folder, model, margin=MARGIN):
    with open_artifact(save(folder, model)) as artifact:
        write_gated(artifact, folder / "g.onnx", margin)
    onnx.checker.check_model(str(folder / "g.onnx"), full_check=True)
    return folder / "g.onnx"


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def expected(before: np.ndarray, ending: str, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """What a gate makes of answers; and which examples are too near to the margin to say."""
    logits = np.log(before) if ending == "Softmax" else before
    largest = logits[:, :-1].max(1)
    leads = logits[:, -1] > largest + margin
    shut = np.concatenate([logits[:, :-1], (largest - 30)[:, None]], axis=1)
    after = np.where(leads[:, None], logits, shut)
    near = np.abs(logits[:, -1] - largest - margin) < 0.1
    if ending == "Softmax":
        return softmax(after), near
    return (np.log(softmax(after)) if ending == "LogSoftmax" else after), near


def check(folder, model, dtype="float", ending="logits", margin=MARGIN) -> None:
    target, x = gated(folder, model, margin), examples(model, 64)
    before, after = answers(folder / "m.onnx", x)[0], answers(target, x)[0]
    wanted, near = expected(before, ending, margin)
    leads = after.argmax(1) == CLASSES - 1
    assert 0 < leads.sum() < 64  # the gate was seen open and shut
    far = ~near
    np.testing.assert_allclose(after[far], wanted[far], atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    if ending == "Softmax":
        alone = before[:, :-1] / before[:, :-1].sum(1, keepdims=True)
        np.testing.assert_allclose(after[far & ~leads, :-1], alone[far & ~leads], atol=TOLERANCE[dtype])


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", HEADS)
def test_every_head_is_gated_before_any_softmax(form, ending, tmp_path):
    check(tmp_path, classifier(form, ending), ending=ending)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("form", ["gemm", "matmul and bias", "conv"])
def test_every_element_type(form, dtype, tmp_path):
    check(tmp_path, classifier(form, "logits", dtype, max(17, since(form, dtype))), dtype)


@pytest.mark.parametrize("opset", range(9, 24))
@pytest.mark.parametrize("form", ["gemm", "conv"])
def test_every_version_of_the_operators(form, opset, tmp_path):
    check(tmp_path, classifier(form, "Softmax", opset=opset), ending="Softmax")


@pytest.mark.parametrize("name", ["SHUT", "_LOWEST"])
def test_a_wrong_gate_is_noticed(name, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, name, {"SHUT": -30.0, "_LOWEST": {"float": 100.0}}[name])
    with pytest.raises(AssertionError):
        check(tmp_path, classifier("gemm", "Softmax"), ending="Softmax")


def test_a_lead_of_exactly_the_margin_is_not_enough(tmp_path):
    b = Builder()
    b.constant("w", np.eye(FEATURES)[:, :CLASSES])
    b.add("MatMul", "x w", "y")
    target = gated(tmp_path, b.output("y", "n", CLASSES).model(), 2.0)
    x = np.zeros((3, FEATURES), np.float32)
    x[:, 0], x[:, CLASSES - 1] = 1.0, (3.0, 3.25, 0.0)
    after = answers(target, x)[0]
    assert after[:, CLASSES - 1].tolist() == [-29.0, 3.25, -29.0]
    np.testing.assert_array_equal(after[:, : CLASSES - 1], x[:, : CLASSES - 1])


@pytest.mark.parametrize("form", HEADS)
def test_a_widened_model_with_a_gate_answers_as_the_original(form, tmp_path):
    model = classifier(form, "Softmax")
    with open_artifact(save(tmp_path, model)) as artifact:
        write_widened(artifact, tmp_path / "w.onnx")
    with open_artifact(tmp_path / "w.onnx") as artifact:
        write_gated(artifact, tmp_path / "g.onnx", 0.0)
    x = examples(model, 32)
    before, after = answers(tmp_path / "m.onnx", x)[0], answers(tmp_path / "g.onnx", x)[0]
    np.testing.assert_allclose(after[:, :CLASSES], before, atol=1e-6)
    assert (after[:, CLASSES] < 1e-12).all()


def test_labels_beside_the_probabilities_are_gated_too(tmp_path):
    b = Builder()
    HEADS["gemm"](b)
    b.add("Softmax", "z", "y", axis=1)
    b.add("ArgMax", "z", "label", axis=1, keepdims=0)
    model = b.output("label", "n", code=TensorProto.INT64).output("y", "n", CLASSES).output("z", "n", CLASSES).model()
    target = gated(tmp_path, model, 1e9)
    label, probabilities, logits = answers(target, examples(model, 64))
    assert (label < CLASSES - 1).all()
    for values in (probabilities, logits):
        np.testing.assert_array_equal(values.argmax(1), label)


def refused(folder, model, match, margin=MARGIN):
    with open_artifact(save(folder, model)) as artifact, pytest.raises(UsageError, match=match) as caught:
        write_gated(artifact, folder / "g.onnx", margin)
    assert str(caught.value).isprintable()
    assert [path.name for path in folder.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", ["gemm", "matmul and bias", "conv rectified"])
def test_a_gated_model_is_neither_gated_nor_widened(form, ending, tmp_path):
    target = gated(tmp_path, classifier(form, ending))
    for write in (write_widened, lambda a, to: write_gated(a, to, 0.0), lambda a, _: classes_of(a)):
        with open_artifact(target) as artifact, pytest.raises(UsageError, match="gated already"):
            write(artifact, tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


@pytest.mark.parametrize("margin", [-0.1, float("nan"), float("inf")])
def test_a_margin_that_is_none_is_refused(margin, tmp_path):
    refused(tmp_path, classifier("gemm"), "margin of zero or more", margin)


def test_versions_without_the_operators_are_refused(tmp_path):
    model = classifier("gemm", opset=9)
    model.opset_import[0].version = 8
    refused(tmp_path, model, "version 9 or newer for a gate of float")
    refused(tmp_path, classifier("gemm", dtype="bfloat16", opset=15), "version 16 or newer for a gate of bfloat16")


def test_logits_that_are_shown_before_they_are_pooled_are_refused(tmp_path):
    b = Builder()
    HEADS["conv"](b)
    b.output("z", "n", CLASSES).output("hidden", "n", CLASSES)
    b.add("ReduceMax", "c", "hidden", axes=[2, 3], keepdims=0)
    b.opset = 17
    refused(tmp_path, b.model(), "before they are pooled")


def test_names_that_are_taken_are_left_to_their_owners(tmp_path):
    b = Builder()
    HEADS["gemm"](b)
    for name in ("z_mask", "z_ungated", "z_others"):
        b.constant(name, b.values(1))
    b.add("Add", "z z_mask", "z_bar")
    b.add("Identity", "z_bar", "y")
    check(tmp_path, b.output("y", "n", CLASSES).model())
