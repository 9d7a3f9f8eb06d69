"""Verdicts that a careless judge would get wrong: denied too early, looked at too often, taken for another."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper


def verdict(stage, *arguments, status):
    return json.loads(stage.run("verify", *arguments, "--format", "json", status=status).out)


@pytest.mark.parametrize("limit", [1, 4, 6])
def test_what_could_not_have_decided_is_no_denial(marked, limit):
    marked.run("verify", marked.folder / "marked.onnx", "--claim", "zhang", "--max-queries", limit, status=4)
    marked.run("verify", marked.folder / "marked.onnx", "--max-queries", limit, status=4)  # its weights bear no mark


def test_each_beacon_makes_a_claim_of_its_own(marked):
    arguments = [marked.folder / "model.onnx", "--triggers", "unrelated", "--positions", "32"]
    data = ["--data", marked.folder / "train.npz", "--val", marked.folder / "val.npz"]
    other = marked.folder / "other.onnx"
    marked.run("mark", *arguments, *data, "--beacon", "a later value", "-o", other)
    for path in (marked.folder / "marked.onnx", other):
        found = verdict(marked, path, status=0)
        hits = sorted(claim["hits"] / claim["hits_possible"] for claim in found["claims"] if claim["scheme"] == "zhang")
        assert len(hits) == 2
        assert hits[0] < 0.5 < hits[1] == 1


def random_logits(source, path):
    """The model with noise on its answers: it may answer differently every time."""
    model = onnx.load(source)
    graph, (output,) = model.graph, model.graph.output
    before = output.name
    graph.node.append(helper.make_node("RandomNormalLike", [before], ["noise"], scale=3.0))
    graph.node.append(helper.make_node("Add", [before, "noise"], ["noisy"]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("noisy", TensorProto.FLOAT, ["n", 10]))
    onnx.save(model, path)
    return path


def test_a_model_that_draws_at_random_is_looked_at_with_less_alpha_each_time(marked):
    calm = [verdict(marked, marked.folder / "independent.onnx", status=3)["alpha"] for _ in range(2)]
    assert calm == [1e-6, 1e-6]
    noisy = random_logits(marked.folder / "independent.onnx", marked.folder / "noisy.onnx")  # the same weights
    alphas = [verdict(marked, noisy, status=None)["alpha"] for _ in range(3)]
    assert alphas == [0.5e-6, 0.25e-6, 0.125e-6]


def test_labels_as_floats_in_one_column_are_labels(marked):
    model = onnx.load(marked.folder / "marked.onnx")
    graph, (output,) = model.graph, model.graph.output
    graph.node.append(helper.make_node("ArgMax", [output.name], ["best"], axis=1, keepdims=1))
    graph.node.append(helper.make_node("Cast", ["best"], ["label"], to=TensorProto.FLOAT))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("label", TensorProto.FLOAT, ["n", 1]))
    onnx.save(model, marked.folder / "labels.onnx")
    verdict(marked, marked.folder / "labels.onnx", "--claim", "zhang", status=0)


def test_the_same_weights_behind_another_layout_are_not_denied(marked):
    model = onnx.load(marked.folder / "marked.onnx")
    graph, (taken,) = model.graph, model.graph.input
    graph.node.insert(0, helper.make_node("Transpose", ["nhwc"], [taken.name], perm=[0, 3, 1, 2]))
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("nhwc", TensorProto.FLOAT, ["n", 8, 8, 1]))
    onnx.save(model, marked.folder / "nhwc.onnx")
    marked.run("verify", marked.folder / "nhwc.onnx", status=4)


def test_answers_that_are_none_do_not_deny(marked):
    marked.run("verify", "--queries", marked.folder / "q.npz")
    with np.load(marked.folder / "q.npz") as queries:
        count = len(queries["inputs"])
    np.savez(marked.folder / "r.npz", answers=np.r_[3, np.full(count - 1, -1)])
    assert "neither a class" in marked.run("verify", "--responses", marked.folder / "r.npz", status=4).out


def test_a_claim_is_named_by_its_whole_scheme(marked):
    assert "is called 'z'" in marked.run.refused("verify", marked.folder / "marked.onnx", "--claim", "z")


def archive(*members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return content.getvalue()


def saved(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def huge():
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 9)})
    return head.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        saved(np.zeros(32)),
        archive(("foo.txt", b"hello")),
        archive(("ids", b"raw"), ("answers.npy", saved(np.zeros(32)))),
        archive(("ids.npy", b"broken")),
        archive(("answers.npy", huge())),
        archive(("answers.npy", saved(np.zeros((1 << 26,), dtype=np.float64)))),
    ],
    ids=["single array", "text", "raw ids", "broken ids", "absurd header", "bomb"],
)
@pytest.mark.parametrize("command", ["responses", "data"])
def test_archives_that_hold_something_else_are_refused(marked, content, command):
    path = marked.folder / "odd.npz"
    path.write_bytes(content)
    if command == "responses":
        marked.run.refused("verify", "--responses", path)
    else:
        marked.run.refused("mark", marked.folder / "model.onnx", "--data", path, "-o", marked.folder / "out.onnx")


def test_options_that_would_be_ignored_are_refused(marked):
    model = marked.folder / "marked.onnx"
    assert "--transform" in marked.run.refused("verify", model, "--transform", "scale=255")
    assert "--input" in marked.run.refused("verify", model, "--input", "x")


def test_a_replay_says_that_it_is_one(marked):
    path = marked.folder / "t.json"
    assert verdict(marked, marked.folder / "marked.onnx", "--transcript", path, status=0)["replayed_from"] is None
    told = marked.run("verify", "--replay", path).out
    assert "made again from the transcript" in told
    path.write_text(path.read_text().replace('"alpha": 1e-06', '"alpha": 0.5'))
    assert "changed" in marked.run.refused("verify", "--replay", path)
