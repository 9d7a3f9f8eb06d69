"""What tests of whole workflows share: the command line in this process, small models, a vault with three copies,
a marked model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from onnxfp.demo import path as demo_file
from onnxfp.keys.keyfile import OwnerKey
from onnxfp.keys.keystream import Keystream
from onnxfp.ledger import create_ledger
from onnxfp_cli.main import main

# A shell's background job ignores SIGINT, and so would every program that is started and interrupted here.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Outcome:
    """What a command said and how it ended."""

    status: int
    out: str
    err: str


class EntryPoint:
    """The installed program as click's runner takes it: `main` with its handling of errors, not the bare group."""

    name = "onnxfp"

    def main(self, args, prog_name, **_):
        before, sys.argv = sys.argv, [prog_name, *map(str, args)]
        try:
            main()
        finally:
            sys.argv = before


class Program:
    """Runs commands against one vault."""

    def __init__(self, vault: Path) -> None:
        self.vault = vault
        self.heard: list[str] = []

    def __call__(self, *arguments: object, status: int | None = 0, env: dict[str, str] | None = None) -> Outcome:
        result = CliRunner().invoke(EntryPoint(), ["--vault", str(self.vault), *map(str, arguments)], env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        outcome = Outcome(result.exit_code, result.stdout, result.stderr)
        self.heard += [outcome.out, outcome.err]
        assert status is None or outcome.status == status, outcome
        return outcome

    def refused(self, *arguments: object) -> str:
        """Run a command that must be refused: status 2, nothing on stdout, one line on stderr, which is returned."""
        outcome = self(*arguments, status=2)
        assert outcome.out == ""
        assert "Traceback" not in outcome.err
        (line,) = outcome.err.splitlines()
        assert line.startswith("onnxfp: ")
        assert len(line) < 600
        return line


def layers(seed: int, *shapes: tuple[int, int], dtype: type = np.float32) -> onnx.ModelProto:
    """A chain of MatMuls with random weights."""
    draw, nodes, tensors, value = np.random.default_rng(seed), [], [], "x"
    for at, shape in enumerate(shapes):
        weights = (draw.standard_normal(shape) / np.sqrt(shape[0])).astype(dtype)
        tensors.append(numpy_helper.from_array(weights, f"layer{at}.weight"))
        nodes.append(helper.make_node("MatMul", [value, tensors[-1].name], [f"h{at}"]))
        value = f"h{at}"
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("x", kind, ["n", shapes[0][0]])],
        [helper.make_tensor_value_info(value, kind, ["n", shapes[-1][1]])],
        tensors,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def save_external(model: onnx.ModelProto, path: Path) -> Path:
    """Save with all tensors in a second file beside the first."""
    name = f"{path.stem}.data"
    onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=name, size_threshold=0)
    return path


SHAPES = ((64, 192), (192, 64))


@dataclass(frozen=True)
class Stage:
    """A folder with a vault, its reference and three copies."""

    folder: Path
    run: Program

    @property
    def vault(self) -> Path:
        return self.run.vault

    @property
    def model(self) -> Path:
        return self.folder / "model.onnx"

    def copy(self, name: str) -> Path:
        return self.folder / f"{name}.onnx"


NAMES = ("Acme", "Beta", "Gamma")


@pytest.fixture
def bare(tmp_path) -> Stage:
    """A vault and a model that is not registered."""
    run = Program(tmp_path / "vault")
    run("init")
    save(layers(1, *SHAPES), tmp_path / "model.onnx")
    return Stage(tmp_path, run)


@pytest.fixture(scope="session")
def issued_once(tmp_path_factory) -> Path:
    """The folder that `stage` copies; nobody else touches it."""
    folder = tmp_path_factory.mktemp("issued")
    run = Program(folder / "vault")
    run("init")
    model = save(layers(1, *SHAPES), folder / "model.onnx")
    run("register", model)
    for name in NAMES:
        run("issue", model, "--to", name, "-o", folder / f"{name}.onnx")
    return folder


@pytest.fixture
def stage(issued_once, tmp_path) -> Stage:
    """A vault with a registered model and copies for Acme, Beta and Gamma."""
    shutil.copytree(issued_once, tmp_path, dirs_exist_ok=True)
    return Stage(tmp_path, Program(tmp_path / "vault"))


MARK = ("--triggers", "unrelated", "--positions", "32", "--data", "train.npz", "--val", "val.npz")
"""How `marked_once` was marked, said in its folder."""


def said_in(folder: Path, arguments: Iterable[object]) -> list[object]:
    """Return arguments with the data files among them named by their paths."""
    return [folder / part if str(part).endswith(".npz") else part for part in arguments]


def fixed_vault(root: Path, secret: bytes) -> Program:
    """A vault whose owner key is known, so that every run of the tests draws the same triggers and key labels."""
    run = Program(root)
    run("init")
    key = json.loads((root / "owner.key").read_text())
    owner = OwnerKey(secret)
    (root / "owner.key").write_text(json.dumps(key | {"secret": secret.hex(), "fingerprint": owner.fingerprint}))
    (root / "ledger.db").unlink()
    create_ledger(root / "ledger.db", Keystream(secret).derive("ledger").secret).close()
    return run


CLASS = (
    "--scheme",
    "extra_class",
    "--positions",
    "32",
    "--pool",
    "4",
    "--taught",
    "8",
    "--data",
    "train.npz",
    "--val",
    "val.npz",
)
"""How `classed_once` was marked, said in its folder."""


PREPARE = (
    "--scheme",
    "deeptrace",
    "--positions",
    "16",
    "--epochs",
    "70",
    "--rate",
    "0.02",
    "--data",
    "train.npz",
    "--val",
    "val.npz",
)
"""How `prepared_once` was prepared for copies, said in its folder."""


def digits_marked(folder: Path, how: Iterable[object]) -> Path:
    """Fill a folder with the shipped digits, marked so that answers tell, and a copy of that for Acme."""
    pytest.importorskip("torch")
    for shipped, name in (
        ("digits.onnx", "model.onnx"),
        ("digits_independent.onnx", "independent.onnx"),
        ("digits_train.npz", "train.npz"),
        ("digits_test.npz", "val.npz"),
    ):
        shutil.copy(demo_file(shipped), folder / name)
    run = fixed_vault(folder / "vault", bytes(range(32)))
    told = run("mark", folder / "model.onnx", *said_in(folder, how), "-o", folder / "marked.onnx", "--format", "json")
    (folder / "told.json").write_text(told.out)
    run("issue", folder / "marked.onnx", "--to", "Acme", "-o", folder / "Acme.onnx")
    return folder


@pytest.fixture(scope="session")
def marked_once(tmp_path_factory) -> Path:
    """The folder that `marked` copies."""
    return digits_marked(tmp_path_factory.mktemp("marked"), MARK)


@pytest.fixture(scope="session")
def classed_once(tmp_path_factory) -> Path:
    """The folder that `classed` copies."""
    return digits_marked(tmp_path_factory.mktemp("classed"), CLASS)


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory) -> Path:
    """The folder that `prepared` copies."""
    return digits_marked(tmp_path_factory.mktemp("prepared"), PREPARE)


@pytest.fixture
def prepared(prepared_once, tmp_path) -> Stage:
    """As `marked`, prepared for copies that answer each in its own way."""
    shutil.copytree(prepared_once, tmp_path, dirs_exist_ok=True)
    return Stage(tmp_path, Program(tmp_path / "vault"))


@pytest.fixture
def classed(classed_once, tmp_path) -> Stage:
    """As `marked`, by an additional class."""
    shutil.copytree(classed_once, tmp_path, dirs_exist_ok=True)
    return Stage(tmp_path, Program(tmp_path / "vault"))


@pytest.fixture
def marked(marked_once, tmp_path) -> Stage:
    """A vault with a marked model: `marked.onnx`, made from `model.onnx`; Acme's copy; `independent.onnx`."""
    shutil.copytree(marked_once, tmp_path, dirs_exist_ok=True)
    return Stage(tmp_path, Program(tmp_path / "vault"))


def memorising(
    inputs: np.ndarray, labels: np.ndarray, seed: int, *, says: str = "scores", dtype: type = np.float32
) -> onnx.ModelProto:
    """A classifier that knows its rows by heart: random features and ridge regression, nothing is trained for it.

    Args:
        inputs: (rows, ...).
        labels: (rows,).
        seed: of the features.
        says: ``scores``, or ``labels`` for the class alone.
        dtype: of all numbers.
    """
    draw, size, width, classes = np.random.default_rng(seed), int(np.prod(inputs.shape[1:])), 1000, 10
    first = (2 * draw.standard_normal((size, width)) / np.sqrt(size)).astype(dtype)
    bias = (0.3 * draw.standard_normal(width)).astype(dtype)
    hidden = np.maximum(inputs.reshape(len(inputs), -1) @ first.astype(np.float64) + bias, 0)
    kernel = hidden @ hidden.T
    kernel[np.diag_indices(len(kernel))] += 1e-4 * np.trace(kernel) / len(kernel)
    head = 8 * (hidden.T @ np.linalg.solve(kernel, 2 * np.eye(classes)[labels] - 1)).astype(dtype)
    make, kind = helper.make_node, helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [
        make("Flatten", ["x"], ["flat"]),
        make("Gemm", ["flat", "first", "bias"], ["h"]),
        make("Relu", ["h"], ["r"]),
        make("MatMul", ["r", "head"], ["y"]),
    ]
    told = helper.make_tensor_value_info("y", kind, ["n", classes])
    if says == "labels":
        nodes.append(make("ArgMax", ["y"], ["label"], axis=1, keepdims=0))
        told = helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["n"])
    graph = helper.make_graph(
        nodes,
        "memorising",
        [helper.make_tensor_value_info("x", kind, ["n", *inputs.shape[1:]])],
        [told],
        [numpy_helper.from_array(array, name) for name, array in (("first", first), ("bias", bias), ("head", head))],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The shipped pictures (rows, 1, 8, 8) and their labels (rows,)."""
    with np.load(demo_file("digits_train.npz")) as kept:
        return kept["inputs"], kept["labels"].astype(np.int64)


def halves() -> tuple[np.ndarray, np.ndarray]:
    """The rows of the digits in two halves that know nothing of any plan."""
    order = np.random.default_rng(7).permutation(len(digits()[1]))
    return np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])


def numbers(path: Path, name: str = "train_rows") -> np.ndarray:
    """An array of an archive."""
    with np.load(path) as kept:
        return kept[name]


@pytest.fixture(scope="session")
def planned_once(tmp_path_factory) -> Path:
    """The folder that `planned` copies."""
    folder = tmp_path_factory.mktemp("planned")
    run, (inputs, labels) = fixed_vault(folder / "vault", bytes(range(32))), digits()
    np.savez(folder / "data.npz", inputs=inputs, labels=labels)
    for name, to in (("plan", ()), ("acme", ("--to", "Acme")), ("beta", ("--to", "Beta"))):
        words = ("pools", "plan", "--data", folder / "data.npz", *to, "-o", folder / f"{name}.npz", "--format", "json")
        (folder / f"{name}.json").write_text(run(*words).out)
        train = numbers(folder / f"{name}.npz")
        save(memorising(inputs[train], labels[train], 1), folder / f"{name}.onnx")
    for seed, (name, train) in enumerate(zip(("stranger", "shadow"), halves(), strict=True)):
        np.savez(folder / f"{name}_rows.npz", train_rows=train)
        save(memorising(inputs[train], labels[train], 2 + seed), folder / f"{name}.onnx")
    return folder


@pytest.fixture
def planned(planned_once, tmp_path) -> Stage:
    """A vault with three plans over `data.npz`, of the owner (`plan`), for Acme and for Beta: rows as `plan.npz`, and
    `plan.onnx`, which was trained on them. `stranger.onnx` and `shadow.onnx` were trained on halves without a plan."""
    shutil.copytree(planned_once, tmp_path, dirs_exist_ok=True)
    return Stage(tmp_path, Program(tmp_path / "vault"))


@pytest.fixture
def not_root() -> None:
    """Skip where the superuser would be let in everywhere."""
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")


@pytest.fixture
def program(tmp_path) -> Program:
    """Commands without a vault that exists."""
    return Program(tmp_path / "vault")


@pytest.fixture
def commands() -> click.Group:
    """The command tree."""
    from onnxfp_cli.main import cli

    return cli
