"""The Open Inference Protocol over gRPC, with the messages that the protocol's working group publishes.

One channel to one target: no proxy of the environment, no configuration from the name service, no compression, no
retries but those of `pacing`. Every call has a deadline, every message a largest size.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import grpc  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from open_inference.grpc import protocol

from onnxfp.suspect.address import Address
from onnxfp.suspect.endpoint_options import EndpointOptions
from onnxfp.suspect.tls import tls_context, trusted
from onnxfp.suspect.v2 import (
    DTYPES,
    Description,
    InputFacts,
    Refused,
    Tensor,
    checked_count,
    checked_length,
    checked_name,
    checked_outputs,
    checked_shape,
    plain,
)
from onnxfp.suspect.v2_binary import from_raw, texts, to_raw
from onnxfp.suspect.v2_json import input_facts

_SERVICE = "/inference.GRPCInferenceService/"
_PARTS = 1024
"""At the top of a message: outputs, raw contents and parameters together."""
_FIELDS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "UINT64": "uint64_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


@final
@dataclass(frozen=True)
class GrpcWire:
    """Talks to one model over gRPC. Made by `open_grpc`."""

    address: Address
    options: EndpointOptions
    channel: Any

    def server(self, until: float) -> Description:
        """Ask the server about itself."""
        said = self._ask("ServerMetadata", protocol.ServerMetadataRequest(), protocol.ServerMetadataResponse, until)
        return Description(plain(f"{said.name} {said.version}", 60))

    def inputs(self, until: float) -> tuple[InputFacts, ...]:
        """Ask about the inputs of the model."""
        request = protocol.ModelMetadataRequest(name=self.address.model, version=self.address.version)
        said = self._ask("ModelMetadata", request, protocol.ModelMetadataResponse, until)
        found = [input_facts(one.name, one.datatype, list(one.shape[:8])) for one in said.inputs[:64]]
        return tuple(one for one in found if one is not None)

    def infer(self, asked: Tensor, until: float, *, binary: bool) -> tuple[Tensor, ...]:
        """Ask the model; tensors are always binary here."""
        request = protocol.ModelInferRequest(model_name=self.address.model, model_version=self.address.version)
        request.inputs.add(name=asked.name, datatype=asked.datatype, shape=asked.values.shape)
        request.raw_input_contents.append(to_raw(asked.values))
        return _outputs(self._ask("ModelInfer", request, protocol.ModelInferResponse, until), len(asked.values))

    def close(self) -> None:
        """Hang up."""
        self.channel.close()

    def _ask(self, method: str, request: Any, kind: Any, until: float) -> Any:
        call = self.channel.unary_unary(_SERVICE + method)  # bytes both ways: what is odd is found out here
        seconds = max(0.0, min(self.options.timeout_s, until - time.monotonic()))
        token = (("authorization", f"Bearer {self.options.token}"),) if self.options.token else ()
        try:
            said = call(request.SerializeToString(), timeout=seconds, metadata=token)
            if _crowded(said):
                raise Refused(f"the answer has more than {_PARTS} parts")
            return kind.FromString(said)
        except grpc.RpcError as problem:
            raise _refused(problem, self.options.timeout_s) from problem
        except (DecodeError, IndexError) as problem:
            raise Refused("the answer is not a message of the protocol") from problem


def open_grpc(address: Address, options: EndpointOptions) -> GrpcWire:
    """Prepare to talk to a model; nothing is sent yet.

    Raises:
        UsageError: the certificates cannot be read.
    """
    settings = [
        ("grpc.max_receive_message_length", options.response_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none but identity
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    target = f"dns:///{address.authority}"
    if not address.encrypted:
        return GrpcWire(address, options, grpc.insecure_channel(target, settings))
    tls_context(options.ca_file)  # says what is wrong with the file, which gRPC does not
    credentials = grpc.ssl_channel_credentials(trusted(options.ca_file))
    return GrpcWire(address, options, grpc.secure_channel(target, credentials, settings))


def _crowded(said: bytes) -> bool:
    """Whether a message has absurdly many parts: protobuf spends fifty bytes on what a stranger writes with two."""
    at = parts = 0
    while at < len(said) and parts <= _PARTS:
        tag, at = _varint(said, at)
        skipped, at = _varint(said, at) if tag & 7 in (0, 2) else (0, at)
        at += {1: 8, 2: skipped, 5: 4}.get(tag & 7, 0)
        parts += 1
    return parts > _PARTS


def _varint(said: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while said[at] & 0x80:
        value |= (said[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise DecodeError("a number of more than 64 bits")
    return value | said[at] << shift, at + 1


def _outputs(said: Any, samples: int) -> tuple[Tensor, ...]:
    checked_length(len(said.outputs))
    raw = said.raw_output_contents
    if raw and len(raw) != len(said.outputs):
        raise Refused(f"the answer has {len(said.outputs)} outputs and {len(raw)} contents")
    tensors = []
    for at, output in enumerate(said.outputs):
        shape = checked_shape(list(output.shape[:16]), samples)
        if raw:
            values = from_raw(output.datatype, shape, raw[at])
        else:
            values = _contents(output.datatype, shape, output.contents)
        tensors.append(Tensor(checked_name(output.name), values))
    return checked_outputs(tensors)


def _contents(datatype: str, shape: tuple[int, ...], contents: Any) -> npt.NDArray[Any]:
    if datatype == "BYTES":
        return texts(list(contents.bytes_contents), shape)
    if datatype not in _FIELDS:
        raise Refused("an output has a datatype that the protocol does not know, or that is only sent raw")
    said: Sequence[Any] = getattr(contents, _FIELDS[datatype])
    checked_count(shape, len(said))
    dtype = DTYPES[datatype]
    values = np.array(said, dtype=np.dtype(f"{dtype.kind}8") if dtype.kind in "ui" else dtype)
    if dtype.kind in "ui" and values.size and not _fits(values, dtype):
        raise Refused(f"an output holds integers that do not fit {dtype.name}")
    return values.astype(dtype).reshape(shape)


def _fits(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> bool:
    return bool(np.iinfo(dtype).min <= values.min() and values.max() <= np.iinfo(dtype).max)


def _broken(words: str) -> Refused:
    if any(hint in words for hint in ("Tls handshake failed", "verification check failed")):
        return Refused(f"its certificate is not trusted ({words}); give the right ca_file", unreachable=True)
    return Refused(f"no connection: {words}", unreachable=True, wait_s=0.0)


def _refused(problem: Any, timeout_s: float) -> Refused:
    code, words = problem.code(), plain(problem.details() or "", 200)
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return _broken(words)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Refused(f"no whole answer within {timeout_s:g} s", late=True)
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in words:
            return Refused(f"a message is too long: {words}", smaller=True)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Refused("it is asked too often (RESOURCE_EXHAUSTED)", wait_s=0.0)
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return Refused(f"it lets nobody in without a valid token ({code.name})")
    sizes = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    return Refused(f"{code.name}" + (f": {words}" if words else ""), smaller=code in sizes)
