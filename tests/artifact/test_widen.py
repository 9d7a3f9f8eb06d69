"""One class more: every other answer stays, whatever the head; what is not understood is refused, nothing written."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from artifact_models import SHARED, model_bytes, save, save_external, tagged
from head_models import CLASSES, ENDINGS, FEATURES, HEADS, KINDS, Builder, answers, classifier, examples, since
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxfp.artifact import classes_of, open_artifact, slices, staging, widen, write_gated, write_widened
from onnxfp.errors import ArtifactError, UsageError

TOLERANCE = {"float": 1e-5, "double": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}
NEWEST = 23


def widened(folder: Path, model: onnx.ModelProto) -> Path:
    """The model with one class more, checked."""
    with open_artifact(save(folder, model)) as artifact:
        write_widened(artifact, folder / "w.onnx")
    onnx.checker.check_model(str(folder / "w.onnx"), full_check=True)
    return folder / "w.onnx"


def logits(values: np.ndarray, ending: str) -> np.ndarray:
    return np.log(values) if ending == "Softmax" else values


def kept(folder: Path, model: onnx.ModelProto, dtype: str = "float", ending: str = "logits") -> np.ndarray:
    """Widen it and hold it against the original; return what the new column says."""
    target = widened(folder, model)
    x = examples(model)
    before, after = answers(folder / "m.onnx", x)[0], answers(target, x)[0]
    assert after.shape == (*before.shape[:1], CLASSES + 1, *before.shape[2:])
    np.testing.assert_allclose(after[:, :CLASSES], before, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    assert (after.argmax(1) == before.argmax(1)).all()
    new = logits(after[:, CLASSES], ending)
    total = np.log(np.exp(logits(before, ending)).sum(1))
    assert (new <= total - np.log(CLASSES) - 12 + (1e-3 if dtype in ("float", "double") else 0.5)).all()
    return new - logits(before, ending).mean(1)


# --- every head -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("form", HEADS)
def test_every_head_in_every_element_type_keeps_its_answers(form, dtype, tmp_path):
    kept(tmp_path, classifier(form, "LogSoftmax", dtype, max(17, since(form, dtype))), dtype)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", HEADS)
def test_the_new_logit_is_the_mean_of_the_others_less_twelve(form, ending, tmp_path):
    below = kept(tmp_path, classifier(form, ending), "float", ending)
    if "rectified" in form:
        assert (below <= -12 + 1e-3).all()
    else:
        np.testing.assert_allclose(below, -12, atol=1e-3)


@pytest.mark.parametrize("opset", range(9, NEWEST + 1))
@pytest.mark.parametrize("form", ["gemm", "matmul", "matmul and bias", "conv", "conv rectified", "behind transpose"])
def test_every_version_of_the_operators(form, opset, tmp_path):
    kept(tmp_path, classifier(form, "Softmax", opset=opset), ending="Softmax")


@pytest.mark.parametrize("form", HEADS)
def test_logits_stay_but_for_the_order_of_sums(form, tmp_path):
    model = classifier(form)
    x = examples(model, 1)
    after = answers(widened(tmp_path, model), x)[0]
    np.testing.assert_allclose(after[:, :CLASSES], answers(tmp_path / "m.onnx", x)[0], rtol=3e-7, atol=1e-6)


@pytest.mark.parametrize("shift", [1.0, -6.0])
def test_a_wrong_bias_is_noticed(shift, tmp_path, monkeypatch):
    monkeypatch.setattr(widen, "CLOSED", 12.0 + shift if shift < 0 else -shift)
    with pytest.raises(AssertionError):
        kept(tmp_path, classifier("gemm", "Softmax"), ending="Softmax")


def test_a_new_row_in_the_wrong_place_is_noticed(tmp_path, monkeypatch):
    real = slices._tensor
    monkeypatch.setattr(slices, "_tensor", lambda record, words: real(record, words[..., ::-1].copy()))
    with pytest.raises(AssertionError):
        kept(tmp_path, classifier("gemm"))


# --- what stands behind the head --------------------------------------------------------------------------------------


def pooled(b: Builder, *, batch: int | str = "n") -> Builder:
    """A convolution and its mean over the image, `p` of four axes."""
    b.image, b.batch = True, batch
    b.constant("w", b.values(CLASSES, FEATURES, 1, 1))
    b.add("Conv", "x w", "c")
    b.add("GlobalAveragePool", "c", "p")
    return b


def dense(b: Builder, *, batch: int | str = "n") -> Builder:
    """A Gemm to `p`."""
    b.batch = batch
    b.constant("w", b.values(CLASSES, FEATURES))
    b.constant("b", b.values(CLASSES))
    b.add("Gemm", "x w b", "p", transB=1)
    return b


def tail_reshape(b: Builder, *target: int, expand: bool = False) -> Builder:
    b.add("Expand" if expand else "Reshape", f"p {b.integers('shape', *target)}", "y")
    return b


def tail_axes(b: Builder, operator: str, *axes: int, name: str = "p", output: str = "y", **attributes) -> Builder:
    if b.opset >= (18 if operator.startswith("Reduce") else 13):
        b.add(operator, f"{name} {b.integers(f'axes_{output}', *axes)}", output, **attributes)
    else:
        b.add(operator, name, output, axes=list(axes), **attributes)
    return b


def measured(b: Builder) -> Builder:
    """The batch is read from the value itself, as older exporters do it."""
    b.add("Shape", "p", "s")
    b.add("Gather", f"s {b.integers('first', 0)}", "g", axis=0)
    b.add("Concat", f"g {b.integers('rest', -1)}", "t", axis=0)
    b.add("Reshape", "p t", "y")
    return b


def squeezenet(b: Builder) -> Builder:
    b.add("Softmax", "p", "y")  # up to version 12: over everything from axis 1
    return b


TAILS = {
    "reshape to the batch and classes": lambda o: tail_reshape(pooled(Builder(opset=o)), -1, CLASSES),
    "reshape that copies": lambda o: tail_reshape(pooled(Builder(opset=o)), 0, -1),
    "reshape that names both": lambda o: tail_reshape(dense(Builder(opset=o)), 0, CLASSES),
    "reshape of one example": lambda o: tail_reshape(dense(Builder(opset=o), batch=1), 1, -1),
    "reshape by what is measured": lambda o: measured(pooled(Builder(opset=o))),
    "expand": lambda o: tail_reshape(dense(Builder(opset=o)), 1, CLASSES, expand=True),
    "squeeze": lambda o: tail_axes(pooled(Builder(opset=o)), "Squeeze", 2, 3),
    "squeeze from the back": lambda o: tail_axes(pooled(Builder(opset=max(o, 11))), "Squeeze", -1, -2),
    "reduction": lambda o: tail_axes(pooled(Builder(opset=o)), "ReduceMean", 2, 3, name="c", keepdims=0),
    "softmax over four axes": lambda o: squeezenet(pooled(Builder(opset=min(o, 12)))),
}


@pytest.mark.parametrize("opset", [9, 12, 13, 18, 23])
@pytest.mark.parametrize("tail", TAILS)
def test_shapes_behind_the_head_follow(tail, opset, tmp_path):
    b = TAILS[tail](opset)
    shape = ("n", CLASSES, 1, 1) if "softmax" in tail else ("n" if b.batch == "n" else 1, CLASSES)
    model = b.output("y", *shape).model()
    target = widened(tmp_path, model)
    x = examples(model, 1 if b.batch == 1 else 4)
    before, after = answers(tmp_path / "m.onnx", x)[0], answers(target, x)[0]
    np.testing.assert_allclose(after[:, :CLASSES], before, atol=1e-5)
    assert after.shape[1] == CLASSES + 1
    declared = [d.dim_value for d in onnx.load(target).graph.output[0].type.tensor_type.shape.dim]
    assert declared[1] == CLASSES + 1


def test_an_average_that_counts_padding_is_refused(tmp_path):
    b = pooled(Builder())
    b.add("AveragePool", "c", "y", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    refused(tmp_path, b.output("y", "n", CLASSES, 3, 3).model(), "counts no padding")


def test_labels_and_scores_beside_the_probabilities_follow(tmp_path):
    b = dense(Builder())
    b.add("Softmax", "p", "y", axis=-1)
    b.add("ArgMax", "y", "label", axis=1, keepdims=0)
    b.nodes.append(helper.make_node("TopK", ["y", b.integers("k", 2)], ["best", "which"], axis=-1))
    b.output("label", "n", code=TensorProto.INT64).output("y", "n", CLASSES)
    b.output("best", "n", 2).output("which", "n", 2, code=TensorProto.INT64)
    model = b.model()
    target = widened(tmp_path, model)
    x = examples(model)
    for before, after in zip(answers(tmp_path / "m.onnx", x), answers(target, x), strict=True):
        np.testing.assert_allclose(after[..., : before.shape[-1]], before, atol=1e-5)
    with open_artifact(target) as artifact:
        assert classes_of(artifact) == CLASSES + 1


def test_a_shape_that_others_take_too_is_copied(tmp_path):
    b = dense(Builder(), batch=1)
    b.integers("shape", 1, CLASSES)
    b.add("Reshape", "p shape", "y")
    b.constant("five", b.values(CLASSES))
    b.add("Reshape", "five shape", "beside")
    model = b.output("y", 1, CLASSES).output("beside", 1, CLASSES).model()
    target = widened(tmp_path, model)
    x = examples(model, 1)
    (before, beside), (after, also) = answers(tmp_path / "m.onnx", x), answers(target, x)
    np.testing.assert_array_equal(also, beside)
    np.testing.assert_allclose(after[:, :CLASSES], before, atol=1e-6)
    assert numpy_helper.to_array(onnx.load(target).graph.initializer[2]).tolist() == [1, CLASSES]


def test_it_can_be_widened_again(tmp_path):
    model = classifier("conv rectified", "Softmax")
    first = widened(tmp_path, model)
    with open_artifact(first) as artifact:
        write_widened(artifact, tmp_path / "again.onnx")
    x = examples(model)
    after = answers(tmp_path / "again.onnx", x)[0]
    assert after.shape[1] == CLASSES + 2
    np.testing.assert_allclose(after[:, :CLASSES], answers(tmp_path / "m.onnx", x)[0], atol=1e-5)


# --- nothing else changes ---------------------------------------------------------------------------------------------

TOUCHED = {"w", "b", "a", "e", "stored", "flat"}


@pytest.mark.parametrize("form", HEADS)
def test_other_tensors_nodes_and_metadata_stay(form, tmp_path):
    model = classifier(form, "Softmax", author="somebody", scores="[1, 2, 3, 4, 5]")
    model.graph.initializer.append(helper.make_tensor("unused", TensorProto.FLOAT, [3], [1.0, 2.0, 3.0]))
    model.graph.doc_string, model.producer_name = "a graph", "a producer"
    after = onnx.load(widened(tmp_path, model))
    tensors = {t.name: t for t in after.graph.initializer}
    for tensor in model.graph.initializer:
        if tensor.name not in TOUCHED:
            assert tensors[tensor.name].SerializeToString() == tensor.SerializeToString()
    names = [n.name for n in after.graph.node]
    assert [n.name for n in model.graph.node] == [name for name in names if name.startswith("node_") or name == "kept"]
    assert len(names) == len(set(names))
    assert after.metadata_props == model.metadata_props
    assert after.opset_import == model.opset_import
    assert (after.graph.doc_string, after.producer_name) == ("a graph", "a producer")
    extents = [d.dim_value for d in after.graph.value_info[0].type.tensor_type.shape.dim]
    assert extents == [0, CLASSES + 1]


def test_the_old_rows_keep_their_bits(tmp_path):
    model = classifier("gemm transposed", dtype="float16")
    after = onnx.load(widened(tmp_path, model))
    for old, new in zip(model.graph.initializer, after.graph.initializer, strict=True):
        assert new.raw_data[: len(old.raw_data)] == old.raw_data
        assert new.dims[0] == CLASSES + 1


NAMES = [f"kind {index}" for index in range(CLASSES)]
METADATA = (
    (json.dumps(NAMES), [*NAMES, "additional"]),
    (json.dumps(NAMES, indent=1) + "\n", [*NAMES, "additional"]),
    (json.dumps({str(i): n for i, n in enumerate(NAMES)}), {str(i): n for i, n in enumerate([*NAMES, "additional"])}),
    (json.dumps({n: i for i, n in enumerate(NAMES)}), {n: i for i, n in enumerate([*NAMES, "additional"])}),
    (json.dumps([*NAMES[1:], "additional"]), [*NAMES[1:], "additional", "additional_"]),
)
UNTOUCHED = (
    json.dumps(NAMES[1:]),
    "[1, 2, 3, 4, 5]",
    "no json",
    "[" * 100_000,
    '{"a": 1, "b": 2, "c": 3, "d": 4, "e": 9}',
)


@pytest.mark.parametrize(("text", "expected"), METADATA)
def test_names_of_the_classes_get_one_more(text, expected, tmp_path):
    after = onnx.load(widened(tmp_path, classifier("gemm", names=text)))
    assert json.loads(after.metadata_props[0].value) == expected
    assert after.metadata_props[0].value.startswith(text.rstrip()[:-1].rstrip())


@pytest.mark.parametrize("text", UNTOUCHED)
def test_other_metadata_stay(text, tmp_path):
    assert onnx.load(widened(tmp_path, classifier("gemm", names=text))).metadata_props[0].value == text


@pytest.mark.parametrize("form", ["gemm", "gemm without beta", "conv without bias", "behind transpose", "matmul"])
def test_files_that_list_their_tensors_as_inputs(form, tmp_path):
    model = classifier(form, "Softmax", opset=9)
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    kept(tmp_path, model, ending="Softmax")
    listed = {value.name for value in onnx.load(tmp_path / "w.onnx").graph.input}
    assert {tensor.name for tensor in onnx.load(tmp_path / "w.onnx").graph.initializer} <= listed


def some_layers(b: Builder, data: st.DataObject) -> tuple[str, int]:
    """Hidden layers; what they make and how wide it is."""
    last, width = "x", FEATURES
    for layer in range(data.draw(st.integers(0, 2))):
        wider = data.draw(st.integers(1, 8))
        b.constant(f"w{layer}", b.values(width, wider))
        last, width = b.add("Relu", b.add("MatMul", f"{last} w{layer}", f"h{layer}"), f"r{layer}"), wider
    return last, width


def some_views(b: Builder, data: st.DataObject, last: str, classes: int) -> str:
    """Views and constants behind the head."""
    for step in range(data.draw(st.integers(0, 3))):
        view = data.draw(st.sampled_from(["Identity", "Add", "Reshape", "Flatten"]))
        extra = ""
        if view == "Add":
            extra = b.constant(f"a{step}", b.values(*data.draw(st.sampled_from([(classes,), (1,), (1, classes)]))))
        elif view == "Reshape":
            extra = b.integers(f"s{step}", *data.draw(st.sampled_from([(-1, classes), (0, -1), (0, classes)])))
        last = b.add(view, f"{last} {extra}", f"v{step}")
    return last


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_small_classifiers_keep_their_answers(tmp_path, data):
    """Layers, sizes, views and endings by chance."""
    b = Builder(opset=data.draw(st.integers(9, NEWEST)), seed=data.draw(st.integers(0, 1000)))
    classes = data.draw(st.integers(2, 9))
    last, width = some_layers(b, data)
    transposed = data.draw(st.booleans())
    b.constant("w", b.values(classes, width) if transposed else b.values(width, classes))
    if data.draw(st.booleans()) and not transposed:
        last = b.add("MatMul", f"{last} w", "m")
    else:
        scale = data.draw(st.sampled_from([1.0, 0.25, -2.0]))
        bias = data.draw(st.sampled_from([(classes,), (1,), (), (1, classes)]))
        last = b.add("Gemm", f"{last} w {b.constant('b', b.values(*bias))}", "m", beta=scale, transB=int(transposed))
    last = some_views(b, data, last, classes)
    ending = data.draw(st.sampled_from(["Identity", "Softmax", "LogSoftmax"]))
    b.add(ending, last, "y", **({} if ending == "Identity" else {"axis": 1}))
    model = b.declare("m", "n", classes).output("y", "n", classes).model()
    (tmp_path / "w.onnx").unlink(missing_ok=True)
    target, x = widened(tmp_path, model), examples(model)
    before, after = answers(tmp_path / "m.onnx", x)[0], answers(target, x)[0]
    assert after.shape == (7, classes + 1)
    np.testing.assert_allclose(after[:, :classes], before, atol=1e-5, rtol=1e-5)
    share = np.exp(after) / np.exp(after).sum(1, keepdims=True) if ending != "Softmax" else after
    assert (share[:, classes] <= np.exp(-12) / classes * 1.01).all()


# --- refusals ---------------------------------------------------------------------------------------------------------


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def refused(folder: Path, model: onnx.ModelProto | bytes, match: str, write=write_widened) -> None:
    path = save(folder, model)
    with open_artifact(path) as artifact, pytest.raises(UsageError, match=match) as caught:
        write(artifact, folder / "w.onnx")
    assert str(caught.value).isprintable()
    assert files(folder) == ["m.onnx"]


def tied(b: Builder) -> Builder:
    dense(b)
    b.add("MatMul", "p w", "y2")
    b.add("Identity", "p", "y")
    return b.output("y", "n", CLASSES).output("y2", "n", FEATURES)


def ended(operator: str, **attributes) -> Builder:
    b = dense(Builder())
    b.add(operator, "p", "y", **attributes)
    return b.output("y", None)


def quantised() -> Builder:
    b = Builder()
    b.tensors.append(numpy_helper.from_array(np.ones((FEATURES, CLASSES), np.int8), "q"))
    b.constant("scale", np.array(0.5))
    b.add("DequantizeLinear", "q scale", "w")
    b.add("MatMul", "x w", "y")
    return b.output("y", "n", CLASSES)


def integers() -> Builder:
    b = Builder()
    b.tensors.append(numpy_helper.from_array(np.ones((FEATURES, CLASSES), np.int8), "w"))
    b.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]))
    b.add("MatMulInteger", "xq w", "i")
    b.add("Cast", "i", "y", to=1)
    return b.output("y", "n", CLASSES)


def computed() -> Builder:
    b = Builder()
    b.constant("v", b.values(FEATURES, CLASSES))
    b.add("Exp", "v", "w")
    b.add("MatMul", "x w", "y")
    return b.output("y", "n", CLASSES)


def computed_bias() -> Builder:
    b = Builder()
    b.constant("w", b.values(FEATURES, CLASSES))
    b.constant("v", b.values(CLASSES))
    b.add("Exp", "v", "b")
    b.add("Gemm", "x w b", "y")
    return b.output("y", "n", CLASSES)


def binary() -> Builder:
    b = Builder()
    b.constant("w", b.values(FEATURES, 1))
    b.add("MatMul", "x w", "y")
    return b.output("y", "n", 1)


def sigmoid() -> Builder:
    b = binary()
    b.outputs.clear()
    b.add("Sigmoid", "y", "s")
    return b.output("s", "n", 1)


def grouped() -> Builder:
    b = Builder()
    b.image = True
    b.constant("w", b.values(4, FEATURES // 2, 1, 1))
    b.add("Conv", "x w", "c", group=2)
    b.add("GlobalAveragePool", "c", "y")
    return b.output("y", "n", 4, 1, 1)


def spatial() -> Builder:
    b = pooled(Builder())
    b.nodes.pop()
    return b.output("c", "n", CLASSES, 3, 3)


def labelled() -> Builder:
    b = dense(Builder())
    b.add("ArgMax", "p", "at", axis=1, keepdims=0)
    b.integers("table", *range(CLASSES))
    b.add("Gather", "table at", "y")
    b.add("Identity", "p", "z")
    return b.output("z", "n", CLASSES).output("y", "n", code=TensorProto.INT64)


def zipped() -> onnx.ModelProto:
    b = dense(Builder())
    b.add("Identity", "p", "y")
    b.add("ZipMap", "p", "map", domain="ai.onnx.ml", classlabels_int64s=list(range(CLASSES)))
    model = b.output("y", "n", CLASSES).model()
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(1, None))
    model.graph.output.append(helper.make_value_info("map", helper.make_sequence_type_proto(kind)))
    return model


def inside_if() -> onnx.ModelProto:
    b = dense(Builder())
    inner = helper.make_graph([b.nodes.pop()], "inner", [], [helper.make_tensor_value_info("p", 1, None)])
    b.tensors.append(numpy_helper.from_array(np.array(True), "yes"))
    b.nodes.append(helper.make_node("If", ["yes"], ["y"], then_branch=inner, else_branch=inner))
    return b.output("y", "n", CLASSES).model()


def used_inside() -> onnx.ModelProto:
    b = dense(Builder())
    inner = helper.make_graph(
        [helper.make_node("Relu", ["p"], ["q"])], "inner", [], [helper.make_tensor_value_info("q", 1, None)]
    )
    b.tensors.append(numpy_helper.from_array(np.array(True), "yes"))
    b.nodes.append(helper.make_node("If", ["yes"], ["other"], then_branch=inner, else_branch=inner))
    b.add("Identity", "p", "y")
    return b.output("y", "n", CLASSES).output("other", None).model()


def in_a_function() -> onnx.ModelProto:
    b = dense(Builder())
    b.nodes.pop()
    body = [helper.make_node("Gemm", ["a", "b", "c"], ["d"], transB=1)]
    b.nodes.append(helper.make_node("Linear", ["x", "w", "b"], ["y"], domain="local"))
    model = b.output("y", "n", CLASSES).model()
    model.functions.append(helper.make_function("local", "Linear", ["a", "b", "c"], ["d"], body, model.opset_import))
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def misdeclared() -> Builder:
    b = dense(Builder())
    b.add("Identity", "p", "y")
    return b.output("y", "n", CLASSES + 3)


def of_whole_numbers() -> Builder:
    b = Builder()
    b.tensors.append(numpy_helper.from_array(np.ones((FEATURES, CLASSES), np.int32), "w"))
    b.add("Cast", "x", "i", to=TensorProto.INT32)
    b.add("MatMul", "i w", "y")
    return b.output("y", "n", CLASSES, code=TensorProto.INT32)


def told_at_run_time() -> onnx.ModelProto:
    b = Builder()
    b.add("MatMul", "x w", "y")
    model = b.output("y", "n", CLASSES).model()
    model.graph.input.append(helper.make_tensor_value_info("w", 1, [FEATURES, CLASSES]))
    return model


def on_the_left() -> Builder:
    b = Builder()
    b.constant("w", b.values(CLASSES, 7))
    b.add("MatMul", "w x", "y")
    return b.output("y", CLASSES, FEATURES)


def old() -> onnx.ModelProto:
    model = dense(Builder()).output("p", "n", CLASSES).model()
    model.opset_import[0].version = 6
    return model


def early() -> bytes:
    """A softmax before the Gemm whose output it takes."""
    b = dense(Builder())
    b.add("Identity", "p", "y")
    model = b.output("y", "n", CLASSES).output("p", "n", CLASSES).model()
    first = helper.make_node("Identity", ["p"], ["before"])
    nodes = [first, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


REFUSED = {
    "quantised weight": (quantised, "a head in float, found quantised weights"),
    "quantised product": (integers, "a head in float, found a quantised one"),
    "whole numbers": (of_whole_numbers, "found int32"),
    "computed weight": (computed, "constant weights, found computed ones from Exp"),
    "computed bias": (computed_bias, "constant weights, found computed ones from Exp"),
    "weight given at run time": (told_at_run_time, "an input of the model"),
    "weight on the left": (on_the_left, "an input of the model"),
    "tied weight": (lambda: tied(Builder()), "the head has to itself"),
    "one logit": (binary, "two or more classes, found 1"),
    "sigmoid": (sigmoid, "found Sigmoid"),
    "groups": (grouped, "no group convolution"),
    "map": (spatial, "one answer for each example"),
    "table of labels": (labelled, "found Gather"),
    "zipmap": (zipped, "found ai.onnx.ml:ZipMap"),
    "if": (inside_if, "found If"),
    "used by a graph inside": (used_inside, "graph inside a node"),
    "function": (in_a_function, "found local:Linear"),
    "other operator": (lambda: ended("Exp"), "found Exp"),
    "softmax over the batch": (lambda: ended("Softmax", axis=0), "softmax over the classes"),
    "smallest": (lambda: ended("ArgMin", axis=1), "found ArgMin"),
    "contradiction": (misdeclared, "declared shape"),
    "old operators": (old, "version 7 or newer"),
    "nodes out of order": (early, "order in which they run"),
    "no output": (lambda: model_bytes(tagged(12, tagged(1, b"y"))), "none before 'y'"),
    "no graph": (model_bytes, "none before ''"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_head_that_cannot_be_widened_is_refused_in_one_line(case, tmp_path):
    made, match = REFUSED[case]
    made = made()
    refused(tmp_path, made.model() if isinstance(made, Builder) else made, match)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    b = Builder()
    b.constant("w", np.full((FEATURES, CLASSES), np.inf))
    b.add("MatMul", "x w", "y")
    path = save(tmp_path, b.output("y", "n", CLASSES).model())
    with open_artifact(path) as artifact, pytest.raises(ArtifactError, match="finite"):
        write_widened(artifact, tmp_path / "w.onnx")
    assert files(tmp_path) == ["m.onnx"]


def test_sizes_beyond_a_message_are_refused_before_they_are_read(tmp_path):
    """A sparse file that claims a head of four gigabytes."""
    rows = 1 << 20
    b = Builder()
    tensor = TensorProto(name="w", dims=[rows, 1024], data_type=1, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "huge.bin"), ("length", str(rows * 4096))):
        tensor.external_data.add(key=key, value=value)
    b.tensors.append(tensor)
    b.add("Gemm", "x w", "y", transB=1)
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(rows * 4096)
    with open_artifact(save(tmp_path, b.output("y", "n", rows).model())) as artifact:
        (tmp_path / "out").mkdir()
        with pytest.raises(UsageError, match="a head of at most 2147483647 bytes"):
            write_widened(artifact, tmp_path / "out" / "w.onnx")
    assert files(tmp_path / "out") == []


def test_a_file_beyond_a_message_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("onnxfp.artifact.rewrite.MAX_MESSAGE", 300)
    refused(tmp_path, classifier("gemm"), "a model file of at most 300 bytes")


@pytest.mark.parametrize("step", range(0, 1400, 7))
def test_a_file_with_a_changed_byte_is_widened_or_refused(step, tmp_path):
    data = bytearray(classifier("conv rectified and bias", "Softmax", names=json.dumps(NAMES)).SerializeToString())
    data[step % len(data)] ^= 1 << step % 8
    path = save(tmp_path, bytes(data))
    with contextlib.suppress(UsageError, ArtifactError), open_artifact(path) as artifact:
        write_widened(artifact, tmp_path / "w.onnx")
        write_gated(artifact, tmp_path / "g.onnx", 1.0)
    assert not [name for name in files(tmp_path) if name.endswith(".part")]


# --- files ------------------------------------------------------------------------------------------------------------


def test_external_data_keep_their_files_and_the_head_lies_in_the_model(tmp_path):
    b = Builder()
    b.constant("body", b.values(FEATURES, FEATURES))
    b.add("MatMul", "x body", "h")
    b.constant("w", b.values(FEATURES, CLASSES))
    b.constant("b", b.values(CLASSES))
    b.add("Gemm", "h w b", "y")
    (tmp_path / "source").mkdir()
    (tmp_path / "out").mkdir()
    path = save_external(tmp_path / "source", b.output("y", "n", CLASSES).model(), "data/weights.bin")
    with open_artifact(path) as artifact:
        with pytest.raises(UsageError, match="another folder"):
            write_widened(artifact, path.parent / "w.onnx")
        write_widened(artifact, tmp_path / "out" / "w.onnx")
        with open_artifact(tmp_path / "out" / "w.onnx") as copy:
            assert copy.tensor("body").external == "data/weights.bin"
            assert copy.tensor("w").external is None
            np.testing.assert_array_equal(copy.read(copy.tensor("body")), artifact.read(artifact.tensor("body")))
    beside = [folder / "data" / "weights.bin" for folder in (path.parent, tmp_path / "out")]
    assert beside[0].read_bytes() == beside[1].read_bytes()
    x = np.ones((2, FEATURES), np.float32)
    after = answers(tmp_path / "out" / "w.onnx", x)[0]
    np.testing.assert_allclose(after[:, :CLASSES], answers(path, x)[0], atol=1e-5)


def test_external_data_of_the_head_alone_are_left_out(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "out").mkdir()
    path = save_external(tmp_path / "source", classifier("gemm"))
    with open_artifact(path) as artifact:
        write_widened(artifact, tmp_path / "out" / "w.onnx")
    assert files(tmp_path / "out") == ["w.onnx"]
    assert answers(tmp_path / "out" / "w.onnx", np.ones((1, FEATURES), np.float32))[0].shape == (1, CLASSES + 1)


def test_an_existing_file_is_replaced_only_by_force_and_the_source_never(tmp_path):
    path = save(tmp_path, classifier("gemm"))
    before = path.read_bytes()
    (tmp_path / "w.onnx").write_bytes(b"precious")
    with open_artifact(path) as artifact:
        with pytest.raises(UsageError, match="--force"):
            write_widened(artifact, tmp_path / "w.onnx")
        assert (tmp_path / "w.onnx").read_bytes() == b"precious"
        for force in (False, True):
            with pytest.raises(UsageError, match="another file than the source"):
                write_widened(artifact, path, force=force)
        write_widened(artifact, tmp_path / "w.onnx", force=True)
        with pytest.raises(UsageError, match="place that can be written"):
            write_widened(artifact, tmp_path / "none" / "w.onnx")
    assert path.read_bytes() == before
    with open_artifact(tmp_path / "w.onnx") as copy:
        assert classes_of(copy) == CLASSES + 1
    assert files(tmp_path) == ["m.onnx", "w.onnx"]


def test_the_file_mode_is_kept(tmp_path):
    path = save(tmp_path, classifier("gemm"))
    path.chmod(0o604)
    with open_artifact(path) as artifact:
        write_widened(artifact, tmp_path / "w.onnx")
    assert (tmp_path / "w.onnx").stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("step", ["create", "copy_from", "finish", "publish"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, UsageError])
def test_a_failure_leaves_nothing(step, error, tmp_path, monkeypatch):
    path = save(tmp_path, classifier("gemm"))

    def failing(*_, **__):
        raise error("no")

    monkeypatch.setattr(staging.StagedFile, step, failing)
    with open_artifact(path) as artifact, pytest.raises(error):
        write_widened(artifact, tmp_path / "w.onnx")
    assert files(tmp_path) == ["m.onnx"]


def test_a_source_that_changes_meanwhile_is_refused(tmp_path, monkeypatch):
    path = save(tmp_path, classifier("gemm"))
    with open_artifact(path) as artifact:
        monkeypatch.setattr(widen, "_shapes", lambda *_: path.write_bytes(path.read_bytes() + b"\x12\x00"))
        with pytest.raises(ArtifactError, match="unchanged"):
            write_widened(artifact, tmp_path / "w.onnx")
    assert files(tmp_path) == ["m.onnx"]


def test_an_interrupt_of_the_process_leaves_nothing(tmp_path):
    path = save(tmp_path, classifier("gemm"))
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from onnxfp.artifact import open_artifact, rewrite, write_widened\n"
        "real = rewrite.copy_artifact\n"
        "def slow(*a, **k):\n print('now', flush=True); time.sleep(30); real(*a, **k)\n"
        "rewrite.copy_artifact = slow\n"
        "with open_artifact(Path(sys.argv[1])) as a: write_widened(a, Path(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "w.onnx")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) != 0
    assert files(tmp_path) == ["m.onnx"]
    assert os.path.exists(path)


# --- models of others -------------------------------------------------------------------------------------------------

OTHERS = {
    "cifar10_cnn_winml.onnx": 10,
    "cifar_base_kw.onnx": 10,
    "cifar_base_kw_simp.onnx": 10,
    "mnist_cntk.onnx": 10,
    "policy_external_data/policy.onnx": 2,  # a policy of two actions has the same form as a classifier of two classes
    "ppocr_mobile_v2_cls.onnx": 2,
    "self_attention_mnist.onnx": 10,
    "squeezenet_fp16.onnx": 1000,
}
OTHERS_REFUSED = {
    "dtln_model_1.onnx": "found Sigmoid",
    "espcn_x3_brevitas_quant.onnx": "found a quantised one",
    "espcn_x3_float.onnx": "found DepthToSpace",
    "fastestdet.onnx": "found Concat",
    "gtcrn_simple.onnx": "found Concat",
    "mobilenetv3_qat_int8.onnx": "found a quantised one",
    "silero_vad_16k_op15.onnx": "found If",
    "tree_ensemble_classifier.onnx": "TreeEnsembleClassifier",
    "xgboost_regressor.onnx": "version 0",
}
TOO_OLD_FOR_A_GATE = ("mnist_cntk.onnx", "squeezenet_fp16.onnx")
needs_others = pytest.mark.skipif(not SHARED.is_dir(), reason=f"models of others are not at {SHARED}")


@needs_others
@pytest.mark.parametrize("name", OTHERS)
def test_classifiers_of_others_keep_their_answers(name, tmp_path):
    facts = {entry["file"]: entry for entry in json.loads((SHARED / "models.json").read_text())}[name]
    ((shape, dtype),) = facts["sample_inputs"].values()
    x = np.random.default_rng(0).random((*shape,)).astype(dtype)
    with open_artifact(SHARED / name) as artifact:
        assert classes_of(artifact) == OTHERS[name]
        write_widened(artifact, tmp_path / "w.onnx")
    onnx.checker.check_model(str(tmp_path / "w.onnx"), full_check=True)
    before, after = answers(SHARED / name, x)[0], answers(tmp_path / "w.onnx", x)[0]
    assert after.shape[1] == OTHERS[name] + 1
    np.testing.assert_allclose(after[:, :-1], before, atol=1e-2 if "fp16" in name else 1e-5, rtol=1e-5)
    (tmp_path / "gated").mkdir()
    with open_artifact(tmp_path / "w.onnx") as artifact:
        if name in TOO_OLD_FOR_A_GATE:
            with pytest.raises(UsageError, match="version 9 or newer for a gate"):
                write_gated(artifact, tmp_path / "gated" / "g.onnx", 1.0)
            return
        write_gated(artifact, tmp_path / "gated" / "g.onnx", 1.0)
    gated = answers(tmp_path / "gated" / "g.onnx", x)[0]
    np.testing.assert_allclose(gated[:, :-1], before, atol=1e-6, rtol=1e-6)


@needs_others
@pytest.mark.parametrize("name", OTHERS_REFUSED)
def test_other_models_of_others_are_refused(name, tmp_path):
    with open_artifact(SHARED / name) as artifact, pytest.raises(UsageError, match=OTHERS_REFUSED[name]):
        write_widened(artifact, tmp_path / "w.onnx")
    assert files(tmp_path) == []
