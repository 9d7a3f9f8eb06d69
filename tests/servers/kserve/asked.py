"""KServe, which nobody here wrote, serves an ONNX model: binary tensors, JSON and gRPC are heard bit for bit.

Not among the tests that always run: it binds every interface. `make test-kserve` gives it a network of its own.
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxfp.demo import path
from onnxfp.domain import QueryProbe
from onnxfp.suspect.endpoint import EndpointOptions, open_endpoint
from onnxfp.suspect.outputs import class_answers
from tests.suspect.servers import interpreter, serving

HERE = Path(__file__).resolve().parent
OPTIONS = EndpointOptions(timeout_s=20, batch=32)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    assert [name for _, name in socket.if_nameindex()] == ["lo"], "run `make test-kserve`: this network has neighbours"
    python = str(interpreter("kserve"))

    def start(http: int, grpc: int, _: int) -> list[str]:
        return [python, str(HERE / "onnx_model.py"), str(http), str(grpc), str(path("digits.onnx"))]

    with serving(start, tmp_path_factory.mktemp("kserve"), HERE) as running:
        yield running


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    with np.load(path("digits_test.npz"), allow_pickle=False) as data:
        return data["inputs"][:80].astype(np.float32)


@pytest.fixture(scope="module")
def expected(inputs) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path("digits.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: inputs[at : at + 32]})[0] for at in range(0, len(inputs), 32)]
    return class_answers([("y", np.concatenate(parts))], len(inputs))


@pytest.mark.parametrize(("scheme", "binary"), [("http", None), ("http", True), ("grpc", None)])
def test_answers_are_those_of_the_runtime(served, inputs, expected, scheme, binary):
    with open_endpoint(served.url(scheme), replace(OPTIONS, binary=binary)) as endpoint:
        response = endpoint.answer(QueryProbe(inputs))
        assert getattr(response, "reason", "") == ""
        assert endpoint.provider == "remote: kserve 0.21.0"
    np.testing.assert_array_equal(response.values, expected)
    assert (response.coverage, response.unread) == (1.0, ())
