"""What claims about pools mean to plans that can be told blindly, to shadow models, to looks, and to memory."""

from __future__ import annotations

import itertools
import json
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxfp.domain import Decision, ModelProfile
from onnxfp.errors import CapacityError, UsageError
from onnxfp.workflows.candidates import Candidates, open_candidates
from onnxfp.workflows.channels import OWNER, RECIPIENT, draw
from onnxfp.workflows.check_pools import Checking, check_pools
from onnxfp.workflows.claims import about_other_data, chosen_claims, claims_about_copies, unborne
from onnxfp.workflows.commit import Intent, commit, drawn_for
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.plan_pools import Planning, called, plan_pools, register_plan
from onnxfp.workflows.pool_data import (
    PoolData,
    PoolsAt,
    Shadowing,
    leads,
    open_pool_data,
    standard_errors,
    with_shadows,
)
from onnxfp.workflows.suspects import SEALED, Device, examined_file
from onnxfp.workflows.vault import Vault, open_vault
from onnxfp.workflows.verify import Asking, verify_suspect
from tests.conftest import Program, fixed_vault, numbers, save
from tests.workflows.vaults import AT, SECRET, quiet

MARKED = 15  # pairs of which one row says so: fewer are no proof at 99.99 %


def averaging(size: int, classes: int) -> onnx.ModelProto:
    """A model that was never trained on anything: the same sum of a row, in as many classes."""
    table = np.linspace(-1, 1, classes, dtype=np.float32)[None].repeat(size, axis=0) / size
    make, value = helper.make_node, helper.make_tensor_value_info
    graph = helper.make_graph(
        [make("Flatten", ["x"], ["f"]), make("MatMul", ["f", "w"], ["y"])],
        "averaging",
        [value("x", TensorProto.FLOAT, ["n", size])],
        [value("y", TensorProto.FLOAT, ["n", classes])],
        [numpy_helper.from_array(table, "w")],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


# --- plans that can be told without a model ---------------------------------------------------------------------------


def marked_pairs(path: Path) -> Path:
    """Data in which of any two rows with the same label one has another first number, the same everywhere."""
    inputs = np.random.default_rng(0).standard_normal((2 * MARKED, 40)).astype(np.float32)
    inputs[:, 0] = np.where(np.arange(2 * MARKED) % 2, 20, -20)
    np.savez(path, inputs=inputs, labels=np.repeat(np.arange(MARKED), 2))
    return path


def unlucky(vault: Vault, path: Path) -> str:
    """A beacon after which the plan trains on the marked row of every pair, or on none: who tries many finds one."""
    with open_candidates(path) as candidates:
        profile = ModelProfile(candidates.digest, ())
        committed = commit(vault, profile, Intent("pools", {}, AT, OWNER), candidates.samples, nobody)
        reference_key = vault.reference_key(candidates.digest)
        public = draw(committed.channel, profile, reference_key, committed.samples).public
        marked = np.array(candidates.inputs[:, 0] > 0)[public.key.rows[:, :, 0]]
    words = reference_key.derive("scheme", "pools")
    for number in itertools.count():
        secret = words.derive("words", OWNER, committed.channel.commitment, f"block {number}")
        (word,) = public.key.code.words(secret, public.codebook, [OWNER])
        taken = marked[np.arange(MARKED), word]
        if taken.all() or not taken.any():
            return f"block {number}"
    raise LookupError("there are always more")


def register_told(vault: Vault, data: Path, beacon: str) -> None:
    with open_candidates(data) as candidates:
        profile = ModelProfile(candidates.digest, ())
        committed = commit(vault, profile, Intent("pools", {}, AT, OWNER), candidates.samples, nobody)
        register_plan(vault, drawn_for(vault, committed, beacon, AT), profile, AT)


def nobody(inputs: np.ndarray) -> np.ndarray:
    raise AssertionError("nobody is asked")


@pytest.fixture(scope="module")
def told_blindly(tmp_path_factory) -> tuple[Path, Path, str]:
    """A vault, data, and a beacon after which the plan can be told from them."""
    folder = tmp_path_factory.mktemp("blind")
    data = marked_pairs(folder / "data.npz")
    fixed_vault(folder / "vault", SECRET)
    with open_vault(folder / "vault", None) as vault:
        return folder / "vault", data, unlucky(vault, data)


def test_a_plan_that_can_be_told_without_a_model_proves_nothing(told_blindly, tmp_path):
    root, data, beacon = told_blindly
    output, model = tmp_path / "plan.npz", save(averaging(40, MARKED), tmp_path / "m.onnx")
    with open_vault(root, None) as vault:
        with pytest.raises(UsageError, match=r"can be told from the data alone .*this plan proves nothing"):
            plan_pools(vault, Planning(data, output, AT, beacon=beacon), quiet)
        assert not output.exists()
        assert registered_references(vault) == ()
        assert len(unborne(vault, ())) == 1  # it was drawn, and keeps its share
        register_told(vault, data, beacon)  # as a claimant might who does not care
        checked = check_pools(vault, Checking(PoolsAt(data), AT, model), quiet)
        assert not checked.passed
        assert checked.auc_low > 0.5
        assert checked.shown == ()
        with open_pool_data(vault, PoolsAt(data)) as given:
            claims = chosen_claims(registered_references(vault), SEALED, "pools", given)
            with pytest.raises(UsageError, match="proves nothing: which pools were trained on can be told"):
                with_shadows(vault, claims, given, quiet)
    run = Program(root)
    for more in ((), ("--model", model)):
        assert "not sound: it proves nothing" in run("pools", "check", "--data", data, *more, status=3).out
    assert "proves nothing" in run.refused("verify", model, "--data", data)
    plain = run("pools", "plan", "--data", data, "-o", output)
    assert "cannot be told from the data alone" in plain.out


# --- claims -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def vault(planned) -> Iterator[Vault]:
    with open_vault(planned.vault, None) as opened:
        yield opened


@pytest.fixture
def given(vault, planned) -> Iterator[PoolData]:
    with open_pool_data(vault, PoolsAt(planned.folder / "data.npz")) as there:
        yield there


def test_claims_are_there_with_their_data_alone(vault, given):
    references = registered_references(vault)
    assert chosen_claims(references, SEALED, "") == claims_about_copies(references, SEALED) == ()
    (owners,) = chosen_claims(references, SEALED, "", given)
    (copies,) = claims_about_copies(references, SEALED, given)
    assert (owners.channel.role, copies.channel.role) == (OWNER, RECIPIENT)
    others = replace(given, candidates=replace(given.candidates, digest="ab" * 32))
    assert chosen_claims(references, SEALED, "", others) == ()
    for role in (OWNER, RECIPIENT):
        assert "give them with --data" in about_other_data(references, role, None)
        assert "their digest is abababababab" in about_other_data(references, role, others)
        assert about_other_data(references, role, given) == about_other_data((), role, None) == ""
    assert unborne(vault, references) == ()


def test_a_reservation_is_of_the_plan_that_it_was_made_for(vault, given, planned):
    (copies,) = claims_about_copies(registered_references(vault), SEALED, given)
    assert vault.ledger.recipients(called(copies.channel)) == ("Acme", "Beta")
    data, late = planned.folder / "data.npz", planned.folder / "late.npz"
    plan_pools(vault, Planning(data, late, AT, {"positions": 90}, "Acme"), quiet)
    first, second = claims_about_copies(registered_references(vault), SEALED, given)
    assert vault.ledger.recipients(called(second.channel)) == ("Acme",)
    assert first.channel == copies.channel
    plan_pools(vault, Planning(data, late, AT, {"positions": 90}, "Acme", beacon="later", force=True), quiet)
    *_, third = claims_about_copies(registered_references(vault), SEALED, given)
    assert (third.channel.commitment, third.channel.beacon) == (second.channel.commitment, "later")
    assert called(third.channel) != called(second.channel)


@pytest.mark.parametrize("options", [{"positions": 10**7}, {"pools": 1}, {"size": 0}, {"alike": 0}, {"unknown": 1}])
def test_options_that_cannot_be_commit_to_nothing(vault, planned, options):
    before = len(vault.ledger.commitments())
    with pytest.raises((UsageError, CapacityError)):
        plan_pools(vault, Planning(planned.folder / "data.npz", planned.folder / "x.npz", AT, options), quiet)
    assert len(vault.ledger.commitments()) == before
    assert not (planned.folder / "x.npz").exists()


# --- shadow models ----------------------------------------------------------------------------------------------------


def test_a_lead_is_that_of_the_pool_that_was_trained_on():
    standing = np.array([[3.0, 1.0, 2.0], [0.0, 6.0, 0.0], [1.0, 1.0, 1.0]])
    assert leads(standing, np.array([0, 1, 2], np.uint8)).tolist() == [1.5, 6.0, 0.0]
    assert standard_errors(np.zeros(9)) == 0
    draw = np.random.default_rng(0)
    found = [standard_errors(draw.standard_normal(400) + shift) for shift in (0.0, 0.25)]
    assert abs(found[0]) < 3 < found[1]


def beside(vault: Vault, planned, *shadows: str) -> None:
    with open_pool_data(vault, PoolsAt(planned.folder / "data.npz", shadows)) as there:
        with_shadows(vault, chosen_claims(registered_references(vault), SEALED, "pools", there), there, quiet)


def test_rows_that_are_said_to_be_trained_on_know_the_plan_too(vault, planned):
    """Whatever the model answers: the attack model learns from what is said of its rows."""
    shadow = str(planned.copy("shadow"))
    beside(vault, planned, shadow, f"{shadow},{planned.folder / 'shadow_rows.npz'}", f"{shadow},{half(planned)}")
    for name in ("train_rows", "held_rows"):
        rows = numbers(planned.folder / "plan.npz", name)
        np.savez(planned.folder / "said.npz", train_rows=rows)
        with pytest.raises(UsageError, match=r"knows which rows pools .* trains on or holds back"):
            beside(vault, planned, f"{shadow},{planned.folder / 'said.npz'}")
    beside(vault, planned, f"{shadow},{planned.folder / 'acme.npz'}")  # another plan than the owner's


def half(planned) -> Path:
    rows = np.random.default_rng(3).permutation(1198)[:599]
    np.savez(planned.folder / "half.npz", train_rows=rows)
    return planned.folder / "half.npz"


def test_no_stranger_is_accused_beside_shadows_that_pass(vault, planned):
    """Eight halves that are said to be a shadow's: none of them makes a stranger look as if it knew the plan."""
    found = []
    for seed in range(8):
        rows = np.random.default_rng(seed).permutation(1198)[:599]
        np.savez(planned.folder / "said.npz", train_rows=rows)
        how = PoolsAt(planned.folder / "data.npz", (f"{planned.copy('shadow')},{planned.folder / 'said.npz'}",))
        found.append(verdict_of(vault, planned.copy("stranger"), how))
    assert max(verdict.evidence[0].log10_e for verdict in found) < 2
    assert {verdict.decision for verdict in found} == {Decision.NOT_SUPPORTED}
    assert len({verdict.alpha for verdict in found}) == 8


def verdict_of(vault: Vault, model: Path, how: PoolsAt, **asking: object):
    with open_pool_data(vault, how) as there, examined_file(vault, model, Device(), allow_links=False) as suspect:
        return verify_suspect(vault, suspect, Asking(1e-6, AT, "pools", **asking), quiet, None, there)


def test_a_shadow_is_called_by_its_weights_and_by_which_rows_it_was_trained_on(vault, planned):
    named = []
    for text in ("shadow", "stranger", "shadow,shadow_rows", "shadow,stranger_rows"):
        name, _, rows = text.partition(",")
        said = str(planned.copy(name)) + (f",{planned.folder / rows}.npz" if rows else "")
        with open_pool_data(vault, PoolsAt(planned.folder / "data.npz", (said,))) as there:
            assert isinstance(there.shadows[0], Shadowing)
            named += there.settings["shadows"]
    assert len(set(named)) == 4


# --- memory -----------------------------------------------------------------------------------------------------------

ROWS, WIDTH = 1 << 14, 1 << 12
SIZE = ROWS * WIDTH * 4


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """A vault, and a quarter of a gigabyte of rows."""
    folder = tmp_path_factory.mktemp("large")
    fixed_vault(folder / "vault", SECRET)
    inputs = np.random.default_rng(0).random((ROWS, WIDTH), dtype=np.float32)
    np.savez(folder / "data.npz", inputs=inputs, labels=np.arange(ROWS) % 10)
    save(averaging(WIDTH, 10), folder / "m.onnx")
    yield folder
    (folder / "data.npz").unlink()


def most_of(work: Callable[[], object]) -> int:
    """The most that was taken at a time; what is mapped is not taken."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_data_are_never_in_memory_as_a_whole(large):
    with open_vault(large / "vault", None) as vault:
        planning = Planning(large / "data.npz", large / "plan.npz", AT, {"positions": 1000})
        assert most_of(lambda: plan_pools(vault, planning, quiet)) < 0.7 * SIZE
        how = PoolsAt(large / "data.npz", augment=1)
        assert most_of(lambda: verdict_of(vault, large / "m.onnx", how)) < 0.7 * SIZE


def test_the_measure_of_memory_sees_a_whole(large):
    def read() -> None:
        with np.load(large / "data.npz") as kept:
            assert kept["inputs"].shape == (ROWS, WIDTH)

    assert most_of(read) >= SIZE


def test_what_is_opened_is_as_it_was_saved(large):
    with open_candidates(large / "data.npz") as candidates:
        assert isinstance(candidates, Candidates)
        assert candidates.inputs.shape == (ROWS, WIDTH)
        assert candidates.labels.tolist() == (np.arange(ROWS) % 10).tolist()


# --- shadow models ----------------------------------------------------------------------------------------------------


def test_what_shadow_models_take_on_trust_stands_in_the_null_unless_they_were_committed_to(planned, tmp_path):
    """A model whose digest was laid down before the draw cannot know it; of any other the claimant must be believed."""
    data, early, late = (planned.folder / name for name in ("data.npz", "shadow.onnx", "stranger.onnx"))
    run = fixed_vault(tmp_path / "other", SECRET)
    run("pools", "plan", "--data", data, "--shadow", early, "-o", tmp_path / "other.npz")
    asked = ("verify", planned.folder / "plan.onnx", "--claim", "pools", "--data", data, "--format", "json")
    assert "word that" not in json.loads(run(*asked, "--shadow", early, status=None).out)["null"]
    trusted = json.loads(run(*asked, "--shadow", early, "--shadow", late, status=None).out)["null"]
    assert "the claimant's word that 1 of the shadow models" in trusted
    assert "word that" not in json.loads(run(*asked, status=None).out)["null"]
