"""A patched copy: the weights asked for, every other byte the same, and nothing left behind when it fails."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx
import pytest
from artifact_models import REAL, floats, layered_model, make_model, matmul_model, save, save_external
from onnx import TensorProto, helper, numpy_helper

from onnxfp.artifact import (
    Patch,
    carriers,
    copy_artifact,
    open_artifact,
    staged_copy,
    staging,
    weight_digest,
    write_patched,
)
from onnxfp.errors import ArtifactError, UsageError

WEIGHT = floats(0, 64, 64)


@pytest.fixture
def inline(tmp_path):
    (tmp_path / "source").mkdir()
    return save(tmp_path / "source", matmul_model(WEIGHT))


@pytest.fixture
def external(tmp_path):
    return save_external(tmp_path / "source", matmul_model(WEIGHT), "data/weights.bin")


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def differing(first: bytes, second: bytes) -> np.ndarray:
    assert len(first) == len(second)
    return np.flatnonzero(np.frombuffer(first, np.uint8) != np.frombuffer(second, np.uint8))


@pytest.mark.parametrize("code", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_only_the_patched_bytes_differ(tmp_path, code):
    kind = {1: np.float32, 10: np.float16, 16: ml_dtypes.bfloat16}[code]
    raw = WEIGHT.astype(kind)
    tensor = TensorProto(name="w", dims=[64, 64], data_type=code, raw_data=raw.tobytes())
    path = save(tmp_path, make_model([helper.make_node("MatMul", ["x", "w"], ["y"])], [tensor]))
    with open_artifact(path) as artifact:
        write_patched(artifact, tmp_path / "o.onnx", [Patch("w", 100, floats(1, 50)), Patch("w", 4000, floats(2, 96))])
        run = artifact.tensor("w").runs[0]
    width = np.dtype(kind).itemsize
    places = differing(path.read_bytes(), (tmp_path / "o.onnx").read_bytes())
    elements = set(((places - run.offset) // width).tolist())
    assert elements <= {*range(100, 150), *range(4000, 4096)}
    assert len(elements) > 140
    got = numpy_helper.to_array(onnx.load(tmp_path / "o.onnx").graph.initializer[0]).astype(np.float32).ravel()
    np.testing.assert_array_equal(got[100:150], floats(1, 50).astype(kind).astype(np.float32))
    np.testing.assert_array_equal(got[4000:], floats(2, 96).astype(kind).astype(np.float32))


def test_weights_in_subgraphs_constants_and_packed_float_data_are_patched(tmp_path):
    path = save(tmp_path, layered_model())
    with open_artifact(path) as artifact:
        found = carriers(artifact)
        write_patched(artifact, tmp_path / "o.onnx", [Patch(c.name, 7, np.float32([1.25, -2.5])) for c in found])
    with open_artifact(tmp_path / "o.onnx") as copy:
        assert len(found) == 4
        for carrier in found:
            assert copy.read(copy.tensor(carrier.name), 7, 9).tolist() == [1.25, -2.5]
    assert len(differing(path.read_bytes(), (tmp_path / "o.onnx").read_bytes())) <= 8 * len(found)


def test_external_data_are_copied_and_patched_under_the_same_name(external, out):
    (external.parent / "data" / "weights.bin").chmod(0o640)
    with open_artifact(external) as artifact:
        write_patched(artifact, out / "copy.onnx", [Patch("w", 10, floats(1, 5))])
    assert files(out) == ["copy.onnx", "data", "data/weights.bin"]
    assert (out / "copy.onnx").read_bytes() == external.read_bytes()
    assert stat.S_IMODE((out / "data" / "weights.bin").stat().st_mode) == 0o640
    before, after = ((folder / "data" / "weights.bin").read_bytes() for folder in (external.parent, out))
    assert set(differing(before, after) // 4) <= set(range(10, 15))
    np.testing.assert_array_equal(
        numpy_helper.to_array(onnx.load(out / "copy.onnx").graph.initializer[0]).ravel()[10:15], floats(1, 5)
    )


def test_the_file_mode_is_kept(inline, out):
    inline.chmod(0o604)
    with open_artifact(inline) as artifact:
        copy_artifact(artifact, out / "o.onnx")
    assert stat.S_IMODE((out / "o.onnx").stat().st_mode) == 0o604
    assert (out / "o.onnx").read_bytes() == inline.read_bytes()
    assert (out / "o.onnx").stat().st_nlink == 1


@pytest.mark.parametrize("make", ["inline", "external"])
def test_an_existing_destination_is_replaced_only_by_force(make, request, out):
    source = request.getfixturevalue(make)
    (out / "o.onnx").write_bytes(b"precious")
    with open_artifact(source) as artifact:
        with pytest.raises(UsageError, match="--force"):
            copy_artifact(artifact, out / "o.onnx")
        assert files(out) == ["o.onnx"]
        assert (out / "o.onnx").read_bytes() == b"precious"
        copy_artifact(artifact, out / "o.onnx", force=True)
    with open_artifact(out / "o.onnx") as copy:
        np.testing.assert_array_equal(copy.read(copy.tensor("w")), WEIGHT.ravel())


def marked(source, destination, seed, *, force=True):
    with open_artifact(source) as artifact:
        write_patched(artifact, destination, [Patch("w", 0, floats(seed, 4))], force=force)


def first_values(path):
    with open_artifact(path) as copy:
        return copy.read(copy.tensor("w"), 0, 4).tolist()


def test_external_data_of_another_copy_are_never_replaced(external, out):
    marked(external, out / "a.onnx", 1)
    for name, force in (("b.onnx", True), ("b.onnx", False), ("a.onnx", False)):
        with pytest.raises(UsageError, match="folder of its own") as caught:
            marked(external, out / name, 2, force=force)
        assert "--force" not in str(caught.value)
    assert files(out) == ["a.onnx", "data", "data/weights.bin"]
    assert first_values(out / "a.onnx") == floats(1, 4).tolist()


def test_a_copy_and_its_own_external_data_are_replaced_by_force(external, out):
    marked(external, out / "a.onnx", 1)
    save(out, matmul_model(WEIGHT), "other.onnx")
    marked(external, out / "a.onnx", 2)
    assert first_values(out / "a.onnx") == floats(2, 4).tolist()
    (out / "b.onnx").write_bytes((out / "a.onnx").read_bytes())
    with pytest.raises(UsageError, match="another model"):
        marked(external, out / "a.onnx", 3)
    (out / "b.onnx").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="another model"):
        marked(external, out / "a.onnx", 3)
    assert first_values(out / "a.onnx") == floats(2, 4).tolist()


def test_external_data_of_nobody_are_not_replaced_unless_they_are_the_same(external, out):
    (out / "data").mkdir()
    (out / "data" / "weights.bin").write_bytes(b"precious")
    with open_artifact(external) as artifact:
        for force in (False, True):
            with pytest.raises(UsageError, match="folder of its own"):
                copy_artifact(artifact, out / "o.onnx", force=force)
        assert files(out) == ["data", "data/weights.bin"]
        (out / "data" / "weights.bin").write_bytes((external.parent / "data" / "weights.bin").read_bytes())
        copy_artifact(artifact, out / "o.onnx", force=True)  # what an interrupted copy left is completed
    assert files(out) == ["data", "data/weights.bin", "o.onnx"]


@pytest.mark.parametrize("appears_late", [False, True])
def test_of_two_copies_under_way_in_one_folder_the_second_is_refused(external, out, monkeypatch, appears_late):
    with (
        open_artifact(external) as artifact,
        staged_copy(artifact, out / "a.onnx", force=True) as first,
        staged_copy(artifact, out / "b.onnx", force=True) as second,
    ):
        first.patch("w", 0, floats(1, 4))
        second.patch("w", 0, floats(2, 4))
        if appears_late:  # between the second's last look and its publishing
            looked = second._replaced()
            monkeypatch.setattr(second, "_replaced", lambda: looked)
        first.commit()
        with pytest.raises(UsageError, match=r"folder of its own|File exists"):
            second.commit()
    assert files(out) == ["a.onnx", "data", "data/weights.bin"]
    assert first_values(out / "a.onnx") == floats(1, 4).tolist()


@pytest.mark.parametrize("force", [False, True])
def test_the_source_is_never_written_over(inline, external, out, force):
    before = inline.read_bytes()
    (out / "alias.onnx").symlink_to(inline)
    with open_artifact(inline) as artifact:
        for target in (inline, out / "alias.onnx"):
            with pytest.raises(UsageError):
                copy_artifact(artifact, target, force=force)
    with open_artifact(external) as artifact, pytest.raises(UsageError, match="another folder"):
        copy_artifact(artifact, external.parent / "copy.onnx", force=force)
    assert inline.read_bytes() == before


def test_a_destination_that_cannot_be_is_refused_in_one_line(inline, out):
    (out / "folder").mkdir()
    os.mkfifo(out / "fifo")
    with open_artifact(inline) as artifact:
        for target in (out / "none" / "o.onnx", out / "folder", out / "fifo", out / ("n" * 300), out / "a\0b"):
            with pytest.raises(UsageError) as caught:
                copy_artifact(artifact, target, force=True)
            assert str(caught.value).isprintable()
    assert files(out) == ["fifo", "folder"]


def test_a_model_cannot_take_the_name_of_its_own_data(tmp_path, out):
    path = save_external(tmp_path / "source", matmul_model(WEIGHT), "w.bin")
    with open_artifact(path) as artifact, pytest.raises(UsageError, match="name of its own"):
        copy_artifact(artifact, out / "w.bin")


def test_a_folder_for_data_that_is_a_link_is_refused(external, out, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (out / "data").symlink_to(tmp_path / "elsewhere")
    with open_artifact(external) as artifact, pytest.raises(UsageError, match="found a link"):
        copy_artifact(artifact, out / "o.onnx")
    assert files(tmp_path / "elsewhere") == []
    assert files(out) == ["data"]


@pytest.mark.parametrize("make", ["inline", "external"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, UsageError])
def test_a_failure_while_patching_leaves_nothing(make, error, request, out):
    def patches():
        yield Patch("w", 0, floats(1, 8))
        raise error

    with open_artifact(request.getfixturevalue(make)) as artifact, pytest.raises(error):
        write_patched(artifact, out / "o.onnx", patches())
    assert files(out) == []


@pytest.mark.parametrize("make", ["inline", "external"])
@pytest.mark.parametrize("call", ["copy_file_range", "pwrite", "fsync", "link"])
def test_a_full_disk_leaves_nothing(make, call, request, out, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with open_artifact(request.getfixturevalue(make)) as artifact, pytest.raises(UsageError, match="No space left"):
        write_patched(artifact, out / "o.onnx", [Patch("w", 0, floats(1, 8))])
    assert files(out) == []


def test_a_failure_after_the_data_appeared_takes_them_back(external, out, monkeypatch):
    real, calls = os.link, []

    def second_fails(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    monkeypatch.setattr(os, "link", second_fails)
    with open_artifact(external) as artifact, pytest.raises(UsageError):
        copy_artifact(artifact, out / "o.onnx")
    assert files(out) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_refused(inline, out):
    out.chmod(0o500)
    with open_artifact(inline) as artifact, pytest.raises(UsageError, match="Permission"):
        copy_artifact(artifact, out / "o.onnx")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EINVAL, errno.ENOSYS])
def test_without_kernel_copies_or_links_the_copy_is_the_same(external, out, monkeypatch, code):
    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    def no_links(*args, **kwargs):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    monkeypatch.setattr(os, "link", no_links)
    with open_artifact(external) as artifact:
        copy_artifact(artifact, out / "o.onnx")
    assert (out / "data" / "weights.bin").read_bytes() == (external.parent / "data" / "weights.bin").read_bytes()
    assert files(out) == ["data", "data/weights.bin", "o.onnx"]


def test_a_file_that_appears_meanwhile_is_not_replaced(inline, out):
    with open_artifact(inline) as artifact, staged_copy(artifact, out / "o.onnx") as staged:
        (out / "o.onnx").write_bytes(b"precious")
        with pytest.raises(UsageError, match="exists"):
            staged.commit()
    assert (out / "o.onnx").read_bytes() == b"precious"
    assert files(out) == ["o.onnx"]


def test_a_copy_that_is_not_committed_leaves_nothing(inline, out):
    with open_artifact(inline) as artifact, staged_copy(artifact, out / "o.onnx") as staged:
        staged.patch("w", 0, floats(1, 3))
    assert files(out) == []


def test_a_source_that_changes_meanwhile_is_not_delivered(inline, out):
    with open_artifact(inline) as artifact, staged_copy(artifact, out / "o.onnx") as staged:
        with inline.open("r+b") as file:
            file.write(b"\x08\x09")
        os.utime(inline, ns=(1, 1))
        with pytest.raises(ArtifactError, match="changed"):
            staged.commit()
    assert files(out) == []


def test_patches_that_cannot_be_applied_are_refused(tmp_path, out):
    weight = helper.make_tensor("i", TensorProto.INT8, [32, 32], bytes(1024), raw=True)
    half = helper.make_tensor("h", TensorProto.FLOAT16, [2], [1.0, 2.0])
    model = make_model([], [weight, half, numpy_helper.from_array(WEIGHT, "w")])
    with open_artifact(save(tmp_path, model)) as artifact:
        for name in ("i", "h"):
            with pytest.raises(UsageError, match="stored in one piece"):
                write_patched(artifact, out / "o.onnx", [Patch(name, 0, np.float32([1]))])
        for start, values in ((-1, [1.0]), (4096, [1.0]), (4095, [1.0, 2.0]), (0, [np.nan]), (0, [np.inf])):
            with pytest.raises(ValueError, match=r"inside|finite"):
                write_patched(artifact, out / "o.onnx", [Patch("w", start, np.float32(values))])
    assert files(out) == []


def test_many_patches_are_written_while_the_copy_is_under_way(inline, out, monkeypatch):
    monkeypatch.setattr("onnxfp.artifact.writer._PENDING", 64)
    wanted = floats(9, 4096)
    with open_artifact(inline) as artifact:
        write_patched(artifact, out / "o.onnx", (Patch("w", at, wanted[at : at + 16]) for at in range(0, 4096, 16)))
    with open_artifact(out / "o.onnx") as copy:
        np.testing.assert_array_equal(copy.read(copy.tensor("w")), wanted)


@pytest.mark.skipif(not REAL, reason="the shared real models are not beside this checkout")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_models_are_patched_and_restored_byte_for_byte(path, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with open_artifact(path) as artifact:
        found = [c for c in carriers(artifact) if artifact.tensor(c.name).writable]
        marked = [Patch(c.name, 3, artifact.read(artifact.tensor(c.name), 3, 300) + np.float32(0.5)) for c in found]
        write_patched(artifact, tmp_path / "a" / "m.onnx", marked)
        with open_artifact(tmp_path / "a" / "m.onnx") as copy:
            assert (weight_digest(copy) == weight_digest(artifact)) == (not found)
            original = [Patch(c.name, 3, artifact.read(artifact.tensor(c.name), 3, 300)) for c in found]
            write_patched(copy, tmp_path / "b" / "m.onnx", original)
            for location in copy.external_files:
                assert (tmp_path / "b" / location).read_bytes() == (path.parent / location).read_bytes()
    assert (tmp_path / "b" / "m.onnx").read_bytes() == path.read_bytes()


def test_staged_files_are_hidden_beside_their_target(tmp_path):
    staged = staging.StagedFile(tmp_path / "o.onnx", 0, 0o644)
    staged.create()
    assert [name.startswith(".onnxfp-") for name in files(tmp_path)] == [True]
    staged.discard()
    assert files(tmp_path) == []


@pytest.mark.parametrize("make", ["inline", "external"])
def test_a_preview_reads_the_patched_bytes_before_they_have_a_name(make, request, out):
    with (
        open_artifact(request.getfixturevalue(make)) as artifact,
        staged_copy(artifact, out / "o.onnx") as staged,
    ):
        for values in ([1.5, 2.5], [3.5, 4.5]):
            staged.patch("w", 5, np.float32(values))
            with staged.preview() as copy:
                assert copy.read(copy.tensor("w"), 5, 7).tolist() == values
        assert not (out / "o.onnx").exists()
        staged.commit()
    with open_artifact(out / "o.onnx") as copy:
        assert copy.read(copy.tensor("w"), 5, 7).tolist() == [3.5, 4.5]


def test_more_external_files_than_descriptors_are_copied(tmp_path, out):
    model = make_model([], [numpy_helper.from_array(floats(i, 1), f"t{i}") for i in range(300)])
    source = tmp_path / "source"
    source.mkdir()
    onnx.save(model, source / "m.onnx", save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        with open_artifact(source / "m.onnx") as artifact:
            copy_artifact(artifact, out / "m.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert files(out) == files(source)


def test_an_interrupted_program_leaves_nothing(inline, out):
    script = (
        "import os, signal, sys, numpy as np; from pathlib import Path\n"
        "from onnxfp.artifact import open_artifact, write_patched, Patch\n"
        "def patches():\n"
        "    yield Patch('w', 0, np.ones(4, np.float32))\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    yield Patch('w', 8, np.ones(4, np.float32))\n"
        "with open_artifact(Path(sys.argv[1])) as artifact:\n"
        "    write_patched(artifact, Path(sys.argv[2]), patches())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, inline, out / "o.onnx"], check=False, capture_output=True, text=True
    )
    assert "KeyboardInterrupt" in ended.stderr
    assert ended.returncode != 0
    assert files(out) == []
