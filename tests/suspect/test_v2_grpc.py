"""The same suspect over gRPC: a server on loopback that answers rightly, or in one of the ways in which it may not."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field, replace

import grpc
import numpy as np
import pytest
from open_inference.grpc import protocol

from onnxfp.domain import QueryProbe, Unanswered
from onnxfp.suspect.endpoint import EndpointOptions, open_endpoint
from tests.suspect.misbehaving import logits, softmax

QUICK = EndpointOptions(timeout_s=10, retries=0, response_bytes=100_000)
TOKEN = "hunter2-hunter2-hunter2"
SERVICE = "/inference.GRPCInferenceService/"


@dataclass
class Service(grpc.GenericRpcHandler):
    """Answers the protocol's three calls with bytes of its choice."""

    way: Callable[[np.ndarray, grpc.ServicerContext], bytes]
    described: protocol.ModelMetadataResponse = field(default_factory=protocol.ModelMetadataResponse)
    batches: list[int] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def service(self, call):
        calls = {"ServerMetadata": self.server, "ModelMetadata": self.model, "ModelInfer": self.infer}
        return grpc.unary_unary_rpc_method_handler(calls[call.method.removeprefix(SERVICE)])

    def server(self, asked: bytes, context) -> bytes:
        self.metadata.append(dict(context.invocation_metadata()))
        return protocol.ServerMetadataResponse(name="odd", version="2\x1b[31m").SerializeToString()

    def model(self, asked: bytes, context) -> bytes:
        return self.described.SerializeToString()

    def infer(self, asked: bytes, context) -> bytes:
        request = protocol.ModelInferRequest.FromString(asked)
        values = np.frombuffer(request.raw_input_contents[0], dtype="<f4").reshape(request.inputs[0].shape)
        self.batches.append(len(values))
        return self.way(values, context)


@pytest.fixture
def serve():
    """`serve(way)` starts a server and returns its service and its URL."""
    running = []

    def start(way, **options):
        service = Service(way)
        server = grpc.server(futures.ThreadPoolExecutor(2), **options)
        server.add_generic_rpc_handlers((service,))
        url = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}/v2/models/m"
        server.start()
        running.append((service, server))
        return service, url

    yield start
    for service, server in running:
        service.over.set()
        server.stop(0).wait()


def inputs(samples: int) -> np.ndarray:
    return (np.arange(samples * 4, dtype=np.float32).reshape(samples, 4) % 7 - 3) / 3


def ask(url: str, samples: int = 5, options: EndpointOptions = QUICK):
    with open_endpoint(url, options) as endpoint:
        return endpoint.answer(QueryProbe(inputs(samples)))


# --- ways of answering ------------------------------------------------------------------------------------------------


def message(*outputs, raw=()) -> bytes:
    made = protocol.ModelInferResponse(raw_output_contents=raw)
    for name, datatype, shape, contents in outputs:
        made.outputs.add(name=name, datatype=datatype, shape=shape).contents.MergeFrom(contents)
    return made.SerializeToString()


def contents(**given) -> protocol.InferTensorContents:
    return protocol.InferTensorContents(**given)


def good(x, context):
    return message(("y", "FP64", [len(x), 3], contents()), raw=[logits(x).tobytes()])


def typed(x, context):
    return message(("y", "FP64", [len(x), 3], contents(fp64_contents=logits(x).ravel())))


def named(x, context):
    words = [str(label).encode() for label in logits(x).argmax(axis=1)]
    return message(("y", "BYTES", [len(x)], contents(bytes_contents=words)))


def labelled(x, context):
    return message(("y", "INT32", [len(x)], contents(int_contents=logits(x).argmax(axis=1))))


def one_at_a_time(x, context):
    if len(x) > 1:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "batch-size must be <= 1")
    return good(x, context)


def never(x, context):
    time.sleep(1.0)
    return b""


def aborts(code: grpc.StatusCode, words: str = "no"):
    return lambda x, context: context.abort(code, words)


def says(*outputs, raw=()):
    return lambda x, context: message(*outputs, raw=raw)


REFUSALS = {
    "garbage": (lambda x, context: b"\xff\xff\xff", "not a message of the protocol"),
    "crowd": (lambda x, context: b"\x2a\x00" * 40_000, "more than 1024 parts"),
    "endless number": (lambda x, context: b"\xff" * 90_000, "not a message"),
    "nothing": (lambda x, context: b"", "no outputs"),
    "late": (never, "no whole answer within 0.5 s"),
    "large": (lambda x, context: bytes(200_000), "a message is too long"),
    "busy": (aborts(grpc.StatusCode.RESOURCE_EXHAUSTED), "asked too often"),
    "away": (aborts(grpc.StatusCode.UNAVAILABLE), "no connection: no"),
    "closed": (aborts(grpc.StatusCode.UNAUTHENTICATED), "valid token"),
    "unknown": (aborts(grpc.StatusCode.NOT_FOUND, "who\x1b?"), r"NOT_FOUND: who\?\?"),
    "crash": (lambda x, context: 1 / 0, "UNKNOWN: Exception calling application"),
    "two contents": (says(("y", "FP64", [5, 3], contents()), raw=[b"", b""]), "1 outputs and 2 contents"),
    "short": (says(("y", "FP64", [5, 3], contents()), raw=[bytes(119)]), "brings 119 bytes"),
    "few": (says(("y", "FP64", [4, 3], contents()), raw=[bytes(96)]), "4 rows for 5 samples"),
    "false": (says(("y", "FP64", [5, 3], contents(fp64_contents=[1.0]))), "brings 1 values"),
    "wide": (says(("y", "INT8", [5], contents(int_contents=[1, 2, 3, 4, 300]))), "do not fit int8"),
    "half": (says(("y", "FP16", [5], contents(bytes_contents=[b"\0\0"] * 5))), "only sent raw"),
    "odd": (says(("y", "FP12", [5], contents()), raw=[bytes(10)]), "does not know"),
    "cut text": (says(("y", "BYTES", [5], contents()), raw=[b"\xff\0\0\0abc"]), "cut short"),
    "nameless": (says(("", "FP64", [5], contents()), raw=[bytes(40)]), "no name"),
    "twice": (says(*[("y", "FP64", [5], contents())] * 2, raw=[bytes(40)] * 2), "two outputs of one name"),
    "many": (says(*[("y", "FP64", [5], contents())] * 100), "100 outputs"),
}


@pytest.mark.parametrize("way", [good, typed])
def test_logits_become_log_probabilities(serve, way):
    service, url = serve(way)
    response = ask(url, 10, replace(QUICK, batch=4))
    np.testing.assert_allclose(response.values, np.log(softmax(logits(inputs(10)))), atol=1e-12)
    assert service.batches == [4, 4, 2]
    assert response.provider == "remote: odd 2?[31m"


@pytest.mark.parametrize("way", [named, labelled])
def test_labels_stay_labels(serve, way):
    np.testing.assert_array_equal(ask(serve(way)[1]).values, logits(inputs(5)).argmax(axis=1))


@pytest.mark.parametrize("name", REFUSALS)
def test_who_never_answers_leaves_one_reason(serve, name):
    way, words = REFUSALS[name]
    began = time.monotonic()
    response = ask(serve(way)[1], options=replace(QUICK, timeout_s=0.5) if name == "late" else QUICK)
    assert isinstance(response, Unanswered)
    assert re.fullmatch(rf"5 of 5 samples: [^;]*({words}).*", response.reason), response.reason
    assert time.monotonic() - began < 5


def test_a_compressed_answer_is_not_unpacked(serve):
    _, url = serve(lambda x, context: bytes(50_000_000), compression=grpc.Compression.Gzip)
    assert isinstance(ask(url, options=replace(QUICK, timeout_s=1)), Unanswered)


def test_smaller_batches_are_tried_once_and_remembered(serve):
    service, url = serve(one_at_a_time)
    assert ask(url, 20).coverage == 1.0
    assert service.batches == [20, 8, *[1] * 20]


def test_who_is_not_available_is_asked_again(serve):
    seen = []

    def at_last(x, context):
        seen.append(len(x))
        return (good if len(seen) > 1 else aborts(grpc.StatusCode.UNAVAILABLE))(x, context)

    assert ask(serve(at_last)[1], options=replace(QUICK, retries=1)).coverage == 1.0


def test_nobody_listens():
    assert "no connection" in ask("grpc://127.0.0.1:1/v2/models/m").reason


def test_the_token_is_sent_and_not_shown(serve):
    service, url = serve(aborts(grpc.StatusCode.INVALID_ARGUMENT, f"you said {TOKEN}"))
    reason = ask(url, options=replace(QUICK, token=TOKEN)).reason
    assert service.metadata[0]["authorization"] == f"Bearer {TOKEN}"
    assert "not shown" in reason
    assert TOKEN not in reason


def test_the_environment_does_not_lead_elsewhere(serve, monkeypatch):
    for name in ("http_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(serve(good)[1]).coverage == 1.0


def test_the_input_is_the_one_of_the_metadata(serve):
    service, url = serve(good)
    service.described.inputs.add(name="picture", datatype="FP32", shape=[-1, 4])
    with open_endpoint(url, QUICK) as endpoint:
        assert endpoint.answer(QueryProbe(inputs(2))).coverage == 1.0
        assert endpoint.input.name == "picture"
