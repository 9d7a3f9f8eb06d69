"""Every element type in every storage reads as onnx reads it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from artifact_models import (
    REAL,
    fixed,
    floats,
    layered_model,
    model_bytes,
    save,
    tagged,
    tensor_bytes,
    varint,
    with_tensor,
)
from onnx import TensorProto, helper, numpy_helper

from onnxfp.artifact import open_artifact
from onnxfp.artifact.dtypes import DTYPES
from onnxfp.artifact.encode import encode
from onnxfp.errors import ArtifactError

NUMERIC = [code for code, dtype in DTYPES.items() if dtype.name not in ("string", "complex64", "complex128")]
SIZE = 77  # odd, so that sub-byte types end inside a byte


def raw_tensor(code: int, size: int = SIZE) -> TensorProto:
    dtype = DTYPES[code]
    data = np.random.default_rng(code).integers(0, 256, dtype.stored_bytes(size), dtype=np.uint8)
    if dtype.name == "bool":
        data &= 1
    if dtype.field == 4:  # a signalling NaN would not survive the list of Python floats in `typed_tensor`
        data = np.random.default_rng(code).standard_normal(len(data) // 4).astype("<f4").view(np.uint8)
    used = size * dtype.bits % 8
    if used:
        data[-1] &= (1 << used) - 1
    return TensorProto(name="w", dims=[size], data_type=code, raw_data=data.tobytes())


def expected(tensor: TensorProto) -> np.ndarray:
    with np.errstate(all="ignore"):
        return numpy_helper.to_array(tensor).astype(np.float32).reshape(-1)


def as_model(tensor: TensorProto) -> bytes:
    return with_tensor(tensor.SerializeToString())


def typed_tensor(code: int) -> TensorProto:
    """The tensor of `raw_tensor` in its typed field, as the standard says to store it."""
    dtype, raw = DTYPES[code], raw_tensor(code)
    kind = {4: "<f4", 10: "<f8"}.get(dtype.field) or {8: "<u1", 16: "<u2", 32: "<u4", 64: "<u8"}[max(8, dtype.bits)]
    if dtype.name in ("int8", "int16", "int32", "int64"):
        kind = kind.replace("u", "i")
    entries = np.frombuffer(raw.raw_data, kind)
    if dtype.bits == 6:
        bits = np.unpackbits(np.frombuffer(raw.raw_data, np.uint8), bitorder="little")[: SIZE * 6].reshape(-1, 6)
        entries = (bits << np.arange(6, dtype=np.uint8)).sum(axis=1)
    tensor = TensorProto(name="w", dims=[SIZE], data_type=code)
    field = {4: "float_data", 5: "int32_data", 7: "int64_data", 10: "double_data", 11: "uint64_data"}[dtype.field]
    getattr(tensor, field).extend(entries.tolist())
    return tensor


def test_the_table_holds_every_element_type_of_the_installed_standard():
    known = {code: name.lower() for name, code in TensorProto.DataType.items() if name != "UNDEFINED"}
    assert {code: dtype.name for code, dtype in DTYPES.items()} == known


@pytest.mark.parametrize("code", NUMERIC, ids=lambda code: DTYPES[code].name)
def test_raw_and_typed_data_read_as_onnx_reads_them(tmp_path, code):
    raw, typed = raw_tensor(code), typed_tensor(code)
    for tensor in (raw, typed):
        with open_artifact(save(tmp_path, as_model(tensor))) as artifact:
            record = artifact.tensor("w")
            np.testing.assert_array_equal(artifact.read(record), expected(tensor))
            assert b"".join(artifact.read_bytes(record)) == raw.raw_data


@pytest.mark.parametrize("code", NUMERIC, ids=lambda code: DTYPES[code].name)
def test_any_range_reads_as_a_slice_of_the_whole(tmp_path, code):
    for tensor in (raw_tensor(code), typed_tensor(code)):
        with open_artifact(save(tmp_path, as_model(tensor))) as artifact:
            record = artifact.tensor("w")
            whole = artifact.read(record)
            for start, stop in ((0, 0), (0, 1), (1, 2), (3, 70), (5, SIZE), (SIZE - 1, SIZE), (SIZE, SIZE)):
                np.testing.assert_array_equal(artifact.read(record, start, stop), whole[start:stop])


def test_half_precision_in_int32_data_reads_as_half_precision(tmp_path):
    values = floats(1, 40).astype(np.float16)
    tensor = TensorProto(name="w", dims=[40], data_type=TensorProto.FLOAT16)
    tensor.int32_data.extend(values.view(np.uint16).tolist())
    with open_artifact(save(tmp_path, as_model(tensor))) as artifact:
        assert not artifact.tensor("w").writable
        np.testing.assert_array_equal(artifact.read(artifact.tensor("w")), values.astype(np.float32))


def test_long_typed_fields_read_from_the_middle(tmp_path):
    values = np.random.default_rng(0).integers(-(1 << 62), 1 << 62, 50_000)
    tensor = TensorProto(name="w", dims=[50_000], data_type=TensorProto.INT64)
    tensor.int64_data.extend(values.tolist())
    with open_artifact(save(tmp_path, as_model(tensor))) as artifact:
        record = artifact.tensor("w")
        assert len(record.runs) > 1
        np.testing.assert_array_equal(artifact.read(record), values.astype(np.float32))
        np.testing.assert_array_equal(artifact.read(record, 31_000, 31_005), values[31_000:31_005].astype(np.float32))
        assert b"".join(artifact.read_bytes(record)) == values.tobytes()


def test_packed_and_unpacked_and_split_repeated_fields_read_alike(tmp_path):
    values = np.arange(6, dtype=np.float32) - 2
    pieces = [value.tobytes() for value in values]
    whole_numbers = [-3, 0, 7, 300, -70_000, 2**31 - 1]
    cases = {
        "floats packed in two pieces": (1, values, tagged(4, b"".join(pieces[:2])) + tagged(4, b"".join(pieces[2:]))),
        "floats unpacked": (1, values, b"".join(fixed(4, piece) for piece in pieces)),
        "floats mixed": (1, values, fixed(4, pieces[0]) + tagged(4, b"".join(pieces[1:5])) + fixed(4, pieces[5])),
        "integers unpacked": (6, whole_numbers, b"".join(tagged(5, number) for number in whole_numbers)),
        "integers mixed": (
            6,
            whole_numbers,
            tagged(5, varint(-3))
            + b"".join(tagged(5, n) for n in whole_numbers[1:4])
            + tagged(5, varint(-70_000))
            + tagged(5, 2**31 - 1),
        ),
    }
    overlong = b"\xd1\x80\x00"  # field 10, eight bytes, in three bytes instead of one
    cases["doubles with overlong tags"] = (11, values, b"".join(overlong + v.tobytes() for v in values.astype("<f8")))
    cases["integers with overlong tags"] = (6, whole_numbers, b"".join(b"\xa8\x00" + varint(n) for n in whole_numbers))
    for defect, (code, wanted, data) in cases.items():
        for dims in (tagged(1, 2) + tagged(1, 3), tagged(1, b"\x02\x03")):
            path = save(tmp_path, with_tensor(dims + tagged(2, code) + tagged(8, b"w") + data))
            onnx_says = numpy_helper.to_array(onnx.load(path).graph.initializer[0])
            with open_artifact(path) as artifact:
                record = artifact.tensor("w")
                assert record.shape == (2, 3)
                np.testing.assert_array_equal(artifact.read(record), np.array(wanted, np.float32), err_msg=defect)
                np.testing.assert_array_equal(artifact.read(record), onnx_says.astype(np.float32).reshape(-1))
                np.testing.assert_array_equal(artifact.read(record, 3, 5), np.array(wanted[3:5], np.float32))


def test_numbers_that_do_not_fit_their_type_are_refused(tmp_path):
    path = save(tmp_path, with_tensor(tensor_bytes("w", (1,), TensorProto.INT8, tagged(5, varint(300)))))
    with open_artifact(path) as artifact, pytest.raises(ArtifactError, match="expected int8 values, found 300"):
        artifact.read(artifact.tensor("w"))


@pytest.mark.parametrize("code", [TensorProto.COMPLEX64, TensorProto.COMPLEX128])
def test_complex_tensors_keep_their_bytes_but_are_no_weights(tmp_path, code):
    raw = raw_tensor(code)
    typed = TensorProto(name="w", dims=[SIZE], data_type=code)
    if code == TensorProto.COMPLEX64:
        typed.float_data.extend(np.frombuffer(raw.raw_data, "<f4").tolist())
    else:
        typed.double_data.extend(np.frombuffer(raw.raw_data, "<f8").tolist())
    bits = []
    for tensor in (raw, typed):
        with open_artifact(save(tmp_path, as_model(tensor))) as artifact:
            bits.append(b"".join(artifact.read_bytes(artifact.tensor("w"))))
            with pytest.raises(ArtifactError, match="expected real numbers"):
                artifact.read(artifact.tensor("w"))
    assert len(bits[0]) == len(bits[1]) == len(raw.raw_data)


def test_strings_are_listed_and_not_read_as_numbers(tmp_path):
    tensor = helper.make_tensor("w", TensorProto.STRING, [2], [b"a", b"\xff\x01"])
    with open_artifact(save(tmp_path, as_model(tensor))) as artifact:
        record = artifact.tensor("w")
        assert (record.dtype, record.size) == ("string", 2)
        assert b"".join(artifact.read_bytes(record)).endswith(b"a" + (2).to_bytes(8, "little") + b"\xff\x01")
        with pytest.raises(ArtifactError, match="found strings"):
            artifact.read(record)


def test_tensors_of_every_place_are_found_under_scoped_names(tmp_path):
    with open_artifact(save(tmp_path, layered_model())) as artifact:
        names = {record.name: record.shape for record in artifact.tensors}
        assert names == {
            "linear": (32, 32),
            "outer": (32, 32),
            "sparse": (3,),
            "sparse#indices": (3,),
            "cond": (),
            "list": (3,),
            "#3.then_branch/bias": (32,),
            "#3.then_branch/k": (32, 32),
            "#3.else_branch/k": (32, 32),
        }
        np.testing.assert_array_equal(artifact.read(artifact.tensor("#3.else_branch/k")), floats(5, 32, 32).ravel())
        np.testing.assert_array_equal(artifact.read(artifact.tensor("#3.then_branch/k")), floats(3, 32, 32).ravel())
        np.testing.assert_array_equal(artifact.read(artifact.tensor("outer")), floats(6, 1024))
        np.testing.assert_array_equal(artifact.read(artifact.tensor("list")), [1.5, 2.5, -3.0])
        assert artifact.tensor("sparse").sparse_shape == (3, 3)
        assert artifact.read(artifact.tensor("cond")).tolist() == [1.0]


def test_attributes_are_read_when_asked_for(tmp_path):
    node = helper.make_node(
        "Any", ["x"], ["y"], i=-3, f=0.5, s="text", ints=[1, -2], floats=[1.0, 2.5], strings=["a", "b"]
    )
    graph = helper.make_graph([node], "g", [], [])
    with open_artifact(save(tmp_path, helper.make_model(graph, ir_version=10))) as artifact:
        assert artifact.attributes(artifact.graph.nodes[0]) == {
            "i": -3,
            "f": 0.5,
            "s": b"text",
            "ints": (1, -2),
            "floats": (1.0, 2.5),
            "strings": (b"a", b"b"),
        }


@pytest.mark.parametrize("code", [1, 10, 16])
def test_written_values_are_rounded_to_the_nearest_even_and_stay_finite(code):
    import ml_dtypes

    kind = {1: np.float32, 10: np.float16, 16: ml_dtypes.bfloat16}[code]
    bits = np.random.default_rng(2).integers(0, 1 << 32, 200_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = np.append(values[np.isfinite(values)], np.float32([0, -0.0, 65504, 65519, 65520, 1e30, -1e30, 6e-8, 3e-8]))
    largest = float(ml_dtypes.finfo(kind).max)
    with np.errstate(over="ignore"):
        wanted = values.astype(kind).astype(np.float32)
    wanted = np.clip(wanted, -largest, largest)
    written = np.frombuffer(encode(values, DTYPES[code].name), kind).astype(np.float32)
    np.testing.assert_array_equal(written, wanted)


@pytest.mark.skipif(not REAL, reason="the shared real models are not beside this checkout")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_models_read_as_onnx_reads_them(path):
    model = onnx.load(path)
    constants = {
        n.output[0]: a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute if a.HasField("t")
    }
    with open_artifact(path) as artifact:
        for name, tensor in {**constants, **{t.name: t for t in model.graph.initializer}}.items():
            record = artifact.tensor(name)
            array = numpy_helper.to_array(tensor)
            assert record.shape == array.shape
            np.testing.assert_array_equal(artifact.read(record), array.astype(np.float32).reshape(-1))
            assert b"".join(artifact.read_bytes(record)) == array.tobytes()
        assert len([n for n in artifact.graph.nodes if not n.scope]) == len(model.graph.node)
        assert dict(artifact.graph.opsets) == {i.domain: i.version for i in model.opset_import}


def test_an_empty_graph_is_a_model_without_tensors(tmp_path):
    with open_artifact(save(tmp_path, model_bytes())) as artifact:
        assert artifact.tensors == ()
