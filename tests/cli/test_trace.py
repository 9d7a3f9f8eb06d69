"""Whose copy is behind a URL, and whose is a file that is run: what may be said, and what a stranger may do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from onnxfp.demo import path as demo_file
from tests.cli.test_secrets import leaks
from tests.cli.test_verify_remote import ENDLESS, MODEL, WRONG
from tests.conftest import Program, fixed_vault
from tests.suspect import misbehaving
from tests.suspect.misbehaving import Misbehaving
from tests.suspect.servers import free_ports
from tests.workflows import vaults
from tests.workflows.copies import HOLDERS, Leaked, held, prepared

URL = "http://127.0.0.1:9/v2/models/m"
FILE = demo_file("digits.onnx")
STRANGER = demo_file("digits_independent.onnx")


@pytest.fixture(scope="module")
def made_once(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("prepared") / "vault"
    fixed_vault(root, vaults.SECRET)
    with vaults.fixed_vault(root) as vault:
        prepared(vault)
        held(vault)
    return root


@pytest.fixture
def run(made_once, tmp_path) -> Program:
    """Commands on a vault with a reference that was prepared, copies of which are reserved."""
    shutil.copytree(made_once, tmp_path / "vault")
    return Program(tmp_path / "vault")


@pytest.fixture
def runs_copy_of(monkeypatch, run) -> Iterator[Callable[..., Misbehaving]]:
    """``runs_copy_of(holder, ways)`` serves somebody's copy; "" for a model that is nobody's."""
    opened: list[Misbehaving] = []

    def serve(holder: str, *ways: str) -> Misbehaving:
        with vaults.fixed_vault(run.vault) as vault:
            answers = Leaked(vault, answers=holder).scores
        monkeypatch.setattr(misbehaving, "logits", lambda inputs: answers(np.asarray(inputs, np.float32)))
        served = Misbehaving(list(ways) or ["good"], model=dict(MODEL))
        opened.append(served.__enter__())
        return served

    yield serve
    for served in opened:
        served.__exit__()


def traced(run: Program, *arguments: object, status: int = 0) -> dict:
    return json.loads(run("trace", *arguments, "--format", "json", status=status).out)


# --- a URL ------------------------------------------------------------------------------------------------------------


def test_a_copy_behind_a_url_is_named_by_what_it_answers(run, runs_copy_of):
    served = runs_copy_of(HOLDERS[2])
    verdict = traced(run, served.url)
    (claim,) = verdict["claims"]
    assert (verdict["accused"], claim["channel"], claim["named"]) == ([HOLDERS[2]], "answers", [HOLDERS[2]])
    assert verdict["disagreement"] is None
    assert claim["hits"] == claim["queries"] == len(served.batches) < 32
    again = traced(run, served.url, "--channels", "answers")
    assert (again["accused"], again["alpha"]) == ([HOLDERS[2]], 0.5e-6)
    told = run("trace", served.url, "--max-queries", "2", status=4).out
    assert "2 queries; answered by remote: misbehaving" in told
    assert len(served.batches) == verdict["queries"] + again["queries"] + 2


def test_a_stranger_behind_a_url_is_nobodys(run, runs_copy_of):
    verdict = traced(run, runs_copy_of("").url, status=3)
    assert (verdict["accused"], verdict["queries"]) == ([], 32)


@pytest.mark.parametrize("way", WRONG)
def test_whatever_a_stranger_does_is_inconclusive_with_a_reason_in_one_line(run, runs_copy_of, way):
    served = runs_copy_of(HOLDERS[2], way)
    served.elsewhere = served.origin
    timeout = "0.3" if way in ENDLESS else "20"
    outcome = run("trace", served.url, "--retries", "0", "--timeout", timeout, "--format", "json", status=4)
    verdict = json.loads(outcome.out)
    assert outcome.err == ""
    assert (verdict["decision"], verdict["accused"], verdict["log10_e"]) == ("inconclusive", [], None)
    assert "3 of 3 triggers without an answer" in verdict["reason"]
    assert verdict["reason"].isprintable()
    assert len(verdict["reason"]) < 600
    assert len(served.batches) == 3


def test_nobody_at_home_is_inconclusive(run):
    (port,) = free_ports(1)
    verdict = traced(run, f"http://127.0.0.1:{port}/v2/models/m", "--retries", "0", "--timeout", "5", status=4)
    assert "no connection" in verdict["reason"]


def test_a_vault_without_such_copies_asks_nobody(stage):
    verdict = json.loads(stage.run("trace", URL, "--format", "json", status=4).out)
    assert "mark a model with --scheme deeptrace" in verdict["reason"]


def test_a_token_is_never_told(run, runs_copy_of, tmp_path):
    token = "open-sesame-open-sesame"
    served = runs_copy_of(HOLDERS[2])
    run("trace", served.url, "--transcript", tmp_path / "t.json", env={"ONNXFP_TOKEN": token})
    assert any(f"Bearer {token}" in headers.values() for headers in served.headers)
    told = (tmp_path / "t.json").read_text() + "".join(run.heard)
    assert token not in told
    assert not leaks(vaults.SECRET, told.encode())


# --- a file -----------------------------------------------------------------------------------------------------------


def test_a_file_is_run_when_its_answers_are_looked_at_and_else_not(run):
    by_weights = traced(run, STRANGER, status=3)
    assert ([claim["channel"] for claim in by_weights["claims"]], by_weights["provider"]) == (["weights"], None)
    both = traced(run, STRANGER, "--channels", "both", "--device", "cpu", status=3)
    assert [claim["channel"] for claim in both["claims"]] == ["weights", "answers"]
    assert both["provider"] == "CPUExecutionProvider"
    assert both["alpha"] == by_weights["alpha"] / 2
    told = run("trace", STRANGER, "--channels", "both", "--device", "cpu", status=3).out
    assert "weights: spread" in told
    assert "answers: deeptrace" in told


# --- again ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holder", [HOLDERS[2], ""])
def test_a_transcript_makes_the_verdict_again(run, runs_copy_of, tmp_path, holder):
    served, path = runs_copy_of(holder), tmp_path / "t.json"
    status = 0 if holder else 3
    verdict = traced(run, served.url, "--transcript", path, status=status)
    asked = len(served.batches)
    again = traced(run, "--replay", path, status=status)
    assert again.pop("replayed_from")
    assert again == {name: value for name, value in verdict.items() if name != "replayed_from"}
    assert len(served.batches) == asked
    assert "use --force to replace it" in run.refused("trace", served.url, "--transcript", path)
    assert "onnxfp trace --replay" in run.refused("verify", "--replay", path)
    path.write_text(path.read_text().replace('"recipients": 8', '"recipients": 7'))
    assert "it was changed" in run.refused("trace", "--replay", path)


# --- what may be said -------------------------------------------------------------------------------------------------

REFUSED = {
    "weights of a URL": ((URL, "--channels", "weights"), "its weights cannot be read"),
    "both of a URL": ((URL, "--channels", "both"), "its weights cannot be read"),
    "channels that are none": ((FILE, "--channels", "dreams"), "is not one of"),
    "queries to weights": ((FILE, "--max-queries", "9"), "--max-queries says nothing about weights"),
    "weights twice": ((FILE, "--twice"), "--twice says nothing about weights"),
    "weights among others": ((FILE, "--camouflage", "2"), "--camouflage says nothing about weights"),
    "a device for weights": ((FILE, "--device", "cpu"), "--device says nothing about this kind"),
    "a device of another's": ((URL, "--device", "cpu"), "--device says nothing about this kind"),
    "a required device for weights": ((FILE, "--require-device"), "--require-device says nothing"),
    "a transform of a file": ((FILE, "--transform", "scale=2"), "--transform says nothing about this kind"),
    "an input of a file": ((FILE, "--channels", "both", "--input", "x"), "--input says nothing about this kind"),
    "a rate for a file": ((FILE, "--channels", "both", "--rate", "2"), "--rate says nothing about this kind"),
    "links of a URL": ((URL, "--allow-links"), "--allow-links says nothing about this kind"),
    "nobody": ((), "Missing argument 'SUSPECT'"),
    "two": ((FILE, "--replay", "t.json"), "expected either a suspect"),
    "a transcript again": (("--replay", "t.json", "--transcript", "u.json"), "--transcript says nothing about a tran"),
    "channels of a transcript": (("--replay", "t.json", "--channels", "both"), "--channels says nothing about a tran"),
    "alpha of a transcript": (("--replay", "t.json", "--alpha", "1e-3"), "--alpha says nothing about a transcript"),
    "no transcript": (("--replay", FILE), "is no transcript"),
    "paper of a URL": ((URL, "--paper"), "--paper decodes the weights of a file"),
    "paper by answers": ((FILE, "--paper", "--channels", "answers"), "--channels says nothing about --paper"),
    "paper on a device": ((FILE, "--paper", "--device", "cpu"), "takes none of these options"),
    "no such file": (("missing.onnx", "--channels", "both"), "missing.onnx"),
    "no URL": (("http://127.0.0.1/elsewhere",), "expected the URL of a model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_line(run, case):
    arguments, message = REFUSED[case]
    assert message in run.refused("trace", *arguments)
