"""What the head hears: the copy answers with exactly that and differs in nothing else, or one line says why not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from artifact_models import save, save_external
from head_models import CLASSES, ENDINGS, FEATURES, HEADS, KINDS, Builder, answers, classifier, examples, since
from onnx import helper, numpy_helper

from onnxfp.artifact import (
    Patch,
    features_by_sample,
    head_of,
    open_artifact,
    staged_copy,
    write_features,
    write_patched,
    writer,
)
from onnxfp.errors import ArtifactError, UsageError

OPERATORS = ("Gemm", "MatMul", "Conv")
SEEN_WHOLE = "behind reshape"  # whose stored axes are no longer those of the features
FORMS = [form for form in HEADS if form != SEEN_WHOLE]
WRITABLE = [dtype for dtype in KINDS if dtype != "double"]


def hidden(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same classifier behind a layer of its own, as `hidden`."""
    for node in model.graph.node:
        for slot, name in enumerate(node.input):
            node.input[slot] = "hidden" if name == "x" else name
    model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["hidden"], name="before"))
    return model


def shown(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """The same model with more of what it computes among its outputs, behind the others."""
    beside = onnx.ModelProto.FromString(model.SerializeToString())
    kind = model.graph.input[0].type.tensor_type.elem_type
    beside.graph.output.extend(helper.make_tensor_value_info(name, kind, None) for name in names)
    return beside


def head_output(model: onnx.ModelProto) -> str:
    return next(node.output[0] for node in model.graph.node if node.op_type in OPERATORS)


def features(folder: Path, model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What the copy answers first, checked."""
    with open_artifact(save(folder, model)) as artifact:
        write_features(artifact, folder / "f.onnx")
    return answers(folder / "f.onnx", x)[0]


# --- what is answered -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", WRITABLE)
@pytest.mark.parametrize("form", FORMS)
def test_the_copy_answers_with_what_the_head_takes(form, dtype, tmp_path):
    model = hidden(classifier(form, "LogSoftmax", dtype, max(17, since(form, dtype))))
    x = examples(model)
    heard = answers(save(tmp_path, shown(model, "hidden"), "shown.onnx"), x)[1]
    assert np.array_equal(features(tmp_path, model, x), heard)
    assert (heard != 0).any()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("form", FORMS)
def test_a_change_of_the_head_shows_in_its_answers_as_the_features_say(form, ending, tmp_path):
    """Rows of features times the change of the head: what is written along a direction arrives."""
    model = hidden(classifier(form, ending))
    x, output = examples(model), head_output(model)
    path = save(tmp_path, shown(model, output))
    with open_artifact(path) as artifact:
        head = head_of(artifact)
        step = np.random.default_rng(5).standard_normal(head.shape).astype(np.float32)
        old = artifact.read(artifact.tensor(head.carrier)).reshape(head.shape)
        write_patched(artifact, tmp_path / "c.onnx", [Patch(head.carrier, 0, (old + step).reshape(-1))])
        write_features(artifact, tmp_path / "f.onnx")
    assert (head.classes, head.features) == (CLASSES, FEATURES)
    rows = features_by_sample(answers(tmp_path / "f.onnx", x)[0], head)
    before, after = (answers(at, x)[1] for at in (path, tmp_path / "c.onnx"))
    moved = np.moveaxis(after - before, 1, -1).reshape(-1, CLASSES)
    scale = next((a.f for node in model.graph.node for a in node.attribute if a.name == "alpha"), 1.0)
    gains = scale * rows @ np.moveaxis(step, head.axis, 0).reshape(CLASSES, -1).T
    assert np.abs(gains).max() > 0.5
    np.testing.assert_allclose(moved, gains, atol=2e-2 if form == "behind cast" else 1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_the_size_of_a_head_is_the_norm_of_one_class(form, tmp_path):
    model = hidden(classifier(form))
    with open_artifact(save(tmp_path, model)) as artifact:
        head = head_of(artifact)
        weights = artifact.read(artifact.tensor(head.carrier)).reshape(head.shape).astype(np.float64)
    norms = np.linalg.norm(np.moveaxis(weights, head.axis, 0).reshape(CLASSES, FEATURES), axis=1)
    assert head.size == pytest.approx(np.sqrt(np.mean(norms**2)), rel=1e-6)


def test_features_of_places_are_rows_of_their_own(tmp_path):
    model = hidden(classifier("conv"))
    x = examples(model)
    with open_artifact(save(tmp_path, model)) as artifact:
        head = head_of(artifact)
    rows = features_by_sample(features(tmp_path, model, x), head)
    heard = np.maximum(x, 0)
    assert np.array_equal(rows, np.moveaxis(heard, 1, -1).reshape(-1, FEATURES))


def declared(model: onnx.ModelProto, *shape: int | str) -> onnx.ModelProto:
    model.graph.value_info.append(helper.make_tensor_value_info("hidden", 1, shape))
    return model


DECLARED = {
    "not at all": lambda: hidden(classifier("gemm")),
    "with its extents": lambda: declared(hidden(classifier("gemm")), "n", FEATURES),
    "with unknown extents": lambda: declared(hidden(classifier("conv")), "n", FEATURES, "h", "w"),
    "as an output too": lambda: shown(hidden(classifier("gemm")), "hidden"),
    "beside other outputs": lambda: shown(hidden(classifier("gemm")), "z"),
}


@pytest.mark.parametrize("case", DECLARED)
def test_however_the_features_are_declared_the_copy_runs(case, tmp_path):
    model = DECLARED[case]()
    x = examples(model)
    assert np.array_equal(features(tmp_path, model, x), np.maximum(x, 0))


def test_a_model_with_external_data_gives_its_features(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "out").mkdir()
    model = hidden(classifier("gemm"))
    x = examples(model)
    with open_artifact(save_external(tmp_path / "source", model, "data/weights.bin")) as artifact:
        assert artifact.external_files
        write_features(artifact, tmp_path / "out" / "f.onnx")
    assert np.array_equal(answers(tmp_path / "out" / "f.onnx", x)[0], np.maximum(x, 0))


@pytest.mark.parametrize("form", FORMS)
def test_nothing_but_the_first_output_differs(form, tmp_path):
    model = shown(hidden(classifier(form, "Softmax", author="somebody")), "z")
    model.graph.doc_string, model.producer_name = "a graph", "a producer"
    with open_artifact(save(tmp_path, model)) as artifact:
        write_features(artifact, tmp_path / "f.onnx")
    after = onnx.load(tmp_path / "f.onnx")
    assert [value.name for value in after.graph.output] == ["hidden", "z"]
    after.graph.output[0].CopyFrom(model.graph.output[0])
    assert after.SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


# --- refusals ---------------------------------------------------------------------------------------------------------


def kernel() -> onnx.ModelProto:
    b = Builder()
    b.image = True
    b.constant("w", b.values(CLASSES, FEATURES, 3, 3))
    b.add("Conv", "x w", "c")
    b.add("Flatten", "c", "y")
    return hidden(b.output("y", "n", CLASSES).model())


def grouped() -> onnx.ModelProto:
    b = Builder()
    b.image = True
    b.constant("w", b.values(4, FEATURES // 2, 1, 1))
    b.add("Conv", "x w", "c", group=2)
    b.add("GlobalAveragePool", "c", "y")
    return hidden(b.output("y", "n", 4, 1, 1).model())


def transposed() -> onnx.ModelProto:
    b = Builder(batch=7)
    b.constant("w", b.values(7, CLASSES))
    b.add("Gemm", "x w", "y", transA=1)
    return hidden(b.output("y", FEATURES, CLASSES).model())


def filled(value: float) -> onnx.ModelProto:
    model = hidden(classifier("gemm"))
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    kept = numpy_helper.to_array(weight).copy()
    kept[(0, 0) if value else ...] = value
    weight.CopyFrom(numpy_helper.from_array(kept, "w"))
    return model


def held() -> onnx.ModelProto:
    """What the head takes is a constant itself: nobody's features."""
    model = hidden(classifier("gemm"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((7, FEATURES), np.float32), "hidden"))
    del model.graph.node[0]
    return model


def headless() -> onnx.ModelProto:
    b = Builder()
    b.add("Relu", "x", "y")
    return b.output("y", "n", FEATURES).model()


REFUSED = {
    "a kernel of three": (kernel, "place by place.*which does more"),
    "groups": (grouped, "no group convolution"),
    "a transposed input": (transposed, "place by place.*which does more"),
    "a reshaped weight": (lambda: hidden(classifier(SEEN_WHOLE)), "place by place"),
    "weights not a number": (lambda: filled(np.nan), "finite weights that are not all zero"),
    "endless weights": (lambda: filled(np.inf), "finite weights that are not all zero"),
    "weights of zero": (lambda: filled(0.0), "finite weights that are not all zero"),
    "weights of another kind": (lambda: hidden(classifier("gemm", dtype="double")), "can be changed in place"),
    "no layer before": (lambda: classifier("gemm"), "behind other layers.*'x' as it is"),
    "no features": (held, "behind other layers"),
    "no head": (headless, "comes of a Gemm, MatMul or Conv"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_head_is_refused_in_one_line_and_nothing_is_written(case, tmp_path):
    make, match = REFUSED[case]
    with open_artifact(save(tmp_path, make())) as artifact, pytest.raises(UsageError, match=match) as caught:
        write_features(artifact, tmp_path / "f.onnx")
    assert str(caught.value).isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_head_has_a_size_where_only_its_features_are_missing(tmp_path):
    """Who asks for the head alone is given it."""
    with open_artifact(save(tmp_path, classifier("gemm"))) as artifact:
        assert head_of(artifact).features == FEATURES


# --- a copy that can be run before it has its name --------------------------------------------------------------------

LOCATIONS = ("weights.bin", "data/weights.bin", "./a//b/weights.bin", "a b/ä.bin", ".hidden/w")


def source(folder: Path, location: str | None) -> Path:
    (folder / "source").mkdir()
    (folder / "out").mkdir()
    model = hidden(classifier("gemm"))
    return save(folder / "source", model) if location is None else save_external(folder / "source", model, location)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def patched(staged, values: np.ndarray) -> None:
    staged.patch("w", 0, values)


@pytest.mark.parametrize("location", [None, *LOCATIONS])
def test_what_is_written_so_far_can_be_run_and_leaves_nothing(location, tmp_path):
    out, new = tmp_path / "out", np.arange(CLASSES * FEATURES, dtype=np.float32)
    path = source(tmp_path, location)
    (out / "beside.onnx").write_bytes(b"somebody else's")
    with open_artifact(path) as artifact, staged_copy(artifact, out / "c.onnx") as staged:
        before = files(out)
        patched(staged, new)
        with staged.runnable() as run:
            assert run.parent != out
            x = examples(onnx.load(path))
            said = answers(run, x)[0]
        assert files(out) == before
        staged.commit()
    assert np.array_equal(said, answers(out / "c.onnx", x)[0])
    assert not np.array_equal(said, answers(path, x)[0])
    assert (out / "beside.onnx").read_bytes() == b"somebody else's"
    assert not [name for name in files(out) if ".onnxfp" in name]


def test_it_can_be_run_again_after_more_was_written(tmp_path):
    path = source(tmp_path, None)
    with open_artifact(path) as artifact, staged_copy(artifact, tmp_path / "out" / "c.onnx") as staged:
        x, said = examples(onnx.load(path)), []
        for value in (1.0, 2.0):
            patched(staged, np.full(CLASSES * FEATURES, value, np.float32))
            with staged.runnable() as run:
                said.append(answers(run, x)[0])
    assert not np.array_equal(*said)
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize(
    "error", [RuntimeError("it went wrong"), FileNotFoundError(2, "somebody's own"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("location", [None, "data/weights.bin"])
def test_an_error_of_whoever_runs_it_is_left_as_it_is_and_nothing_stays(location, error, tmp_path):
    path = source(tmp_path, location)
    with (
        open_artifact(path) as artifact,
        pytest.raises(type(error)) as caught,
        staged_copy(artifact, tmp_path / "out" / "c.onnx") as staged,
        staged.runnable(),
    ):
        raise error
    assert caught.value is error
    assert files(tmp_path / "out") == []


def test_files_that_are_there_are_not_touched(tmp_path):
    """With force: what has the copy's names stays as it is until the copy takes its place."""
    path, out = source(tmp_path, "data/weights.bin"), tmp_path / "out"
    with open_artifact(path) as artifact:
        write_patched(artifact, out / "c.onnx", ())
        old = {name: (out / name).read_bytes() for name in files(out) if (out / name).is_file()}
        with staged_copy(artifact, out / "c.onnx", force=True) as staged:
            patched(staged, np.zeros(CLASSES * FEATURES, np.float32))
            with staged.runnable() as run:
                said = answers(run, examples(onnx.load(path)))[0]
            assert {name: (out / name).read_bytes() for name in old} == old
    assert {name: (out / name).read_bytes() for name in old} == old
    assert not np.array_equal(said, answers(out / "c.onnx", examples(onnx.load(path)))[0])


def test_a_link_where_the_data_shall_go_is_refused_before_anything_is_run(tmp_path):
    path, out = source(tmp_path, "data/weights.bin"), tmp_path / "out"
    (tmp_path / "elsewhere").mkdir()
    (out / "data").symlink_to(tmp_path / "elsewhere")
    with (
        open_artifact(path) as artifact,
        pytest.raises(UsageError, match="found a link"),
        staged_copy(artifact, out / "c.onnx") as staged,
        staged.runnable(),
    ):
        pass
    assert files(tmp_path / "elsewhere") == []


def test_data_that_are_a_link_may_be_allowed_and_are_run_as_files(tmp_path):
    path = source(tmp_path, "weights.bin")
    (path.parent / "weights.bin").rename(path.parent / "real.bin")
    (path.parent / "weights.bin").symlink_to("real.bin")
    with pytest.raises(ArtifactError), open_artifact(path):
        pass
    with (
        open_artifact(path, allow_links=True) as artifact,
        staged_copy(artifact, tmp_path / "out" / "c.onnx") as staged,
        staged.runnable() as run,
    ):
        assert not (run.parent / "weights.bin").is_symlink()
        assert len(answers(run, examples(onnx.load(path, load_external_data=False)))[0])


def test_a_place_that_knows_no_second_names_gets_second_files(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(1, "no links here")

    path = source(tmp_path, "data/weights.bin")
    with open_artifact(path) as artifact, staged_copy(artifact, tmp_path / "out" / "c.onnx") as staged:
        patched(staged, np.zeros(CLASSES * FEATURES, np.float32))
        with monkeypatch.context() as patch:
            patch.setattr(writer.os, "link", refuse)
            with staged.runnable() as run:
                assert os.stat(run).st_nlink == 1
                session = ort.InferenceSession(str(run), providers=["CPUExecutionProvider"])
                assert session.get_outputs()
        staged.commit()
    assert files(tmp_path / "out") == ["c.onnx", "data", "data/weights.bin"]


def test_a_folder_that_was_closed_meanwhile_is_refused_in_one_line(tmp_path, not_root):
    path, out = source(tmp_path, None), tmp_path / "out"
    with open_artifact(path) as artifact, staged_copy(artifact, out / "c.onnx") as staged:
        staged._flush()
        out.chmod(0o500)
        try:
            with pytest.raises(UsageError, match="expected a place that can be written") as caught, staged.runnable():
                pass
        finally:
            out.chmod(0o700)
    assert str(caught.value).isprintable()
