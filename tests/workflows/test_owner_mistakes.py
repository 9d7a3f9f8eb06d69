"""What an owner may do by mistake must not cost a key, a reference or somebody's good name."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from onnxfp.artifact import Patch, open_artifact, write_patched
from onnxfp.demo import path as demo_file
from onnxfp.domain import Decision
from onnxfp.errors import UsageError, VaultError
from onnxfp.workflows.attack import attack
from onnxfp.workflows.issue import Issuing, issue
from onnxfp.workflows.judge import Question
from onnxfp.workflows.register import Registration, register
from onnxfp.workflows.trace import trace_file
from onnxfp.workflows.vault import create_vault, open_vault

AT = "2026-11-20T12:00:00+00:00"
MODEL = demo_file("digits.onnx")


def quiet(step):
    """Say nothing."""


@pytest.fixture
def vault(tmp_path):
    create_vault(tmp_path / "vault", None)
    with open_vault(tmp_path / "vault", None) as opened:
        register(opened, Registration(MODEL, "spread", {}, AT))
        issue(opened, Issuing(MODEL, "Acme", tmp_path / "acme.onnx", AT))
        yield opened


def test_a_marked_copy_is_not_taken_for_a_reference(vault, tmp_path):
    with pytest.raises(UsageError, match="marked copy of a registered reference"):
        register(vault, Registration(tmp_path / "acme.onnx", "spread", {}, AT))
    attack([tmp_path / "acme.onnx"], "round:8", tmp_path / "rounded.onnx", 0, force=False)
    with pytest.raises(UsageError, match="register the unmarked original"):
        register(vault, Registration(tmp_path / "rounded.onnx", "spread", {}, AT))


def test_an_independent_model_is_taken_beside_it(vault):
    registered = register(vault, Registration(demo_file("digits_independent.onnx"), "spread", {}, AT))
    assert registered.positions > 0


@pytest.mark.parametrize("inside", ["owner.key", "ledger.db", "references/copy.onnx", "new.onnx"])
def test_nothing_is_ever_written_into_a_vault(vault, tmp_path, inside):
    before = (vault.root / "owner.key").read_bytes()
    target = vault.root / inside
    with pytest.raises(UsageError, match="lies in the vault"):
        issue(vault, Issuing(MODEL, "Beta", target, AT, force=True))
    with pytest.raises(UsageError, match="lies in the vault"):
        attack([tmp_path / "acme.onnx"], "round:8", target, 0, force=True)
    assert (vault.root / "owner.key").read_bytes() == before


@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_lost_reference_is_named_and_put_back_by_registering_again(vault, tmp_path, damage):
    (kept,) = (vault.root / "references").rglob("*.onnx")
    if damage == "gone":
        kept.unlink()
    elif damage == "cut":
        kept.write_bytes(kept.read_bytes()[:1000])
    else:
        shutil.copy(demo_file("digits_independent.onnx"), kept)
    with pytest.raises(VaultError, match="run `onnxfp register`"):
        issue(vault, Issuing(MODEL, "Beta", tmp_path / "beta.onnx", AT))
    assert vault.ledger.recipients() == ("Acme",)
    question = Question(tmp_path / "acme.onnx", 1e-6, AT)
    assert trace_file(vault, question, quiet).decision is Decision.INCONCLUSIVE
    register(vault, Registration(MODEL, "spread", {}, AT))
    assert trace_file(vault, question, quiet).accused == ("Acme",)


def test_a_reference_that_was_not_kept_and_moved_is_kept_by_registering_it_again(tmp_path):
    create_vault(tmp_path / "vault", None)
    model, moved = tmp_path / "model.onnx", tmp_path / "moved.onnx"
    shutil.copy(MODEL, model)
    with open_vault(tmp_path / "vault", None) as vault:
        register(vault, Registration(model, "spread", {}, AT, keep=False))
        issue(vault, Issuing(model, "Acme", tmp_path / "acme.onnx", AT))
        model.rename(moved)
        question = Question(tmp_path / "acme.onnx", 1e-6, AT)
        assert trace_file(vault, question, quiet).decision is Decision.INCONCLUSIVE
        register(vault, Registration(moved, "spread", {}, AT))
        assert trace_file(vault, question, quiet).accused == ("Acme",)


def test_other_options_for_a_registered_model_are_refused_with_a_way_out(vault):
    with pytest.raises(UsageError, match="use another --vault"):
        register(vault, Registration(MODEL, "spread", {"strength": 0.02}, AT))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_suspect_without_a_finite_weight_is_inconclusive(vault, tmp_path, value):
    with open_artifact(MODEL) as artifact:
        sizes = {record.name: record.size for record in artifact.tensors if record.writable}
    blank = tmp_path / "blank.onnx"
    data = bytearray(MODEL.read_bytes())
    with open_artifact(MODEL) as artifact:
        for name, size in sizes.items():
            start = artifact.tensor(name).runs[0].offset
            data[start : start + 4 * size] = np.full(size, value, dtype="<f4").tobytes()
    blank.write_bytes(data)
    verdict = trace_file(vault, Question(blank, 1e-6, AT), quiet)
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "no finite weight" in verdict.reason


def test_a_copy_of_the_reference_by_another_name_is_the_reference(vault, tmp_path):
    with open_artifact(MODEL) as artifact:
        write_patched(artifact, tmp_path / "same.onnx", [Patch("fc2.bias", 0, np.zeros(0, dtype=np.float32))])
    issued = issue(vault, Issuing(tmp_path / "same.onnx", "Beta", tmp_path / "beta.onnx", AT))
    assert issued.recipients == 2
