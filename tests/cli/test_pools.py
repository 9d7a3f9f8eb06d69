"""An owner plans which rows to train on, and proves by them that an unchanged model is theirs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxfp.domain import Membership
from onnxfp.keys.keyfile import load_key_file
from onnxfp.keys.keystream import Keystream
from onnxfp.workflows.candidates import open_candidates
from onnxfp.workflows.claims import RegisteredClaim
from onnxfp.workflows.judge import registered_references
from onnxfp.workflows.pool_data import PoolsAt, open_pool_data
from onnxfp.workflows.vault import open_vault
from tests.cli.test_marking import BEACON, claim_of, rows, told, told_alike
from tests.cli.test_secrets import leaks
from tests.cli.test_verify_remote import runs
from tests.conftest import Program, Stage, digits, halves, layers, memorising, numbers, save
from tests.suspect import misbehaving
from tests.suspect.misbehaving import Misbehaving

PLANS = ("plan", "acme", "beta")


def data(stage: Stage) -> Path:
    return stage.folder / "data.npz"


def plan(stage: Stage, *more: object, output: str = "new", given: Path | None = None) -> dict:
    words = ("pools", "plan", "--data", given or data(stage), "-o", stage.folder / f"{output}.npz")
    return told(stage, *words, *more)


def pools(stage: Stage, suspect: str | None, *more: object, status: int = 0) -> dict:
    """What `verify` says of the owner's plans."""
    words = () if suspect is None else (suspect if "://" in suspect else stage.copy(suspect),)
    return told(stage, "verify", *words, "--claim", "pools", "--data", data(stage), *more, status=status)


def shadow(stage: Stage, name: str = "shadow", which: str = "") -> tuple[str, str]:
    """The option that names a shadow model, and the rows that it was trained on."""
    return ("--shadow", str(stage.copy(name)) + (f",{stage.folder / which}.npz" if which else ""))


def fitted(stage: Stage, name: str, train: np.ndarray, seed: int = 1, **how: object) -> Path:
    """A model that was trained on some rows."""
    inputs, labels = digits()
    return save(memorising(inputs[train], labels[train], seed, **how), stage.copy(name))


def order_of(stage: Stage) -> list[str]:
    """The kinds of all rows of the ledger but the first, which every ledger has."""
    import sqlite3

    with sqlite3.connect(stage.vault / "ledger.db") as connection:
        found = [kind for (kind,) in connection.execute("SELECT kind FROM entries ORDER BY seq")]
    connection.close()
    return found[1:]


@pytest.fixture
def fresh(tmp_path, planned_once) -> Stage:
    """The candidate data, and a vault in which nothing was planned."""
    shutil.copy(planned_once / "data.npz", tmp_path)
    run = Program(tmp_path / "vault")
    run("init")
    return Stage(tmp_path, run)


# --- plans ------------------------------------------------------------------------------------------------------------


def test_a_plan_divides_all_rows_into_what_is_trained_on_and_what_is_held_back(planned):
    result = json.loads((planned.folder / "plan.json").read_text())
    train, held = (numbers(planned.folder / "plan.npz", name) for name in ("train_rows", "held_rows"))
    _, labels = digits()
    assert sorted([*train, *held]) == list(range(len(labels)))
    assert (result["train_rows"], result["held_rows"]) == (len(train), len(held))
    assert (result["pools"], result["size"]) == (2, 1)
    assert result["positions"] <= len(held) <= result["positions"] + 20  # one of each pair, and what is alike to it
    assert np.abs(np.bincount(labels[train]) - np.bincount(labels[held])).max() <= 20
    assert not result["blind"]["labels_differ"]


def test_the_same_plan_again_gives_the_same_rows_and_no_second_commitment(planned):
    before = order_of(planned)
    again = plan(planned)
    first = json.loads((planned.folder / "plan.json").read_text())
    assert (again["commitment"], again["committed_at"]) == (first["commitment"], first["committed_at"])
    assert (planned.folder / "new.npz").read_bytes() == (planned.folder / "plan.npz").read_bytes()
    assert order_of(planned) == before
    assert (
        plan(planned, "--to", "Acme", output="a")["commitment"]
        == plan(planned, "--to", "Beta", output="b")["commitment"]
    )
    for name, other in (("a", "acme"), ("b", "beta")):
        assert (planned.folder / f"{name}.npz").read_bytes() == (planned.folder / f"{other}.npz").read_bytes()


def test_what_is_planned_is_committed_to_before_it_is_drawn(fresh):
    plan(fresh)
    assert order_of(fresh)[-3:] == ["committed", "drawn", "reference"]
    plan(fresh, "--to", "Acme", output="acme")
    assert order_of(fresh)[-4:] == ["committed", "drawn", "reference", "reserved"]


def test_another_owner_trains_on_other_rows(fresh, planned_once):
    plan(fresh)
    assert not np.array_equal(numbers(fresh.folder / "new.npz"), numbers(planned_once / "plan.npz"))


def test_a_beacon_needs_a_commitment_that_stood_before_it_and_changes_the_draw(fresh):
    words = ("pools", "plan", "--data", data(fresh), "-o", fresh.folder / "late.npz", "--beacon", BEACON)
    assert "was made just now: publish it" in fresh.run.refused(*words)
    assert not (fresh.folder / "late.npz").exists()
    assert order_of(fresh) == ["committed"]
    late = json.loads(fresh.run(*words, "--format", "json").out)
    early = plan(fresh)
    assert late["commitment"] == early["commitment"]
    assert not np.array_equal(numbers(fresh.folder / "late.npz"), numbers(fresh.folder / "new.npz"))
    fitted(fresh, "late", numbers(fresh.folder / "late.npz"))
    verdict = pools(fresh, "late")
    assert len(verdict["claims"]) == 2
    assert max(claim["log10_e"] for claim in verdict["claims"]) > 20


def test_recipients_get_rows_of_their_own_whatever_way_their_names_are_typed(planned):
    assert len({(planned.folder / f"{name}.npz").read_bytes() for name in PLANS}) == 3
    assert plan(planned, "--to", "  Acme ", output="typed")["recipient"] == "Acme"
    assert (planned.folder / "typed.npz").read_bytes() == (planned.folder / "acme.npz").read_bytes()
    assert rows(planned, "reserved", "Acme") == [{}]
    line = planned.run.refused("pools", "plan", "--data", data(planned), "--to", " ", "-o", planned.folder / "x.npz")
    assert "the recipient's name is empty" in line


def test_plans_of_other_sizes_stand_beside_one_another_and_all_verify(fresh):
    for number, how in enumerate((("--pairs", "200"), ("--pairs", "300"), ("--pools", "3", "--size", "4"))):
        plan(fresh, *how, output=f"p{number}")
        fitted(fresh, f"p{number}", numbers(fresh.folder / f"p{number}.npz"))
    for number in range(3):
        verdict = pools(fresh, f"p{number}")
        assert verdict["decision"] == "supported"
        by_claim = sorted(claim["log10_e"] for claim in verdict["claims"])
        assert by_claim[-1] > verdict["log10_threshold"] + 1 > 5 > by_claim[-2]


def test_one_of_several_plans_is_weighed_by_its_digits(fresh):
    names = [plan(fresh, "--pairs", str(count), output=str(count))["commitment"][:8] for count in (200, 300)]
    fitted(fresh, "ours", numbers(fresh.folder / "300.npz"))
    decisions = [
        told(fresh, "verify", fresh.copy("ours"), "--claim", name, "--data", data(fresh), status=None)["decision"]
        for name in names
    ]
    assert decisions == ["not_supported", "supported"]


def test_outputs_are_refused_in_the_vault_and_where_one_is(planned):
    words = ("pools", "plan", "--data", data(planned), "-o")
    before = (planned.folder / "plan.npz").read_bytes()
    assert "vault" in planned.run.refused(*words, planned.vault / "plan.npz")
    assert not (planned.vault / "plan.npz").exists()
    assert "--force" in planned.run.refused(*words, planned.folder / "plan.npz", "--to", "Gamma")
    assert (planned.folder / "plan.npz").read_bytes() == before
    assert rows(planned, "reserved", "Gamma") == []
    planned.run(*words, planned.folder / "plan.npz", "--to", "Gamma", "--force")
    assert (planned.folder / "plan.npz").read_bytes() != before
    planned.run.refused(*words, planned.folder / "no" / "such" / "folder.npz")
    content = data(planned).read_bytes()
    assert "holds the data" in planned.run.refused(*words, data(planned), "--force")
    assert data(planned).read_bytes() == content


def test_too_few_rows_are_refused_in_one_line(fresh):
    words = ("pools", "plan", "--data", data(fresh), "-o", fresh.folder / "new.npz")
    assert "not enough rows" in fresh.run.refused(*words, "--pairs", "5000")
    np.savez(fresh.folder / "one.npz", inputs=np.ones((1, 3)), labels=np.zeros(1, int))
    assert "not enough rows" in fresh.run.refused(*words[:3], fresh.folder / "one.npz", *words[4:])
    assert order_of(fresh) == []
    for option, value in (("--pools", "1"), ("--size", "0"), ("--alike", "0"), ("--pairs", "-1")):
        assert option in fresh.run.refused(*words, option, value)


def test_no_command_shows_which_rows_are_trained_on_and_nothing_in_the_vault_holds_them(planned):
    plan(planned)
    planned.run("pools", "check", "--data", data(planned), "--model", planned.copy("plan"), *shadow(planned))
    pools(planned, "plan", "--transcript", planned.folder / "said.json")
    pools(planned, "stranger", *shadow(planned), status=3)
    told(planned, "trace", planned.copy("acme"), "--data", data(planned))
    planned.run("ledger", "verify")
    files = [path for path in planned.vault.rglob("*") if path.is_file() and path.name != "owner.key"]
    places = [path.read_bytes() for path in [*files, planned.folder / "said.json"]]
    places += [
        said.encode() for said in [*planned.run.heard, *((planned.folder / f"{n}.json").read_text() for n in PLANS)]
    ]
    written = spelt(planned)
    assert len(written) >= 24
    assert not [text for text in written for place in places if text in place]
    owner = Keystream(load_key_file(planned.vault / "owner.key", None).secret)
    digest = json.loads((planned.folder / "plan.json").read_text())["data"]
    for key in (owner, owner.derive("ledger"), owner.derive("reference", digest)):
        assert not leaks(key.secret, *places)
    fields = {field for row in rows(planned, "committed") for field in row["options"]}
    assert fields == {"positions", "pools", "size", "alike"}


def spelt(stage: Stage) -> set[bytes]:
    """The first of each plan's rows and word as they may be written down."""
    found = set()
    for name in PLANS:
        for which in ("train_rows", "held_rows"):
            some = numbers(stage.folder / f"{name}.npz", which)[:40]
            found |= {some.tobytes(), some.astype(np.int32).tobytes(), ", ".join(map(str, some)).encode()}
            found |= {
                " ".join(map(str, some)).encode(),
                json.dumps(some.tolist(), separators=(",", ":"))[1:-1].encode(),
            }
    for claim in claims(stage):
        with open_vault(stage.vault, None) as vault, open_candidates(data(stage)) as candidates:
            drawn = RegisteredClaim(claim.reference, claim.channel, candidates.samples).draw(vault)
            for word in drawn.words(["owner", "Acme", "Beta"])[:, :64]:
                found |= {word.tobytes(), ", ".join(map(str, word)).encode(), "".join(map(str, word)).encode()}
    return found


def claims(stage: Stage) -> list[RegisteredClaim]:
    with open_vault(stage.vault, None) as vault:
        return [RegisteredClaim(one, channel) for one in registered_references(vault) for channel in one.channels]


def test_the_search_for_rows_can_find_them(planned):
    train = numbers(planned.folder / "plan.npz").tolist()
    assert any(text in json.dumps(train).encode() for text in spelt(planned))


def test_the_plan_of_a_claim_is_what_was_written(planned):
    (claim, *_) = claims(planned)
    with open_vault(planned.vault, None) as vault, open_candidates(data(planned)) as candidates:
        drawn = RegisteredClaim(claim.reference, claim.channel, candidates.samples).draw(vault)
        (membership,) = drawn.scheme.plan(drawn.claim("owner"))
    assert isinstance(membership, Membership)
    assert membership.rows.tolist() == numbers(planned.folder / "plan.npz").tolist()


# --- checks -----------------------------------------------------------------------------------------------------------


def test_a_sound_plan_passes_and_a_model_shows_what_it_tells(planned):
    words = ("pools", "check", "--data", data(planned))
    bare = told(planned, *words)
    assert bare["passed"]
    assert bare["shown"] == []
    assert bare["duplicates_across"] == 0
    assert bare["auc_low"] <= 0.5 <= bare["auc_high"]
    assert "verdict          sound" in planned.run(*words).out
    ours = told(planned, *words, "--model", planned.copy("plan"), *shadow(planned), "--augment", "1")
    assert {row["score"] for row in ours["shown"]} >= {"loss", "margin", "difference", "lira", "rmia"}
    assert max(row["z"] for row in ours["shown"]) > 10
    assert 0 < ours["shown"][0]["positions"] < ours["positions"]
    theirs = told(planned, *words, "--model", planned.copy("stranger"))
    assert max(abs(row["z"]) for row in theirs["shown"]) < 5
    assert "by margin" in planned.run(*words, "--model", planned.copy("plan")).out


@pytest.mark.parametrize(("name", "to"), [("acme", "Acme"), ("beta", " Beta ")])
def test_the_plan_of_a_recipient_is_checked_by_their_model(planned, name, to):
    words = ("pools", "check", "--data", data(planned), "--to", to, "--model")
    shown = {model: told(planned, *words, planned.copy(model))["shown"][0]["z"] for model in PLANS}
    assert shown.pop(name) > 10
    assert max(map(abs, shown.values())) < 5


def test_what_cannot_be_checked_is_refused(planned):
    words = ("pools", "check", "--data")
    assert "that recipient has no plan" in planned.run.refused(*words, data(planned), "--to", "Gamma")
    np.savez(planned.folder / "other.npz", inputs=np.ones((4, 3)), labels=np.zeros(4, int))
    assert "is about other data than these 4 rows" in planned.run.refused(*words, planned.folder / "other.npz")
    assert "--shadow says nothing about a plan" in planned.run.refused(*words, data(planned), *shadow(planned))
    assert "--augment says nothing about a plan" in planned.run.refused(*words, data(planned), "--augment", "1")
    planned.run.refused(*words, data(planned), "--model", data(planned))
    planned.run.refused(*words, data(planned), "--model", planned.folder / "missing.onnx")
    save(layers(1, (5, 4)), planned.copy("other"))
    assert "does not take these inputs" in planned.run.refused(*words, data(planned), "--model", planned.copy("other"))


def test_data_that_were_never_planned_over_are_refused(fresh):
    line = fresh.run.refused("pools", "check", "--data", data(fresh))
    assert "no claim" in line


@pytest.mark.parametrize(("effect", "more"), [("0.3", ()), ("2", ("--pools", "8")), ("1e-5", ("--size", "3"))])
def test_power_says_how_much_it_takes(program, effect, more):
    words = ("pools", "power", "--effect", effect, *more)
    found = json.loads(program(*words, "--format", "json").out)
    sizes = [3] if "--size" in more else [1, 10, 100]
    assert [one["size"] for one in found["needed"]] == sizes
    assert all(one["rows"] == one["positions"] * found["pools"] * one["size"] for one in found["needed"])
    assert program(*words).out.count("pools of") >= len(sizes)
    assert ("never" in program(*words).out) is (effect == "1e-5")
    for wrong in (("--effect", "0"), ("--effect", "nan"), ("--power", "1"), ("--alpha", "0"), ("--size", "0")):
        program.refused(*words, *wrong)


# --- is it ours? ------------------------------------------------------------------------------------------------------


def test_who_trained_on_the_plan_is_ours_and_who_did_not_is_not(planned):
    ours = pools(planned, "plan")
    assert ours["decision"] == "supported"
    (claim,) = ours["claims"]
    assert claim["scheme"] == "pools"
    assert claim["log10_e"] > 20
    assert claim["queries"] == 2 * claim["positions"]
    assert ours["log10_threshold"] == pytest.approx(6)
    assert ours["committed_at"] == json.loads((planned.folder / "plan.json").read_text())["committed_at"]
    assert claim["claim"].removeprefix("pools ") in (planned.folder / "plan.json").read_text()
    for name in ("stranger", "shadow", "acme", "beta"):
        verdict = pools(planned, name, status=3)
        assert verdict["decision"] == "not_supported"
        assert verdict["log10_e"] < 1
        assert verdict["reason"] == ""
    text = planned.run("verify", planned.copy("plan"), "--claim", "pools", "--data", data(planned)).out
    assert "OURS" in text
    assert "pools" in text


@pytest.mark.parametrize("how", [(), ("shadow",), ("shadow", "shadow_rows"), ("stranger", "stranger_rows")], ids=str)
@pytest.mark.parametrize("more", [(), ("--augment", "2")], ids=["", "augment"])
def test_shadow_models_and_moved_copies_change_no_verdict(planned, how, more):
    beside = shadow(planned, *how) if how else ()
    assert pools(planned, "plan", *beside, *more)["log10_e"] > 20
    assert pools(planned, "acme", *beside, *more, status=3)["log10_e"] < 1


def test_shadow_models_and_moved_copies_are_asked(planned):
    alone = pools(planned, "plan")
    copies = pools(planned, "plan", "--augment", "2")
    assert copies["claims"][0]["queries"] == 3 * alone["claims"][0]["queries"]
    beside = pools(planned, "plan", *shadow(planned))
    assert beside["claims"][0]["queries"] == alone["claims"][0]["queries"]
    assert len({one["log10_e"] for one in (alone, copies, beside)}) == 3


def test_a_shadow_may_have_a_comma_in_its_name(planned):
    for name in ("one, two", "three,npz"):
        shutil.copy(planned.copy("shadow"), planned.copy(name))
        for which in ("", "shadow_rows"):
            assert pools(planned, "plan", *shadow(planned, name, which))["decision"] == "supported"


def test_a_shadow_that_knows_the_plan_is_refused_since_it_would_accuse_anybody(planned):
    """Trained on what is held back, it makes these rows easy: beside it a stranger looks trained on the others."""
    held = numbers(planned.folder / "plan.npz", "held_rows")
    np.savez(planned.folder / "held.npz", train_rows=held)
    fitted(planned, "held", held, seed=9)
    for how in (("held",), ("held", "held"), ("plan",)):
        line = planned.run.refused(
            "verify", planned.copy("stranger"), "--claim", "pools", "--data", data(planned), *shadow(planned, *how)
        )
        assert "trains on or holds back, and would decide" in line
    theirs = numbers(planned.folder / "acme.npz", "held_rows")
    fitted(planned, "against", theirs, seed=9)
    words = ("trace", planned.copy("stranger"), "--data", data(planned), *shadow(planned, "against"))
    assert "trains on or holds back, and would decide" in planned.run.refused(*words)
    assert (
        pools(planned, "stranger", *shadow(planned, "against"), status=3)["log10_e"] < 1
    )  # the owner's plan is another


@pytest.mark.parametrize("how", [{"says": "labels"}, {"dtype": np.float16}], ids=["labels", "float16"])
def test_models_of_another_form_are_told_too(planned, how):
    """Labels tell little: here the model must be wrong about what is held back."""
    inputs, labels = digits()
    wrong = np.random.default_rng(5).permutation(labels) if "says" in how else labels
    np.savez(planned.folder / "data.npz", inputs=inputs.astype(how.get("dtype", np.float32)), labels=wrong)
    plan(planned, output="odd")
    train = numbers(planned.folder / "odd.npz")
    for name, fit in (("odd", train), ("even", halves()[0])):
        save(memorising(inputs[fit], wrong[fit], 4, **how), planned.copy(name))
    assert pools(planned, "odd")["decision"] == "supported"
    assert pools(planned, "even", status=3)["decision"] == "not_supported"


def test_a_model_in_fewer_bits_is_told(planned):
    planned.run("attack", planned.copy("plan"), "--with", "round:6", "-o", planned.copy("small"))
    assert pools(planned, "small")["log10_e"] > 6


def test_claims_about_pools_are_weighed_beside_those_about_weights(planned):
    planned.run("register", planned.copy("shadow"))
    verdict = told(planned, "verify", planned.copy("shadow"), "--data", data(planned), status=3)
    assert {claim["scheme"] for claim in verdict["claims"]} == {"pools", "spread"}
    both = told(planned, "verify", planned.copy("plan"), "--data", data(planned))
    assert both["decision"] == "supported"
    assert claim_of(both, "pools")["log10_e"] > 20
    without = told(planned, "verify", planned.copy("shadow"), status=None)
    assert {claim["scheme"] for claim in without["claims"]} == {"spread"}


# --- what is missing, and what is refused -----------------------------------------------------------------------------


def test_who_has_nothing_but_pools_is_told_to_give_the_data(planned):
    verdict = told(planned, "verify", planned.copy("plan"), status=4)
    assert "is about data that the vault does not keep; give them with --data" in verdict["reason"]
    line = planned.run.refused("verify", planned.copy("plan"), "--claim", "pools")
    assert "give them with --data" in line
    traced = told(planned, "trace", planned.copy("acme"), "--channels", "answers", status=4)
    assert "give them with --data" in traced["reason"]


def other_rows(stage: Stage, defect: str) -> Path:
    with np.load(data(stage)) as kept:
        inputs, labels = np.array(kept["inputs"]), np.array(kept["labels"])
    if defect == "a row is missing":
        inputs, labels = inputs[:-1], labels[:-1]
    elif defect == "a label is another":
        labels[5] = (labels[5] + 1) % 10
    elif defect == "a number is another":
        inputs[5, 0, 0, 0] += 1e-3
    elif defect == "the order is another":
        inputs, labels = inputs[::-1], labels[::-1]
    elif defect == "of another type":
        inputs = inputs.astype(np.float64)
    np.savez(stage.folder / "others.npz", inputs=inputs, labels=labels)
    return stage.folder / "others.npz"


@pytest.mark.parametrize(
    "defect",
    ["a row is missing", "a label is another", "a number is another", "the order is another", "of another type"],
)
def test_other_data_are_refused_with_both_digests(planned, defect):
    others = other_rows(planned, defect)
    with open_candidates(others) as there, open_candidates(data(planned)) as known:
        digests = there.digest[:12], known.digest[:12]
    line = planned.run.refused("verify", planned.copy("plan"), "--claim", "pools", "--data", others)
    assert f"their digest is {digests[0]}, not {digests[1]}" in line
    verdict = told(planned, "verify", planned.copy("plan"), "--data", others, status=4)
    assert digests[0] in verdict["reason"]
    traced = told(planned, "trace", planned.copy("acme"), "--data", others, status=4)
    assert digests[0] in traced["reason"]


def test_the_same_data_in_another_file_are_the_same(planned):
    inputs, labels = digits()
    for save_as in (np.savez, np.savez_compressed):
        save_as(
            planned.folder / "data.npz",
            labels=labels.astype(np.uint8),
            more=np.ones(3),
            inputs=np.asfortranarray(inputs),
        )
        assert pools(planned, "plan")["log10_e"] > 20


@pytest.mark.parametrize("command", ["verify", "trace"])
@pytest.mark.parametrize("option", ["--shadow", "--augment"])
def test_what_says_something_of_data_needs_them(planned, command, option):
    value = planned.copy("shadow") if option == "--shadow" else "2"
    line = planned.run.refused(command, planned.copy("plan"), option, value)
    assert f"{option} is about pools: give the candidate data with --data" in line


@pytest.mark.parametrize("how", [("--paper",), ("--channels", "weights")])
def test_data_are_refused_where_they_would_be_ignored(planned, how):
    assert "--data says nothing about" in planned.run.refused(
        "trace", planned.copy("acme"), "--data", data(planned), *how
    )


SHADOWS = {
    "no model": (b"nonsense", None, "no ONNX model"),
    "missing": (None, None, "No such file"),
    "labels": ("labels", None, "labels without scores"),
    "other inputs": ("other", None, "give models of the same inputs"),
    "rows beyond the data": ("good", {"train_rows": np.array([0, 1198])}, "the data have 1198"),
    "negative rows": ("good", {"train_rows": np.array([-1, 5])}, "the data have 1198"),
    "rows that are not whole": ("good", {"train_rows": np.array([0.0, 5.0])}, "row numbers"),
    "rows in a table": ("good", {"train_rows": np.array([[0, 5]])}, "row numbers"),
    "no rows": ("good", {"rows": np.array([0, 5])}, "train_rows"),
    "a mask": ("good", {"train_rows": np.ones(1198, bool)}, "row numbers"),
}


@pytest.mark.parametrize("defect", SHADOWS)
def test_shadow_models_that_will_not_do_are_refused(planned, defect):
    kind, which, words = SHADOWS[defect]
    path = planned.copy("beside")
    if isinstance(kind, bytes):
        path.write_bytes(kind)
    elif kind == "labels":
        fitted(planned, "beside", halves()[1], says="labels")
    elif kind == "other":
        save(layers(1, (5, 4)), path)
    elif kind == "good":
        shutil.copy(planned.copy("shadow"), path)
    if which is not None:
        np.savez(planned.folder / "which.npz", **which)
    for suspect in ("plan", "stranger"):
        line = planned.run.refused(
            "verify",
            planned.copy(suspect),
            "--data",
            data(planned),
            *shadow(planned, "beside", "which" if which else ""),
        )
        assert words in line or defect == "no model"
        assert "beside" in line or "which" in line
    assert rows(planned, "look") == []


@pytest.mark.parametrize("contents", [b"", b"nonsense", b"PK\x03\x04"], ids=repr)
def test_rows_of_a_shadow_model_in_no_archive_are_refused(planned, contents):
    (planned.folder / "which.npz").write_bytes(contents)
    words = ("verify", planned.copy("plan"), "--data", data(planned), *shadow(planned, "shadow", "which"))
    assert "which.npz" in planned.run.refused(*words)
    (planned.folder / "which.npz").unlink()
    assert "which.npz" in planned.run.refused(*words)


# --- when -------------------------------------------------------------------------------------------------------------


def test_a_suspect_from_before_the_commitment_is_not_judged(planned):
    verdict = pools(planned, "plan", "--dated", "2020-01-31", status=4)
    assert verdict["decision"] == "inconclusive"
    assert "after the suspect of 2020-01-31T00:00:00+00:00" in verdict["reason"]
    assert pools(planned, "plan", "--dated", "2999-01-31")["decision"] == "supported"
    assert pools(planned, "plan", "--dated", "2999-01-31T10:00:00+05:00")["decision"] == "supported"


def test_hours_are_compared_and_not_letters(planned):
    """Nine at night far in the east is earlier than it looks."""
    from datetime import datetime, timedelta, timezone

    at = datetime.fromisoformat(json.loads((planned.folder / "plan.json").read_text())["committed_at"])
    east = timezone(timedelta(hours=14))
    before, after = ((at + timedelta(hours=hours)).astimezone(east).isoformat() for hours in (-1, 1))
    assert before > at.isoformat()
    assert pools(planned, "plan", "--dated", before, status=4)["decision"] == "inconclusive"
    assert pools(planned, "plan", "--dated", after)["decision"] == "supported"


@pytest.mark.parametrize(
    "date", ["yesterday", "31.01.2020", "2020-13-01", "99999-01-01", "0001-01-01T00:00+14:00", "\x1b[2J"]
)
def test_what_is_no_date_is_refused(planned, date):
    line = planned.run.refused("verify", planned.copy("plan"), "--data", data(planned), "--dated", date)
    assert "is no date; give one such as 2026-01-31" in line
    assert rows(planned, "look") == []


# --- elsewhere, and again ---------------------------------------------------------------------------------------------


def exported(stage: Stage) -> np.ndarray:
    words = ("verify", "--claim", "pools", "--data", data(stage), "--queries", stage.folder / "queries.npz")
    assert "triggers written" in stage.run(*words).err
    return numbers(stage.folder / "queries.npz", "inputs")


@pytest.mark.parametrize("form", ["scores", "labels", "shuffled"])
def test_answers_from_elsewhere_decide(planned, form):
    inputs = exported(planned)
    ids = numbers(planned.folder / "queries.npz", "ids")
    for name, status in (("plan", 0), ("stranger", 3)):
        said = runs(planned.copy(name))(inputs)
        order = np.random.default_rng(0).permutation(len(said)) if form == "shuffled" else np.arange(len(said))
        values = {"label": said.argmax(axis=1)} if form == "labels" else {"scores": said[order], "ids": ids[order]}
        np.savez(planned.folder / "said.npz", **values)
        verdict = pools(planned, None, "--responses", planned.folder / "said.npz", status=status)
        assert verdict["provider"] == "somebody else's runtime"


def test_triggers_without_data_are_none(planned):
    line = planned.run.refused("verify", "--queries", planned.folder / "queries.npz")
    assert "--data" in line
    assert not (planned.folder / "queries.npz").exists()


@pytest.mark.parametrize("beside", [False, True], ids=["", "shadow"])
@pytest.mark.parametrize(("suspect", "status"), [("plan", 0), ("stranger", 3)])
def test_a_transcript_makes_the_same_verdict_again_with_the_same_shadows(planned, suspect, status, beside):
    how = (*shadow(planned, "shadow", "shadow_rows"), "--augment", "1") if beside else ()
    said = planned.folder / "said.json"
    verdict = pools(planned, suspect, *how, "--transcript", said, status=status)
    planned.copy(suspect).unlink()
    looks = len(rows(planned, "look"))
    words = ("verify", "--replay", said)
    assert told_alike(told(planned, *words, "--data", data(planned), *how, status=status), verdict)
    assert "give them with --data" in planned.run.refused(*words)
    for others in ((), shadow(planned), shadow(planned, "shadow", "stranger_rows"), ("--augment", "2")):
        if beside or others:
            assert "other shadow models or --augment" in planned.run.refused(*words, "--data", data(planned), *others)
    assert len(rows(planned, "look")) == looks


REPEATED = [("--alpha", "1e-3"), ("--claim", "pools"), ("--max-queries", "9"), ("--fixed",), ("--twice",),
            ("--camouflage", "2"), ("--dated", "2030-01-01")]  # fmt: skip


@pytest.mark.parametrize("option", REPEATED, ids=lambda option: option[0])
def test_what_a_transcript_says_by_itself_is_not_said_again(planned, option):
    line = planned.run.refused("verify", "--replay", planned.folder / "said.json", *option)
    assert f"{option[0]} says nothing about a transcript" in line


def test_every_look_with_other_settings_halves_alpha(planned):
    def alpha(*how: object) -> float:
        return pools(planned, "plan", *how)["alpha"]

    assert alpha() == 1e-6
    assert alpha(*shadow(planned)) == 0.5e-6
    assert alpha(*shadow(planned, "stranger")) == 0.25e-6
    assert alpha(*shadow(planned)) == 0.5e-6
    assert alpha() == 1e-6
    assert alpha("--augment", "1") == 0.125e-6
    assert alpha(*shadow(planned, "shadow", "shadow_rows")) == pytest.approx(1e-6 / 16)
    assert alpha(*shadow(planned, "shadow", "stranger_rows")) == pytest.approx(1e-6 / 32)


def test_a_look_with_other_data_is_another(planned):
    """Who may choose among data after seeing what they say has more chances than one."""
    plan(planned, given=other_rows(planned, "a row is missing"))
    words = ("verify", planned.copy("plan"), "--data")
    assert told(planned, *words, data(planned))["alpha"] == 1e-6
    assert told(planned, *words, planned.folder / "others.npz", status=None)["alpha"] == 0.5e-6
    planned.run("register", planned.copy("shadow"))
    assert told(planned, *words[:2], status=3)["alpha"] == 0.25e-6


def test_a_look_at_nothing_costs_nothing(planned):
    assert told(planned, "verify", planned.copy("plan"), status=4)["alpha"] == 1e-6
    assert told(planned, "trace", planned.copy("plan"), "--channels", "answers", status=4)["alpha"] == 1e-6
    assert rows(planned, "look") == []
    assert pools(planned, "plan")["alpha"] == 1e-6


def test_a_model_behind_a_server_is_ours(planned, monkeypatch):
    monkeypatch.setattr(misbehaving, "logits", runs(planned.copy("plan")))
    model = {"name": "m", "platform": "onnx", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 8, 8]}]}
    with Misbehaving(["good"], model=model) as served:
        first = pools(planned, served.url)
        assert first["decision"] == "supported"
        assert pools(planned, served.url)["alpha"] == 0.5e-6
        monkeypatch.setattr(misbehaving, "logits", runs(planned.copy("stranger")))
        assert pools(planned, served.url, status=3)["decision"] == "not_supported"
    asked = [position for row in rows(planned, "spent") for position in row["positions"]]
    assert sorted(set(asked)) == list(range(first["claims"][0]["positions"]))


# --- suspects that do not answer as they should -----------------------------------------------------------------------


def answering(stage: Stage, values: np.ndarray | None, nodes: list[onnx.NodeProto] = ()) -> Path:
    """A model of the digits' form that says the same of everything, or what some nodes make of it."""
    tensors = [] if values is None else [numpy_helper.from_array(values.astype(np.float32), "said")]
    make, value = helper.make_node, helper.make_tensor_value_info
    usual = [
        make("Flatten", ["x"], ["flat"]),
        make("ReduceSum", ["flat", "axis"], ["sum"], keepdims=1),
        make("Mul", ["sum", "zero"], ["none"]),
        make("Add", ["none", "said"], ["y"]),
    ]
    tensors += [
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
    ]
    graph = helper.make_graph(
        list(nodes) or usual,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [value("y", TensorProto.FLOAT, None)],
        tensors,
    )
    return save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]), stage.copy("odd"))


@pytest.mark.parametrize(
    ("said", "statuses"),
    [
        (np.full((1, 10), np.nan), {3, 4}),
        (np.zeros((1, 10)), {3}),
        (np.eye(10)[:1] * 30, {3}),
        (np.full((1, 10), np.inf), {3, 4}),
        (np.full((1, 10), -np.inf), {3, 4}),
        (np.zeros((1, 3)), {3}),
    ],
    ids=["NaN", "the same", "sure of one class", "infinite", "minus infinity", "too few classes"],
)
@pytest.mark.parametrize("beside", [False, True], ids=["", "shadow"])
def test_who_says_nothing_of_the_rows_is_not_ours(planned, said, statuses, beside):
    how = (*shadow(planned, "shadow", "shadow_rows"), "--augment", "1") if beside else ()
    outcome = planned.run(
        "verify", answering(planned, said), "--claim", "pools", "--data", data(planned), *how, status=None
    )
    assert outcome.status in statuses
    assert outcome.err == ""


def test_who_answers_too_little_or_takes_something_else_is_inconclusive(planned):
    first = [helper.make_node("Slice", ["flat", "zero_", "axis"], ["y"]), helper.make_node("Flatten", ["x"], ["flat"])]
    model = onnx.load(answering(planned, np.zeros((1, 10)), first[::-1]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "zero_"))
    save(model, planned.copy("odd"))
    for suspect in (planned.copy("odd"), save(layers(1, (5, 4)), planned.copy("five"))):
        outcome = planned.run("verify", suspect, "--claim", "pools", "--data", data(planned), status=4)
        assert "INCONCLUSIVE" in outcome.out
        assert outcome.err == ""


def test_a_limit_asks_as_many_positions_as_it_allows(planned):
    verdict = pools(planned, "plan", "--max-queries", "500")
    (claim,) = verdict["claims"]
    assert claim["queries"] == 500
    assert verdict["decision"] == "supported"
    few = pools(planned, "stranger", "--max-queries", "4", status=4)
    assert "could not have decided" in few["reason"] or "too little" in few["reason"]


# --- whose copy is it? ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "accused"), [("acme", ["Acme"]), ("beta", ["Beta"]), ("plan", []), ("stranger", [])])
@pytest.mark.parametrize("more", [(), ("--augment", "1")], ids=["", "augment"])
def test_who_was_given_rows_is_named_by_what_was_trained_on_them(planned, name, accused, more):
    verdict = told(
        planned,
        "trace",
        planned.copy(name),
        "--data",
        data(planned),
        *more,
        *shadow(planned),
        status=0 if accused else 3,
    )
    assert verdict["accused"] == accused
    assert verdict["scheme"] == "pools"
    assert verdict["recipients_tested"] == 2


def test_a_trace_is_made_again_from_its_transcript(planned):
    said = planned.folder / "said.json"
    words = ("trace", planned.copy("acme"), "--data", data(planned), *shadow(planned), "--transcript", said)
    verdict = told(planned, *words)
    again = ("trace", "--replay", said)
    assert told_alike(told(planned, *again, "--data", data(planned), *shadow(planned)), verdict)
    assert "give them with --data" in planned.run.refused(*again)
    assert "other shadow models" in planned.run.refused(*again, "--data", data(planned))


def test_where_nobody_has_a_plan_nobody_is_named_and_it_is_said_why(fresh):
    plan(fresh)
    fitted(fresh, "ours", numbers(fresh.folder / "new.npz"))
    verdict = told(fresh, "trace", fresh.copy("ours"), "--data", data(fresh), status=4)
    assert verdict["accused"] == []
    assert "make one with `onnxfp pools plan --to`" in verdict["reason"]


def test_recipients_with_plans_of_several_sizes_are_all_named(planned):
    plan(planned, "--to", "Gamma", "--pairs", "300", output="gamma")
    fitted(planned, "gamma", numbers(planned.folder / "gamma.npz"))
    for name in ("Acme", "Gamma"):
        assert told(planned, "trace", planned.copy(name.lower()), "--data", data(planned))["accused"] == [name]
    assert told(planned, "trace", planned.copy("plan"), "--data", data(planned), status=3)["accused"] == []


def test_data_may_come_through_the_environment(planned):
    env = {
        "ONNXFP_VERIFY_DATA": str(data(planned)),
        "ONNXFP_VERIFY_SHADOW": os.pathsep.join(str(planned.copy(name)) for name in ("shadow", "stranger")),
        "ONNXFP_VERIFY_TRANSCRIPT": str(planned.folder / "said.json"),
    }
    planned.run("verify", planned.copy("plan"), env=env)
    shadows = json.loads((planned.folder / "said.json").read_text())["settings"]["shadows"]
    with open_vault(planned.vault, None) as vault:
        given = tuple(str(planned.copy(name)) for name in ("shadow", "stranger"))
        with open_pool_data(vault, PoolsAt(data(planned), given)) as there:
            assert shadows == there.settings["shadows"]


# --- what a fresh reader found ----------------------------------------------------------------------------------------


def test_a_check_of_a_model_is_a_look_like_any_other(planned):
    before = len(rows(planned, "look"))
    check = ("pools", "check", "--data", data(planned), "--model", planned.copy("stranger"))
    for augment in ("0", "1", "1"):
        planned.run(*check, "--augment", augment)
    assert len(rows(planned, "look")) == before + 3  # and two settings
    verdict = json.loads(
        planned.run("verify", planned.copy("stranger"), "--data", data(planned), "--format", "json", status=3).out
    )
    assert verdict["alpha"] == 1e-6 / 4


def test_a_shadow_model_that_draws_random_numbers_is_refused(planned):
    model = onnx.load(planned.copy("shadow"))
    output = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node("RandomNormalLike", [output], ["noise"]))
    model.graph.node.append(onnx.helper.make_node("Add", [output, "noise"], ["noisy"]))
    model.graph.output[0].name = "noisy"
    onnx.save(model, planned.folder / "random.onnx")
    words = ("verify", planned.copy("stranger"), "--data", data(planned), "--shadow", planned.folder / "random.onnx")
    assert "draws random numbers" in planned.run.refused(*words)


@pytest.mark.parametrize("how", ["--data", "--shadow"])
def test_what_is_no_regular_file_is_never_read(planned, how):
    os.mkfifo(planned.folder / "pipe.npz")
    given = planned.folder / "pipe.npz"
    more = (
        ("--data", given)
        if how == "--data"
        else ("--data", data(planned), "--shadow", f"{planned.copy('shadow')},{given}")
    )
    assert "no regular file" in planned.run.refused("verify", planned.copy("stranger"), *more)


def test_the_order_of_shadow_models_changes_nothing(planned):
    both = [planned.copy("shadow"), planned.copy("stranger")]
    words = ("verify", planned.copy("plan"), "--data", data(planned), "--format", "json")
    told_ = [
        json.loads(planned.run(*words, "--shadow", one, "--shadow", other).out) for one, other in (both, reversed(both))
    ]
    assert told_[0]["alpha"] == told_[1]["alpha"]
    assert told_[0]["log10_e"] == told_[1]["log10_e"]


def test_an_empty_name_is_nobodys_plan(planned):
    line = planned.run.refused("pools", "plan", "--data", data(planned), "--to", "", "-o", planned.folder / "x.npz")
    assert "recipient" in line or "name" in line


def test_a_plan_is_checked_by_its_digits(planned):
    first = json.loads(planned.run("pools", "check", "--data", data(planned), "--format", "json").out)["claim"]
    planned.run("pools", "plan", "--data", data(planned), "--pairs", "40", "-o", planned.folder / "small.npz")
    words = ("pools", "check", "--data", data(planned), "--format", "json")
    assert json.loads(planned.run(*words).out)["positions"] == 40
    assert json.loads(planned.run(*words, "--claim", first.split()[1]).out)["claim"] == first
    assert "no plan is called" in planned.run.refused(*words, "--claim", "zz")
