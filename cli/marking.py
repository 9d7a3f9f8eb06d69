"""Commands of an owner before anything leaks: init, inspect, register, issue."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from onnxfp_cli.shared import (
    MODEL,
    SECRET,
    Number,
    alpha_option,
    force_option,
    format_option,
    links_option,
    new_passphrase,
    now,
    opened,
    option,
    progress,
    say,
    show,
)

_WARNING = "Never deliver the reference itself: whoever holds it can wash the mark out of every copy."


@click.command("init")
@option(
    "--passphrase",
    "protect",
    is_flag=True,
    help="Protect the owner key (asked for, unless ONNXFP_PASSPHRASE is set, which protects it anyway).",
)
@format_option
@click.pass_context
def init_command(context: click.Context, /, protect: bool, form: str) -> None:
    """Create a vault with a new owner key."""
    from onnxfp.workflows.vault import create_vault, vault_rows

    protected = protect or SECRET in os.environ
    show(create_vault(Path(context.obj), new_passphrase() if protected else None), vault_rows, form)
    if protected and not protect:
        say(f"{SECRET} is set: it protects the new key, and every later command needs it.")
    say("Keep a backup of owner.key off this machine: without it no copy can ever be traced.")


@click.command("inspect")
@click.argument("model", type=MODEL)
@links_option
@format_option
def inspect_command(model: Path, allow_links: bool, form: str) -> None:
    """What can bear a mark in this model? Reads the file; never executes the graph."""
    from onnxfp.workflows.inspect import inspect, inspection_rows

    show(inspect(model, allow_links=allow_links), inspection_rows, form)


@click.command("register")
@click.argument("model", type=MODEL)
@option("--scheme", default="spread", show_default=True, help="How copies are marked: spread or deepmarks.")
@option("--strength", type=Number(0, 1, min_open=True), help="Change of a weight as a share of its carrier's spread.")
@option("--positions", type=int, help="Symbols per copy; default: as many as the model carries.")
@option("--code", help="tardos or uniform; deepmarks also takes bibd7, bibd13, bibd21, bibd31, orthogonal.")
@option("--data", type=MODEL, help="An .npz with inputs (and labels): mark as strongly as they allow.")
@option("--loss", type=Number(0, 1), default=0.001, show_default=True, help="Accuracy (or agreement) allowed to go.")
@option("--no-keep", is_flag=True, help="Record path and digest only; do not copy the model into the vault.")
@links_option
@format_option
@click.pass_context
def register_command(
    context: click.Context,
    /,
    model: Path,
    scheme: str,
    data: Path | None,
    loss: float,
    no_keep: bool,
    allow_links: bool,
    form: str,
    **options: Any,
) -> None:
    """Record the unmarked reference and commit to its key.

    spread (default) hides every recipient's symbols in all large weights; it is gone when the weights are
    (distillation, training anew). deepmarks is a published baseline in one layer: its own codes name nobody with a
    bound.
    """
    from onnxfp.workflows.fidelity import fidelity_check, load_data
    from onnxfp.workflows.register import Registration, register, registration_rows

    chosen = {name: value for name, value in options.items() if value is not None}
    check = None if data is None else fidelity_check(model, load_data(data), loss)
    with opened(context) as vault:
        request = Registration(model, scheme, chosen, now(), keep=not no_keep, allow_links=allow_links)
        show(register(vault, request, check), registration_rows, form)
    say(_WARNING)


@click.command("issue")
@click.argument("model", type=MODEL)
@option("--to", "recipient", required=True, help="Who gets this copy.")
@option("-o", "--output", type=MODEL, required=True, help="Where the copy is written.")
@option("--dry-run", is_flag=True, help="Report capacity and expected evidence; write and record nothing.")
@option("--budget", type=Number(0), default=0.25, show_default=True, help="Largest relative change of any carrier.")
@option("--data", type=MODEL, help="An .npz with inputs (and labels) on which fidelity is checked.")
@option("--loss", type=Number(0, 1), default=0.005, show_default=True, help="Accuracy (or agreement) allowed to go.")
@alpha_option
@force_option
@links_option
@format_option
@click.pass_context
def issue_command(
    context: click.Context, /, model: Path, data: Path | None, loss: float, form: str, **request: Any
) -> None:
    """Write one recipient's copy. The same name gets the same bytes again."""
    from onnxfp.workflows.fidelity import fidelity_check, load_data
    from onnxfp.workflows.issue import Issuing, issue, issued_rows

    check = None if data is None else fidelity_check(model, load_data(data), loss)
    with opened(context) as vault:
        show(issue(vault, Issuing(model=model, at=now(), **request), check, progress), issued_rows, form)
    say(_WARNING)
