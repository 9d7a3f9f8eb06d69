"""Commands that judge a suspect: trace and verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxfp_cli.shared import (
    MODEL,
    alpha_option,
    format_option,
    links_option,
    now,
    opened,
    option,
    progress,
    show,
    tell,
)

if TYPE_CHECKING:
    from onnxfp.domain import Verdict


@click.command("trace")
@click.argument("suspect", type=MODEL)
@alpha_option
@option("--paper", is_flag=True, help="Decode deepmarks copies as published: no bound, never exit status 0.")
@links_option
@format_option
@click.pass_context
def trace_command(
    context: click.Context, /, suspect: Path, alpha: float, paper: bool, allow_links: bool, form: str
) -> int:
    """Whose copy is this file? Names recipients, or nobody.

    Reads weights only; the graph is never executed. Tracing does not survive distillation or training anew.
    """
    from onnxfp.report.status import INCONCLUSIVE
    from onnxfp.workflows.judge import Question, trace_file
    from onnxfp.workflows.paper import paper_rows, paper_trace

    with opened(context) as vault:
        if paper:
            show(paper_trace(vault, Question(suspect, alpha, now(), allow_links)), paper_rows, form)
            return INCONCLUSIVE
        return _print(trace_file(vault, Question(suspect, alpha, now(), allow_links), progress), form)


@click.command("verify")
@click.argument("suspect", type=MODEL)
@alpha_option
@links_option
@format_option
@click.pass_context
def verify_command(context: click.Context, /, suspect: Path, alpha: float, allow_links: bool, form: str) -> int:
    """Is this file ours, whoever held the copy? Reads weights only."""
    from onnxfp.workflows.judge import Question
    from onnxfp.workflows.verify import verify_file

    with opened(context) as vault:
        return _print(verify_file(vault, Question(suspect, alpha, now(), allow_links), progress), form)


def _print(verdict: Verdict, form: str) -> int:
    from onnxfp.report.plain import to_json
    from onnxfp.report.status import exit_status
    from onnxfp.report.text import verdict_text

    progress("")
    tell(to_json(verdict) if form == "json" else verdict_text(verdict))
    return exit_status(verdict.decision)
