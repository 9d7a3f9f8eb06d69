"""What cannot be marked is refused in one line, with nothing written and no reference registered."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.cli.test_bad_input import snapshot
from tests.conftest import MARK, SHAPES, Stage, fixed_vault, layers, said_in, save

PROGRAM = Path(sys.executable).with_name("onnxfp")
PATIENCE = 120  # seconds
CLASSES = SHAPES[-1][1]
node = helper.make_node


def rows(vault: Path, kind: str) -> int:
    """How many rows of one kind the ledger has, read behind the program's back."""
    connection = sqlite3.connect(f"file:{vault / 'ledger.db'}?mode=ro", uri=True, timeout=10)
    try:
        (count,) = connection.execute("SELECT count(*) FROM entries WHERE kind = ?", (kind,)).fetchone()
    finally:
        connection.close()
    return int(count)


def examples(seed: int = 3, count: int = 200, width: int = 64) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)


@pytest.fixture
def school(bare) -> Stage:
    """A vault, a model that is not registered, and data of its task."""
    labels = np.arange(200) % CLASSES
    np.savez(bare.folder / "data.npz", inputs=examples(), labels=labels)
    np.savez(bare.folder / "val.npz", inputs=examples(4, 50), labels=labels[:50])
    return bare


def arguments(stage: Stage, *more: object, data: str = "data.npz") -> list[object]:
    return ["mark", stage.model, "--data", stage.folder / data, "-o", stage.copy("out"), "--positions", "32", *more]


def refused(stage: Stage, *words: object) -> str:
    """Run a command that must leave nothing: no output, no part of one, no reference, no training."""
    before = {path: path.stat().st_mtime_ns for path in stage.folder.iterdir() if path.is_file()}
    line = stage.run.refused(*words)
    assert {path: path.stat().st_mtime_ns for path in stage.folder.iterdir() if path.is_file()} == before
    assert rows(stage.vault, "reference") == 0
    assert list((stage.vault / "references").iterdir()) == []
    return line


# --- data -------------------------------------------------------------------------------------------------------------

LABELS = np.arange(200) % CLASSES
DATA = {
    "labels beyond the classes": ({"inputs": examples(), "labels": LABELS + 1}, "numbered 0 to 63"),
    "labels below zero": ({"inputs": examples(), "labels": LABELS - 1}, "numbered 0 to 63"),
    "labels that are no integers": ({"inputs": examples(), "labels": LABELS / 2}, "labels are float64"),
    "labels that are words": ({"inputs": examples(), "labels": LABELS.astype(str)}, "labels"),
    "labels that are vectors": ({"inputs": examples(), "labels": np.zeros((200, 2), int)}, "labels of shape (200, 2)"),
    "too few labels": ({"inputs": examples(), "labels": LABELS[:-1]}, "labels of shape (199,)"),
    "inputs of another width": ({"inputs": examples(width=63)}, "63"),
    "inputs with more axes": ({"inputs": examples().reshape(200, 2, 4, 4, 2)}, "is no picture"),
    "inputs that are not finite": ({"inputs": np.where(examples() > 2, np.nan, examples())}, "finite"),
    "numbers that would lose digits": ({"inputs": examples().astype(np.float64) / 3}, "would lose digits"),
    "inputs without end": ({"inputs": np.where(examples() > 2, np.inf, examples())}, "finite"),
    "inputs that are words": ({"inputs": examples().astype(str)}, "inputs are <U"),
    "inputs that are bytes": ({"inputs": examples().astype("S8")}, "inputs are |S8"),
    "inputs that are truths": ({"inputs": examples() > 0}, "inputs are bool"),
    "inputs that are times": ({"inputs": examples().astype(np.int64).astype("M8[s]")}, "inputs are datetime64"),
    "inputs that are complex": ({"inputs": examples().astype(np.complex64)}, "inputs are complex64"),
    "inputs all alike": ({"inputs": np.zeros_like(examples())}, "different inputs are too few"),
    "too few inputs": ({"inputs": examples(count=20)}, "20 different inputs are too few"),
    "the same input again and again": ({"inputs": np.tile(examples(count=20), (10, 1))}, "20 different inputs"),
    "no inputs": ({"inputs": examples()[:0]}, "has no inputs"),
    "one number": ({"inputs": np.float32(1)}, "has no inputs"),
    "no array called inputs": ({"pixels": examples()}, "expected an .npz with `inputs`"),
    "a pickle": ({"inputs": np.array([{"code": "that would run"}] * 200, dtype=object)}, "expected an .npz"),
}


@pytest.mark.parametrize("defect", DATA)
@pytest.mark.parametrize("kind", ["content", "unrelated"])
def test_data_that_will_not_do_are_refused(school, defect, kind):
    arrays, words = DATA[defect]
    np.savez(school.folder / "bad.npz", **arrays)
    line = refused(school, *arguments(school, "--triggers", kind, data="bad.npz"))
    assert words in line
    assert rows(school.vault, "drawn") == 0


VALIDATION = {
    "another width": ({"inputs": examples(width=60)}, "(60,)"),
    "another kind of number": ({"inputs": examples().astype(np.float64) / 3}, "float64"),
    "labels beyond the classes": ({"inputs": examples(), "labels": LABELS + 1}, "63"),
    "words": ({"inputs": examples().astype(str)}, "<U"),
    "not finite": ({"inputs": np.full_like(examples(), np.nan)}, "finite"),
}


@pytest.mark.parametrize("defect", VALIDATION)
def test_validation_data_that_will_not_do_are_refused(school, defect):
    arrays, words = VALIDATION[defect]
    np.savez(school.folder / "bad.npz", **arrays)
    assert words in refused(school, *arguments(school, "--val", school.folder / "bad.npz"))
    assert rows(school.vault, "drawn") == 0


@pytest.mark.parametrize("contents", [None, b"", b"rubbish", b"PK\x03\x04rubbish"])
@pytest.mark.parametrize("option", ["--data", "--val"])
def test_files_that_are_no_data_are_refused(school, option, contents):
    path = school.folder / "bad.npz"
    if contents is not None:
        path.write_bytes(contents)
    assert "bad.npz" in refused(school, *arguments(school, option, path))
    assert rows(school.vault, "committed") == 0


# --- models -----------------------------------------------------------------------------------------------------------


def classifier(nodes, out: list[object], *constants: tuple[str, np.ndarray], kind: int = TensorProto.FLOAT):
    """A graph from x (n, 64) to y, with w (64, 192) among its weights."""
    draw = np.random.default_rng(1).standard_normal((64, 192)).astype(np.float32)
    tensors = [numpy_helper.from_array(value, name) for name, value in (("w", draw), *constants)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", kind, out)],
        tensors,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def one_number() -> onnx.ModelProto:
    """A regression."""
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("ReduceSum", ["h", "axes"], ["y"], keepdims=1)]
    return classifier(nodes, ["n", 1], ("axes", np.asarray([1])))


def labels_only() -> onnx.ModelProto:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("ArgMax", ["h"], ["y"], axis=1, keepdims=0)]
    return classifier(nodes, ["n"], kind=TensorProto.INT64)


def not_numbers() -> onnx.ModelProto:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Mul", ["h", "nothing"], ["y"])]
    return classifier(nodes, ["n", 192], ("nothing", np.asarray(np.nan, np.float32)))


def one_for_all() -> onnx.ModelProto:
    """One row whatever comes in."""
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("ReduceSum", ["h", "axes"], ["y"], keepdims=1)]
    return classifier(nodes, [1, 192], ("axes", np.asarray([0])))


def no_gradient() -> onnx.ModelProto:
    """Every answer is a row of zeros with a single one, whatever the weights are near."""
    return classifier([node("MatMul", ["x", "w"], ["h"]), node("Hardmax", ["h"], ["y"])], ["n", 192])


def unknown_operators() -> onnx.ModelProto:
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Det", ["square"], ["one"], name="the first of them"),
        node("Det", ["square"], ["two"], name="the second of them"),
        node("Mul", ["h", "one"], ["g"]),
        node("Mul", ["g", "two"], ["y"]),
    ]
    return classifier(nodes, ["n", 192], ("square", np.eye(2, dtype=np.float32)))


def two_inputs() -> onnx.ModelProto:
    model = classifier([node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "z"], ["y"])], ["n", 192])
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 192]))
    return model


def without_weights() -> onnx.ModelProto:
    model = classifier([node("Sin", ["x"], ["y"])], ["n", 64])
    del model.graph.initializer[:]
    return model


def integer_weights() -> onnx.ModelProto:
    """Quantised: there is nothing to tune by gradients."""
    whole = np.random.default_rng(1).integers(-100, 100, (64, 192)).astype(np.int8)
    nodes = [
        node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        node("MatMulInteger", ["q", "whole", "zero"], ["h"]),
        node("Cast", ["h"], ["y"], to=TensorProto.FLOAT),
    ]
    model = classifier(nodes, ["n", 192], ("whole", whole))
    del model.graph.initializer[0]
    return model


def no_such_file() -> None:
    return None


MODELS: dict[Callable[[], onnx.ModelProto | None], str] = {
    one_number: "a classifier answers",
    labels_only: "labels without scores",
    not_numbers: "no answer to some triggers",
    one_for_all: "expected [32, classes]",
    no_gradient: "no gradient passes",
    unknown_operators: "Det ('the first of them' and 1 more)",
    two_inputs: "it takes 2 inputs",
    without_weights: "no weight to tune",
    integer_weights: "no weight to tune",
    no_such_file: "model.onnx",
}


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_model_that_cannot_be_taught_is_refused(school, make):
    model = make()
    school.model.unlink() if model is None else save(model, school.model)
    np.savez(school.folder / "bare.npz", inputs=examples())
    assert MODELS[make] in refused(school, *arguments(school, data="bare.npz"))
    assert rows(school.vault, "drawn") == 0


def test_more_labels_than_classes_are_refused(school):
    save(layers(1, (64, 192), (192, 5)), school.model)
    assert "the model has 5 classes, numbered 0 to 4" in refused(school, *arguments(school))


@pytest.mark.parametrize("kind", ["u1", "i8", "f8", "f2"])
def test_numbers_of_another_kind_are_taken_as_the_model_takes_them(school, kind):
    np.savez(school.folder / "whole.npz", inputs=(examples() * 20 + 100).astype("u1").astype(kind))
    line = refused(school, *arguments(school, "--epochs", "1", "--rate", "1e-9", data="whole.npz"))
    assert "the mark did not take" in line  # after the training: nothing was wrong with the data


def test_two_classes_cannot_bear_key_labels_of_their_own(school):
    save(layers(1, (64, 192), (192, 2)), school.model)
    np.savez(school.folder / "bare.npz", inputs=examples())
    outcome = school.run(*arguments(school, "--commit", data="bare.npz"), status=None)
    assert outcome.status in (0, 2)
    assert "Traceback" not in outcome.err


# --- outputs, options and pictures ------------------------------------------------------------------------------------


def test_an_output_that_exists_is_refused_before_anything_is_done(school):
    school.copy("out").write_bytes(b"mine")
    before = snapshot(school.folder)
    assert "--force" in school.run.refused(*arguments(school))
    assert snapshot(school.folder) == before


@pytest.mark.parametrize("where", ["vault/out.onnx", "vault/references/out.onnx", "missing/out.onnx", "x" * 300])
def test_an_output_where_none_may_be_is_refused_before_anything_is_done(school, where):
    before = snapshot(school.folder)
    school.run.refused("mark", school.model, "--data", school.folder / "data.npz", "-o", school.folder / where)
    assert snapshot(school.folder) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--positions", "31"), "32 to 4096"),
        (("--positions", "5000"), "32 to 4096"),
        (("--taught", "0"), "1 to 1024"),
        (("--each", "65"), "1 to 64"),
        (("--paper", "--triggers", "unrelated"), "content or noise"),
        (("--device", "abacus"), "'abacus' is not available"),
        (("--device", "cuda:99"), "'cuda:99' is not available"),
        (("--scheme", "spread"), "--scheme"),
        (("--loss", "nan"), "--loss"),
        (("--loss", "1.5"), "--loss"),
        (("--rate", "0"), "--rate"),
        (("--batch", "1"), "--batch"),
        (("--seed", "-1"), "--seed"),
        (("--images", "missing.png"), "missing.png"),
        (("--images", "missing"), "missing"),
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_are_refused(school, options, words):
    if "--paper" in options:
        line = refused(school, *(word for word in arguments(school, *options) if word not in ("--positions", "32")))
    else:
        line = refused(school, *arguments(school, *options))
    assert words in line
    assert rows(school.vault, "drawn") == 0


def test_no_output_and_no_commitment_is_wrong_usage(school):
    assert "'--output'" in school.run.refused("mark", school.model, "--data", school.folder / "data.npz")
    assert rows(school.vault, "committed") == 0


def pictures(folder: Path, what: str) -> Path:
    """Something that is handed in as pictures."""
    path = folder / what.replace(" ", "_")
    PICTURES[what](path)
    return path


def half_a_picture(path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])


def a_folder_of_texts(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("no picture")


PICTURES: dict[str, Callable[[Path], object]] = {
    "text.png": lambda path: path.write_text("not a picture"),
    "half.png": half_a_picture,
    "huge.png": lambda path: Image.new("1", (10_000, 10_000)).save(path),
    "an empty folder": Path.mkdir,
    "a folder of texts": a_folder_of_texts,
    "others.npz": lambda path: np.savez(path, inputs=np.zeros((40, 9), np.float32)),
    "few.npz": lambda path: np.savez(path, inputs=examples(5, 31)),
}


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("text.png", "content", "cannot be read as a picture"),
        ("text.png", "unrelated", "cannot be read as a picture"),
        ("half.png", "content", "cannot be read as a picture"),
        ("huge.png", "content", "cannot be read as a picture"),
        ("an empty folder", "content", "holds no pictures"),
        ("a folder of texts", "unrelated", "holds no pictures"),
        ("others.npz", "unrelated", "are no inputs of shape (64,)"),
        ("few.npz", "unrelated", "31 pictures are too few for 32 positions"),
        ("few.npz", "content", "few.npz"),
    ],
)
def test_images_that_are_no_pictures_are_refused(school, what, kind, words):
    line = refused(school, *arguments(school, "--images", pictures(school.folder, what), "--triggers", kind))
    assert words in line
    assert rows(school.vault, "drawn") == 0


# --- what training cannot do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--epochs", "1", "--rate", "9", "--loss", "0"), "no point of the training kept"),
        (("--epochs", "1", "--rate", "1e-9"), "the mark did not take"),
    ],
)
def test_a_budget_that_cannot_be_kept_registers_nothing(school, options, words):
    np.savez(school.folder / "bare.npz", inputs=examples())
    assert words in refused(school, *arguments(school, "--triggers", "unrelated", *options, data="bare.npz"))
    assert school.run("verify", school.model, status=4).out.startswith("INCONCLUSIVE")
    school.run("ledger", "verify")


# --- interrupted ------------------------------------------------------------------------------------------------------


def program(stage: Stage, *words: object, **options: object) -> subprocess.Popen:
    """The program as a process of its own, which hears SIGINT even where the tests were started not to."""
    return subprocess.Popen(
        [str(PROGRAM), "--vault", str(stage.vault), *map(str, words)],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        **options,
    )


def on_a_terminal(process: subprocess.Popen, terminal: int) -> str:
    """Wait for the end of a process; return what it showed on the terminal that is its stderr."""
    shown: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                shown.append(os.read(terminal, 4096))
            except OSError:  # the other end is closed
                return

    listener = threading.Thread(target=listen)
    listener.start()
    process.communicate(timeout=PATIENCE)
    listener.join()
    return b"".join(shown).decode()


@pytest.fixture
def digits(marked_once, tmp_path) -> Stage:
    """What `marked_once` was before it was marked, under the same owner key."""
    for name in ("model.onnx", "train.npz", "val.npz"):
        shutil.copy(marked_once / name, tmp_path / name)
    return Stage(tmp_path, fixed_vault(tmp_path / "vault", bytes(range(32))))


def left(stage) -> list[str]:
    """What is kept of trainings, but for the empty files that runs lock."""
    paths = (stage.vault / "training").iterdir()
    return [path.suffix for path in paths if path.suffix != ".lock" or path.stat().st_size]


def test_an_interrupted_training_goes_on_and_ends_with_the_same_bytes(digits, marked_once):
    words = ("mark", digits.model, *said_in(digits.folder, MARK), "-o", digits.copy("marked"))
    process = program(digits, *words, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + PATIENCE
    while not list(digits.vault.glob("training/*.npz")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err.strip()) == (130, "", "interrupted")
    assert {path.name for path in digits.folder.iterdir()} == {"model.onnx", "train.npz", "val.npz", "vault"}
    assert left(digits) == [".npz"]
    assert (rows(digits.vault, "reference"), rows(digits.vault, "drawn")) == (0, 1)
    ours, theirs = pty.openpty()
    again = program(digits, *words, stderr=theirs)
    os.close(theirs)
    try:
        shown = on_a_terminal(again, ours)
    finally:
        os.close(ours)
    assert again.returncode == 0, shown
    assert "going on after epoch" in shown
    assert digits.copy("marked").read_bytes() == (marked_once / "marked.onnx").read_bytes()
    assert left(digits) == []
    assert (rows(digits.vault, "reference"), rows(digits.vault, "drawn")) == (1, 1)
    digits.run("verify", digits.copy("marked"), "--claim", "zhang")


# --- what is not installed --------------------------------------------------------------------------------------------

WITHOUT = "import sys; gone = sys.argv.pop(1); sys.modules[gone] = None; from onnxfp_cli.main import main; main()"


def without(package: str, stage: Stage, *words: object) -> tuple[int, str, str]:
    """Run the program where a package is not installed."""
    command = [sys.executable, "-c", WITHOUT, package, "--vault", str(stage.vault), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("package", "more", "extra"),
    [
        ("torch", (), "onnxfp[embed]"),
        ("onnxruntime", (), "onnxfp[runtime]"),
        ("PIL", ("--images", "logo.png"), "onnxfp[embed]"),
    ],
)
def test_what_marking_lacks_is_named(school, package, more, extra):
    (school.folder / "logo.png").write_bytes(b"")
    more = tuple(school.folder / part if part == "logo.png" else part for part in more)
    status, out, err = without(package, school, *arguments(school, *more))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("onnxfp: ")
    assert extra in err
    assert not school.copy("out").exists()
    assert (rows(school.vault, "reference"), rows(school.vault, "drawn")) == (0, 0)


def test_without_a_runtime_a_file_is_judged_by_its_weights_alone(marked):
    status, out, err = without("onnxruntime", marked, "verify", marked.copy("Acme"))
    assert (status, err) == (0, "")
    assert "onnxfp[runtime]" in out
    for suspect, claim in (("marked", "zhang"), ("independent", "")):
        status, out, err = without("onnxruntime", marked, "verify", marked.copy(suspect), "--claim", claim)
        assert (status, err) == (4, "")
        assert out.startswith("INCONCLUSIVE\n")
        assert "onnxfp[runtime]" in out
    status, out, err = without("onnxruntime", marked, "verify", marked.copy("marked"), "--require-device")
    assert (status, out) == (2, "")
    assert "onnxfp[runtime]" in err


@pytest.mark.parametrize(
    ("package", "url", "extra"),
    [
        ("httpcore", "http://127.0.0.1:9/v2/models/m", "onnxfp[remote]"),
        ("grpc", "grpc://127.0.0.1:9/v2/models/m", "onnxfp[grpc]"),
    ],
)
def test_what_asking_an_endpoint_lacks_is_named(school, package, url, extra):
    status, out, err = without(package, school, "verify", url)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert extra in err


def test_the_search_for_what_is_left_behind_can_find_it(school):
    with pytest.raises(AssertionError):
        refused(school, "mark", school.model, "--help")
    school.run("register", school.model)
    with pytest.raises(AssertionError):
        refused(school, "mark")
