"""Commands that judge a suspect: trace and verify."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxfp_cli.shared import (
    MODEL,
    TOKEN,
    Number,
    alpha_option,
    force_option,
    format_option,
    links_option,
    now,
    opened,
    option,
    progress,
    say,
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
    from onnxfp.workflows.judge import Question
    from onnxfp.workflows.paper import paper_rows, paper_trace
    from onnxfp.workflows.trace import trace_file

    with opened(context) as vault:
        if paper:
            show(paper_trace(vault, Question(suspect, alpha, now(), allow_links)), paper_rows, form)
            return INCONCLUSIVE
        return _print(trace_file(vault, Question(suspect, alpha, now(), allow_links), progress), form)


DEVICES = click.Choice(["auto", "cpu", "cuda", "tensorrt"])


@click.command("verify")
@click.argument("suspect", required=False)
@alpha_option
@option("--claim", default="", help="Weigh only this claim: a scheme, or first digits. Default: all that can be asked.")
@option(
    "--device",
    type=DEVICES,
    default="auto",
    show_default=True,
    help="Where a file is run.",
)
@option("--require-device", is_flag=True, help="Refuse to judge when that device is not the one that really runs.")
@option("--max-queries", "limit", type=click.IntRange(0), default=0, help="Triggers sent per claim at most; 0 for all.")
@option("--fixed", is_flag=True, help="Send that many whatever is answered; exact p-values then hold.")
@option(
    "--twice", is_flag=True, help="Send every trigger of a position twice, to catch a suspect that changes its mind."
)
@option("--camouflage", type=click.IntRange(0, 1000), default=0, help="Ordinary inputs sent with each trigger.")
@option("--transcript", type=MODEL, help="Write every answer here, for --replay; keep it like the vault.")
@option("--replay", type=MODEL, help="Make the verdict of a transcript again; asks nobody.")
@option("--queries", type=MODEL, help="Write the triggers to this .npz for somebody else to run; that spends them.")
@option("--responses", type=MODEL, help="Judge the answers in this .npz, to all triggers of --queries in their order.")
@option("--transform", default="", help='What a remote suspect expects, such as "scale=255 layout=nhwc dtype=uint8".')
@option("--input", "input_name", default="", help="Name of a remote model's input. [default: what it says]")
@option("--rate", type=Number(0), default=0.0, help="Requests per second to a remote suspect at most; 0 for no limit.")
@option("--timeout", type=Number(0, min_open=True), default=30.0, show_default=True, help="Seconds for one request.")
@option("--retries", type=click.IntRange(0, 20), default=3, show_default=True, help="Of a request that failed.")
@option("--ca-file", type=MODEL, help="Certificates to trust instead of the usual ones.")
@option("--token-in-clear", is_flag=True, help="Send the token over an unencrypted connection.")
@force_option
@links_option
@format_option
@click.pass_context
def verify_command(context: click.Context, /, form: str, **chosen: Any) -> int:
    """Is this ours? A file, or a URL such as http://host:8000/v2/models/m (Open Inference Protocol; grpc:// too).

    A file is read, and its graph is run in a confined process without network. A URL is only asked; triggers that it
    has seen are spent, and taken last. A bearer token is taken from ONNXFP_TOKEN.
    """
    from onnxfp.workflows.verifying import VerifyRequest, verify_request

    request = VerifyRequest(at=now(), token=os.environ.get(TOKEN, ""), **chosen)
    with opened(context) as vault:
        verdict = verify_request(vault, request, progress, say)
        return 0 if verdict is None else _print(verdict, form)


def _print(verdict: Verdict, form: str) -> int:
    from onnxfp.report.plain import to_json
    from onnxfp.report.status import exit_status
    from onnxfp.report.text import verdict_text

    progress("")
    tell(to_json(verdict) if form == "json" else verdict_text(verdict))
    return exit_status(verdict.decision)
