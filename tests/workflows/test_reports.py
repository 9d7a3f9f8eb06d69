"""How results are told: complete, stable, without NaN; and how every decision ends the program."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from onnxfp import __version__
from onnxfp.domain import ClaimEvidence, Decision, Evidence, Verdict
from onnxfp.report.plain import to_json, to_plain
from onnxfp.report.status import exit_status
from onnxfp.report.text import table, verdict_text
from onnxfp.workflows.mark import Marked
from tests.conftest import layers, save

GOLDEN = Path(__file__).with_name("shapes_of_results.json")
VERDICT = Verdict(
    decision=Decision.SUPPORTED,
    scheme="spread",
    question="trace",
    evidence=(Evidence("Acme", 123.4567891), Evidence("Beta GmbH", -1.5)),
    accused=("Acme",),
    log10_threshold=6.30103,
    alpha=1e-6,
    recipients_tested=2,
    null="Nobody is named by chance.",
    unread=("carrier 'b' is missing",),
    transforms=("scaled by 2",),
    committed_at="2026-01-02T03:04:05+00:00",
)
KEYS = {
    "decision",
    "scheme",
    "accused",
    "log10_e",
    "log10_threshold",
    "committed_at",
    "p_value",
    "alpha",
    "recipients_tested",
    "null",
    "unread",
    "transforms",
    "provider",
    "onnxfp_version",
}


def shape(value: object) -> object:
    """What a result looks like whatever its values: names and kinds."""
    match value:
        case dict():
            return {key: shape(item) for key, item in value.items()}
        case list():
            return [shape(value[0])] if value else []
        case bool() | None | str():
            return type(value).__name__
        case _:
            return "number"


@pytest.mark.parametrize(
    ("decision", "status"), [(Decision.SUPPORTED, 0), (Decision.NOT_SUPPORTED, 3), (Decision.INCONCLUSIVE, 4)]
)
def test_every_decision_has_its_exit_status(decision, status):
    assert exit_status(decision) == status


def test_no_decision_ends_as_a_crash_or_bad_input_does():
    assert not {exit_status(decision) for decision in Decision} & {1, 2, 130}


def test_a_verdict_has_every_key_that_was_promised():
    plain = to_plain(VERDICT)
    assert set(plain) >= KEYS
    assert plain["decision"] == "supported"
    assert plain["accused"] == ["Acme"]
    assert plain["p_value"] == pytest.approx(2 * 10**-123.4567891, abs=1e-6)
    assert plain["onnxfp_version"] == __version__
    assert json.loads(to_json(VERDICT)) == json.loads(to_json(VERDICT))


def test_json_has_no_infinity_and_no_nan():
    empty = replace(VERDICT, evidence=(Evidence("Acme", -math.inf),))
    assert json.loads(to_json(empty))["evidence"] == [{"name": "Acme", "log10_e": None}]
    assert json.loads(to_json(replace(VERDICT, evidence=())))["log10_e"] is None
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json({"x": math.nan})
    nothing_heard = Marked("zhang", "ab", "", "cd", "1:ef", (), earlier={"zhang abab": -math.inf, "spread": 7.0})
    assert json.loads(to_json(nothing_heard))["earlier"] == {"zhang abab": None, "spread": 7.0}


def test_names_in_any_script_are_told_as_they_are():
    assert "東京" in to_json(replace(VERDICT, accused=("東京",)))


@dataclass(frozen=True)
class Nested:
    """A result that holds others."""

    verdicts: tuple[Verdict, ...]
    by_name: dict[str, Evidence]


def test_results_inside_results_are_told_as_plain_values():
    plain = to_plain(Nested((VERDICT,), {"a": Evidence("a", 1.0)}))
    assert plain["verdicts"] == [to_plain(VERDICT)]
    assert plain["by_name"] == {"a": {"name": "a", "log10_e": 1.0}}
    assert to_plain((VERDICT,)) == [to_plain(VERDICT)]


def test_a_verdict_is_told_in_a_few_lines():
    assert verdict_text(VERDICT).splitlines() == [
        "NAMED: Acme",
        "  * Acme       log10 e =     123.46",
        "    Beta GmbH  log10 e =      -1.50",
        "    needed: log10 e >= 6.30 (alpha 1e-06, 2 recipients)",
        "    null: Nobody is named by chance.",
        "    unread: carrier 'b' is missing",
        "    undone: scaled by 2",
    ]


def test_channels_that_disagree_are_told_below_the_names():
    alone = ClaimEvidence("spread ab", "spread", 9.0, 2e-9, 64, 0, None, 0, False, "", (), "weights", ("Acme",))
    asked = replace(alone, claim="deeptrace cd", log10_e=7.5, queries=8, points=7, most=8, channel="answers", named=())
    verdict = replace(VERDICT, disagreement="the weights are Acme's, ...", claims=(alone, asked), provider="a runtime")
    lines = verdict_text(verdict).splitlines()
    assert lines[:2] == ["NAMED: Acme", "DISAGREEMENT: the weights are Acme's, ..."]
    assert "    weights: spread ab         9.00     2e-09                    names Acme" in lines
    assert "    answers: deeptrace cd      7.50     2e-09        8      7/8" in lines
    plain = to_plain(verdict)
    assert plain["disagreement"] == "the weights are Acme's, ..."
    assert [(claim["channel"], claim["named"]) for claim in plain["claims"]] == [("weights", ["Acme"]), ("answers", [])]
    assert to_plain(VERDICT)["disagreement"] is None


@pytest.mark.parametrize(
    ("question", "decision", "headline"),
    [
        ("trace", Decision.NOT_SUPPORTED, "NOBODY NAMED"),
        ("trace", Decision.INCONCLUSIVE, "INCONCLUSIVE"),
        ("verify", Decision.SUPPORTED, "OURS"),
        ("verify", Decision.NOT_SUPPORTED, "NOT SUPPORTED"),
        ("verify", Decision.INCONCLUSIVE, "INCONCLUSIVE"),
    ],
)
def test_the_first_line_says_the_answer(question, decision, headline):
    verdict = replace(VERDICT, question=question, decision=decision, accused=(), reason="because")
    assert verdict_text(verdict).splitlines()[:2] == [headline, "because"]


def test_no_line_acts_on_a_terminal():
    evil = "a\n\x1b[2J\u202e\ud800b"
    told = verdict_text(replace(VERDICT, accused=(evil,), evidence=(Evidence(evil, 9.0),), unread=(evil,)))
    assert len(told.splitlines()) == len(verdict_text(VERDICT).splitlines()) - 1
    assert told.count("a\\n\\x1b[2J\\u202e\\ud800b") == 3
    assert table([(evil, "東京\u00a0é")]) == "a\\n\\x1b[2J\\u202e\\ud800b  東京\u00a0é"


def test_json_says_everything_and_does_nothing_to_a_terminal():
    evil = "a\n\x1b[2J\x7f\x9b\u202e\u2028\ud800\U000e0001b 東京"
    told = to_json({"x": evil})
    assert json.loads(told) == {"x": evil}
    assert told.replace("\n", "").isprintable()
    assert "東京" in told


def test_tables_are_aligned():
    assert table([("a", "1"), ("longer", "2")]) == "a       1\nlonger  2"
    assert table([]) == ""


def results(stage):
    """What every command says as JSON."""
    other = save(layers(2, (40, 50), (50, 60)), stage.folder / "other.onnx")
    form = ("--format", "json")
    return {
        "inspect": stage.run("inspect", stage.model, *form),
        "register": stage.run("register", stage.model, *form),
        "issue": stage.run("issue", stage.model, "--to", "Acme", "-o", stage.copy("again"), *form),
        "trace": stage.run("trace", stage.copy("Acme"), *form),
        "trace, inconclusive": stage.run("trace", other, *form, status=4),
        "verify": stage.run("verify", stage.copy("Acme"), *form),
        "attack": stage.run("attack", stage.copy("Acme"), "--with", "fp16", "-o", stage.copy("half"), *form),
        "keys list": stage.run("keys", "list", *form),
        "ledger verify": stage.run("ledger", "verify", *form),
    }


def test_the_json_of_every_command_keeps_its_shape(stage):
    """To change a shape on purpose, delete the file beside this one, run once, and say so in the changelog."""
    seen = {name: shape(json.loads(outcome.out)) for name, outcome in results(stage).items()}
    if not GOLDEN.exists():
        GOLDEN.write_text(json.dumps(seen, indent=2) + "\n")
        pytest.fail(f"{GOLDEN.name} was written anew; look at it and commit it")
    assert seen == json.loads(GOLDEN.read_text())


def test_results_as_json_are_alone_on_stdout(stage):
    for outcome in results(stage).values():
        json.loads(outcome.out)
        assert "{" not in outcome.err


def test_a_shape_that_lost_a_key_is_noticed():
    assert shape({"a": 1, "b": [1.5, "x"]}) == {"a": "number", "b": ["number"]}
    assert shape({"a": None}) != shape({"a": 1})
    assert shape({"a": 1}) != shape({})
