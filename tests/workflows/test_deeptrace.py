"""What preparing a model for copies means to channels, commitments, lineage and issuing; nothing is trained here."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from onnxfp.artifact import open_artifact
from onnxfp.domain import ModelProfile, OutputTarget, ProgrammedAnswers, WeightTarget
from onnxfp.errors import UsageError, VaultError
from onnxfp.workflows.channels import RECIPIENT, draw
from onnxfp.workflows.claims import chosen_claims, claims_about_copies, unborne
from onnxfp.workflows.commit import Intent, commit, drawn_for
from onnxfp.workflows.issue import Issuing, issue
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.lineage import refuse_prepared
from onnxfp.workflows.shown import TRIAL, exemplar
from onnxfp.workflows.suspects import SEALED
from tests.frozen import dump
from tests.workflows.leaves import prepared, the_channel
from tests.workflows.vaults import ASK, AT, MODEL, claimed, committed, digits, fixed_vault, profile_of

HEAD = "fc2.weight"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("made") / "vault"
    with fixed_vault(root) as vault:
        prepared(vault, positions=12)
    return root


@pytest.fixture
def vault(made_once, tmp_path):
    shutil.copytree(made_once, tmp_path / "vault")
    with fixed_vault(tmp_path / "vault") as opened:
        yield opened


def intent(**options: object) -> Intent:
    return Intent("deeptrace", {"taught": 1, "labels": 8, "positions": 12, **options}, AT)


def material(seed: int = 0) -> dict[str, np.ndarray]:
    return {"inputs": digits(), "features": np.random.default_rng(seed).standard_normal((200, 128))}


def profile(vault, head=True) -> ModelProfile:
    found = profile_of(vault)
    return replace(found, head=the_channel(vault)[0].public.key.head) if head else found


# --- channels ---------------------------------------------------------------------------------------------------------


def test_a_channel_of_copies_is_taught_for_any_word_and_writes_into_the_head(vault):
    channel, _ = the_channel(vault)
    assert channel.channel.role == RECIPIENT
    assert channel.channel.in_copies
    (taught,) = channel.taught()
    assert isinstance(taught, ProgrammedAnswers)
    assert channel.written() == {HEAD}


def test_a_channel_of_the_owners_is_taught_its_word_and_writes_nothing(tmp_path):
    with fixed_vault(tmp_path / "vault") as vault:
        channel = claimed(vault)
    assert all(isinstance(one, OutputTarget) for one in channel.taught())
    assert channel.taught()
    assert channel.written() == frozenset()
    assert not channel.channel.in_copies


def test_other_marks_of_copies_leave_the_head_alone(vault):
    (reference,) = registered_references(vault)
    assert HEAD not in {carrier.name for carrier in reference.profile.carriers}
    plans = [
        target
        for channel in reference.channels
        if channel.in_copies and not channel.of
        for target in reference.draw(vault, channel).scheme.plan(reference.draw(vault, channel).claim("Acme"))
    ]
    assert plans
    assert all(isinstance(one, WeightTarget) and not one.prepared for one in plans)
    assert HEAD not in {segment.carrier for one in plans for segment in one.segments}


def test_what_the_ledger_holds_draws_the_same_key_though_it_knows_no_head(vault):
    (reference,) = registered_references(vault)
    assert reference.profile.head is None
    one, other = (
        the_channel(vault)[0],
        drawn_for(vault, commit(vault, profile(vault), intent(), material(), ASK), "", AT),
    )
    assert dump(one.public) == dump(other.public)
    assert np.array_equal(one.words(["Acme", "Beta"]), other.words(["Acme", "Beta"]))


def test_words_of_another_claim_are_others(vault):
    one = the_channel(vault)[0]
    beacon = draw(
        replace(one.channel, beacon="later"), profile(vault), vault.reference_key(one.channel.of), kept(vault)
    )
    assert dump(beacon.public.key) == dump(one.public.key)
    assert not np.array_equal(beacon.words(["Acme"]), one.words(["Acme"]))
    assert beacon.leaf("Acme") != one.leaf("Acme")


def kept(vault):
    from onnxfp.workflows.samples import load_samples

    return load_samples(vault, the_channel(vault)[0].channel.samples)


# --- commitments ------------------------------------------------------------------------------------------------------


def test_a_commitment_spells_out_triggers_answers_and_head(vault):
    (entry,) = vault.ledger.commitments()
    options = entry.payload["options"]
    assert entry.payload["role"] == RECIPIENT
    assert options["head"] == {"carrier": HEAD, "shape": [10, 128], "axis": 0, "size": options["head"]["size"]}
    assert options["positions"] == 12
    assert all(options.values())


@pytest.mark.parametrize(
    "other", [{"positions": 20}, {"labels": 5}, {"amplitude": 0.9}, {"jitter": 0.2}, {"taught": 2}]
)
def test_another_claim_is_another_commitment(other, vault):
    made = commit(vault, profile(vault), intent(**other), material(), ASK)
    assert not made.before
    assert len(vault.ledger.commitments()) == 2


def test_what_the_head_hears_is_part_of_the_claim(vault):
    assert commit(vault, profile(vault), intent(), material(), ASK).before
    assert not commit(vault, profile(vault), intent(), material(seed=1), ASK).before


def test_draws_for_copies_take_nothing_from_the_owners_claims(vault):
    drawn_for(vault, commit(vault, profile(vault), intent(positions=20), material(), ASK), "", AT)
    references = registered_references(vault)
    assert unborne(vault, references) == ()
    assert chosen_claims(references, SEALED, "") == ()
    assert len(claims_about_copies(references, SEALED)) == 1
    drawn_for(vault, committed(vault), "", AT)
    assert len(unborne(vault, references)) == 1


def test_a_loss_of_what_is_kept_is_told(vault):
    shutil.rmtree(vault.root / "samples")
    with pytest.raises(VaultError):
        the_channel(vault)


# --- lineage ----------------------------------------------------------------------------------------------------------


def test_what_was_prepared_is_refused_by_name_and_what_was_not_is_not(vault, tmp_path):
    (reference,) = registered_references(vault)
    made = replace(reference, parent="ab" * 32)
    with pytest.raises(UsageError, match=r"prepared for copies.* mark abababababab, from which it was made"):
        refuse_prepared([made], made.digest)
    refuse_prepared([made], "cd" * 32)
    refuse_prepared([], made.digest)
    with fixed_vault(tmp_path / "other") as other:
        claimed(other)
        references = registered_references(other)
        refuse_prepared(references, references[0].digest)


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_prepared_model_is_shown_by_a_trial_copy_that_nobody_gets(vault):
    channel, _ = the_channel(vault)
    assert channel.word_of(TRIAL) == TRIAL
    with open_artifact(MODEL) as artifact, exemplar(artifact, channel) as path, open_artifact(path) as trial:
        assert path != artifact.path
        differing = [
            record.name
            for record in artifact.tensors
            if not np.array_equal(artifact.read(record), trial.read(trial.tensor(record.name)))
        ]
        moved = (trial.read(trial.tensor(HEAD)) - artifact.read(artifact.tensor(HEAD))).astype(np.float32)
    assert differing == [HEAD]
    assert not path.exists()
    (target,) = channel.scheme.plan(channel.claim(TRIAL))
    gains = target.projection.apply((moved / (target.segments[0].spread * target.strength)).astype(np.float32))
    assert gains == pytest.approx(target.values, abs=1e-4)


def test_an_owners_mark_is_shown_by_the_model_itself(tmp_path):
    with fixed_vault(tmp_path / "vault") as vault:
        channel = claimed(vault)
    with open_artifact(MODEL) as artifact, exemplar(artifact, channel) as path:
        assert path == artifact.path


def test_issuing_reads_back_what_the_answers_really_say(vault, tmp_path):
    """This reference was never taught: its answers tell nothing, and that is what is said of them."""
    result = issue(vault, Issuing(MODEL, "Acme", tmp_path / "a.onnx", AT))
    assert result.log10_e_by["answers"] < 1 < result.log10_e_by["weights"]
    assert result.reachable_by["answers"] > 10**4
    assert set(asdict(result)["log10_e_by"]) == {"weights", "answers"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "vault"]


def test_a_dry_run_says_what_a_copy_that_learnt_everything_would_tell(vault, tmp_path):
    result = issue(vault, Issuing(MODEL, "Acme", tmp_path / "a.onnx", AT, dry_run=True))
    assert result.log10_e_by["answers"] > 9
    assert result.reachable_by["answers"] == pytest.approx(1e-6 * 10 ** result.log10_e_by["answers"], rel=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["vault"]


def test_the_change_that_was_prepared_for_is_in_no_budget(vault, tmp_path):
    result = issue(vault, Issuing(MODEL, "Acme", tmp_path / "a.onnx", AT, budget=0.08))
    with open_artifact(MODEL) as before, open_artifact(tmp_path / "a.onnx") as after:
        old, new = (one.read(one.tensor(HEAD)).astype(np.float64) for one in (before, after))
    assert np.linalg.norm(new - old) / np.linalg.norm(old) > 0.08 >= result.relative_change > 0
