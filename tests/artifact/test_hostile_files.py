"""Damaged and hostile files: each is refused with one line of our own error family."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from artifact_models import (
    fixed,
    floats,
    make_model,
    matmul_model,
    model_bytes,
    save,
    save_external,
    tagged,
    tensor_bytes,
    varint,
    with_tensor,
)
from onnx import helper, numpy_helper

from onnxfp.artifact import carriers, open_artifact, weight_digest
from onnxfp.errors import ArtifactError, OnnxfpError, UnsafePath

RAW8 = tagged(9, bytes(8))
HUGE = 1 << 40


def nested(depth: int) -> bytes:
    graph = b""
    for _ in range(depth):
        graph = tagged(1, tagged(4, b"If") + tagged(5, tagged(1, b"then_branch") + tagged(6, graph)))
    return model_bytes(graph)


def external_entry(key: str, value: str) -> bytes:
    return tagged(13, tagged(1, key.encode()) + tagged(2, value.encode()))


HOSTILE = {
    "empty file": b"",
    "text": b"Dear reader, this is no model.\n" * 20,
    "zeros": bytes(1000),
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x01a\x94K\x01s.",
    "no graph": tagged(1, 10),
    "no IR version": tagged(7, b""),
    "IR version of 63 bits": tagged(1, 1 << 62) + tagged(7, b""),
    "graph twice": tagged(1, 10) + tagged(7, b"") + tagged(7, b""),
    "graph as a number": tagged(1, 10) + tagged(7, 3),
    "truncated in the graph": model_bytes(tagged(5, tensor_bytes("w", (2,), 1, RAW8)))[:-4],
    "length past the end": tagged(1, 10) + varint(7 << 3 | 2) + varint(HUGE),
    "length that overflows": tagged(1, 10) + varint(7 << 3 | 2) + b"\xff" * 9 + b"\x01",
    "varint of eleven bytes": tagged(1, 10) + b"\x38" + b"\x80" * 10 + b"\x01",
    "varint past 64 bits": b"\x08" + b"\xff" * 9 + b"\x7f" + tagged(7, b""),
    "field number 0": tagged(1, 10) + tagged(7, b"") + b"\x02\x01a",
    "group wire type": tagged(1, 10) + tagged(7, b"\x0b\x0c"),
    "child longer than its parent": tagged(1, 10) + tagged(7, b"\x2a\x7f\x08\x01") + bytes(200),
    "17 nested graphs": nested(17),
    "3000 nested graphs": nested(3000),
    "negative dim": with_tensor(tensor_bytes("w", (-1,), 1, RAW8)),
    "huge dims": with_tensor(tensor_bytes("w", (HUGE, HUGE), 1, RAW8)),
    "huge dims beside a zero": with_tensor(tensor_bytes("w", (HUGE, HUGE, 0), 1)),
    "65 dims": with_tensor(tensor_bytes("w", (1,) * 65, 1, b"")),
    "a million packed dims": with_tensor(tagged(1, b"\x01" * 1_000_000) + tagged(2, 1) + tagged(8, b"w")),
    "dims as text": with_tensor(fixed(1, bytes(4)) + tagged(2, 1) + tagged(8, b"w")),
    "too few raw bytes": with_tensor(tensor_bytes("w", (3,), 1, RAW8)),
    "too many raw bytes": with_tensor(tensor_bytes("w", (1,), 1, RAW8)),
    "raw data twice": with_tensor(tensor_bytes("w", (2,), 1, RAW8, RAW8)),
    "raw and typed data": with_tensor(tensor_bytes("w", (2,), 1, RAW8, tagged(4, bytes(8)))),
    "two typed fields": with_tensor(tensor_bytes("w", (2,), 1, tagged(4, bytes(8)), tagged(5, bytes(2)))),
    "the wrong typed field": with_tensor(tensor_bytes("w", (2,), 1, tagged(5, bytes(2)))),
    "no data": with_tensor(tensor_bytes("w", (2,), 1)),
    "half a float": with_tensor(tensor_bytes("w", (2,), 1, tagged(4, bytes(7)))),
    "a double among floats": with_tensor(tensor_bytes("w", (1,), 1, fixed(4, bytes(8)))),
    "a typed varint that does not end": with_tensor(tensor_bytes("w", (1,), 6, tagged(5, b"\x01\x80"))),
    "a typed varint of 11 bytes": with_tensor(tensor_bytes("w", (1,), 6, tagged(5, b"\x80" * 10 + b"\x01"))),
    "only continuation bytes": with_tensor(tensor_bytes("w", (1,), 6, tagged(5, b"\x80" * 200_000))),
    "raw strings": with_tensor(tensor_bytes("w", (1,), 8, RAW8)),
    "an unknown element type": with_tensor(tensor_bytes("w", (2,), 99, RAW8)),
    "no element type": with_tensor(tagged(1, 2) + tagged(8, b"w") + RAW8),
    "no tensor name": with_tensor(tagged(1, 2) + tagged(2, 1) + RAW8),
    "a tensor named twice": with_tensor(tensor_bytes("w", (2,), 1, RAW8, tagged(8, b"v"))),
    "a segment": with_tensor(tensor_bytes("w", (2,), 1, RAW8, tagged(3, tagged(1, 0)))),
    "two tensors of one name": model_bytes(*[tagged(5, tensor_bytes("w", (2,), 1, RAW8))] * 2),
    "a node without operator": model_bytes(tagged(1, tagged(1, b"x"))),
    "an operator twice": model_bytes(tagged(1, tagged(4, b"Conv") + tagged(4, b"Gemm"))),
    "node as a number": model_bytes(tagged(1, 5)),
    "sparse without indices": model_bytes(tagged(15, tagged(1, tensor_bytes("s", (2,), 1, RAW8)))),
    "sparse indices of another length": model_bytes(
        tagged(15, tagged(1, tensor_bytes("s", (2,), 1, RAW8)) + tagged(2, tensor_bytes("", (1,), 7, RAW8)))
    ),
    "empty tensors by the million": model_bytes(tagged(5, b"") * 1_000_000),
    "empty nodes by the million": model_bytes(tagged(1, tagged(4, b"A")) * 1_000_000),
    "a tensor in a million pieces": with_tensor(
        tensor_bytes("w", (300_000,), 1, (tagged(4, bytes(4)) + fixed(4, bytes(4))) * 150_000)
    ),
    "external without location": with_tensor(tensor_bytes("w", (2,), 1, tagged(14, 1))),
    "external and raw": with_tensor(tensor_bytes("w", (2,), 1, RAW8, tagged(14, 1), external_entry("location", "d"))),
    "external strings": with_tensor(tensor_bytes("w", (0,), 8, tagged(14, 1), external_entry("location", "d"))),
    "external location twice": with_tensor(
        tensor_bytes("w", (2,), 1, tagged(14, 1), external_entry("location", "d"), external_entry("location", "e"))
    ),
    "external missing file": with_tensor(tensor_bytes("w", (2,), 1, tagged(14, 1), external_entry("location", "none"))),
}


@pytest.mark.parametrize("defect", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(tmp_path, defect):
    path = save(tmp_path, HOSTILE[defect])
    with pytest.raises(ArtifactError) as caught, open_artifact(path) as artifact:
        weight_digest(artifact)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    assert "expected" in message
    assert "; " in message  # what was found, and what to do


def test_the_table_of_hostile_files_can_fail(tmp_path):
    for harmless in (model_bytes(), with_tensor(tensor_bytes("w", (2,), 1, RAW8)), nested(16)):
        with open_artifact(save(tmp_path, harmless)) as artifact:
            weight_digest(artifact)


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "null byte", "device"])
def test_what_is_no_file_is_refused(tmp_path, kind):
    path = tmp_path / "m.onnx"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "null byte":
        path = tmp_path / "m\0.onnx"
    elif kind == "device":
        path = path.__class__("/dev/zero")
    with pytest.raises(ArtifactError, match=r"expected a (readable ONNX|regular) file"):
        open_artifact(path)


def test_names_with_control_characters_are_escaped_in_messages(tmp_path):
    name = "w\x1b[31m\n\u202e"
    path = save(tmp_path, with_tensor(tensor_bytes(name, (3,), 1, RAW8)))
    with pytest.raises(ArtifactError) as caught:
        open_artifact(path)
    assert str(caught.value).isprintable()


def test_names_that_are_not_utf8_are_kept_as_escapes(tmp_path):
    tensor = tagged(1, 2) + tagged(2, 1) + tagged(8, b"w\xff\xfe") + RAW8
    with open_artifact(save(tmp_path, with_tensor(tensor))) as artifact:
        assert artifact.tensors[0].name == "w\\xff\\xfe"


def test_a_file_that_shrinks_while_being_read_is_an_error_and_no_crash(tmp_path):
    path = save(tmp_path, matmul_model(floats(0, 64, 64)))
    with open_artifact(path) as artifact:
        os.truncate(path, 3000)
        with pytest.raises(ArtifactError, match="shrank"):
            artifact.read(artifact.tensor("w"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_reference_with_weights_that_are_not_finite_is_refused_by_name(tmp_path, bad):
    weight = floats(0, 64, 64)
    weight[3, 4] = bad
    with open_artifact(save(tmp_path, matmul_model(weight, "fc"))) as artifact:
        with pytest.raises(ArtifactError, match=r"'fc'.*finite"):
            carriers(artifact)
        assert 0.8 < carriers(artifact, finite=False)[0].spread < 1.2


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../m.data", "a/../../m.data", "..", ".", "", "a\\b", "C:/x", "a\0b", "dir/", "./"],
)
def test_a_location_that_leaves_the_folder_is_unsafe(tmp_path, location):
    (tmp_path / "m.data").write_bytes(bytes(8))
    inner = tmp_path / "inner"
    inner.mkdir()
    entry = external_entry("location", location)
    for allow_links in (False, True):
        with pytest.raises(UnsafePath, match="relative path inside"):
            open_artifact(
                save(inner, with_tensor(tensor_bytes("w", (2,), 1, tagged(14, 1), entry))), allow_links=allow_links
            )


def external_model(tmp_path):
    return save_external(tmp_path / "model", matmul_model(floats(0, 64, 64)))


def test_external_data_through_links_is_refused_unless_allowed(tmp_path):
    path = external_model(tmp_path)
    data = path.parent / "m.data"
    os.link(data, path.parent / "second")
    with pytest.raises(UnsafePath, match="2 hard links"):
        open_artifact(path)
    open_artifact(path, allow_links=True).close()
    data.unlink()
    data.symlink_to("second")
    with pytest.raises(UnsafePath, match="symbolic link"):
        open_artifact(path)
    with open_artifact(path, allow_links=True) as artifact:
        assert artifact.read(artifact.tensor("w"), 0, 1)[0] == floats(0, 64, 64)[0, 0]


def test_links_out_of_the_folder_are_never_followed(tmp_path):
    path = external_model(tmp_path)
    data = path.parent / "m.data"
    data.rename(tmp_path / "outside")
    data.symlink_to("../outside")
    for allow_links in (False, True):
        with pytest.raises(UnsafePath):
            open_artifact(path, allow_links=allow_links)


def test_a_folder_on_the_way_that_is_a_link_is_refused(tmp_path):
    path = tmp_path / "model" / "m.onnx"
    (tmp_path / "model" / "data").mkdir(parents=True)
    save_external(path.parent, matmul_model(floats(0, 64, 64)), "data/w")
    open_artifact(path).close()
    (path.parent / "data").rename(tmp_path / "elsewhere")
    (path.parent / "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePath, match="symbolic link"):
        open_artifact(path)


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_external_data_must_be_a_regular_file(tmp_path, kind):
    path = external_model(tmp_path)
    data = path.parent / "m.data"
    data.unlink()
    os.mkfifo(data) if kind == "fifo" else data.mkdir()
    with pytest.raises(UnsafePath, match="pipe or device"):
        open_artifact(path)


EXTERNAL = {
    "offset past the end": ("offset", "16380"),
    "offset of twenty digits": ("offset", "1" * 20),
    "negative offset": ("offset", "-4"),
    "offset in hexadecimal": ("offset", "0x10"),
    "offset in other digits": ("offset", "\u0661"),
    "length too short": ("length", "4"),
    "length too long": ("length", "16388"),
    "empty length": ("length", ""),
}


@pytest.mark.parametrize("defect", EXTERNAL)
def test_external_bounds_are_checked(tmp_path, defect):
    (tmp_path / "d").write_bytes(bytes(64 * 64 * 4))
    entries = external_entry("location", "d") + external_entry(*EXTERNAL[defect])
    with pytest.raises(ArtifactError):
        open_artifact(save(tmp_path, with_tensor(tensor_bytes("w", (64, 64), 1, tagged(14, 1), entries))))


def external_tensor(name: str, offset: int, size: int, location: str = "d") -> bytes:
    entries = external_entry("location", location) + external_entry("offset", str(offset))
    return tagged(5, tensor_bytes(name, (size,), 1, tagged(14, 1), entries))


def test_tensors_that_overlap_in_part_are_refused_and_equal_ones_are_not_written(tmp_path):
    (tmp_path / "d").write_bytes(bytes(100))
    with pytest.raises(ArtifactError, match="overlap at byte 8"):
        open_artifact(save(tmp_path, model_bytes(external_tensor("a", 0, 4), external_tensor("b", 8, 4))))
    tied = model_bytes(external_tensor("a", 0, 4), external_tensor("b", 0, 4), external_tensor("c", 16, 4))
    with open_artifact(save(tmp_path, tied)) as artifact:
        assert [record.writable for record in artifact.tensors] == [False, False, True]
        assert artifact.orphan_bytes == 100 - 32


def test_external_bytes_named_over_and_over_are_refused(tmp_path):
    (tmp_path / "d").write_bytes(bytes(16))
    with pytest.raises(ArtifactError, match="80 declared over 16 present"):
        open_artifact(save(tmp_path, model_bytes(*[external_tensor(f"t{i}", 0, 4) for i in range(5)])))
    open_artifact(save(tmp_path, model_bytes(*[external_tensor(f"t{i}", 0, 4) for i in range(4)]))).close()


def test_many_functions_inputs_and_calls_do_not_make_the_search_quadratic(tmp_path):
    many = 20_000
    formals = b"".join(tagged(4, b"f%d" % i) for i in range(many))
    uses = b"".join(tagged(7, tagged(4, b"MatMul") + tagged(1, b"f%d" % i)) for i in range(many))
    function = tagged(25, tagged(1, b"F") + tagged(10, b"d") + formals + uses)
    call = tagged(1, tagged(4, b"F") + tagged(7, b"d") + tagged(1, b"x"))
    path = save(tmp_path, model_bytes(call * many, extra=function))
    begun = time.process_time()
    with open_artifact(path) as artifact:
        assert carriers(artifact) == ()
    assert time.process_time() - begun < 5


def test_external_data_in_the_model_file_itself_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="found the model itself"):
        open_artifact(save(tmp_path, model_bytes(external_tensor("a", 0, 4, "m.onnx"))))


def test_many_external_files_need_few_descriptors(tmp_path):
    for index in range(200):
        (tmp_path / f"d{index}").write_bytes(np.float32([index]).tobytes())
    path = save(tmp_path, model_bytes(*[external_tensor(f"t{i}", 0, 1, f"d{i}") for i in range(200)]))
    with open_artifact(path) as artifact:
        assert [artifact.read(record)[0] for record in artifact.tensors] == list(range(200))
        assert len(os.listdir("/proc/self/fd")) < 120
        (tmp_path / "d0").unlink()
        (tmp_path / "d0").write_bytes(np.float32([7]).tobytes())
        with pytest.raises(OnnxfpError, match="found another file"):
            artifact.read(artifact.tensor("t0"))


def test_cyclic_and_branching_views_do_not_hang_the_search_for_weights(tmp_path):
    nodes = [helper.make_node("Concat", [f"c{i}", f"c{i}"], [f"c{i + 1}"], axis=0) for i in range(60)]
    nodes += [helper.make_node("Identity", ["p"], ["q"]), helper.make_node("Identity", ["q"], ["p"])]
    nodes += [helper.make_node("MatMul", ["c40", "p"], ["y"])]
    model = make_model(nodes, [numpy_helper.from_array(floats(0, 32, 32), "c0")])
    with open_artifact(save(tmp_path, model)) as artifact:
        assert [carrier.name for carrier in carriers(artifact)] == ["c0"]
