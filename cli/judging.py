"""Commands that judge a suspect: trace and verify."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from onnxfp_cli.pools import pools_options
from onnxfp_cli.shared import (
    MODEL,
    Command,
    alpha_option,
    force_option,
    format_option,
    now,
    opened,
    option,
    progress,
    reaching_options,
    say,
    show,
    suspect_at,
    tell,
)

if TYPE_CHECKING:
    from onnxfp.domain import Verdict
    from onnxfp.workflows.pool_data import PoolsAt


_ASKING = (
    option(
        "--twice",
        is_flag=True,
        help="Send every trigger twice, to catch a suspect that changes its mind.",
    ),
    option("--camouflage", type=click.IntRange(0, 1000), default=0, help="Ordinary inputs sent with each trigger."),
    option("--transcript", type=MODEL, help="Write every answer here, for --replay; keep it like the vault."),
    option("--replay", type=MODEL, help="Make the verdict of a transcript again; asks nobody."),
)


def _asking_options(command: Command) -> Command:
    """Give a command the options that say how a suspect is asked."""
    for one in reversed(_ASKING):
        command = one(command)
    return command


@click.command("trace")
@click.argument("suspect", required=False)
@alpha_option
@option(
    "--channels",
    type=click.Choice(["weights", "answers", "both"]),
    help="What is looked at. [default: weights of a file, answers of a URL]",
)
@option("--max-queries", "limit", type=click.IntRange(0), default=0, help="Triggers sent in all; 0 for no limit.")
@_asking_options
@option("--paper", is_flag=True, help="Decode deepmarks copies as published: no bound, never exit status 0.")
@pools_options
@reaching_options()
@force_option
@format_option
@click.pass_context
def trace_command(
    context: click.Context, /, suspect: str | None, channels: str | None, paper: bool, form: str, **chosen: Any
) -> int:
    """Whose copy is this? A file, or a URL such as http://host:8000/v2/models/m. Names recipients, or nobody.

    By weights, a file is read and its graph is never executed. By answers, a file is run in a confined process, and a
    URL is asked; that takes copies of a model that was prepared with `onnxfp mark --scheme deeptrace`. Triggers that a
    URL has seen are spent, and taken last. Tracing does not survive distillation or training anew. A bearer token is
    taken from ONNXFP_TOKEN.
    """
    from onnxfp.report.status import INCONCLUSIVE
    from onnxfp.workflows.paper import paper_rows, paper_trace
    from onnxfp.workflows.tracing import TraceRequest, trace_request

    if suspect is None and chosen["replay"] is None:
        raise click.UsageError("Missing argument 'SUSPECT': a file or a URL", context)
    where = suspect_at(suspect, chosen)
    request = TraceRequest(at=now(), suspect=where, channels=channels or "", pools=_pools_at(chosen), **chosen)
    with opened(context) as vault:
        if paper:
            show(paper_trace(vault, request.paper()), paper_rows, form)
            return INCONCLUSIVE
        return _print(trace_request(vault, request, progress), form)


@click.command("verify")
@click.argument("suspect", required=False)
@alpha_option
@option("--claim", default="", help="Weigh only this claim: a scheme, or first digits. Default: all that can be asked.")
@option("--max-queries", "limit", type=click.IntRange(0), default=0, help="Triggers sent per claim at most; 0 for all.")
@option("--fixed", is_flag=True, help="Send that many whatever is answered; exact p-values then hold.")
@_asking_options
@option("--queries", type=MODEL, help="Write the triggers to this .npz for somebody else to run; that spends them.")
@option("--responses", type=MODEL, help="Judge the answers in this .npz, to all triggers of --queries in their order.")
@option("--dated", default="", metavar="DATE", help="When the suspect was there: later claims say nothing of it.")
@pools_options
@reaching_options()
@force_option
@format_option
@click.pass_context
def verify_command(context: click.Context, /, suspect: str | None, form: str, **chosen: Any) -> int:
    """Is this ours? A file, or a URL such as http://host:8000/v2/models/m (Open Inference Protocol; grpc:// too).

    A file is read, and its graph is run in a confined process without network. A URL is only asked; triggers that it
    has seen are spent, and taken last. A bearer token is taken from ONNXFP_TOKEN.
    """
    from onnxfp.workflows.verifying import VerifyRequest, verify_request

    where = suspect_at(suspect, chosen)
    request = VerifyRequest(at=now(), suspect=where, pools=_pools_at(chosen), **chosen)
    with opened(context) as vault:
        verdict = verify_request(vault, request, progress, say)
        return 0 if verdict is None else _print(verdict, form)


def _pools_at(chosen: dict[str, Any]) -> PoolsAt:
    """Return what claims about pools are about, taken out of what was chosen."""
    from onnxfp.workflows.pool_data import PoolsAt

    return PoolsAt(*(chosen.pop(name) for name in ("data", "shadows", "augment")))


def _print(verdict: Verdict, form: str) -> int:
    from onnxfp.report.plain import to_json
    from onnxfp.report.status import exit_status
    from onnxfp.report.text import verdict_text

    progress("")
    tell(to_json(verdict) if form == "json" else verdict_text(verdict))
    return exit_status(verdict.decision)
