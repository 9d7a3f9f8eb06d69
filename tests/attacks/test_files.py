"""Artifact(s) in, artifact out: carriers change, all other bytes stay, and failures leave nothing behind."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxfp.attacks import parse, run
from onnxfp.errors import ArtifactError, OnnxfpError, UsageError
from tests.attacks.small_models import SHAPES, floats, outputs, save, tensors, two_layers
from tests.conftest import layers
from tests.conftest import save as keep

ALONE = ["prune:0.5", "noise:0.3", "round:4"]
TOGETHER = ["average", "min", "max", "median", "midrange", "random", "splice"]
TOGETHER += ["learned:pick", "learned:minority", "learned:majority:2"]


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "attacked.onnx"


@pytest.fixture(params=[False, True], ids=["inline", "external"])
def copies(request, tmp_path):
    """Five copies of one model that differ a little in their carriers."""
    base = {name: floats(index, *shape) for index, (name, shape) in enumerate(SHAPES.items())}
    return [
        save(
            tmp_path / str(number) / "copy.onnx",
            two_layers(**{n: w + 0.05 * floats(10 * number + 3, *w.shape) for n, w in base.items()}),
            external=request.param,
        )
        for number in range(5)
    ]


def bytes_below(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("text", ALONE + TOGETHER)
def test_only_carriers_change_and_the_sources_stay(copies, out, text):
    sources = copies[:1] if text in ALONE else copies
    before = [bytes_below(path.parent) for path in copies]
    run(parse(text), sources, out, 7)
    original, attacked = tensors(copies[0]), tensors(out)
    assert [bytes_below(path.parent) for path in copies] == before
    np.testing.assert_array_equal(attacked["bias"], original["bias"])
    assert {name: len(data) for name, data in bytes_below(out.parent).items()} == {
        name.replace("copy.onnx", "attacked.onnx"): len(data) for name, data in before[0].items()
    }
    changed = [name for name in SHAPES if not np.array_equal(attacked[name], original[name])]
    assert changed or text in ("splice", "learned:pick")
    onnx.checker.check_model(str(out))


@pytest.mark.parametrize("text", ["noise:0.3", "random", "splice", "learned:pick"])
def test_the_same_seed_gives_the_same_bytes(copies, tmp_path, text):
    sources = copies[:1] if text in ALONE else copies
    results = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2), ("d", 3), ("e", 4)):
        (tmp_path / name).mkdir()
        run(parse(text), sources, tmp_path / name / "x.onnx", seed)
        results.append(bytes_below(tmp_path / name))
    assert results[0] == results[1]
    assert any(results[0] != other for other in results[2:])


def test_pruning_counts_over_all_carriers_together(tmp_path, out):
    quiet = floats(5, *SHAPES["first"]) * 1e-6
    run(parse("prune:0.4"), [save(tmp_path / "a.onnx", two_layers(first=quiet))], out, 0)
    total = sum(rows * columns for rows, columns in SHAPES.values())
    left = tensors(out)
    assert np.count_nonzero(left["first"]) == 0  # 2048 of 5120 weights are exactly the quiet ones
    assert sum(np.count_nonzero(left[name]) for name in SHAPES) == total - round(0.4 * total)


def test_steps_use_the_unit_of_each_carrier(tmp_path, out):
    source = save(tmp_path / "a.onnx", two_layers(second=floats(6, *SHAPES["second"]) * 100))
    run(parse("noise:0.5"), [source], out, 0)
    before, after = tensors(source), tensors(out)
    for name in SHAPES:
        assert np.std(after[name] - before[name]) == pytest.approx(0.5 * before[name].std(), rel=0.05)
    run(parse("round:3"), [source], out, 0, force=True)
    assert all(len(np.unique(tensors(out)[name])) in (6, 7) for name in SHAPES)


@pytest.mark.parametrize("text", TOGETHER)
def test_identical_copies_come_out_as_they_are(tmp_path, out, text):
    sources = [save(tmp_path / str(number) / "copy.onnx", two_layers()) for number in range(3)]
    run(parse(text), sources, out, 3)
    assert out.read_bytes() == sources[0].read_bytes()


def test_splice_takes_every_carrier_from_one_copy(copies, out):
    run(parse("splice"), copies, out, 3)
    spliced, originals = tensors(out), [tensors(path) for path in copies]
    assert all(any(np.array_equal(spliced[name], copy[name]) for copy in originals) for name in SHAPES)


def test_half_precision_files_are_attacked_in_half_precision(tmp_path, out):
    source = save(tmp_path / "a.onnx", two_layers(dtype=np.float16))
    run(parse("round:4"), [source], out, 0)
    assert onnx.load(str(out)).graph.initializer[0].data_type == onnx.TensorProto.FLOAT16
    assert 8 < len(np.unique(tensors(out)["first"])) <= 15


def test_an_attacked_file_still_runs(copies, out):
    run(parse("average"), copies, out, 0)
    x = floats(1, 4, 32)
    np.testing.assert_allclose(outputs(out, x), outputs(copies[0], x), atol=10)


MISFITS = {
    "other shape": two_layers(second=floats(1, 64, 96)),
    "other element type": two_layers(dtype=np.float16),
    "carrier missing": two_layers(second=floats(1, 64, 8)),
}


@pytest.mark.parametrize("defect", MISFITS)
def test_copies_that_do_not_fit_together_are_refused(tmp_path, out, defect):
    good = save(tmp_path / "a.onnx", two_layers())
    odd = save(tmp_path / "b.onnx", MISFITS[defect])
    for pair in ([good, odd], [odd, good]):
        with pytest.raises(UsageError, match="disagree on carrier"):
            run(parse("average"), pair, out, 0)
    assert list(out.parent.iterdir()) == []


def poisoned(value):
    weights = floats(1, *SHAPES["second"])
    weights[3, 4] = value
    return two_layers(second=weights)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("text", ["prune:0.5", "noise:1", "round:4", "average", "learned:minority"])
def test_weights_that_are_not_finite_are_refused_and_nothing_is_left(tmp_path, out, text, value):
    sources = [save(tmp_path / "a.onnx", poisoned(value))] * (3 if text in TOGETHER else 1)
    with pytest.raises(ArtifactError, match=r"'second'.*finite"):
        run(parse(text), sources, out, 0)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("text", ["prune:0.5", "fp16"])
def test_a_model_without_carriers_is_refused(tmp_path, out, text):
    small = two_layers(first=floats(1, 32, 8), second=floats(2, 8, 8), bias=floats(3, 8))
    with pytest.raises(UsageError, match="carrier"):
        run(parse(text), [save(tmp_path / "a.onnx", small)], out, 0)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("text", ["prune:0.5", "fp16"])
@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x0a\x3a\xff\xff"])
def test_a_damaged_source_is_refused(tmp_path, out, text, data):
    (tmp_path / "a.onnx").write_bytes(data)
    with pytest.raises(OnnxfpError):
        run(parse(text), [tmp_path / "a.onnx"], out, 0)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("text", ["prune:0.5", "fp16"])
def test_an_existing_file_is_kept_unless_forced(tmp_path, out, text):
    source = save(tmp_path / "a.onnx", two_layers())
    out.write_bytes(b"mine")
    with pytest.raises(UsageError, match="--force"):
        run(parse(text), [source], out, 0)
    assert bytes_below(out.parent) == {out.name: b"mine"}
    run(parse(text), [source], out, 0, force=True)
    assert len(bytes_below(out.parent)) == 1
    assert "first" in " ".join(tensors(out))


@pytest.mark.parametrize("text", ["prune:0.5", "fp16"])
def test_the_source_itself_is_never_the_destination(tmp_path, text):
    source = save(tmp_path / "a.onnx", two_layers())
    before = source.read_bytes()
    with pytest.raises(UsageError):
        run(parse(text), [source], source, 0, force=True)
    assert source.read_bytes() == before


@pytest.mark.parametrize("text", ["prune:0.5", "fp16"])
def test_a_missing_folder_is_refused(tmp_path, text):
    source = save(tmp_path / "a.onnx", two_layers())
    with pytest.raises(UsageError):
        run(parse(text), [source], tmp_path / "nowhere" / "out.onnx", 0)


def test_copies_are_combined_in_weights_too_few_to_be_a_carrier(tmp_path, out):
    shapes = ((64, 40), (40, 10))  # 2 560 weights, and 400
    paths = [keep(layers(seed, *shapes), tmp_path / f"{seed}.onnx") for seed in (1, 2)]
    run(parse("average"), paths, out, 0)
    first, second, both = ({one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
                           for path in (*paths, out))  # fmt: skip
    for name in ("layer0.weight", "layer1.weight"):
        np.testing.assert_allclose(both[name], (first[name] + second[name]) / 2, rtol=1e-5, atol=1e-7)
