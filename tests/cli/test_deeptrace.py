"""An owner prepares a model once, issues copies that answer each in its own way, and tells by answers whose one is."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxfp.artifact import head_of, open_artifact
from onnxfp.domain import Codebook
from onnxfp.workflows.channels import RECIPIENT, DrawnChannel
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.vault import open_vault
from tests.cli.test_bad_input import snapshot
from tests.cli.test_marking import BEACON, answers, as_written, claim_of, mark, rows, told, verified
from tests.cli.test_marking_bad_input import PATIENCE, left, program, without
from tests.cli.test_secrets import leaks, secrets_of
from tests.conftest import PREPARE, Program, Stage, fixed_vault, layers, said_in, save

DATA = PREPARE[-4:]
HEAD = "fc2.weight"
QUICK = ("--scheme", "deeptrace", "--positions", "8", "--epochs", "1", "--rate", "1e-9")
"""A preparation that will not take."""


@pytest.fixture(scope="session")
def two_once(prepared_once, tmp_path_factory) -> Path:
    """The folder that `two` copies."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(prepared_once, folder, dirs_exist_ok=True)
    stage = Stage(folder, Program(folder / "vault"))
    (folder / "beta.json").write_text(issued(stage, "Beta").out)
    return folder


@pytest.fixture
def two(two_once, tmp_path) -> Stage:
    """As `prepared`, with a copy for Beta besides that for Acme."""
    shutil.copytree(two_once, tmp_path, dirs_exist_ok=True)
    return Stage(tmp_path, Program(tmp_path / "vault"))


def issued(stage: Stage, name: str, *more: object, output: str = ""):
    arguments = ("issue", stage.copy("marked"), "--to", name, "-o", stage.copy(output or name), "--format", "json")
    return stage.run(*arguments, *more)


def weights(stage: Stage, name: str) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(stage.copy(name)).graph.initializer}


def held_out(stage: Stage) -> tuple[np.ndarray, np.ndarray]:
    with np.load(stage.folder / "val.npz") as kept:
        return kept["inputs"], kept["labels"]


def accuracy(stage: Stage, name: str) -> float:
    inputs, labels = held_out(stage)
    return float(np.mean(answers(stage, name, inputs).argmax(axis=1) == labels))


def drawn(stage: Stage) -> DrawnChannel:
    """The channel of the answers, drawn again from the vault."""
    with open_vault(stage.vault, None) as vault:
        for reference in registered_references(vault):
            for channel in reference.channels:
                if channel.role == RECIPIENT and channel.commitment:
                    return reference.draw(vault, channel)
    raise LookupError("no such channel")


# --- what preparing makes ---------------------------------------------------------------------------------------------


def test_a_model_is_prepared_and_stays_as_good(prepared):
    result = json.loads((prepared.folder / "told.json").read_text())
    assert result["scheme"] == "deeptrace"
    assert result["positions"] == 16
    assert result["log10_e"] > result["log10_threshold"] == pytest.approx(6)
    assert result["hits"]["triggers"] > 0.9
    assert result["accuracy_after"] >= result["accuracy_before"] - 0.005
    assert result["epochs"] >= 1
    assert any("16 triggers; answers to all of them tell log10 e = 15.3" in note for note in result["notes"])
    assert accuracy(prepared, "marked") >= result["accuracy_before"] - 0.01


def test_nothing_but_weights_differs(prepared):
    before, after = (onnx.load(prepared.copy(name)) for name in ("model", "marked"))
    for model in (before, after):
        for tensor in model.graph.initializer:
            tensor.ClearField("raw_data")
    assert before.SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True)


def test_the_same_again_gives_the_same_bytes_without_training(prepared):
    again = mark(prepared, prepared.model, *PREPARE)
    assert again["epochs"] == 0
    assert again["log10_e"] == json.loads((prepared.folder / "told.json").read_text())["log10_e"]
    assert prepared.copy("new").read_bytes() == prepared.copy("marked").read_bytes()
    text = prepared.run("mark", prepared.model, *said_in(prepared.folder, PREPARE), "-o", prepared.copy("third")).out
    assert "none: it was marked before" in text
    assert "of triggers" in text
    assert len(rows(prepared, "reference")) == len(rows(prepared, "committed")) == len(rows(prepared, "drawn")) == 1


def test_the_claim_of_the_ledger_is_about_copies_and_opens_without_the_model(prepared):
    (entry,) = rows(prepared, "committed")
    text = json.dumps(entry)
    assert '"role": "recipient"' in text
    assert HEAD in text
    assert drawn(prepared).public.key.head.carrier == HEAD


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_copy_says_what_each_channel_tells(two):
    result = json.loads((two.folder / "beta.json").read_text())
    assert set(result["log10_e_by"]) == set(result["reachable_by"]) == {"weights", "answers"}
    assert min(result["log10_e_by"].values()) > result["log10_threshold"] == pytest.approx(np.log10(2e6), abs=1e-5)
    assert result["log10_e"] > result["log10_e_by"]["answers"]
    assert result["reachable"] == max(result["reachable_by"].values())
    assert 1e8 < result["reachable_by"]["answers"] < 1e10  # 9 answers to each of 16 triggers, at one in a million
    assert result["relative_change"] < 0.25
    text = two.run("issue", two.copy("marked"), "--to", "Beta", "-o", two.copy("again")).out
    for words in ("by weights   log10 e", "by answers   log10 e", "alone they name one among", "digest of the leaf"):
        assert words in text


def test_the_same_name_gets_the_same_bytes_and_another_another(two):
    issued(two, "Beta", output="again")
    assert two.copy("again").read_bytes() == two.copy("Beta").read_bytes()
    assert two.copy("Acme").read_bytes() != two.copy("Beta").read_bytes()
    assert len(rows(two, "issued")) == 2
    assert len(rows(two, "issued", "Beta")) == 1


def test_copies_differ_in_their_heads_along_the_secret_directions_alone(two):
    key = drawn(two).public.key
    before = weights(two, "marked")[HEAD].reshape(-1)
    for name in ("Acme", "Beta"):
        moved = weights(two, name)[HEAD].reshape(-1) - before
        gains = key.directions.apply(moved)
        assert np.linalg.norm(moved - key.directions.adjoint(gains)) < 1e-3 * np.linalg.norm(moved)
        symbols = np.where(key.code.allowed.allowed, gains.reshape(16, -1), -np.inf).argmax(axis=1)
        assert symbols.tolist() == drawn(two).words([name])[0].tolist()


@pytest.mark.parametrize("name", ["Acme", "Beta"])
def test_a_copy_is_as_good_as_the_model(two, name):
    assert accuracy(two, name) >= accuracy(two, "model") - 0.01


@pytest.mark.parametrize("how", [(), ("--channels", "answers"), ("--channels", "both")], ids=["", "answers", "both"])
@pytest.mark.parametrize("name", ["Acme", "Beta"])
def test_a_copy_names_its_recipient(two, name, how):
    assert told(two, "trace", two.copy(name), *how)["accused"] == [name]


@pytest.mark.parametrize("how", [(), ("--channels", "answers"), ("--channels", "both")], ids=["", "answers", "both"])
@pytest.mark.parametrize("name", ["model", "marked", "independent"])
def test_what_is_no_copy_names_nobody(two, name, how):
    assert told(two, "trace", two.copy(name), *how, status=3)["accused"] == []


def test_a_copy_whose_weights_were_washed_is_named_by_its_answers(two):
    """The weights of the reference but for the head: what somebody has who averaged the rest away."""
    model, head = onnx.load(two.copy("marked")), weights(two, "Beta")[HEAD]
    for tensor in model.graph.initializer:
        if tensor.name == HEAD:
            tensor.CopyFrom(numpy_helper.from_array(head, HEAD))
    save(model, two.copy("washed"))
    assert told(two, "trace", two.copy("washed"), status=3)["accused"] == []
    assert told(two, "trace", two.copy("washed"), "--channels", "both")["accused"] == ["Beta"]


def test_copies_are_ours_by_their_weights(two):
    assert verified(two, two.copy("Beta"))["decision"] == "supported"


def test_a_dry_run_writes_and_reserves_nothing(prepared):
    before = snapshot(prepared.folder)
    result = json.loads(issued(prepared, "Gamma", "--dry-run").out)
    assert {path: value for path, value in snapshot(prepared.folder).items() if "digests" not in str(path)} == {
        path: value for path, value in before.items() if "digests" not in str(path)
    }
    assert result["output"] == result["head"] == ""
    assert min(result["log10_e_by"].values()) > 6
    assert result["leaf"]
    real = json.loads(issued(prepared, "Gamma").out)
    assert real["leaf"] == result["leaf"]
    assert real["reachable_by"] == result["reachable_by"]


# --- a copy takes neither data nor torch ------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["torch", "sklearn", "PIL"])
def test_a_copy_is_issued_without_data_and_without_what_trains(two, package):
    for name in ("train.npz", "val.npz", "model.onnx"):
        (two.folder / name).unlink()
    words = ("issue", two.copy("marked"), "--to", "Beta", "-o", two.copy("bare"))
    status, out, err = without(package, two, *words)
    assert (status, "by answers" in out) == (0, True), err
    assert two.copy("bare").read_bytes() == two.copy("Beta").read_bytes()
    status, _, err = without(package, two, "trace", two.copy("bare"), "--channels", "both")
    assert (status, err) == (0, "")


def test_what_was_taken_away_is_gone(two):
    """So the test above does without it."""
    words = ("mark", two.model, *said_in(two.folder, (*QUICK[:2], "--positions", "8", *DATA)), "-o", two.copy("new"))
    status, _, err = without("torch", two, *words)
    assert status == 2
    assert "onnxfp[embed]" in err


# --- several marks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["zhang", "deeptrace", "extra_class"])
def test_a_prepared_model_is_not_marked_again_and_its_parent_is_named(prepared, scheme):
    parent = json.loads((prepared.folder / "told.json").read_text())["parent"]
    options = ("--scheme", scheme, *DATA)
    arguments = ("mark", prepared.copy("marked"), *said_in(prepared.folder, options), "-o", prepared.copy("new"))
    line = prepared.run.refused(*arguments)
    assert f"prepared for copies, which another mark would undo; mark {parent[:12]}" in line
    assert not prepared.copy("new").exists()
    assert len(rows(prepared, "committed")) == 1


def test_a_copy_is_not_prepared(prepared):
    arguments = ("mark", prepared.copy("Acme"), *said_in(prepared.folder, PREPARE), "-o", prepared.copy("new"))
    assert "is a marked copy of a registered reference" in prepared.run.refused(*arguments)


def test_what_a_model_bore_before_is_taught_again_and_stays_in_copies(marked):
    longer = (*PREPARE[:5], "200", *PREPARE[6:])  # two things are learnt at once
    result = told(marked, "mark", marked.copy("marked"), *said_in(marked.folder, longer), "-o", marked.copy("base"))
    ((name, log10_e),) = result["earlier"].items()
    assert name.startswith("zhang ")
    assert log10_e > 6
    marked.run("issue", marked.copy("base"), "--to", "Beta", "-o", marked.copy("Beta"))
    verdict = verified(marked, marked.copy("Beta"))
    assert claim_of(verdict, "zhang")["log10_e"] > 6
    assert told(marked, "trace", marked.copy("Beta"), "--channels", "answers")["accused"] == ["Beta"]
    assert told(marked, "trace", marked.copy("Beta"))["accused"] == ["Beta"]


# --- committed before, interrupted ------------------------------------------------------------------------------------


def test_a_beacon_changes_the_words_and_not_the_triggers(prepared):
    options = (*PREPARE[:3], "17", *PREPARE[4:])
    arguments = ("mark", prepared.model, *said_in(prepared.folder, options))
    line = prepared.run.refused(*arguments, "-o", prepared.copy("new"), "--beacon", BEACON)
    assert "was made just now: publish it" in line
    committed = told(prepared, *arguments, "--commit")
    assert committed["commitment"] in line
    assert (committed["reference"], committed["output"], committed["positions"]) == ("", "", 0)
    assert not prepared.copy("new").exists()
    assert len(rows(prepared, "reference")) == len(rows(prepared, "drawn")) == 1
    done = told(prepared, *arguments, "-o", prepared.copy("new"), "--beacon", BEACON)
    assert (done["commitment"], done["committed_at"]) == (committed["commitment"], committed["committed_at"])
    prepared.run("issue", prepared.copy("new"), "--to", "Beta", "-o", prepared.copy("Beta"))
    verdict = told(prepared, "trace", prepared.copy("Beta"), "--channels", "answers")
    assert verdict["accused"] == ["Beta"]
    assert len(rows(prepared, "drawn")) == 2


@pytest.fixture
def digits(prepared_once, tmp_path) -> Stage:
    """What `prepared_once` was before it was prepared, under the same owner key."""
    for name in ("model.onnx", "train.npz", "val.npz"):
        shutil.copy(prepared_once / name, tmp_path / name)
    return Stage(tmp_path, fixed_vault(tmp_path / "vault", bytes(range(32))))


def test_an_interrupted_preparation_goes_on_and_ends_with_the_same_bytes(digits, prepared_once):
    words = ("mark", digits.model, *said_in(digits.folder, PREPARE), "-o", digits.copy("marked"))
    process = program(digits, *words, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + PATIENCE
    while not list(digits.vault.glob("training/*.npz")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err.strip()) == (130, "", "interrupted")
    assert left(digits) == [".npz"]
    digits.run(*words)
    assert digits.copy("marked").read_bytes() == (prepared_once / "marked.onnx").read_bytes()
    assert left(digits) == []
    issued(digits, "Acme")
    assert digits.copy("Acme").read_bytes() == (prepared_once / "Acme.onnx").read_bytes()


# --- models that have no head of the kind -----------------------------------------------------------------------------

NODE = helper.make_node


def classifier(nodes, **constants: tuple[int, ...]) -> onnx.ModelProto:
    """A graph from x (n, 64) to y, with weights of these shapes, one of them large enough to be tuned."""
    draw = np.random.default_rng(1)
    tensors = [
        numpy_helper.from_array((draw.standard_normal(shape) / 8).astype(np.float32), name)
        for name, shape in {"v": (64, 64), **constants}.items()
    ]
    value = helper.make_tensor_value_info
    first = NODE("MatMul", ["x", "v"], ["h"])
    inputs, outputs = (value(name, TensorProto.FLOAT, shape) for name, shape in (("x", ["n", 64]), ("y", None)))
    graph = helper.make_graph([first, *nodes], "g", [inputs], [outputs], tensors)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def narrow() -> onnx.ModelProto:
    return layers(1, (64, 31), (31, 10))


def single() -> onnx.ModelProto:
    """The head takes the input as it is."""
    return layers(1, (64, 64))


def tail() -> onnx.ModelProto:
    return classifier([NODE("MatMul", ["h", "w"], ["z"]), NODE("Sin", ["z"], ["y"])], w=(64, 10))


def tied() -> onnx.ModelProto:
    return classifier([NODE("MatMul", ["h", "v"], ["y"])])


def kernel() -> onnx.ModelProto:
    shape = numpy_helper.from_array(np.array([-1, 4, 4, 4], np.int64), "shape")
    model = classifier(
        [
            NODE("Reshape", ["h", "shape"], ["p"]),
            NODE("Conv", ["p", "w"], ["c"], kernel_shape=[4, 4]),
            NODE("Flatten", ["c"], ["y"]),
        ],
        w=(10, 4, 4, 4),
    )
    model.graph.initializer.append(shape)
    return model


def pair() -> onnx.ModelProto:
    return layers(1, (64, 64), (64, 2))


MODELS = {
    narrow: "31 features before the head carry 7 triggers at most",
    single: "a head behind other layers",
    tail: "comes of a Gemm, MatMul or Conv",
    tied: "weights that the head has to itself",
    kernel: "place by place",
    pair: "three classes or more",
}


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_a_model_without_a_head_of_the_kind_is_refused_before_any_training(bare, make):
    save(make(), bare.model)
    draw = np.random.default_rng(2)
    np.savez(bare.folder / "data.npz", inputs=draw.standard_normal((200, 64)).astype(np.float32))
    arguments = ("mark", bare.model, "--scheme", "deeptrace", "--data", bare.folder / "data.npz")
    before = {path for path in bare.folder.rglob("*") if path.is_file()}
    line = bare.run.refused(*arguments, "-o", bare.copy("out"))
    assert MODELS[make] in line
    assert {path for path in bare.folder.rglob("*") if path.is_file()} - before <= {bare.vault / "digests.json"}
    assert rows(bare, "committed") == rows(bare, "drawn") == rows(bare, "reference") == []


def test_a_preparation_that_did_not_take_registers_nothing(prepared):
    arguments = ("mark", prepared.model, *said_in(prepared.folder, (*QUICK, *DATA)), "-o", prepared.copy("new"))
    line = prepared.run.refused(*arguments)
    assert "the mark did not take" in line
    assert "of triggers are answered" in line
    assert not prepared.copy("new").exists()
    assert len(rows(prepared, "reference")) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--positions", "7"), "8 to 1024"),
        (("--labels", "1"), "2 to 64"),
        (("--labels", "65"), "2 to 64"),
        (("--taught", "0"), "1 to 1024"),
        (("--each", "2"), "no option 'each'"),
        (("--triggers", "noise"), "no option 'triggers'"),
        (("--pool", "9"), "no option 'pool'"),
        (("--positions", "33"), "128 features before the head carry 32 triggers at most"),
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_are_refused(digits, options, words):
    arguments = ("mark", digits.model, "--scheme", "deeptrace", *options, *said_in(digits.folder, DATA))
    assert words in digits.run.refused(*arguments, "-o", digits.copy("out"))
    assert rows(digits, "drawn") == []


# --- a model whose head is all that is large --------------------------------------------------------------------------


def blobs(folder: Path) -> Stage:
    """A classifier of twenty heaps of points whose weights but the head's are too few to bear a mark."""
    draw = np.random.default_rng(0)
    middles = 6 * draw.standard_normal((20, 9))
    labels = draw.integers(0, 20, 1800)
    points = (middles[labels] + draw.standard_normal((1800, 9))).astype(np.float32)
    first, bias = draw.standard_normal((9, 64)).astype(np.float32) / 9, draw.standard_normal(64).astype(np.float32)
    features = np.maximum(points @ first + bias, 0)
    head = np.linalg.lstsq(features, 20 * np.eye(20)[labels], rcond=1e-3)[0].astype(np.float32)
    nodes = [
        NODE("Gemm", ["x", "first", "bias"], ["h"]),
        NODE("Relu", ["h"], ["r"]),
        NODE("MatMul", ["r", "head"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 9])],
        [value("y", TensorProto.FLOAT, ["n", 20])],
        [numpy_helper.from_array(array, name) for name, array in (("first", first), ("bias", bias), ("head", head))],
    )
    save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), folder / "model.onnx")
    np.savez(folder / "train.npz", inputs=points[:1200], labels=labels[:1200])
    np.savez(folder / "val.npz", inputs=points[1200:], labels=labels[1200:])
    return Stage(folder, fixed_vault(folder / "vault", bytes(range(32))))


def test_a_model_whose_head_is_all_that_is_large_has_copies_that_only_answers_tell(tmp_path):
    stage = blobs(tmp_path)
    how = (*PREPARE[:3], "8", "--epochs", "60", "--rate", "0.05", "--loss", "0.05", *DATA)
    stage.run("mark", stage.model, *said_in(stage.folder, how), "-o", stage.copy("marked"))
    result = json.loads(issued(stage, "Acme").out)
    assert set(result["log10_e_by"]) == {"answers"}
    assert (result["log10_e_owner"], result["relative_change"]) == (0.0, 0.0)
    assert result["positions"] == 8
    issued(stage, "Acme", output="again")
    assert stage.copy("again").read_bytes() == stage.copy("Acme").read_bytes()
    verdict = told(stage, "trace", stage.copy("Acme"), "--channels", "answers")
    assert verdict["accused"] == ["Acme"]


# --- secrets ----------------------------------------------------------------------------------------------------------


def written_secrets(stage: Stage) -> tuple[set[bytes], list[bytes]]:
    """Words and labels of both recipients as they may be written down, and secrets that would tell them."""
    channel = drawn(stage)
    classes, found = channel.public.key.reference.classes, set()
    for word in channel.words(["Acme", "Beta"]):
        found |= as_written(word) | as_written(classes[word])
    assert isinstance(channel.public.codebook, Codebook)
    return found, [channel.secret.secret, *(leaf for name in ("Acme", "Beta") if (leaf := channel.leaf(name)))]


def test_no_command_shows_a_word_or_a_secret_and_no_file_holds_one(two):
    for arguments in (
        ("mark", two.model, *said_in(two.folder, PREPARE), "-o", two.copy("new")),
        ("issue", two.copy("marked"), "--to", "Beta", "-o", two.copy("again")),
        ("issue", two.copy("marked"), "--to", "Gamma", "-o", two.copy("dry"), "--dry-run"),
        ("trace", two.copy("Beta"), "--channels", "both"),
        ("ledger", "verify"),
    ):
        two.run(*arguments)
        if arguments[0] != "ledger":
            two.run(*arguments, "--format", "json", *(["--force"] if arguments[0] in ("mark", "issue") else []))
    files = [path for path in two.folder.rglob("*") if path.is_file() and path.name != "owner.key"]
    places = [path.read_bytes() for path in files] + [said.encode() for said in two.run.heard]
    for path in files:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                places += [arrays[name].tobytes() for name in arrays.files]
    written, secrets = written_secrets(two)
    assert not [text for text in written for place in places if text in place]
    for secret in (*secrets_of(two.vault), *secrets):
        assert not leaks(secret, *places)


def test_the_search_for_words_can_find_them(two):
    written, secrets = written_secrets(two)
    word = drawn(two).words(["Beta"])[0]
    for spelt in (json.dumps(word.tolist()).encode(), word.tobytes(), " ".join(map(str, word)).encode()):
        assert any(text in b"before" + spelt for text in written)
    assert len(secrets) == 3
    assert leaks(secrets[-1], b"x" + secrets[-1].hex().encode())


def test_the_head_that_is_written_is_the_one_that_was_looked_for(prepared):
    with open_artifact(prepared.copy("marked")) as artifact:
        found = head_of(artifact)
    assert (found.carrier, found.features, found.classes) == (HEAD, 128, 10)
