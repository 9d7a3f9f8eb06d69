"""A class is dropped, masked or merged: what is left of the other classes, wherever the scores come from."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from scipy.special import log_softmax, logsumexp, softmax

from onnxfp import demo
from onnxfp.artifact import carriers, open_artifact
from onnxfp.attacks import parse, run
from onnxfp.attacks.classes import Drop, Mask, Merge, Reclassed
from onnxfp.domain import Answered, QueryProbe
from onnxfp.errors import ArtifactError, OnnxfpError, UsageError
from onnxfp.suspect.session import open_session
from tests.attacks.small_models import floats, outputs, save

CLASSES = 6
TEXTS = ["drop_class", "drop_class:2", "mask_class", "mask_class:0", "merge_class", "merge_class:3", "merge_class:2:4"]


def classifier(
    *tail: onnx.NodeProto,
    element=TensorProto.FLOAT,
    opset=20,
    ends=("y",),
    sides=("n", CLASSES),
    classes=CLASSES,
    **parts,
) -> onnx.ModelProto:
    """x (n, 32) -> Gemm -> logits (n, classes) -> tail -> ends."""
    dtype = helper.tensor_dtype_to_np_dtype(element)
    weights = {"w": floats(3, 32, classes).astype(dtype), "b": floats(4, classes).astype(dtype)}
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["logits" if tail else "y"]), *tail]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", element, ["n", 32])],
        [helper.make_tensor_value_info(name, element, sides) for name in ends],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def node(operator: str, source: str = "logits", target: str = "y", **attributes) -> onnx.NodeProto:
    return helper.make_node(operator, [source], [target], **attributes)


def behind(operator: str) -> tuple[onnx.NodeProto, ...]:
    return node(operator, target="p", axis=1), node("Flatten", "p")


def with_axes_of_one() -> onnx.ModelProto:
    axes = helper.make_node("Constant", [], ["axes"], value=numpy_helper.from_array(np.array([2, 3])))
    wide = helper.make_node("Unsqueeze", ["logits", "axes"], ["wide"])
    return classifier(axes, wide, node("Softmax", "wide", axis=1), sides=("n", CLASSES, 1, 1))


def probabilities(logits: np.ndarray) -> np.ndarray:
    return softmax(logits, axis=1)


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    return log_softmax(logits, axis=1)


KINDS = {
    "logits": (classifier, np.asarray),
    "softmax": (lambda: classifier(node("Softmax", axis=-1)), probabilities),
    "softmax of old": (lambda: classifier(node("Softmax"), opset=9), probabilities),
    "softmax of half precision": (lambda: classifier(node("Softmax"), element=TensorProto.FLOAT16), probabilities),
    "softmax of double precision": (lambda: classifier(node("Softmax"), element=TensorProto.DOUBLE), probabilities),
    "softmax behind identity": (lambda: classifier(node("Softmax", target="p"), node("Identity", "p")), probabilities),
    "softmax behind flatten": (lambda: classifier(*behind("Softmax")), probabilities),
    "softmax with axes of one": (with_axes_of_one, probabilities),
    "log-softmax": (lambda: classifier(node("LogSoftmax")), log_probabilities),
    "log-softmax behind flatten": (lambda: classifier(*behind("LogSoftmax")), log_probabilities),
    "no declared shape": (lambda: classifier(node("Softmax"), sides=None), probabilities),
    "a wrong declared shape": (lambda: classifier(node("Softmax"), sides=("n", 0)), probabilities),
}


def expected(text: str, logits: np.ndarray) -> tuple[np.ndarray, int | None]:
    """What the logits become, and which column is hopeless."""
    step = parse(text)
    assert isinstance(step, Reclassed)
    index = logits.shape[1] - 1 if step.change.index is None else step.change.index
    match step.change:
        case Drop():
            return np.delete(logits, index, axis=1), None
        case Mask():
            hopeless = logits.copy()
        case Merge(_, into):
            hopeless = logits.copy()
            hopeless[:, into] = logsumexp(logits[:, [index, into]], axis=1)
    hopeless[:, index] = -1e4
    return hopeless, index


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "attacked.onnx"


def raw(path, x: np.ndarray) -> np.ndarray:
    element = onnx.load(str(path)).graph.input[0].type.tensor_type.elem_type
    return outputs(path, x.astype(helper.tensor_dtype_to_np_dtype(element))).reshape(len(x), -1).astype(np.float64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_other_classes_are_answered_as_the_arithmetic_says(tmp_path, out, kind, text):
    made, normalise = KINDS[kind]
    x = floats(7, 40, 32)
    run(parse(text), [save(tmp_path / "a.onnx", made())], out, 0)
    onnx.checker.check_model(str(out), full_check=True)
    logits, hopeless = expected(text, raw(save(tmp_path / "twin.onnx", classifier()), x))
    wanted, found = normalise(logits), raw(out, x)
    kept = [column for column in range(wanted.shape[1]) if column != hopeless]
    tolerance = 2e-2 if "half" in kind else 1e-4
    np.testing.assert_allclose(found[:, kept], wanted[:, kept], atol=tolerance)
    assert np.isfinite(found).all()
    if hopeless is not None:
        assert (found.argmax(axis=1) != hopeless).all()
        assert (found[:, hopeless] <= np.maximum(0, wanted[:, hopeless])).all()
        assert normalise is not probabilities or not found[:, hopeless].any()


@pytest.mark.parametrize("text", TEXTS)
def test_the_declared_width_is_the_one_that_comes_out(tmp_path, out, text):
    run(parse(text), [save(tmp_path / "a.onnx", classifier())], out, 0)
    declared = onnx.load(str(out)).graph.output[0].type.tensor_type.shape.dim[1].dim_value
    assert declared == raw(out, floats(1, 2, 32)).shape[1] == CLASSES - text.startswith("drop")


@pytest.mark.parametrize("text", TEXTS)
def test_the_demo_model_loses_a_class_and_nothing_else(out, text):
    source = demo.path("digits.onnx")
    with np.load(demo.path("digits_test.npz")) as arrays:
        probe = QueryProbe(arrays["inputs"] if "inputs" in arrays else arrays[arrays.files[0]])
    run(parse(text), [source], out, 0)
    with open_session(source) as before, open_session(out) as after:
        whole, left = before.answer(probe), after.answer(probe)
    assert isinstance(whole, Answered)
    assert isinstance(left, Answered)
    logs, hopeless = expected(text, whole.values)
    kept = [column for column in range(logs.shape[1]) if column != hopeless]
    np.testing.assert_allclose(left.values[:, kept], log_softmax(logs, axis=1)[:, kept], atol=1e-4)
    assert hopeless is None or (left.values.argmax(axis=1) != hopeless).all()
    with open_artifact(source) as old, open_artifact(out) as new:
        for carrier in carriers(old):
            np.testing.assert_array_equal(old.read(old.tensor(carrier.name)), new.read(new.tensor(carrier.name)))


@pytest.mark.parametrize("text", TEXTS)
def test_a_certain_answer_leaves_an_order_of_the_others(tmp_path, out, text):
    model = classifier(node("Softmax"))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.float32([0, 1, 2, 3, 4, 500]), "b"))
    run(parse(text), [save(tmp_path / "a.onnx", model)], out, 0)
    found = raw(out, np.zeros((1, 32)))[0]
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1)
    if text in ("drop_class", "mask_class"):
        assert found.argmax() == 4


@pytest.mark.parametrize("text", TEXTS)
def test_all_outputs_change_once_each(tmp_path, out, text):
    shapes = [node("Softmax", target="p"), node("Identity", "p", "q"), node("Log", "p", "r")]
    source = save(tmp_path / "a.onnx", classifier(*shapes, ends=("logits", "p", "q", "r")))
    run(parse(text), [source], out, 0)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    logits, p, q, r = session.run(None, {"x": floats(5, 9, 32)})
    np.testing.assert_allclose(softmax(logits, axis=1), p, atol=1e-5)
    np.testing.assert_allclose(q, p, atol=1e-6)
    np.testing.assert_allclose(softmax(r, axis=1), p, atol=1e-5)


def test_two_classes_are_taken_out_one_after_the_other(tmp_path, out):
    source = save(tmp_path / "a.onnx", classifier(node("Softmax")))
    once = tmp_path / "once.onnx"
    run(parse("mask_class:1"), [source], once, 0)
    run(parse("merge_class:1:2"), [once], out, 0)
    np.testing.assert_allclose(raw(out, floats(5, 9, 32)), raw(once, floats(5, 9, 32)), atol=1e-6)
    run(parse("drop_class:1"), [once], out, 0, force=True)
    np.testing.assert_allclose(raw(out, floats(5, 9, 32)), np.delete(raw(once, floats(5, 9, 32)), 1, 1), atol=1e-6)


def test_external_data_come_out_beside_the_model(tmp_path, out):
    source = save(tmp_path / "a.onnx", classifier(classes=16, sides=("n", 16)), external=True)
    run(parse("drop_class"), [source], out, 0)
    assert sorted(path.name for path in out.parent.iterdir()) == ["attacked.onnx", "attacked.onnx.data"]
    with open_artifact(out) as artifact:
        assert artifact.orphan_bytes == 0
    np.testing.assert_array_equal(raw(out, floats(5, 9, 32)), raw(source, floats(5, 9, 32))[:, :-1])


# --- refusals ---------------------------------------------------------------------------------------------------------


def sequence_output() -> onnx.ModelProto:
    proto = classifier(helper.make_node("SequenceConstruct", ["logits"], ["y"]))
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, ["n", CLASSES])
    proto.graph.output[0].type.CopyFrom(helper.make_sequence_type_proto(tensor))
    return proto


def labels_beside() -> onnx.ModelProto:
    proto = classifier(node("Softmax"), node("ArgMax", target="label", axis=1, keepdims=0))
    proto.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]))
    return proto


def unknown_width() -> onnx.ModelProto:
    shape = helper.make_node("Cast", ["x"], ["shape"], to=TensorProto.INT64)
    flat = helper.make_node("Reshape", ["logits", "some"], ["y"])
    some = helper.make_node("ReduceMax", ["shape"], ["some"], keepdims=0)
    return classifier(shape, some, flat, sides=("n", "c"))


REFUSED = {
    "sequence": (sequence_output, "drop_class", "is a sequence"),
    "labels beside": (labels_beside, "drop_class", "holds no floats"),
    "unknown width": (unknown_width, "drop_class", r"shape \["),
    "pictures": (lambda: classifier(node("Gelu"), sides=("n", 3, 8, 8)), "drop_class:6", "0 to 5"),
    "out of range": (classifier, "mask_class:6", "expected a class from 0 to 5, found 6"),
    "into out of range": (classifier, "merge_class:1:9", "found 9"),
    "into itself": (classifier, "merge_class:5", "two different"),
    "from itself": (classifier, "merge_class:2:2", "two different"),
    "two classes": (lambda: classifier(classes=2, sides=("n", 2)), "drop_class", "at least 3 classes"),
    "one score": (lambda: classifier(classes=1, sides=("n", 1)), "mask_class", "attack a classifier"),
    "old operators": (lambda: classifier(node("Softmax"), opset=8), "mask_class", "opset 9"),
}


@pytest.mark.parametrize("defect", REFUSED)
def test_what_is_no_classifier_or_has_no_such_class_is_refused(tmp_path, out, defect):
    made, text, message = REFUSED[defect]
    with pytest.raises(UsageError, match=message) as refusal:
        run(parse(text), [save(tmp_path / "a.onnx", made())], out, 0)
    assert "\n" not in str(refusal.value)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["drop_class:x", "mask_class:-1", "merge_class:1:", "merge_class::1", "drop_class:65536"]
)
def test_what_is_no_class_is_refused(text):
    with pytest.raises(UsageError, match="whole number"):
        parse(text)


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x0a\x3a\xff\xff", b"\x08\x08\x42\x02\x10\x14"])
def test_a_damaged_source_is_refused(tmp_path, out, data):
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(OnnxfpError):
        run(parse("drop_class"), [tmp_path / "a.onnx"], out, 0)
    assert list(out.parent.iterdir()) == []


def test_a_name_that_is_no_utf_8_is_refused(tmp_path, out):
    whole = classifier().SerializeToString()
    (tmp_path / "a.onnx").write_bytes(whole.replace(b"\x01y", b"\x01\x80"))
    with pytest.raises(ArtifactError, match="UTF-8"):
        run(parse("drop_class"), [tmp_path / "a.onnx"], out, 0)
    assert list(out.parent.iterdir()) == []


def test_an_existing_file_is_kept_unless_forced_and_the_source_is_never_replaced(tmp_path, out):
    source = save(tmp_path / "a.onnx", classifier())
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        run(parse("drop_class"), [source], out, 0)
    assert out.read_bytes() == b"mine"
    run(parse("drop_class"), [source], out, 0, force=True)
    before = source.read_bytes()
    with pytest.raises(UsageError, match="another file"):
        run(parse("drop_class"), [source], source, 0, force=True)
    assert source.read_bytes() == before


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_with_bytes_overwritten_is_attacked_or_refused(tmp_path, data):
    whole = bytearray(classifier(*behind("Softmax")).SerializeToString())
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.onnx").write_bytes(bytes(whole))
    text, said = data.draw(st.sampled_from(TEXTS)), ""
    try:
        run(parse(text), [tmp_path / "a.onnx"], tmp_path / "out.onnx", 0, force=True)
    except (UsageError, ArtifactError) as refusal:
        said = str(refusal)
    assert "\n" not in said
