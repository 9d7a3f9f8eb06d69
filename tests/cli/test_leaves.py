"""An owner shows one recipient's leaf, and a third party without a vault checks suspects with it."""

from __future__ import annotations

import json
import shutil

import pytest

from onnxfp.workflows.vault import open_vault
from tests.cli.test_secrets import leaks
from tests.conftest import Program, Stage, fixed_vault
from tests.workflows.leaves import copy_of, issued, prepared, the_channel
from tests.workflows.vaults import MODEL, SECRET

KINDS = {
    "export": {
        "recipient": "str",
        "reference": "str",
        "scheme": "str",
        "claim": "str",
        "leaf": "str",
        "issued_at": "str",
        "positions": "int",
        "output": "str",
        "head": "str",
        "onnxfp_version": "str",
    },
    "check": {
        "decision": "str",
        "reason": "str",
        "recipient": "str",
        "reference": "str",
        "scheme": "str",
        "claim": "str",
        "beacon": "NoneType",
        "committed_at": "str",
        "issued_at": "str",
        "leaf": "str",
        "positions": "int",
        "queries": "int",
        "hits": "int",
        "hits_possible": "int",
        "log10_e": "float",
        "log10_threshold": "float",
        "p_value": "float",
        "alpha": "float",
        "null": "str",
        "unread": "list",
        "transforms": "list",
        "provider": "str",
        "onnxfp_version": "str",
    },
}


@pytest.fixture(scope="module")
def shown_once(tmp_path_factory):
    """The folder that `shown` copies."""
    folder = tmp_path_factory.mktemp("shown")
    run = fixed_vault(folder / "vault", SECRET)
    with open_vault(run.vault, None) as vault:
        prepared(vault)
        issued(vault, "Acme", "Beta")
        for name in ("Acme", "Beta"):
            copy_of(vault, folder / f"{name}.onnx", name)
    shutil.copy(MODEL, folder / "model.onnx")
    return folder


@pytest.fixture
def shown(shown_once, tmp_path) -> Stage:
    """A vault with copies for Acme and Beta that answer in their own way, and the model that they were made from."""
    shutil.copytree(shown_once, tmp_path, dirs_exist_ok=True)
    return Stage(tmp_path, Program(tmp_path / "vault"))


@pytest.fixture
def handed(shown) -> Stage:
    """With Acme's leaf in `leaf.npz`, and no vault any more."""
    shown.run("leaf", "export", "--to", "Acme", "-o", shown.folder / "leaf.npz")
    shutil.rmtree(shown.vault)
    return shown


def kinds(result: dict) -> dict[str, str]:
    return {name: type(value).__name__ for name, value in result.items()}


def test_an_owner_shows_a_leaf_and_is_told_what_that_means(shown):
    outcome = shown.run("leaf", "export", "--to", "Acme", "-o", shown.folder / "leaf.npz", "--format", "json")
    told = json.loads(outcome.out)
    assert kinds(told) == KINDS["export"]
    assert told["recipient"] == "Acme"
    assert "can filter its triggers" in outcome.err
    assert "nobody else's" in outcome.err
    shown.run("ledger", "verify", "--head", told["head"])
    again = shown.run("leaf", "export", "--to", "Acme", "-o", shown.folder / "leaf.npz", "--force").out
    assert told["leaf"] in again


def test_a_third_party_finds_the_copy_and_no_other(handed):
    def told(name: str, status: int) -> dict:
        arguments = ("leaf", "check", handed.folder / "leaf.npz", handed.copy(name), "--format", "json")
        return json.loads(handed.run(*arguments, status=status).out)

    found = told("Acme", 0)
    assert kinds(found) == KINDS["check"]
    assert (found["decision"], found["recipient"], found["hits"]) == ("supported", "Acme", 32)
    assert [told(name, 3)["decision"] for name in ("Beta", "model")] == ["not_supported"] * 2
    plainly = handed.run("leaf", "check", handed.folder / "leaf.npz", handed.copy("Acme")).out
    for words in ("SUPPORTED", found["leaf"], "32 of 32", "noted before"):
        assert words in plainly


def test_who_cannot_be_asked_is_inconclusive(handed):
    away = ("http://127.0.0.1:9/v2/models/m", "--retries", "0", "--format", "json")
    found = json.loads(handed.run("leaf", "check", handed.folder / "leaf.npz", *away, status=4).out)
    assert (found["decision"], found["log10_e"], found["p_value"]) == ("inconclusive", None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("export", "-o", "b.npz"), "--to"),
        (("export", "--to", "Acme"), "--output"),
        (("export", "--to", "Gamma", "-o", "b.npz"), "Gamma was issued no copy"),
        (("export", "--to", "\u202e", "-o", "b.npz"), "invisible formatting character"),
        (("export", "--to", "Acme", "-o", "model.onnx"), "--force"),
        (("export", "--to", "Acme", "-o", "vault/b.npz"), "lies in the vault"),
        (("export", "--to", "Acme", "--reference", "ff", "-o", "b.npz"), "begins with 'ff'"),
        (("check", "model.onnx", "Acme.onnx"), "expected an .npz with one leaf"),
        (("check", "missing.npz", "Acme.onnx"), "found none"),
        (("check", "leaf.npz"), "SUSPECT"),
        (("check", "leaf.npz", "missing.onnx"), "missing.onnx"),
        (("check", "leaf.npz", "leaf.npz"), "leaf.npz"),
        (("check", "leaf.npz", "http://"), "http"),
        (("check", "leaf.npz", "Acme.onnx", "--rate", "1"), "--rate says nothing"),
        (("check", "leaf.npz", "Acme.onnx", "--alpha", "nan"), "is not a number"),
    ],
)
def test_bad_input_is_one_line(shown, monkeypatch, arguments, message):
    monkeypatch.chdir(shown.folder)
    shown.run("leaf", "export", "--to", "Acme", "-o", "leaf.npz")
    before = sorted(path.name for path in shown.folder.iterdir())
    assert message in shown.run.refused("leaf", *arguments)
    assert sorted(path.name for path in shown.folder.iterdir()) == before


def test_without_such_copies_it_says_how_to_make_some(stage):
    line = stage.run.refused("leaf", "export", "--to", "Acme", "-o", stage.folder / "leaf.npz")
    assert "--scheme deeptrace" in line


def test_no_leaf_and_no_key_is_printed(shown):
    with open_vault(shown.vault, None) as vault:
        drawn, _ = the_channel(vault)
    shown.run("leaf", "export", "--to", "Acme", "-o", shown.folder / "leaf.npz")
    for form in ("text", "json"):
        shown.run("leaf", "check", shown.folder / "leaf.npz", shown.copy("Acme"), "--format", form)
    heard = [said.encode() for said in shown.run.heard]
    for secret in (SECRET, drawn.secret.secret, drawn.leaf("Acme"), drawn.leaf("Beta")):
        assert not leaks(secret, *heard)
