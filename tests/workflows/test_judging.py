"""Judging against many references: weights fixed beforehand, most similar first, and looks that are logged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxfp.domain import Decision
from onnxfp.errors import TamperedError, UsageError
from onnxfp.workflows.channels import Channel, profile_from_json, profile_to_json
from onnxfp.workflows.issue import Issuing, issue
from onnxfp.workflows.judge import Question
from onnxfp.workflows.reference import Reference, commitment_of
from onnxfp.workflows.register import Registration, register
from onnxfp.workflows.trace import trace_file
from onnxfp.workflows.vault import create_vault, open_vault
from onnxfp.workflows.verify import verify_file
from tests.conftest import SHAPES, layers, save

AT = "2026-01-02T03:04:05+00:00"


@pytest.fixture
def vault(tmp_path):
    create_vault(tmp_path / "vault", None)
    with open_vault(tmp_path / "vault", None) as opened:
        yield opened


def quiet(step: str) -> None:
    del step


def registered(vault, folder, seed, **options):
    """Register a model of random weights; return its file."""
    path = save(layers(seed, *SHAPES), folder / f"model{seed}.onnx")
    register(vault, Registration(path, "spread", options, AT))
    return path


def copy_for(vault, model, name):
    output = model.parent / f"{name} of {model.name}"
    issue(vault, Issuing(model, name, output, AT))
    return output


def judged(verdict_of, vault, suspect, alpha=1e-6):
    return verdict_of(vault, Question(suspect, alpha, AT), quiet)


def test_each_further_reference_takes_its_share_of_the_bet(vault, tmp_path):
    copy = copy_for(vault, registered(vault, tmp_path, 1), "Acme")
    alone = judged(trace_file, vault, copy).log10_e
    for seed in (2, 3, 4):
        registered(vault, tmp_path, seed)
    assert judged(trace_file, vault, copy).log10_e == pytest.approx(alone - np.log10(4), abs=0.01)


def test_references_that_are_less_similar_than_four_others_are_passed_over_with_their_share(vault, tmp_path):
    models = [registered(vault, tmp_path, seed) for seed in range(6)]
    for seed in (0, 5):
        verdict = judged(trace_file, vault, copy_for(vault, models[seed], f"holder {seed}"))
        assert verdict.accused == (f"holder {seed}",)
        assert sum("passed over" in reason for reason in verdict.unread) == 2


def test_the_owner_is_recognised_in_any_copy_of_any_reference(vault, tmp_path):
    models = [registered(vault, tmp_path, seed) for seed in (1, 2)]
    for model in models:
        assert judged(verify_file, vault, copy_for(vault, model, "Acme")).decision is Decision.SUPPORTED
        assert judged(verify_file, vault, model).decision is Decision.NOT_SUPPORTED


def test_references_of_one_owner_share_no_symbols(vault, tmp_path):
    for seed in (1, 2):
        registered(vault, tmp_path, seed)
    words = [
        Reference.of_entry(vault, entry).drawn(vault, "recipient")[0].words(["Acme"])[0]
        for entry in vault.ledger.references()
    ]
    assert 0.35 < np.mean(words[0] == words[1]) < 0.75


def test_a_verdict_is_dated_by_the_earliest_claim(vault, tmp_path):
    copy = copy_for(vault, registered(vault, tmp_path, 1), "Acme")
    assert judged(trace_file, vault, copy).committed_at == AT
    assert judged(verify_file, vault, copy).committed_at == AT


def test_reservations_count_as_recipients(vault, tmp_path):
    model = registered(vault, tmp_path, 1)
    copy = copy_for(vault, model, "Acme")
    (entry,) = vault.ledger.references()
    for number in range(9):
        vault.ledger.reserve(entry.reference, f"never delivered {number}", AT)
    verdict = judged(trace_file, vault, copy)
    assert (verdict.recipients_tested, verdict.log10_threshold) == (10, pytest.approx(7))


def test_every_look_is_logged_and_each_further_setting_halves_alpha(vault, tmp_path):
    copy = copy_for(vault, registered(vault, tmp_path, 1), "Acme")
    alphas = [judged(trace_file, vault, copy, alpha).alpha for alpha in (1e-6, 1e-5, 1e-6, 1e-4)]
    assert alphas == [1e-6, 0.5e-5, 1e-6, 0.25e-4]


def test_a_look_that_fails_halfway_is_logged_all_the_same(vault, tmp_path):
    registered(vault, tmp_path, 1)
    suspect = save(layers(9, *SHAPES), tmp_path / "suspect.onnx")

    def interrupted(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trace_file(vault, Question(suspect, 1e-3, AT), interrupted)
    assert judged(trace_file, vault, suspect).alpha == 0.5e-6


def test_a_ledger_that_was_cut_is_noticed_before_judging(vault, tmp_path):
    import sqlite3

    copy = copy_for(vault, registered(vault, tmp_path, 1), "Acme")
    with sqlite3.connect(vault.root / "ledger.db") as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM entries WHERE kind = 'reserved'")
    connection.close()
    for verdict_of in (trace_file, verify_file):
        with pytest.raises(TamperedError):
            judged(verdict_of, vault, copy)


# --- registering ------------------------------------------------------------------------------------------------------


def test_registering_again_returns_the_first_registration(vault, tmp_path):
    path = save(layers(1, *SHAPES), tmp_path / "m.onnx")
    first = register(vault, Registration(path, "spread", {}, AT))
    again = register(vault, Registration(path, "spread", {}, "2027-01-02T03:04:05+00:00"))
    assert replace(again, head=first.head) == first
    assert first.committed_at == AT


def test_the_same_weights_in_another_file_are_the_same_reference(vault, tmp_path):
    model = layers(1, *SHAPES)
    first = register(vault, Registration(save(model, tmp_path / "a.onnx"), "spread", {}, AT))
    model.producer_name = "somebody else"
    second = register(vault, Registration(save(model, tmp_path / "b.onnx"), "spread", {}, AT))
    assert first.reference == second.reference


@pytest.mark.parametrize("change", [{"strength": 0.02}, {"positions": 512}, {"code": "uniform"}])
def test_other_options_for_the_same_reference_are_refused(vault, tmp_path, change):
    path = registered(vault, tmp_path, 1)
    with pytest.raises(UsageError, match="registered already, with other options"):
        register(vault, Registration(path, "spread", change, AT))


def test_the_commitment_binds_key_and_payload(vault, tmp_path):
    registered(vault, tmp_path, 1)
    (entry,) = vault.ledger.references()
    key = vault.reference_key(entry.digest)
    assert entry.commitment == commitment_of(entry.payload, key)
    assert commitment_of({**entry.payload, "more": 1}, key) != entry.commitment
    assert commitment_of(entry.payload, vault.reference_key("ff" * 32)) != entry.commitment


def test_a_reference_is_read_back_from_the_ledger_as_it_was_registered(vault, tmp_path):
    registered(vault, tmp_path, 1, positions=512)
    (entry,) = vault.ledger.references()
    reference = Reference.of_entry(vault, entry)
    assert profile_from_json(profile_to_json(reference.profile)) == reference.profile
    assert [Channel.from_json(channel.to_json()) for channel in reference.channels] == list(reference.channels)
    assert [channel.role for channel in reference.channels] == ["owner", "recipient"]
    positions = {drawn.channel.role: drawn.public.key.positions for drawn in reference.drawn(vault)}
    assert positions["recipient"] == 512


# --- issuing ----------------------------------------------------------------------------------------------------------


def test_a_copy_is_delivered_only_if_it_reads_back(vault, tmp_path):
    """A mark too faint for half precision is found before the file has its name."""
    from onnxfp.errors import FidelityError

    path = save(layers(1, *SHAPES, dtype=np.float16), tmp_path / "half.onnx")
    register(vault, Registration(path, "spread", {"strength": 1e-6}, AT))
    with pytest.raises(FidelityError, match="could not be traced"):
        issue(vault, Issuing(path, "Acme", tmp_path / "copy.onnx", AT))
    assert not (tmp_path / "copy.onnx").exists()
    assert not list(tmp_path.glob(".onnxfp*"))


def test_a_fidelity_check_that_refuses_stops_the_copy_before_it_is_reserved(vault, tmp_path):
    from onnxfp.errors import FidelityError

    model = registered(vault, tmp_path, 1)
    seen = []

    def strict(copy):
        seen.append(copy.read_bytes())
        raise FidelityError("not good enough")

    with pytest.raises(FidelityError, match="not good enough"):
        issue(vault, Issuing(model, "Acme", tmp_path / "copy.onnx", AT), strict)
    assert vault.ledger.recipients() == ()
    assert not (tmp_path / "copy.onnx").exists()
    issue(vault, Issuing(model, "Acme", tmp_path / "copy.onnx", AT))
    assert seen == [(tmp_path / "copy.onnx").read_bytes()]


def test_registering_with_a_check_halves_the_strength_until_it_passes(vault, tmp_path):
    from onnxfp.errors import FidelityError

    path, tried = save(layers(1, *SHAPES), tmp_path / "m.onnx"), []

    def third_time_lucky(copy):
        tried.append(copy.read_bytes())
        if len(tried) < 3:
            raise FidelityError("not yet")

    told = register(vault, Registration(path, "spread", {"strength": 0.08}, AT), third_time_lucky)
    assert told.strength == pytest.approx(0.02)
    assert len(set(tried)) == 3
    issue(vault, Issuing(path, "Acme", tmp_path / "copy.onnx", AT))


def test_a_check_that_never_passes_registers_nothing(vault, tmp_path):
    from onnxfp.errors import FidelityError

    def never(copy):
        raise FidelityError("not good enough")

    with pytest.raises(FidelityError, match="no strength down to"):
        register(vault, Registration(save(layers(1, *SHAPES), tmp_path / "m.onnx"), "spread", {}, AT), never)
    assert vault.ledger.references() == ()
    assert list((vault.root / "references").iterdir()) == []
