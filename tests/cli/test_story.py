"""What an owner does, command by command, and how every command ends."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxfp.attacks import CATALOGUE
from onnxfp.demo import path as demo_file
from tests.conftest import NAMES, SHAPES, layers, save, save_external


def rows(stage, kind=None):
    """Kind and subject of every row of a ledger, read behind the program's back."""
    with sqlite3.connect(stage.vault / "ledger.db") as connection:
        found = connection.execute("SELECT kind, subject FROM entries ORDER BY seq").fetchall()
    connection.close()
    return [row for row in found if kind in (None, row[0])]


def judged(stage, question, suspect, status, *more):
    return json.loads(stage.run(question, suspect, "--format", "json", *more, status=status).out)


# --- init, inspect, register ------------------------------------------------------------------------------------------


def test_init_creates_a_private_vault_and_says_to_keep_the_key(program):
    outcome = program("init")
    assert str(program.vault) in outcome.out
    assert "owner key" in outcome.out
    assert "backup of owner.key" in outcome.err
    assert (program.vault / "owner.key").stat().st_mode & 0o777 == 0o600
    assert program.vault.stat().st_mode & 0o077 == 0
    assert json.loads((program.vault / "vault.json").read_text()) == {"version": 1}


def test_init_refuses_a_vault_that_exists_and_leaves_it_alone(bare):
    key = (bare.vault / "owner.key").read_bytes()
    assert "exists already" in bare.run.refused("init")
    assert (bare.vault / "owner.key").read_bytes() == key


def test_inspect_needs_no_vault_and_shows_carriers_and_capacity(program, tmp_path):
    save(layers(1, *SHAPES), tmp_path / "m.onnx")
    told = json.loads(program("inspect", tmp_path / "m.onnx", "--format", "json").out)
    assert [carrier["name"] for carrier in told["inspection"]["carriers"]] == ["layer0.weight", "layer1.weight"]
    assert told["positions"] >= 1024
    text = program("inspect", tmp_path / "m.onnx").out
    assert f"{told['positions']:,}" in text
    assert "layer0.weight" in text
    assert not program.vault.exists()


def test_inspect_says_when_there_is_no_room_for_a_mark(program, tmp_path):
    save(layers(1, (8, 8)), tmp_path / "m.onnx")
    assert json.loads(program("inspect", tmp_path / "m.onnx", "--format", "json").out)["positions"] == 0
    assert "none: not enough weights" in program("inspect", tmp_path / "m.onnx").out


def test_register_records_a_commitment_and_keeps_the_reference(bare):
    told = json.loads(bare.run("register", bare.model, "--format", "json").out)
    assert len(told["commitment"]) == len(told["reference"]) == 64
    assert datetime.fromisoformat(told["committed_at"]).utcoffset().total_seconds() == 0
    assert (bare.vault / told["path"]).read_bytes() == bare.model.read_bytes()
    assert rows(bare, "reference") == [("reference", "")]


def test_register_warns_never_to_deliver_the_reference(bare):
    assert "Never deliver the reference" in bare.run("register", bare.model).err


def test_registering_again_changes_nothing(bare):
    first = json.loads(bare.run("register", bare.model, "--format", "json").out)
    assert json.loads(bare.run("register", bare.model, "--format", "json").out) == first
    assert len(rows(bare, "reference")) == 1


def test_registering_with_other_options_is_refused(bare):
    bare.run("register", bare.model)
    assert "registered already, with other options" in bare.run.refused("register", bare.model, "--strength", "0.02")
    assert len(rows(bare, "reference")) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scheme", "invisible ink"), "no scheme is called 'invisible ink'"),
        (("--code", "morse"), "no code is called 'morse'"),
        (("--positions", "65536"), "not enough positions"),
        (("--positions", "-64"), "positions"),
        (("--positions", "100"), "positions"),
        (("--data", "missing.npz"), "missing.npz"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_recorded(bare, options, message):
    assert message in bare.run.refused("register", bare.model, *options)
    assert rows(bare, "reference") == []
    assert list((bare.vault / "references").iterdir()) == []


# --- issue ------------------------------------------------------------------------------------------------------------


def test_the_same_recipient_gets_the_same_bytes_again(stage):
    stage.run("issue", stage.model, "--to", "Acme", "-o", stage.copy("again"))
    assert stage.copy("again").read_bytes() == stage.copy("Acme").read_bytes()
    assert len(rows(stage, "reserved")) == len(rows(stage, "issued")) == len(NAMES)


def test_another_spelling_of_a_name_is_the_same_recipient(stage):
    stage.run("issue", stage.model, "--to", "  Acme\u00a0", "-o", stage.copy("again"))
    assert stage.copy("again").read_bytes() == stage.copy("Acme").read_bytes()


def test_recipients_get_different_bytes_and_nobody_the_reference(stage):
    contents = [stage.copy(name).read_bytes() for name in NAMES] + [stage.model.read_bytes()]
    assert len(set(contents)) == len(contents)
    assert len({len(content) for content in contents}) == 1


def test_only_carriers_differ_between_reference_and_copy(stage):
    models = [onnx.load(path) for path in (stage.model, stage.copy("Acme"))]
    weights = [{t.name: numpy_helper.to_array(t) for t in model.graph.initializer} for model in models]
    for name, before in weights[0].items():
        moved = np.linalg.norm(weights[1][name] - before) / np.linalg.norm(before)
        assert 0.001 < moved < 0.25
    for model in models:
        del model.graph.initializer[:]
    assert models[0] == models[1]


def test_an_output_that_exists_is_refused_unless_forced(stage):
    before = stage.copy("Beta").read_bytes()
    assert "--force" in stage.run.refused("issue", stage.model, "--to", "Acme", "-o", stage.copy("Beta"))
    assert stage.copy("Beta").read_bytes() == before
    stage.run("issue", stage.model, "--to", "Acme", "-o", stage.copy("Beta"), "--force")
    assert stage.copy("Beta").read_bytes() == stage.copy("Acme").read_bytes()


def test_a_refused_output_reserves_nothing(stage):
    stage.run.refused("issue", stage.model, "--to", "New Corp", "-o", stage.copy("Beta"))
    assert ("reserved", "New Corp") not in rows(stage)


def test_a_dry_run_writes_and_records_nothing(stage):
    before, files = rows(stage), sorted(stage.folder.rglob("*"))
    outcome = stage.run(
        "issue", stage.model, "--to", "New Corp", "-o", stage.copy("new"), "--dry-run", "--format", "json"
    )
    told = json.loads(outcome.out)
    assert told["log10_e"] > told["log10_threshold"]
    assert (told["output"], told["head"], told["recipients"]) == ("", "", len(NAMES) + 1)
    assert rows(stage) == before
    assert sorted(stage.folder.rglob("*")) == files


def test_a_dry_run_expects_what_a_real_run_reads_back(stage):
    arguments = ("issue", stage.model, "--to", "Acme", "--format", "json", "-o")
    expected = json.loads(stage.run(*arguments, stage.copy("new"), "--dry-run").out)
    real = json.loads(stage.run(*arguments, stage.copy("new")).out)
    assert expected["log10_e"] == pytest.approx(real["log10_e"], rel=0.2)
    assert expected["log10_e_by"] == pytest.approx(real["log10_e_by"], rel=0.2)
    read = {"log10_e": 0, "log10_e_by": {}, "log10_e_owner": 0}
    assert {**real, **read, "relative_change": 0, "head": "", "output": ""} == {**expected, **read}


def test_a_model_that_is_not_registered_is_refused(stage):
    other = save(layers(2, *SHAPES), stage.folder / "other.onnx")
    line = stage.run.refused("issue", other, "--to", "Acme", "-o", stage.copy("new"))
    assert "not a registered reference" in line
    assert not stage.copy("new").exists()


def test_a_copy_is_not_a_reference(stage):
    assert "not a registered reference" in stage.run.refused(
        "issue", stage.copy("Acme"), "--to", "Beta", "-o", stage.copy("new")
    )


def test_a_budget_that_is_too_small_is_refused_and_reserves_nothing(stage):
    line = stage.run.refused("issue", stage.model, "--to", "New Corp", "-o", stage.copy("new"), "--budget", "0.0001")
    assert "budget" in line
    assert not stage.copy("new").exists()
    assert ("reserved", "New Corp") not in rows(stage)


def test_too_few_positions_for_the_level_are_refused_with_the_number_that_would_do(bare):
    bare.run("register", bare.model, "--positions", "64")
    line = bare.run.refused("issue", bare.model, "--to", "Acme", "-o", bare.copy("a"), "--alpha", "1e-30")
    assert "not enough positions: 64" in line
    assert "positions would do" in line
    assert rows(bare, "reserved") == []


def test_issue_prints_a_head_that_the_ledger_knows(stage):
    head = json.loads(stage.run("issue", stage.model, "--to", "New", "-o", stage.copy("new"), "--format", "json").out)[
        "head"
    ]
    assert head in stage.run("ledger", "verify", "--head", head).out


# --- trace and verify -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_names_its_recipient(stage, name):
    verdict = judged(stage, "trace", stage.copy(name), 0)
    assert (verdict["decision"], verdict["accused"]) == ("supported", [name])
    assert stage.run("trace", stage.copy(name)).out.startswith(f"NAMED: {name}\n")


def test_copies_and_reference_are_told_apart_by_verify(stage):
    assert judged(stage, "verify", stage.copy("Acme"), 0)["decision"] == "supported"
    assert judged(stage, "verify", stage.model, 3)["decision"] == "not_supported"
    assert stage.run("verify", stage.copy("Beta")).out.startswith("OURS")


@pytest.mark.parametrize("question", ["trace", "verify"])
def test_an_independent_model_of_the_same_shapes_is_nobodys(stage, question):
    other = save(layers(2, *SHAPES), stage.folder / "other.onnx")
    verdict = judged(stage, question, other, 3)
    assert (verdict["decision"], verdict["accused"]) == ("not_supported", [])


@pytest.mark.parametrize("question", ["trace", "verify"])
def test_a_model_of_other_shapes_is_inconclusive(stage, question):
    other = save(layers(2, (40, 50), (50, 60)), stage.folder / "other.onnx")
    verdict = judged(stage, question, other, 4)
    assert (verdict["decision"], verdict["log10_e"], verdict["p_value"]) == ("inconclusive", None, None)
    assert "no tensor of the suspect has the shape" in verdict["reason"]
    assert stage.run(question, other, status=4).out.startswith("INCONCLUSIVE")


def test_an_empty_vault_is_inconclusive(bare):
    verdict = judged(bare, "trace", bare.model, 4)
    assert "nothing is registered" in verdict["reason"]
    assert verdict["committed_at"] is None


def test_a_copy_under_another_owners_key_is_nobodys(stage, tmp_path):
    from tests.conftest import Program

    stranger = Program(tmp_path / "strangers vault")
    stranger("init")
    stranger("register", stage.model)
    stranger("issue", stage.model, "--to", "Acme", "-o", tmp_path / "theirs.onnx")
    assert judged(stage, "trace", tmp_path / "theirs.onnx", 3)["accused"] == []
    assert judged(stage, "verify", tmp_path / "theirs.onnx", 3)["decision"] == "not_supported"
    stranger("trace", stage.copy("Acme"), status=3)


def test_copies_are_named_after_steps_of_removal_and_deployment(stage):
    for step in ("prune:0.3", "noise:0.05", "round:8", "fp16"):
        leaked = stage.copy(step.replace(":", " "))
        stage.run("attack", stage.copy("Beta"), "--with", step, "-o", leaked)
        assert judged(stage, "trace", leaked, 0)["accused"] == ["Beta"], step


def test_a_coalition_is_named_and_nobody_else(stage):
    stage.run("attack", stage.copy("Acme"), stage.copy("Gamma"), "--with", "average", "-o", stage.copy("both"))
    assert sorted(judged(stage, "trace", stage.copy("both"), 0)["accused"]) == ["Acme", "Gamma"]


def test_a_reference_that_was_not_kept_can_be_judged_while_it_is_there(bare):
    bare.run("register", bare.model, "--no-keep")
    assert list((bare.vault / "references").iterdir()) == []
    bare.run("issue", bare.model, "--to", "Acme", "-o", bare.copy("acme"))
    assert judged(bare, "trace", bare.copy("acme"), 0)["accused"] == ["Acme"]
    bare.model.rename(bare.folder / "elsewhere.onnx")
    verdict = judged(bare, "trace", bare.copy("acme"), 4)
    assert "missing or damaged" in verdict["reason"]
    assert judged(bare, "verify", bare.copy("acme"), 4)["decision"] == "inconclusive"


def test_a_reference_that_was_changed_since_is_inconclusive(bare):
    bare.run("register", bare.model, "--no-keep")
    bare.run("issue", bare.model, "--to", "Acme", "-o", bare.copy("acme"))
    save(layers(9, *SHAPES), bare.model)
    assert "has been changed since" in judged(bare, "trace", bare.copy("acme"), 4)["reason"]


def test_two_models_of_one_owner_are_told_apart(stage):
    second = save(layers(2, *SHAPES), stage.folder / "second.onnx")
    stage.run("register", second)
    stage.run("issue", second, "--to", "Delta", "-o", stage.copy("delta"))
    stage.run("issue", second, "--to", "Acme", "-o", stage.copy("acme of second"))
    for suspect, name in (("delta", "Delta"), ("Beta", "Beta"), ("acme of second", "Acme")):
        verdict = judged(stage, "trace", stage.copy(suspect), 0)
        assert (verdict["accused"], verdict["recipients_tested"]) == ([name], 4)


# --- looks ------------------------------------------------------------------------------------------------------------


def test_another_setting_on_the_same_suspect_halves_alpha_and_a_repeated_one_does_not(stage):
    def alpha(*arguments):
        return judged(stage, *arguments)["alpha"]

    suspect = stage.copy("Acme")
    assert alpha("trace", suspect, 0) == 1e-6
    assert alpha("trace", suspect, 0) == 1e-6
    assert alpha("verify", suspect, 0) == 0.5e-6
    assert alpha("trace", suspect, 0, "--alpha", "1e-4") == 0.25e-4
    assert alpha("trace", suspect, 0) == 1e-6
    assert alpha("verify", suspect, 0) == 0.5e-6
    assert alpha("trace", stage.copy("Beta"), 0) == 1e-6
    assert len(rows(stage, "look")) == 7


def test_a_flag_may_be_given_by_the_environment(stage):
    outcome = stage.run("trace", stage.copy("Acme"), env={"ONNXFP_TRACE_FORMAT": "json", "ONNXFP_TRACE_ALPHA": "0.001"})
    assert json.loads(outcome.out)["alpha"] == 0.001


def test_a_renamed_suspect_is_the_same_suspect(stage):
    stage.run("trace", stage.copy("Acme"))
    stage.copy("Acme").rename(stage.copy("innocent"))
    assert judged(stage, "verify", stage.copy("innocent"), 0)["alpha"] == 0.5e-6


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_a_whole_ledger_is_whole(stage):
    told = stage.run("ledger", "verify").out
    assert f"whole, {len(rows(stage))} rows" in told
    assert json.loads(stage.run("ledger", "verify", "--format", "json").out)["head"] in told


TAMPERING = {
    "a renamed recipient": "UPDATE entries SET subject = 'Innocent' WHERE kind = 'reserved' AND subject = 'Acme'",
    "a deleted recipient": "DELETE FROM entries WHERE kind = 'reserved' AND subject = 'Acme'",
    "an earlier date": "UPDATE entries SET time = '2001-01-01T00:00:00+00:00' WHERE kind = 'reference'",
    "an inserted row": "INSERT INTO entries SELECT seq + 100, kind, reference, 'Zeta', payload, time, previous, mac "
    "FROM entries WHERE kind = 'issued' AND subject = 'Acme'",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING.keys())
def test_tampering_is_found_and_nothing_is_judged_by_a_tampered_ledger(stage, statement):
    with sqlite3.connect(stage.vault / "ledger.db") as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement).rowcount == 1
        for _, sql in triggers:
            connection.execute(sql)
    connection.close()
    assert "ledger row" in stage.run.refused("ledger", "verify")
    assert "ledger row" in stage.run.refused("trace", stage.copy("Acme"))


def test_a_cut_tail_is_found_against_a_head_that_was_noted(stage):
    old = (stage.vault / "ledger.db").read_bytes()
    head = json.loads(stage.run("issue", stage.model, "--to", "New", "-o", stage.copy("new"), "--format", "json").out)[
        "head"
    ]
    for path in stage.vault.glob("ledger.db*"):
        path.unlink()
    (stage.vault / "ledger.db").write_bytes(old)
    stage.run("ledger", "verify")
    assert "cut" in stage.run.refused("ledger", "verify", "--head", head)


# --- other kinds of models --------------------------------------------------------------------------------------------


def test_a_model_with_external_data_is_issued_and_traced(bare):
    source = bare.folder / "source"
    source.mkdir()
    model = save_external(layers(3, *SHAPES), source / "big.onnx")
    bare.run("register", model)
    out = bare.folder / "out"
    out.mkdir()
    bare.run("issue", model, "--to", "Acme", "-o", out / "copy.onnx")
    assert len(list(out.iterdir())) == 2
    weights = onnx.load(out / "copy.onnx").graph.initializer
    assert [numpy_helper.to_array(t).shape for t in weights] == list(SHAPES)
    assert judged(bare, "trace", out / "copy.onnx", 0)["accused"] == ["Acme"]
    assert judged(bare, "verify", out / "copy.onnx", 0)["decision"] == "supported"


def test_a_half_precision_model_is_issued_and_traced(bare):
    model = save(layers(3, *SHAPES, dtype=np.float16), bare.folder / "half.onnx")
    bare.run("register", model)
    bare.run("issue", model, "--to", "Acme", "-o", bare.copy("acme"))
    assert judged(bare, "trace", bare.copy("acme"), 0)["accused"] == ["Acme"]


def test_deepmarks_copies_verify_and_name_nobody_without_a_bound(bare):
    bare.run("register", bare.model, "--scheme", "deepmarks")
    bare.run("issue", bare.model, "--to", "Acme", "-o", bare.copy("acme"), "--budget", "1")
    assert judged(bare, "verify", bare.copy("acme"), 0)["decision"] == "supported"
    verdict = judged(bare, "trace", bare.copy("acme"), 4)
    assert verdict["accused"] == []
    assert "no bound" in verdict["reason"]
    paper = bare.run("trace", bare.copy("acme"), "--paper", status=4)
    assert "no bound" in paper.out
    assert "Acme" in paper.out
    (decoded,) = json.loads(bare.run("trace", bare.copy("acme"), "--paper", "--format", "json", status=4).out)
    assert decoded["single"] == ["Acme"]
    assert "no bound" in decoded["bound"]


def test_a_passphrase_is_needed_where_one_was_set(program, tmp_path):
    program("init", "--passphrase", env={"ONNXFP_PASSPHRASE": "correct horse"})
    model = save(layers(1, *SHAPES), tmp_path / "m.onnx")
    program("register", model, env={"ONNXFP_PASSPHRASE": "correct horse"})
    wrong = program("register", model, status=2, env={"ONNXFP_PASSPHRASE": "battery staple"})
    assert wrong.err.count("\n") == 1
    assert "battery staple" not in wrong.err
    program("ledger", "verify", status=2, env={"ONNXFP_PASSPHRASE": None})


def test_the_demo_names_exactly_the_right_recipients(program):
    outcome = program("demo")
    assert outcome.out.endswith("Exactly the right recipients were named.\n")
    assert "1e-06" in outcome.out
    assert not program.vault.exists()


def test_the_demos_story_is_told_as_json_too(program):
    story = json.loads(program("demo", "--format", "json").out)
    assert [scene["verdict"]["decision"] for scene in story["scenes"]] == ["supported", "supported", "not_supported"]
    assert [scene["verdict"]["accused"] == scene["expected"] for scene in story["scenes"][:1]] == [True]


def test_data_guards_the_quality_of_copies(bare):
    np.savez(bare.folder / "data.npz", inputs=np.random.default_rng(0).standard_normal((400, 64)).astype(np.float32))
    data = ("--data", bare.folder / "data.npz")
    bare.run("register", bare.model)
    line = bare.run.refused("issue", bare.model, "--to", "Acme", "-o", bare.copy("a"), *data, "--loss", "0")
    assert "agreement would fall from 100.00%" in line
    assert rows(bare, "reserved") == []
    bare.run("issue", bare.model, "--to", "Acme", "-o", bare.copy("a"), *data, "--loss", "0.9")


def test_labels_guard_accuracy(bare):
    shutil_model = bare.folder / "digits.onnx"
    shutil_model.write_bytes(demo_file("digits.onnx").read_bytes())
    bare.run("register", shutil_model, "--data", demo_file("digits_test.npz"))
    told = bare.run("issue", shutil_model, "--to", "A", "-o", bare.copy("a"), "--data", demo_file("digits_test.npz"))
    assert "log10 e" in told.out


def test_the_help_of_attack_lists_every_attack(program):
    told = " ".join(program("attack", "--help").out.split())
    for attack in CATALOGUE.values():
        assert attack.usage in told
        assert attack.summary.partition(";")[0] in told
