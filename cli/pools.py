"""Commands about pools: which rows to train on, whether a plan is sound, how large it must be."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from onnxfp_cli.shared import (
    MODEL,
    Command,
    Number,
    alpha_option,
    force_option,
    format_option,
    now,
    opened,
    option,
    progress,
    say,
    show,
)

_DATA = option("--data", type=MODEL, required=True, help="An .npz of all candidate rows: inputs and labels.")
_SHADOWS = partial(option, "--shadow", "shadows", multiple=True, type=click.Path(), metavar="TEXT")
"""Paths, so that the environment's twin may name several as PATH does, and blanks in a name are part of it."""

_POOLS = option(
    "--pools", type=click.IntRange(2, 1024), default=2, show_default=True, help="Of each position, one is trained on."
)
_ADVICE = (
    "Train on `train_rows` and never on `held_rows`. Keep plan and data like the vault: whoever has both can tell "
    "members from others, and train those back in."
)


@click.group("pools", no_args_is_help=False)
def pools_group() -> None:
    """Pools: ownership by which of your rows a model was trained on; the model itself is left as it is.

    `plan` says which rows to train on, before you train. `onnxfp verify SUSPECT --claim pools --data` is the test.
    """


@pools_group.command("plan")
@_DATA
@option(
    "--pairs", "--positions", "positions", type=click.IntRange(0), default=0, help="How many. [default: up to 5000]"
)
@_POOLS
@option("--size", type=click.IntRange(1), default=1, show_default=True, help="Rows of a pool.")
@option("--alike", type=Number(0, 1, min_open=True), help="Correlation of near-duplicates. [default: 0.98]")
@_SHADOWS(help="Commit to a shadow model too, as verify takes it.")
@option("--to", "recipient", help="Plan a run for a recipient, whose copy `trace` then tells.")
@option("--beacon", default="", help="A public value from after the commitment, on which the draw depends.")
@option("-o", "--output", type=MODEL, required=True, help="Where the rows are written (.npz).")
@force_option
@format_option
@click.pass_context
def plan_command(context: click.Context, /, form: str, **chosen: Any) -> None:
    """Say which rows to train on; commits to it first.

    Each position is a set of pools with the same labels; one of them, drawn by key, is trained on, the others are held
    back. Rows in no pool are all trained on. Near-duplicates stay together. The same call again gives the same rows.
    """
    from onnxfp.workflows.plan_pools import Planning, plan_pools, planned_rows

    names = ("positions", "pools", "size", "alike")
    options = {name: value for name in names if (value := chosen.pop(name)) is not None}
    with opened(context) as vault:
        planned = plan_pools(vault, Planning(at=now(), options=options, **chosen), progress)
    show(planned, planned_rows, form)
    say(_ADVICE)


@pools_group.command("check")
@_DATA
@option("--model", type=MODEL, help="A model of yours that was trained as planned: what does it show?")
@_SHADOWS(help="As verify takes it.")
@option("--augment", type=click.IntRange(0, 32), default=0, help="As verify takes it.")
@option("--to", "recipient", default="", help="Check the plan of this recipient.")
@option("--claim", default="", help="First digits of the plan. [default: the latest]")
@alpha_option
@format_option
@click.pass_context
def check_command(
    context: click.Context, /, data: Path, shadows: tuple[str, ...], augment: int, form: str, **chosen: Any
) -> int:
    """Is the plan over these data sound? Exit status 0 if it is, 3 if it proves nothing.

    Asks whether somebody who never sees a model can tell which rows were trained on, and looks for near-duplicates on
    both sides. With --model, tells how far its members lead by every score.
    """
    from onnxfp.report.status import NOT_SUPPORTED, PASSED
    from onnxfp.workflows.check_pools import Checking, check_pools, checked_rows
    from onnxfp.workflows.pool_data import PoolsAt

    with opened(context) as vault:
        checked = check_pools(vault, Checking(PoolsAt(data, shadows, augment), now(), **chosen), progress)
    show(checked, checked_rows, form)
    return PASSED if checked.passed else NOT_SUPPORTED


@pools_group.command("power")
@option("--effect", type=Number(0, 100, min_open=True), required=True, help="Lead of members, in deviations.")
@_POOLS
@option("--size", "sizes", type=click.IntRange(1), multiple=True, help="Rows of a pool. [default: 1, 10 and 100]")
@option("--power", type=Number(0, 1, min_open=True, max_open=True), default=0.99, show_default=True, help="Of finding.")
@alpha_option
@format_option
def power_command(effect: float, pools: int, sizes: tuple[int, ...], power: float, alpha: float, form: str) -> None:
    """How many positions are needed? `pools check --model` tells the effect of a model of yours."""
    from onnxfp.workflows.check_pools import power_of, power_rows

    show(power_of(effect, pools, sizes or (1, 10, 100), alpha, power), power_rows, form)


def pools_options(command: Command) -> Command:
    """Give a command the options that say what claims about pools are about."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


_OPTIONS = (
    option("--data", type=MODEL, help="Candidate data of `pools plan`: weigh claims about pools too."),
    _SHADOWS(
        help="A model of yours to compare with, not trained on the candidates; or FILE,ROWS.npz with its train_rows.",
    ),
    option("--augment", type=click.IntRange(0, 32), default=0, help="Moved copies of each row to ask besides."),
)
