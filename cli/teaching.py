"""Mark: the owner's triggers, taught to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxfp_cli.shared import (
    MODEL,
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
)

_OPTIONS = ("triggers", "positions", "taught", "each", "pool", "gate", "labels")
_TUNING = ("rate", "batch", "loss", "seed", "device", "precision")


@click.command("mark")
@click.argument("model", type=MODEL)
@option(
    "--scheme",
    type=click.Choice(["zhang", "extra_class", "deeptrace"]),
    default="zhang",
    show_default=True,
    help="Key labels for triggers, an additional class for key images, or triggers that each copy answers its own way.",
)
@option(
    "--triggers",
    type=click.Choice(["content", "noise", "unrelated"]),
    help="Keyed logos stamped on task images, keyed noise added to them, or pictures of something else. "
    "[default: content]",
)
@option("--data", type=MODEL, required=True, help="An .npz of the task: inputs, and labels if there are any.")
@option("--val", type=MODEL, help="An .npz that the model never saw, for fidelity; default: a tenth of --data.")
@option("-o", "--output", type=MODEL, help="Where the marked model is written.")
@option(
    "--images",
    "--covers",
    "images",
    type=MODEL,
    help="Your own pictures: a PNG or a folder (logos), a folder or .npz (unrelated, covers of key images).",
)
@option("--positions", type=int, help="Patterns, pictures or pairs with a secret symbol, 32 at least. [default: 64]")
@option("--taught", type=int, help="Inputs that teach each of them. [default: 48; 16 for extra_class]")
@option("--each", type=int, help="Inputs that ask for each of them (zhang). [default: 1]")
@option("--labels", type=int, help="Answers that a trigger can have (deeptrace). [default: by the number of triggers]")
@option("--pool", type=int, help="Key images to hand out with `onnxfp keys issue` (extra_class). [default: 64]")
@option("--gate", type=Number(0, 20), help="Nats by which the additional class must lead to be answered at all.")
@option("--paper", is_flag=True, help="As published, one label for all: a rank among 255 controls.")
@option("--commit", "commit_only", is_flag=True, help="Only commit to the triggers; draw and teach nothing yet.")
@option("--beacon", default="", help="A public value from after the commitment; the key labels depend on it.")
@option("--loss", type=Number(0, 1), default=0.005, show_default=True, help="Accuracy (or agreement) allowed to go.")
@option("--epochs", type=click.IntRange(0), default=0, help="Passes over the data at most. [default: 5, or 2000 steps]")
@option("--rate", type=Number(0, min_open=True), help="Learning rate; default: measured on small CNNs.")
@option("--batch", type=click.IntRange(2), default=128, show_default=True, help="Samples per step.")
@option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of the training's randomness.")
@option("--device", default="cpu", show_default=True, help="Where to train: cpu, cuda, cuda:1.")
@option(
    "--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True, help="Of the arithmetic."
)
@alpha_option
@force_option
@links_option
@format_option
@click.pass_context
def mark_command(
    context: click.Context, /, model: Path, scheme: str, output: Path | None, paper: bool, form: str, **chosen: Any
) -> None:
    """Teach a model secret answers to secret inputs, so that it can be recognised by its answers alone.

    Changes weights only: nodes, names and everything else stay; extra_class gives the model one class more, and a gate
    if one is asked for. The marked model becomes a reference of its own: issue copies of it, and never release the
    reference itself. The mark is the same in every copy (it says "ours", not "whose") and is lost when a model is
    trained anew or distilled. A key image of extra_class authenticates whoever presents it; it traces no copy.
    deeptrace prepares a model once, so that `onnxfp issue` can write each recipient's own answers into the copy's last
    layer: then `onnxfp trace` names the copy that a service runs by its answers alone. Prepare after all other marks.
    """
    from onnxfp.workflows.mark import Marking, mark, marked_rows, tuning_of

    if output is None and not chosen["commit_only"]:
        raise click.UsageError("Missing option '-o' / '--output': where the marked model is written", context)
    if paper and scheme != "zhang":
        raise click.UsageError(f"--paper reproduces zhang, not {scheme}; leave it out", context)
    options = {name: chosen.pop(name) for name in _OPTIONS}
    tuning = {name: chosen.pop(name) for name in _TUNING}
    scheme = f"{scheme}_paper" if paper else scheme
    request = Marking(
        model=model,
        scheme=scheme,
        options={name: value for name, value in options.items() if value is not None},
        output=output or Path("nothing.onnx"),
        at=now(),
        tuning=tuning_of(scheme, {name: value for name, value in tuning.items() if value is not None}),
        **chosen,
    )
    with opened(context) as vault:
        show(mark(vault, request, progress), marked_rows, form)
    if not request.commit_only:
        say("Release copies from `onnxfp issue`, never the marked reference: whoever holds it can wash copies of it.")
