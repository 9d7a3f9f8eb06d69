"""First the commitment, then the symbols: in the ledger, with a beacon or without, and every draw counts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from onnxfp.demo import path as demo_file
from onnxfp.domain import Decision
from onnxfp.errors import UsageError, VaultError
from onnxfp.workflows.claims import chosen_claims, unborne
from onnxfp.workflows.commit import Intent, commit, drawn_for
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.reference import commitment_of
from onnxfp.workflows.samples import load_samples
from onnxfp.workflows.suspects import SEALED, ExaminedSealed
from onnxfp.workflows.verify import Asking, verify_suspect
from tests.frozen import dump
from tests.workflows.vaults import (
    ASK,
    AT,
    Model,
    claimed,
    committed,
    digits,
    fixed_vault,
    profile_of,
    quiet,
    registered,
    the_claim,
)

LATER = "2027-01-02T03:04:05+00:00"


@pytest.fixture
def vault(tmp_path):
    with fixed_vault(tmp_path / "vault") as opened:
        yield opened


def kinds(vault) -> list[str]:
    with vault.ledger.store.reading() as transaction:
        return [row.kind for row in transaction.rows()]


def word(drawn) -> bytes:
    return drawn.claim("owner").codeword.tobytes()


# --- committing -------------------------------------------------------------------------------------------------------


def test_the_commitment_is_in_the_ledger_before_a_symbol_is_drawn(vault):
    made = committed(vault)
    assert kinds(vault) == ["created", "committed"]
    assert vault.ledger.drawn() == ()
    drawn_for(vault, made, "", AT)
    assert kinds(vault) == ["created", "committed", "drawn"]


def test_the_same_again_is_the_same_commitment_of_the_first_day(vault):
    first, again = committed(vault), committed(vault, LATER)
    assert (first.before, again.before) == (False, True)
    assert again.channel == first.channel
    assert first.channel.committed_at == AT
    assert kinds(vault) == ["created", "committed"]


@pytest.mark.parametrize(
    "other",
    [
        {"triggers": "noise"},
        {"positions": 33},
        {"taught": 2},
        {"deviation": 0.2},
        {"scheme": "zhang_paper", "taught": 1, "each": 2},
        {"inputs": digits()[:600]},
    ],
)
def test_another_claim_is_another_commitment(other, vault):
    assert committed(vault, **other).channel.commitment != committed(vault).channel.commitment
    assert len(vault.ledger.commitments()) == 2


def test_what_was_left_to_defaults_is_spelt_out_in_the_commitment(vault):
    made = committed(vault)
    (entry,) = vault.ledger.commitments()
    assert set(entry.payload["options"]) == {"triggers", "positions", "taught", "each", "deviation"}
    assert entry.payload == replace(made.channel, commitment="", committed_at="").to_json()
    assert entry.payload["of"] == made.profile.digest == entry.reference


def test_the_commitment_opens_with_the_owners_key_and_the_samples_that_are_kept(vault):
    made = committed(vault)
    (entry,) = vault.ledger.commitments()
    key = vault.reference_key(made.profile.digest)
    assert commitment_of({"claim": dict(entry.payload)}, key) == entry.commitment
    for name, value in (("samples", "00" * 32), ("of", "00" * 32), ("scheme", "spread")):
        assert commitment_of({"claim": {**entry.payload, name: value}}, key) != entry.commitment
    assert commitment_of({"claim": dict(entry.payload)}, key.derive("another")) != entry.commitment
    assert set(load_samples(vault, entry.payload["samples"])) == {"pool", "held_out", "rows", "answers"}


def test_no_secret_and_no_symbol_is_in_the_commitment(vault):
    drawn = drawn_for(vault, committed(vault), "", AT)
    (entry,) = vault.ledger.commitments()
    text = json.dumps(dict(entry.payload))
    assert drawn.secret.secret.hex() not in text
    assert vault.owner.secret.hex() not in text
    assert "".join(map(str, drawn.claim("owner").codeword.tolist())) not in text.replace(", ", "")


def test_a_scheme_of_weights_needs_no_commitment(vault):
    intent = Intent("spread", {}, AT)
    with pytest.raises(UsageError, match=r"spread marks weights and needs no training; use `onnxfp register"):
        commit(vault, profile_of(vault), intent, {"inputs": digits()}, ASK)
    assert kinds(vault) == ["created"]


def test_data_that_do_not_do_leave_nothing_behind(vault):
    own = {"inputs": digits(), "pictures": np.repeat(digits()[:20], 2, axis=0)}
    intent = Intent("zhang", {"positions": 32, "triggers": "unrelated"}, AT)
    for data, told in ((own, "two triggers are the same picture"), ({"inputs": digits()[:50]}, "too few")):
        with pytest.raises(UsageError, match=told):
            commit(vault, profile_of(vault), intent, data, ASK)
    assert kinds(vault) == ["created"]
    assert not (vault.root / "samples").exists()


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_a_beacon_for_what_was_committed_to_just_now_is_refused_and_nothing_is_drawn(vault):
    made = committed(vault)
    with pytest.raises(UsageError, match=f"commitment {made.channel.commitment} was made just now: publish it"):
        drawn_for(vault, made, "a value that was known before", AT)
    assert vault.ledger.drawn() == ()
    drawn = drawn_for(vault, committed(vault, LATER), "a value of the next day", LATER)
    assert drawn.channel.beacon == "a value of the next day"
    assert [(entry.beacon, entry.drawn_at) for entry in vault.ledger.drawn()] == [("a value of the next day", LATER)]


def test_the_symbols_depend_on_the_beacon_and_the_triggers_do_not(vault):
    committed(vault)
    draws = {beacon: drawn_for(vault, committed(vault), beacon, AT) for beacon in ("", "a", "b")}
    assert len({word(drawn) for drawn in draws.values()}) == 3
    assert len({dump(drawn.scheme.probes(drawn.public)) for drawn in draws.values()}) == 1
    again = drawn_for(vault, committed(vault), "a", LATER)
    assert word(again) == word(draws["a"])
    assert [entry.beacon for entry in vault.ledger.drawn()] == ["", "a", "b"]


def test_the_symbols_depend_on_the_commitment(vault):
    """The same triggers and classes under another number of taught inputs: other symbols all the same."""
    one, other = (drawn_for(vault, committed(vault, taught=taught), "", AT) for taught in (1, 2))
    assert dump(one.scheme.probes(one.public)) == dump(other.scheme.probes(other.public))
    assert word(one) != word(other)


def test_what_is_drawn_again_from_the_vault_is_what_was_drawn(vault):
    drawn = claimed(vault, "a beacon")
    again = the_claim(vault)
    assert dump(again.public) == dump(drawn.public)
    assert word(again) == word(drawn)


def test_a_lost_corpus_is_named_when_the_claim_is_needed(vault):
    claimed(vault)
    for path in (vault.root / "samples").iterdir():
        path.unlink()
    with pytest.raises(VaultError, match=r"the trigger corpus .* is missing or damaged; restore it from a backup"):
        the_claim(vault)


@pytest.mark.parametrize("claim", ["", "first"])
def test_a_claim_whose_corpus_is_lost_keeps_its_weight_and_others_still_speak_for_the_owner(vault, claim):
    first = claimed(vault)
    other = drawn_for(vault, committed(vault, inputs=digits()[:600]), "", AT)
    registered(vault, other, demo_file("digits_independent.onnx"))
    name = first.channel.commitment[:12] if claim else ""

    def verdict(share: float):
        suspect = Model(first, share=share)
        return verify_suspect(vault, ExaminedSealed(f"{share}", suspect), Asking(1e-6, AT, name, fixed=True), quiet)

    whole = verdict(1.0)
    corpus = vault.root / "samples" / f"{other.channel.samples[:32]}.npz"
    corpus.rename(corpus.with_suffix(".away"))
    ours, innocent = verdict(1.0), verdict(0.0)
    assert ours.decision is Decision.SUPPORTED
    assert ours.log10_e == pytest.approx(whole.log10_e, abs=1e-6)
    assert innocent.decision is (Decision.NOT_SUPPORTED if claim else Decision.INCONCLUSIVE)
    told = f"zhang {other.channel.commitment[:12]}: the trigger corpus samples/{corpus.name} is missing"
    assert [told in " ".join(one.unread) for one in (ours, innocent)] == [not claim] * 2
    assert (told in innocent.reason) is (not claim)
    assert str(vault.root) not in f"{ours}{innocent}"


def test_with_every_corpus_lost_nothing_is_said_of_anybody(vault):
    drawn = claimed(vault)
    for path in (vault.root / "samples").iterdir():
        path.unlink()
    for suspect in (Model(drawn), Model()):
        verdict = verify_suspect(vault, ExaminedSealed("anybody", suspect), Asking(1e-6, AT), quiet)
        assert verdict.decision is Decision.INCONCLUSIVE
        assert "restore it from a backup of the vault" in verdict.reason


# --- every draw counts ------------------------------------------------------------------------------------------------


def looked(vault, **more):
    suspect = ExaminedSealed(f"suspect {more}", Model(the_claim(vault)))
    return verify_suspect(vault, suspect, Asking(1e-6, AT, fixed=True, **more), quiet)


@pytest.mark.parametrize("claim", ["", "zhang"])
def test_draws_that_nothing_bears_keep_their_weight(claim, vault):
    """Else an owner could draw until the symbols suit, and forget the others."""
    claimed(vault, "first")
    alone = looked(vault, claim=claim).log10_e
    assert unborne(vault, registered_references(vault)) == ()
    for number in range(9):
        drawn_for(vault, committed(vault), f"another {number}", AT)
    assert len(unborne(vault, registered_references(vault))) == 9
    assert looked(vault, claim=claim).log10_e == pytest.approx(alone - 1, abs=1e-9)
    drawn_for(vault, committed(vault), "another 3", LATER)
    assert looked(vault, claim=claim).log10_e == pytest.approx(alone - 1, abs=1e-9), "the same draw again is one draw"


def test_draws_in_vain_can_cost_the_verdict(vault):
    claimed(vault, "first")

    def verdict(hits: int):
        suspect = Model(the_claim(vault), share=hits / 32)
        examined = ExaminedSealed(f"knows {hits}, {len(vault.ledger.drawn())} drawn", suspect)
        return verify_suspect(vault, examined, Asking(1e-6, AT, fixed=True), quiet).decision

    enough = next(hits for hits in range(4, 32) if verdict(hits) is Decision.SUPPORTED)
    for number in range(9):
        drawn_for(vault, committed(vault), f"another {number}", AT)
    assert verdict(enough) is Decision.NOT_SUPPORTED
    assert verdict(enough + 1) is Decision.SUPPORTED


def test_a_commitment_without_a_draw_weighs_nothing(vault):
    claimed(vault)
    alone = looked(vault).log10_e
    committed(vault, taught=3)
    assert looked(vault).log10_e == pytest.approx(alone, abs=1e-12)


def test_an_abandoned_claim_of_another_kind_counts_too(vault):
    claimed(vault)
    alone = looked(vault).log10_e
    drawn_for(vault, committed(vault, triggers="noise"), "", AT)
    assert looked(vault).log10_e == pytest.approx(alone - np.log10(2), abs=1e-9)


# --- names of claims --------------------------------------------------------------------------------------------------


def test_a_claim_is_called_by_its_scheme_or_its_first_digits(vault):
    commitment = claimed(vault).channel.commitment
    references = registered_references(vault)
    for name in ("", "zhang", commitment, commitment[:6], f"zhang {commitment[:12]}"):
        (claim,) = chosen_claims(references, SEALED, name)
        assert claim.key == f"zhang:{commitment}"
    for name in ("spread", commitment[1:], "Zhang", "nothing"):
        with pytest.raises(UsageError, match=f"is called '{name}'; there are: zhang {commitment[:12]}"):
            chosen_claims(references, SEALED, name)


def test_two_claims_of_one_model_are_told_apart(vault):
    claimed(vault)
    other = drawn_for(vault, committed(vault, triggers="noise"), "", AT)
    registered(vault, other, demo_file("digits_independent.onnx"))
    claims = chosen_claims(registered_references(vault), SEALED, "zhang")
    assert len({claim.key for claim in claims}) == len({claim.name for claim in claims}) == 2
