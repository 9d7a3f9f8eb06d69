"""What is made of a stranger's bytes: outputs that fit the question, or a refusal, and nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from onnxfp.suspect.class_names import numbered
from onnxfp.suspect.heard import Heard
from onnxfp.suspect.outputs import Unreadable
from onnxfp.suspect.strict_json import parse_object
from onnxfp.suspect.v2 import DTYPES, Refused, Tensor
from onnxfp.suspect.v2_binary import from_raw, to_raw
from onnxfp.suspect.v2_json import Body, decode, encode, model_inputs, server_name

SAMPLES = 3

anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=6) | some.dictionaries(some.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
extent = some.integers(-1, 4) | some.integers() | anything
shapes = some.lists(extent, max_size=3) | some.just([SAMPLES, 2]) | some.just([SAMPLES]) | anything
datatypes = some.sampled_from([*DTYPES, "BYTES", "BF16", "FP12"]) | anything
numbers = some.lists(some.integers() | some.floats(), max_size=8)
nearly = some.fixed_dictionaries(
    {},
    optional={
        "name": some.text(max_size=4) | anything,
        "shape": shapes,
        "datatype": datatypes,
        "data": some.just([0] * 6) | some.just(["3"] * 3) | some.just([[1, 2]] * 3) | numbers | anything,
        "parameters": some.fixed_dictionaries({"binary_data_size": some.integers(-1, 30) | anything}) | anything,
    },
)
messages = some.fixed_dictionaries({"outputs": some.lists(nearly, max_size=3) | anything}) | anything


def fits(body: Body) -> bool:
    """Decode, and look at what is made of it; False when it is refused."""
    try:
        outputs = decode(body, SAMPLES)
    except Refused:
        return False
    assert len({output.name for output in outputs}) == len(outputs) > 0
    assert all(output.values.shape[0] == SAMPLES for output in outputs)
    heard = Heard(SAMPLES)
    try:
        heard.take(slice(0, SAMPLES), outputs)
    except Refused as refusal:
        heard.refuse(slice(0, SAMPLES), str(refusal))
    response = heard.response("", (), str)
    assert len(getattr(response, "values", range(SAMPLES))) == SAMPLES
    return True


@given(messages, some.binary(max_size=24), some.none() | some.integers(-3, 400))
def test_any_json_with_any_bytes_behind_it_is_outputs_or_refused(message, behind, at):
    head = json.dumps(message).encode()
    fits(Body(head + behind, at))
    fits(Body(head + behind, len(head)))


@given(some.binary(max_size=200))
def test_any_bytes_are_outputs_or_refused(content):
    assert not fits(Body(content)) or b"outputs" in content


@given(anything)
def test_any_json_about_a_server_or_a_model_is_read_or_refused(message):
    content = json.dumps(message).encode()
    for read in (server_name, model_inputs):
        try:
            read(content)
        except Refused:
            continue


@given(some.sampled_from([*DTYPES, "BYTES", "BF16", "odd"]), some.binary(max_size=64))
def test_any_bytes_of_a_tensor_are_values_or_refused(datatype, raw):
    try:
        assert from_raw(datatype, (2, 3), raw).shape == (2, 3)
    except Refused:
        return


def test_the_checks_above_see_answers():
    said = {"name": "y", "datatype": "FP32", "shape": [SAMPLES, 2], "data": [0.5] * 6}
    assert fits(Body(json.dumps({"outputs": [said]}).encode()))


# --- what goes out comes back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("datatype", DTYPES)
@pytest.mark.parametrize("binary", [False, True])
def test_every_datatype_survives_the_journey(datatype, binary):
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(DTYPES[datatype])
    assert sent_and_returned(Tensor("x", values), binary=binary).dtype == DTYPES[datatype]
    np.testing.assert_array_equal(sent_and_returned(Tensor("x", values), binary=binary), values)


def sent_and_returned(tensor: Tensor, *, binary: bool) -> np.ndarray:
    body = encode(tensor, binary=binary)
    head = json.loads(body.content[: body.json_bytes])
    head = json.dumps({"outputs": head["inputs"]}).encode()
    tail = body.content[body.json_bytes :] if binary else b""
    (returned,) = decode(Body(head + tail, len(head)), len(tensor.values))
    return returned.values


def test_float32_survives_json_exactly():
    values = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32)
    np.testing.assert_array_equal(sent_and_returned(Tensor("x", values), binary=False), values)


def test_files_travel_in_binary_with_their_lengths_and_in_json_as_base64():
    files = np.array([[b"\xff\xd8one"], [b"two"]], dtype=object)
    assert to_raw(files) == b"\x05\0\0\0\xff\xd8one\x03\0\0\0two"
    (said,) = json.loads(encode(Tensor("x", files), binary=False).content)["inputs"]
    assert (said["datatype"], said["shape"], said["data"]) == ("BYTES", [2, 1], ["/9hvbmU=", "dHdv"])
    assert said["parameters"] == {"content_type": "base64"}


def test_short_floats_of_the_brain_are_read():
    raw = np.array([1.5, -2.0, 3.0, np.inf], dtype=np.float32).view(np.uint32) >> 16
    np.testing.assert_array_equal(from_raw("BF16", (2, 2), raw.astype("<u2").tobytes()), [[1.5, -2.0], [3.0, np.inf]])


# --- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'"",', b"0,0,0,0,0,0,0,0,0,"])
def test_json_that_is_small_to_write_and_large_to_hold_is_refused(piece):
    with pytest.raises(Refused, match=r"more than .* times"):
        parse_object(b'{"x":[' + piece * 2**20 + b"0]}")


@pytest.mark.parametrize("words", [["cat", "dog", "cow"], ["1", "two", "3"], ["0.5:1", "2", "0.1:3"], ["", "", ""]])
def test_text_that_names_no_classes_by_number_is_unreadable(words):
    with pytest.raises(Unreadable, match="does not name classes by number"):
        numbered([Tensor("y", np.array(words, dtype=object))])


def test_text_beside_numbers_is_left_out():
    scores, words = Tensor("s", np.ones((2, 3))), Tensor("w", np.array(["cat", "dog"], dtype=object))
    assert [name for name, _ in numbered([words, scores])] == ["s"]


def test_long_text_is_refused():
    with pytest.raises(Refused, match="text of more than 1024 bytes"):
        from_raw("BYTES", (1,), to_raw(np.array([b"x" * 2000], dtype=object)))


def test_no_endpoint_fills_the_memory():
    heard, wide = Heard(16), np.broadcast_to(0.0, (8, 10_000))
    few, many = ([Tensor(f"{at}", wide) for at in range(count)] for count in (2, 2000))
    heard.take(slice(0, 8), few)
    with pytest.raises(Refused, match="larger than any classifier's"):
        heard.take(slice(8, 16), many)
