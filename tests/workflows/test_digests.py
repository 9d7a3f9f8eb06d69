"""The memory of digests: saves time, is never trusted past a change of the file, and may be lost."""

from __future__ import annotations

import json
import os

import pytest

from onnxfp.artifact import open_artifact, weight_digest
from onnxfp.workflows.digests import cached_digest
from tests.conftest import SHAPES, layers, save, save_external


def digest_of(path, cache):
    with open_artifact(path) as artifact:
        return cached_digest(artifact, cache)


@pytest.fixture
def model(tmp_path):
    return save(layers(1, *SHAPES), tmp_path / "m.onnx")


def test_a_digest_is_remembered(model, tmp_path):
    cache = tmp_path / "digests.json"
    first = digest_of(model, cache)
    with open_artifact(model) as artifact:
        assert first == weight_digest(artifact)
    (key,) = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: "from memory"}))
    assert digest_of(model, cache) == "from memory"


def test_a_changed_file_is_read_again(model, tmp_path):
    cache = tmp_path / "digests.json"
    first = digest_of(model, cache)
    save(layers(2, *SHAPES), model)
    assert digest_of(model, cache) != first


def test_a_file_that_was_changed_back_in_time_is_read_again(model, tmp_path):
    cache, before = tmp_path / "digests.json", os.stat(model)
    first = digest_of(model, cache)
    with model.open("r+b") as file:
        file.write(layers(2, *SHAPES).SerializeToString())
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest_of(model, cache) != first


def test_changed_external_data_are_read_again(tmp_path):
    cache, path = tmp_path / "digests.json", save_external(layers(1, *SHAPES), tmp_path / "m.onnx")
    first = digest_of(path, cache)
    save_external(layers(2, *SHAPES), tmp_path / "n.onnx")
    (tmp_path / "m.data").write_bytes((tmp_path / "n.data").read_bytes())
    assert digest_of(path, cache) != first


@pytest.mark.parametrize("contents", [b"", b"rubbish", b"[1, 2]", b"\xff\xfe", b"null"])
def test_a_damaged_memory_is_no_memory(model, tmp_path, contents):
    cache = tmp_path / "digests.json"
    cache.write_bytes(contents)
    with open_artifact(model) as artifact:
        assert cached_digest(artifact, cache) == weight_digest(artifact)


def test_a_memory_that_cannot_be_written_is_no_trouble(model, tmp_path):
    assert len(digest_of(model, tmp_path / "missing" / "digests.json")) == 64
    assert not list(tmp_path.glob("*.tmp"))


def test_the_memory_does_not_grow_for_ever(model, tmp_path):
    cache = tmp_path / "digests.json"
    cache.write_text(json.dumps({str(number): "x" for number in range(10_000)}))
    digest_of(model, cache)
    assert len(json.loads(cache.read_text())) <= 4096
