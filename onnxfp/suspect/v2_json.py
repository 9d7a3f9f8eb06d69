"""V2 requests and answers as JSON, with or without tensors in binary behind it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.suspect.strict_json import parse_object
from onnxfp.suspect.v2 import (
    DTYPES,
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


@dataclass(frozen=True)
class Body:
    """A message: JSON, and after its first `json_bytes` bytes the tensors, if it is not all JSON."""

    content: bytes
    json_bytes: int | None = None


# --- what is sent -----------------------------------------------------------------------------------------------------


def encode(asked: Tensor, *, binary: bool) -> Body:
    """Write a request.

    Raises:
        Refused: it holds what JSON has no word for.
    """
    described: dict[str, Any] = {
        "name": asked.name,
        "shape": list(asked.values.shape),
        "datatype": asked.datatype,
    }
    if not binary:
        return Body(_written({"inputs": [described | _data(asked.values)]}))
    raw = to_raw(asked.values)
    described["parameters"] = {"binary_data_size": len(raw)}
    head = _written({"inputs": [described], "parameters": {"binary_data_output": True}})
    return Body(head + raw, len(head))


def _data(values: npt.NDArray[Any]) -> dict[str, Any]:
    if values.dtype.kind != "O":
        return {"data": values.ravel().tolist()}
    # JSON has no bytes; servers that take them in JSON take them like this
    coded = [base64.b64encode(one).decode("ascii") for one in values.ravel()]
    return {"data": coded, "parameters": {"content_type": "base64"}}


def _written(message: dict[str, Any]) -> bytes:
    try:
        return json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii")
    except ValueError as problem:
        raise Refused("not sent: the input holds NaN or an infinity, for which JSON has no word") from problem


# --- what comes back --------------------------------------------------------------------------------------------------


def decode(body: Body, samples: int) -> tuple[Tensor, ...]:
    """Read the outputs of an answer for `samples` inputs.

    Raises:
        Refused: it is not such an answer.
    """
    at = len(body.content) if body.json_bytes is None else body.json_bytes
    if not 0 < at <= len(body.content):
        raise Refused("the answer is shorter than its own header says")
    outputs = parse_object(body.content[:at]).get("outputs")
    if not isinstance(outputs, list):
        raise Refused("the answer has no list of outputs")
    checked_length(len(outputs))
    tensors = []
    for output in outputs:
        size = _binary_size(output)
        values = _values(output, samples, body.content[at : at + size] if size is not None else None)
        tensors.append(Tensor(checked_name(output.get("name")), values))
        at += size or 0
    if at != len(body.content):
        raise Refused("the answer is not as long as its outputs say")
    return checked_outputs(tensors)


def _binary_size(output: object) -> int | None:
    if not isinstance(output, dict):
        raise Refused("an output is not an object")
    parameters = output.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None and (type(size) is not int or size < 0):
        raise Refused("an output has a binary size that is not a natural number")
    return size


def _values(output: dict[str, Any], samples: int, raw: bytes | None) -> npt.NDArray[Any]:
    shape = checked_shape(output.get("shape"), samples)
    datatype = output.get("datatype")
    if not isinstance(datatype, str) or not (datatype in DTYPES or datatype in ("BYTES", "BF16")):
        raise Refused("an output has a datatype that the protocol does not know")
    if raw is not None:
        return from_raw(datatype, shape, raw)
    data = output.get("data")
    if not isinstance(data, list):
        raise Refused("an output has no list of data")
    flat = _flat(data, shape)
    checked_count(shape, len(flat))
    if datatype == "BYTES":
        return _texts(flat, shape)
    return _numbers(flat, DTYPES.get(datatype, DTYPES["FP32"])).reshape(shape)


def _flat(data: list[Any], shape: tuple[int, ...]) -> list[Any]:
    """Data may be flat, or nested as the shape says."""
    if not data or not isinstance(data[0], list):
        return data
    checked_count(shape[:1], len(data))
    for extent in shape[1:]:
        if any(not isinstance(part, list) or len(part) != extent for part in data):
            raise Refused(f"an output says shape {list(shape)} and is nested otherwise")
        data = list(chain.from_iterable(data))
    return data


def _texts(flat: list[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    if any(not isinstance(one, str) for one in flat):
        raise Refused("an output of text holds something else")
    return texts([one.encode("utf-8", "replace") for one in flat], shape)


def _numbers(flat: list[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    kinds = set(map(type, flat))
    allowed: set[type] = {"b": {bool, int}, "f": {int, float}}.get(dtype.kind, {int})
    if not kinds <= allowed:
        found = ", ".join(sorted(kind.__name__ for kind in kinds - allowed))
        raise Refused(f"an output of numbers holds {found}".replace("NoneType", "null"))
    if dtype.kind in "ui" and flat and not np.iinfo(dtype).min <= min(flat) <= max(flat) <= np.iinfo(dtype).max:
        raise Refused(f"an output holds integers that do not fit {dtype.name}")
    try:
        with np.errstate(over="ignore"):  # an infinity is no answer, and said so by whoever reads it
            return np.array(flat, dtype=np.float64 if dtype.kind == "f" else dtype).astype(dtype)
    except OverflowError as problem:
        raise Refused("an output holds a number that is too large") from problem


# --- what an endpoint says about itself -------------------------------------------------------------------------------


def server_name(body: bytes) -> tuple[str, bool]:
    """Read a server's name and version, and whether it takes binary tensors.

    Raises:
        Refused: it is not JSON.
    """
    said = parse_object(body)
    extensions = said.get("extensions")
    binary = isinstance(extensions, list) and "binary_tensor_data" in extensions
    words = [word for word in (said.get("name"), said.get("version")) if isinstance(word, str)]
    return plain(" ".join(words), limit=60), binary


def model_inputs(body: bytes) -> tuple[InputFacts, ...]:
    """Read what the metadata say about a model's inputs; what is missing or odd is left out.

    Raises:
        Refused: it is not JSON.
    """
    said = parse_object(body).get("inputs")
    found = [_input(one) for one in said[:64]] if isinstance(said, list) else []
    return tuple(one for one in found if one is not None)


def _input(said: object) -> InputFacts | None:
    if not isinstance(said, dict):
        return None
    name, datatype, shape = said.get("name"), said.get("datatype"), said.get("shape")
    return input_facts(name, datatype, shape if isinstance(shape, list) else [])


def input_facts(name: object, datatype: object, shape: list[Any]) -> InputFacts | None:
    """Return the facts about an input, or None if it has no name that can be sent back."""
    if not isinstance(name, str) or not 0 < len(name) <= 256 or not name.isprintable():
        return None
    extents = tuple(extent for extent in shape[:8] if type(extent) is int)
    return InputFacts(name, datatype if isinstance(datatype, str) and len(datatype) <= 8 else "", extents)
