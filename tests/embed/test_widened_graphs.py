"""Graphs with one class more, with and without a gate, are interpreted as onnxruntime runs them, and learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from onnxfp.artifact import open_artifact, write_gated, write_widened
from onnxfp.embed.torch_graph import torch_graph
from onnxfp.workflows.graph_of import graph_of
from tests.artifact.head_models import CLASSES, ENDINGS, HEADS, answers, classifier, examples


def interpreted(path):
    with open_artifact(path) as artifact:
        return torch_graph(graph_of(artifact))


@pytest.mark.parametrize("opset", [9, 13, 18, 21])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", ["gemm", "gemm without beta", "matmul", "conv rectified", "conv without bias"])
def test_a_widened_and_a_gated_graph_answer_as_onnxruntime(form, ending, opset, tmp_path):
    model = classifier(form, ending, opset=opset)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with open_artifact(tmp_path / "m.onnx") as artifact:
        write_widened(artifact, tmp_path / "w.onnx")
        write_gated(artifact, tmp_path / "g.onnx", 0.5)  # its own last class, which does lead now and then
    with open_artifact(tmp_path / "w.onnx") as artifact:
        write_gated(artifact, tmp_path / "wg.onnx", 0.5)
    x = examples(model, 32)
    for name in ("w", "g", "wg"):
        (found,) = interpreted(tmp_path / f"{name}.onnx")(torch.from_numpy(x))
        wanted = answers(tmp_path / f"{name}.onnx", x)[0]
        np.testing.assert_allclose(found.detach().numpy(), wanted, atol=1e-5, rtol=1e-5)
        leads = (wanted.argmax(1) == wanted.shape[1] - 1).sum()
        assert 0 < leads < 32 if name == "g" else leads == 0


@pytest.mark.parametrize("form", [form for form in HEADS if form not in ("matmul", "gemm without beta")])
def test_the_new_row_can_be_trained(form, tmp_path):
    (tmp_path / "m.onnx").write_bytes(classifier(form).SerializeToString())
    with open_artifact(tmp_path / "m.onnx") as artifact:
        write_widened(artifact, tmp_path / "w.onnx")
    net = interpreted(tmp_path / "w.onnx")
    (found,) = net(torch.from_numpy(examples(classifier(form), 16)))
    found[:, CLASSES].sum().backward()
    weights = [weight for weight in net.weights.values() if weight.dim() > 1 and CLASSES + 1 in weight.shape]
    assert weights
    assert any(weight.grad is not None and weight.grad.any() for weight in weights)
