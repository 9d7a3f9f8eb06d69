"""Commands about leaves: one recipient's identity, shown to a third party and checked by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxfp_cli.shared import (
    MODEL,
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
)


@click.group("leaf", no_args_is_help=False)
def leaf_group() -> None:
    """Leaves: one recipient's identity, for a third party to check.

    Every copy of a model that was prepared with `onnxfp mark --scheme deeptrace` has a leaf, from which its answers are
    drawn. The ledger holds the leaf's digest since the copy was issued. To check one takes neither the vault nor a key.
    """


@leaf_group.command("export")
@option("--to", "recipient", required=True, help="Whose leaf: the recipient of a copy.")
@option("--reference", default="", help="First digits of the reference. [default: the only one that fits]")
@option("-o", "--output", type=MODEL, required=True, help="Where the file is written (.npz).")
@force_option
@format_option
@click.pass_context
def leaf_export_command(context: click.Context, /, form: str, **request: Any) -> None:
    """Write one recipient's leaf, for a third party to check a suspect with.

    The file holds the leaf and all triggers: it spends them, for whoever sees them can filter them. It shows nothing of
    any other recipient's answers.
    """
    from onnxfp.workflows.export_leaf import MEANING, LeafExport, export_leaf, exported_rows

    with opened(context) as vault:
        show(export_leaf(vault, LeafExport(at=now(), **request)), exported_rows, form)
    say(MEANING)


@leaf_group.command("check")
@click.argument("file", type=MODEL)
@click.argument("suspect")
@alpha_option
@reaching_options()
@format_option
def leaf_check_command(file: Path, suspect: str, alpha: float, form: str, **how: Any) -> int:
    """Does this suspect know the word of this leaf? A file from `leaf export`; a model, or a URL as verify takes it.

    Asks all triggers once; needs no vault. Compare the leaf digest that is printed with one that was noted before the
    leak: only then was the leaf fixed before anybody could suit it to the suspect's answers. A bearer token is taken
    from ONNXFP_TOKEN.
    """
    from onnxfp.report.status import exit_status
    from onnxfp.workflows.check_leaf import LeafChecking, check_leaf, checked_rows

    checked = check_leaf(LeafChecking(file, suspect_at(suspect, how), alpha), progress)
    show(checked, checked_rows, form)
    return exit_status(checked.outcome)
