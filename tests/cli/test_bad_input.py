"""Whatever is handed in: one line on stderr, status 2, no traceback, and nothing half-written."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxfp.errors import UsageError
from onnxfp.workflows.fidelity import load_data
from tests.conftest import SHAPES, layers, save


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, except what only remembers digests and SQLite's own scratch files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "digests.json" and not path.name.startswith("ledger.db-")
    }


def with_weight(value: float) -> bytes:
    model = layers(1, *SHAPES)
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[3, 5] = value
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "layer0.weight"))
    return model.SerializeToString()


def with_dims(*dims: int) -> bytes:
    model = layers(1, *SHAPES)
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    return model.SerializeToString()


def without_carrier() -> bytes:
    node = helper.make_node("Add", ["x", "b"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4000]) for name in "xy"]
    bias = numpy_helper.from_array(np.ones(4000, np.float32), "b")
    return helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [bias])).SerializeToString()


WHOLE = layers(1, *SHAPES).SerializeToString()
# what is wrong: bytes of the file, and whether `inspect` may still look at it
DEFECTS: dict[str, tuple[bytes, bool]] = {
    "empty": (b"", False),
    "one byte": (b"\x08", False),
    "text": (b"this is not a model\n" * 50, False),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(500), False),
    "a zip archive": (b"PK\x03\x04" + bytes(500), False),
    "zeros": (bytes(5000), False),
    "truncated to half": (WHOLE[: len(WHOLE) // 2], False),
    "truncated by one": (WHOLE[:-1], False),
    "with rubbish behind": (WHOLE + b"\xff" * 9, False),
    "enormous dims": (with_dims(1 << 40, 1 << 40), False),
    "dims that disagree": (with_dims(64, 191), False),
    "negative dims": (with_dims(-64, -192), False),
    "no carrier": (without_carrier(), True),
}


@pytest.fixture(params=DEFECTS, ids=lambda name: name.replace(" ", "-"))
def defect(request, tmp_path):
    contents, inspectable = DEFECTS[request.param]
    path = tmp_path / "defect.onnx"
    path.write_bytes(contents)
    return path, inspectable


def test_a_model_that_cannot_be_read_is_refused_by_every_command(stage, defect):
    path, inspectable = defect
    before = snapshot(stage.folder)
    if not inspectable:
        assert "defect.onnx" in stage.run.refused("inspect", path)
        for question in ("trace", "verify"):
            stage.run.refused(question, path)
        stage.run.refused("attack", path, "--with", "prune:0.5", "-o", stage.copy("out"))
    stage.run.refused("register", path)
    stage.run.refused("issue", path, "--to", "Acme", "-o", stage.copy("out"))
    assert snapshot(stage.folder) == before


def test_a_missing_file_is_refused_by_every_command(stage):
    before, gone = snapshot(stage.folder), stage.folder / "gone.onnx"
    for arguments in (
        ("inspect", gone),
        ("register", gone),
        ("issue", gone, "--to", "Acme", "-o", stage.copy("out")),
        ("trace", gone),
        ("verify", gone),
        ("attack", gone, "--with", "prune:0.5", "-o", stage.copy("out")),
        ("attack", stage.model, gone, "--with", "average", "-o", stage.copy("out")),
    ):
        assert "gone.onnx" in stage.run.refused(*arguments)
    assert snapshot(stage.folder) == before


def test_a_folder_in_place_of_a_model_is_refused(stage):
    for command in ("inspect", "register", "trace", "verify"):
        stage.run.refused(command, stage.folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_model_with_weights_that_are_not_finite_gets_no_copies(bare, value):
    bare.model.write_bytes(with_weight(value))
    registered = bare.run("register", bare.model, status=None)
    if registered.status == 0:
        line = bare.run.refused("issue", bare.model, "--to", "Acme", "-o", bare.copy("a"))
        assert "not finite" in line
    assert not bare.copy("a").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 3.4e38])
def test_a_suspect_with_such_a_weight_is_still_judged(stage, value):
    stage.copy("leaked").write_bytes(with_weight(value))
    stage.run("trace", stage.copy("leaked"), status=3)


def test_a_model_that_gets_its_name_from_an_enemy_prints_one_harmless_line(program, tmp_path):
    path = tmp_path / "evil\n\x1b[31m\u202ename.onnx"
    path.write_bytes(b"rubbish")
    line = program.refused("inspect", path)
    assert "\x1b" not in line
    assert "\u202e" not in line


EVIL = "evil\n\x1b[31m\x9b\u202e\u2028name"


def test_a_tensor_with_such_a_name_is_listed_on_one_harmless_line(program, tmp_path):
    model = layers(1, *SHAPES)
    model.graph.initializer[0].name = model.graph.node[0].input[1] = EVIL
    plain = save(layers(1, *SHAPES), tmp_path / "plain.onnx")
    outcome = program("inspect", save(model, tmp_path / "evil.onnx"))
    assert not set("\x1b\x9b\u202e\u2028") & set(outcome.out)
    assert "evil\\n\\x1b[31m\\x9b\\u202e\\u2028name" in outcome.out
    assert outcome.out.count("\n") == program("inspect", plain).out.count("\n")


def test_a_path_with_such_a_name_is_shown_harmlessly_too(program, tmp_path):
    save(layers(1, *SHAPES), tmp_path / "m.onnx")
    outcome = program("attack", tmp_path / "m.onnx", "--with", "fp16", "-o", tmp_path / EVIL)
    assert not set("\x1b\x9b\u202e\u2028") & set(outcome.out)
    assert len(outcome.out.splitlines()) == 3


# --- names and outputs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("x" * 201, "201 characters"),
        ("x" * 10_000, "10000 characters"),
        ("Acme\nCorp", "control character"),
        ("Acme\x1b[31m", "control character"),
        ("Acme\u202e", "invisible formatting"),
        ("Acme\u2028", "line separator"),
        ("\ud800", "surrogate"),
    ],
)
def test_a_name_that_nobody_can_read_is_refused_and_not_echoed(stage, name, message):
    before = snapshot(stage.folder)
    line = stage.run.refused("issue", stage.model, "--to", name, "-o", stage.copy("out"))
    assert message in line
    assert "x" * 201 not in line
    assert snapshot(stage.folder) == before


@pytest.mark.parametrize("where", ["missing/out.onnx", "model.onnx/out.onnx", "vault", "x" * 300 + ".onnx"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_reserved(stage, where):
    before = snapshot(stage.folder)
    stage.run.refused("issue", stage.model, "--to", "New", "-o", stage.folder / where)
    assert snapshot(stage.folder) == before


def test_the_reference_itself_is_no_output_unless_forced(stage):
    before = snapshot(stage.folder)
    stage.run.refused("issue", stage.model, "--to", "New", "-o", stage.model)
    assert snapshot(stage.folder) == before


def test_a_link_is_no_output_even_when_forced(stage):
    stage.copy("link").symlink_to(stage.model)
    stage.run.refused("issue", stage.model, "--to", "New", "-o", stage.copy("link"), "--force")
    assert stage.copy("link").is_symlink()


@pytest.mark.usefixtures("not_root")
def test_a_read_only_folder_is_refused(stage):
    shut = stage.folder / "shut"
    shut.mkdir(mode=0o500)
    stage.run.refused("issue", stage.model, "--to", "New", "-o", shut / "out.onnx")
    stage.run.refused("attack", stage.model, "--with", "prune:0.5", "-o", shut / "out.onnx")


def test_a_full_device_is_refused_with_nothing_left(stage):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no full device")
    stage.run.refused("issue", stage.model, "--to", "New", "-o", "/dev/full", "--force")


# --- the vault --------------------------------------------------------------------------------------------------------


def no_vault(vault):
    shutil.rmtree(vault)


def a_file_as_vault(vault):
    shutil.rmtree(vault)
    vault.write_text("not a folder")


def no_version(vault):
    (vault / "vault.json").unlink()


def unknown_version(vault):
    (vault / "vault.json").write_text('{"version": 2}')


def damaged_version(vault):
    (vault / "vault.json").write_text("version one")


def no_key(vault):
    (vault / "owner.key").unlink()


def empty_key(vault):
    (vault / "owner.key").write_bytes(b"")


def rubbish_key(vault):
    (vault / "owner.key").write_bytes(os.urandom(64))


def readable_key(vault):
    (vault / "owner.key").chmod(0o644)


def no_ledger(vault):
    (vault / "ledger.db").unlink()


def empty_ledger(vault):
    (vault / "ledger.db").write_bytes(b"")


def rubbish_ledger(vault):
    (vault / "ledger.db").write_bytes(os.urandom(4096))


def truncated_ledger(vault):
    contents = (vault / "ledger.db").read_bytes()
    (vault / "ledger.db").write_bytes(contents[: len(contents) // 2])


DAMAGES = {
    no_vault: "no vault",
    a_file_as_vault: "vault",
    no_version: "no vault",
    unknown_version: "version 2",
    damaged_version: "vault.json",
    no_key: "owner.key",
    empty_key: "owner.key",
    rubbish_key: "owner.key",
    readable_key: "owner.key",
    no_ledger: "ledger",
    empty_ledger: "ledger",
    rubbish_ledger: "ledger",
    truncated_ledger: "ledger",
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_vault_is_refused_by_every_command(stage, damage, message):
    damage(stage.vault)
    before = snapshot(stage.folder)
    for arguments in (
        ("register", stage.model),
        ("issue", stage.model, "--to", "Acme", "-o", stage.copy("out")),
        ("trace", stage.copy("Acme")),
        ("verify", stage.copy("Acme")),
        ("ledger", "verify"),
    ):
        assert message in stage.run.refused(*arguments)
    assert snapshot(stage.folder) == before


def test_another_owners_key_is_refused(stage, tmp_path):
    from tests.conftest import Program

    stranger = Program(tmp_path / "stranger")
    stranger("init")
    shutil.copy(stranger.vault / "owner.key", stage.vault / "owner.key")
    assert "ledger" in stage.run.refused("trace", stage.copy("Acme"))


def test_init_where_nobody_may_write_is_refused(stage):
    from tests.conftest import Program

    inside = Program(stage.model / "vault")
    inside.refused("init")
    assert not inside.vault.exists()


def test_a_damaged_memory_of_digests_costs_time_only(stage):
    (stage.vault / "digests.json").write_bytes(b"\xff rubbish")
    verdict = json.loads(stage.run("trace", stage.copy("Acme"), "--format", "json").out)
    assert verdict["accused"] == ["Acme"]


@pytest.mark.parametrize("contents", [b"", b"rubbish", b"PK\x03\x04rubbish"])
def test_data_that_cannot_be_read_are_refused(stage, contents):
    (stage.folder / "data.npz").write_bytes(contents)
    data = ("--data", stage.folder / "data.npz")
    assert "data.npz" in stage.run.refused("issue", stage.model, "--to", "A", "-o", stage.copy("o"), *data)


def test_a_single_array_in_place_of_data_is_refused(stage):
    path = stage.folder / "data.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(4))
    arguments = ("issue", stage.model, "--to", "A", "-o", stage.copy("o"), "--data", path)
    assert "single array" in stage.run.refused(*arguments)


@pytest.mark.parametrize("saver", [np.savez, np.savez_compressed])
def test_damaged_data_are_read_or_refused_and_never_crash(tmp_path, saver):
    path, chance = tmp_path / "data.npz", random.Random(1)
    saver(path, inputs=np.arange(40, dtype=np.float32).reshape(4, 10), labels=np.arange(4))
    whole, refused = path.read_bytes(), 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 5])):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            load_data(path)
        except UsageError:
            refused += 1
    assert refused > 75


def test_data_that_do_not_fit_are_refused(stage):
    path, arguments = stage.folder / "data.npz", ("issue", stage.model, "--to", "A", "-o", stage.copy("o"), "--data")
    for arrays in (
        {"pixels": np.zeros((2, 64), np.float32)},
        {"inputs": np.zeros((2, 63), np.float32)},
        {"inputs": np.full((2, 64), 2**24 + 1)},
        {"inputs": np.zeros((2, 64), np.float32), "labels": np.zeros(3, np.int64)},
        {"inputs": np.array([{"code": "that would run"}], dtype=object)},
        {"inputs": np.zeros((0, 64), np.float32)},
        {"inputs": np.float32(1)},
        {"inputs": np.zeros((2, 64), np.float32), "labels": np.zeros((2, 2), np.int64)},
    ):
        np.savez(path, **arrays)
        stage.run.refused(*arguments, path)
    assert not stage.copy("o").exists()


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("trace",),
        ("issue", "m.onnx"),
        ("issue", "m.onnx", "--to", "A"),
        ("trace", "m.onnx", "--alpha", "0"),
        ("trace", "m.onnx", "--alpha", "0.7"),
        ("trace", "m.onnx", "--alpha", "nan"),
        ("trace", "m.onnx", "--alpha", "5e-324"),
        ("verify", "m.onnx", "--alpha", "1e-101"),
        ("register", "m.onnx", "--strength", "nan"),
        ("register", "m.onnx", "--strength", "7"),
        ("register", "m.onnx", "--strength", "-1"),
        ("register", "m.onnx", "--strength", "0"),
        ("register", "m.onnx", "--loss", "nan"),
        ("issue", "m.onnx", "--to", "A", "-o", "o.onnx", "--budget", "nan"),
        ("issue", "m.onnx", "--to", "A", "-o", "o.onnx", "--budget", "-1"),
        ("issue", "m.onnx", "--to", "A", "-o", "o.onnx", "--loss", "nan"),
        ("trace", "m.onnx", "--format", "yaml"),
        ("register", "m.onnx", "--positions", "many"),
        ("attack", "m.onnx"),
        ("attack", "m.onnx", "--with", "magic", "-o", "out.onnx"),
        ("attack", "m.onnx", "--with", "noise:1", "-o", "out.onnx", "--seed", "-1"),
        ("ledger",),
        ("ledger", "verify", "--head", "nonsense"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_one_line(stage, arguments):
    save(layers(1, *SHAPES), stage.folder / "m.onnx")
    stage.run.refused(*(stage.folder / part if part == "m.onnx" else part for part in arguments))


def test_wrong_usage_says_where_to_read_on(stage):
    assert stage.run.refused("trace").endswith("; see 'onnxfp trace --help'")
    assert stage.run.refused("ledger", "verify", "--tail").endswith("see 'onnxfp ledger verify --help'")
    line = stage.run.refused("trace", "x", "--format", "\x1b[31m\nred")
    assert "\x1b" not in line


def test_the_program_alone_prints_its_help(stage):
    assert "Commands:" in stage.run().out


def test_the_check_for_one_line_can_fail(stage):
    with pytest.raises(AssertionError):
        stage.run.refused("trace", stage.copy("Acme"))
    with pytest.raises(AssertionError):
        stage.run.refused("--help")
