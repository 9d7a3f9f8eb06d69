"""What the environment may say: a twin for every option, named as the option is typed, and the passphrase itself."""

from __future__ import annotations

import json
import os

import click
import pytest
from click.core import ParameterSource

from onnxfp_cli.main import cli

TWINS = {
    "": "VAULT",
    "init": "PASSPHRASE FORMAT",
    "inspect": "ALLOW_LINKS FORMAT",
    "register": "SCHEME STRENGTH POSITIONS CODE DATA LOSS NO_KEEP ALLOW_LINKS FORMAT",
    "issue": "TO OUTPUT DRY_RUN BUDGET DATA LOSS ALPHA FORCE ALLOW_LINKS FORMAT",
    "mark": "SCHEME TRIGGERS DATA VAL OUTPUT IMAGES POSITIONS TAUGHT EACH LABELS POOL GATE PAPER COMMIT BEACON LOSS "
    "EPOCHS RATE BATCH SEED DEVICE PRECISION ALPHA FORCE ALLOW_LINKS FORMAT",
    "trace": "ALPHA CHANNELS MAX_QUERIES TWICE CAMOUFLAGE TRANSCRIPT REPLAY PAPER DATA SHADOW AUGMENT DEVICE "
    "REQUIRE_DEVICE TRANSFORM INPUT RATE TIMEOUT RETRIES CA_FILE TOKEN_IN_CLEAR ALLOW_LINKS FORCE FORMAT",
    "verify": "ALPHA CLAIM DEVICE REQUIRE_DEVICE MAX_QUERIES FIXED TWICE CAMOUFLAGE TRANSCRIPT REPLAY QUERIES "
    "RESPONSES DATED DATA SHADOW AUGMENT TRANSFORM INPUT RATE TIMEOUT RETRIES CA_FILE TOKEN_IN_CLEAR FORCE ALLOW_LINKS "
    "FORMAT",
    "attack": "WITH OUTPUT SEED FORCE FORMAT",
    "keys": "",
    "keys issue": "TO OUTPUT CLAIM EXPIRES FORCE FORMAT",
    "keys authenticate": "SUSPECT CLAIM DEVICE TRANSFORM INPUT TIMEOUT CA_FILE TOKEN_IN_CLEAR ALLOW_LINKS FORMAT",
    "keys revoke": "TO REASON FORMAT",
    "keys list": "FORMAT",
    "leaf": "",
    "leaf export": "TO REFERENCE OUTPUT FORCE FORMAT",
    "leaf check": "ALPHA DEVICE REQUIRE_DEVICE TRANSFORM INPUT RATE TIMEOUT RETRIES CA_FILE TOKEN_IN_CLEAR ALLOW_LINKS "
    "FORMAT",
    "pools": "",
    "pools plan": "DATA POSITIONS POOLS SIZE ALIKE SHADOW TO BEACON OUTPUT FORCE FORMAT",
    "pools check": "DATA MODEL SHADOW AUGMENT TO CLAIM ALPHA FORMAT",
    "pools power": "EFFECT POOLS SIZE POWER ALPHA FORMAT",
    "ledger": "",
    "ledger verify": "HEAD FORMAT",
    "demo": "FORMAT",
    "doctor": "FORMAT",
}
ALL = [(words, twin) for words, twins in TWINS.items() for twin in twins.split()]


def contexts(command: click.Command = cli, parent: click.Context | None = None, words: str = ""):
    """The context of every command, by its words."""
    prefix = {"auto_envvar_prefix": "ONNXFP"} if parent is None else {}
    context = click.Context(command, parent=parent, info_name=command.name, **prefix)
    found = {words: context}
    for name, child in getattr(command, "commands", {}).items():
        found |= contexts(child, context, f"{words} {name}".strip())
    return found


def options(context: click.Context) -> dict[str, click.Option]:
    """The options of a command as typed, without those that only print something."""
    found = [p for p in context.command.params if isinstance(p, click.Option) and "--version" not in p.opts]
    return {max(option.opts, key=len): option for option in found}


def test_the_table_has_every_option_of_every_command():
    typed = {words: {twin.lower().replace("_", "-") for twin in twins.split()} for words, twins in TWINS.items()}
    assert {words: {name[2:] for name in options(context)} for words, context in contexts().items()} == typed


@pytest.mark.parametrize(("words", "twin"), ALL, ids=lambda value: value or "onnxfp")
def test_an_option_hears_its_twin_and_nothing_else(words, twin, monkeypatch):
    context = contexts()[words]
    option = options(context)["--" + twin.lower().replace("_", "-")]
    prefix = "_".join(["ONNXFP", *words.upper().split()])
    for name in {option.name.upper(), "PROTECT", "FORM", "STEP", "RECIPIENT"} - {twin}:
        monkeypatch.setenv(f"{prefix}_{name}", "1")
    if words:
        monkeypatch.setenv(f"ONNXFP_{twin}", "1")
    assert option.consume_value(context, {})[1] is not ParameterSource.ENVIRONMENT
    monkeypatch.setenv(f"{prefix}_{twin}", "1")
    value, source = option.consume_value(context, {})
    assert source is ParameterSource.ENVIRONMENT
    assert value in ((["1"],) if option.multiple else ("1", True))


@pytest.mark.parametrize(
    ("words", "twin", "said", "heard"),
    [
        (
            "verify",
            "SHADOW",
            os.pathsep.join(["my models/a.onnx,rows.npz", "b.onnx"]),
            ("my models/a.onnx,rows.npz", "b.onnx"),
        ),
        ("trace", "SHADOW", "my models/a.onnx", ("my models/a.onnx",)),
        ("pools check", "SHADOW", os.pathsep.join("ab"), ("a", "b")),
        ("pools power", "SIZE", "1 10 100", (1, 10, 100)),
    ],
)
def test_a_twin_names_several_paths_as_path_does_and_several_numbers_with_blanks(words, twin, said, heard, monkeypatch):
    context = contexts()[words]
    monkeypatch.setenv("_".join(["ONNXFP", *words.upper().split(), twin]), said)
    option = options(context)[f"--{twin.lower()}"]
    assert option.handle_parse_result(context, {}, [])[0] == heard


def test_a_command_obeys_the_twins_and_the_command_line_wins(stage):
    env = {"ONNXFP_ISSUE_TO": "Acme", "ONNXFP_ISSUE_OUTPUT": str(stage.copy("again")), "ONNXFP_ISSUE_FORMAT": "json"}
    assert json.loads(stage.run("issue", stage.model, env=env).out)
    assert stage.copy("again").read_bytes() == stage.copy("Acme").read_bytes()
    env = {"ONNXFP_ATTACK_WITH": "fp16", "ONNXFP_ATTACK_OUTPUT": str(stage.copy("half"))}
    assert "fp16" in stage.run("attack", stage.model, env=env).out
    assert (
        "NAMED" in stage.run("trace", stage.copy("Acme"), "--format", "text", env={"ONNXFP_TRACE_FORMAT": "json"}).out
    )


def test_a_release_in_the_environment_does_not_ask_for_the_version(program):
    assert "owner key" in program("init", env={"ONNXFP_VERSION": "1"}).out


# --- the passphrase ---------------------------------------------------------------------------------------------------


def protection(program) -> bool:
    return json.loads((program.vault / "owner.key").read_text())["protection"] != "none"


def test_a_passphrase_in_the_environment_protects_a_new_key_and_says_so(program):
    outcome = program("init", env={"ONNXFP_PASSPHRASE": "correct horse"})
    assert protection(program)
    assert "ONNXFP_PASSPHRASE is set" in outcome.err
    assert "correct horse" not in outcome.out + outcome.err
    program("ledger", "verify", env={"ONNXFP_PASSPHRASE": "correct horse"})


def test_the_flag_and_its_twin_protect_a_new_key_without_more_words(program):
    env = {"ONNXFP_PASSPHRASE": "correct horse", "ONNXFP_INIT_PASSPHRASE": "1"}
    assert "ONNXFP_PASSPHRASE is set" not in program("init", env=env).err
    assert protection(program)


def test_no_passphrase_leaves_a_new_key_open(program):
    program("init")
    assert not protection(program)


def test_an_empty_passphrase_makes_no_vault(program):
    outcome = program("init", env={"ONNXFP_PASSPHRASE": ""}, status=2)
    assert "passphrase is empty" in outcome.err
    assert not program.vault.exists()


def test_a_new_key_cannot_be_protected_where_nobody_can_be_asked(program):
    assert "set ONNXFP_PASSPHRASE to protect the new key" in program.refused("init", "--passphrase")
    assert not program.vault.exists()
