"""MLServer, which nobody here wrote, serves an ONNX model: it is heard as onnxruntime answers, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxfp.demo import path
from onnxfp.domain import QueryProbe
from onnxfp.suspect.endpoint import EndpointOptions, open_endpoint
from onnxfp.suspect.outputs import class_answers
from onnxfp.suspect.transform import Transform

SCHEMES = ["http", "grpc"]
OPTIONS = EndpointOptions(timeout_s=20, batch=32)


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


@pytest.mark.parametrize("scheme", SCHEMES)
def test_answers_are_those_of_the_runtime(mlserver, inputs, expected, scheme):
    with open_endpoint(mlserver(path("digits.onnx"), scheme), OPTIONS) as endpoint:
        response = endpoint.answer(QueryProbe(inputs))
        assert endpoint.provider == "remote: mlserver 1.7.1"
        assert endpoint.input is None
    np.testing.assert_array_equal(response.values, expected)
    assert (response.coverage, response.unread) == (1.0, ())


@pytest.mark.parametrize(("scheme", "words"), [("http", "HTTP 500: Traceback"), ("grpc", "Unexpected input data type")])
def test_what_the_model_does_not_take_is_refused_in_its_own_words(mlserver, inputs, scheme, words):
    options = replace(OPTIONS, transform=Transform(dtype="float64"))
    with open_endpoint(mlserver(path("digits.onnx"), scheme), options) as endpoint:
        reason = endpoint.answer(QueryProbe(inputs[:2])).reason
    assert "2 of 2 samples: " in reason
    assert words in reason


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_that_is_not_served_is_not_found(mlserver, inputs, scheme):
    url = mlserver(path("digits.onnx"), scheme) + "arvellous"
    with open_endpoint(url, OPTIONS) as endpoint:
        assert "not found" in endpoint.answer(QueryProbe(inputs[:2])).reason


@pytest.mark.parametrize(("scheme", "other"), [("http", "grpc"), ("grpc", "http")])
def test_who_speaks_another_protocol_is_refused(mlserver, inputs, scheme, other):
    url = mlserver(path("digits.onnx"), other).replace(f"{other}://", f"{scheme}://")
    with open_endpoint(url, replace(OPTIONS, timeout_s=3, retries=0)) as endpoint:
        assert "no connection" in endpoint.answer(QueryProbe(inputs[:2])).reason
