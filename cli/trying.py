"""Commands that try things out or check the record: attack, ledger, demo."""

from __future__ import annotations

from pathlib import Path

import click

from onnxfp_cli.shared import MODEL, force_option, format_option, now, opened, option, progress, show, tell


class _WithAttacks(click.Command):
    """A command whose help lists the attacks there are; they are looked up only when somebody asks."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list."""
        from onnxfp.attacks import CATALOGUE

        with formatter.section("Attacks"):
            formatter.write_dl([(attack.usage, attack.summary) for attack in CATALOGUE.values()])


@click.command("attack", cls=_WithAttacks)
@click.argument("models", type=MODEL, nargs=-1, required=True)
@option("--with", "step", required=True, help="One of the attacks below, such as prune:0.5 or average.")
@option("-o", "--output", type=MODEL, required=True, help="Where the result is written.")
@option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the attack's own randomness.")
@force_option
@format_option
def attack_command(models: tuple[Path, ...], step: str, output: Path, seed: int, force: bool, form: str) -> None:
    """Try to remove a mark: one removal step, or one coalition of several copies."""
    from onnxfp.workflows.attack import attack, attacked_rows

    show(attack(models, step, output, seed, force=force), attacked_rows, form)


@click.group("ledger", no_args_is_help=False)
def ledger_group() -> None:
    """The record of who holds which copy."""


@ledger_group.command("verify")
@option("--head", help="A head that `issue` printed: it must stand in the chain.")
@format_option
@click.pass_context
def ledger_verify_command(context: click.Context, /, head: str | None, form: str) -> None:
    """Is the record whole? Finds any altered, missing, inserted or moved row, and with --head a cut tail."""
    from onnxfp.workflows.vault import check_ledger, ledger_rows

    with opened(context) as vault:
        show(check_ledger(vault, head), ledger_rows, form)


@click.command("demo")
@format_option
def demo_command(form: str) -> int:
    """The whole story on real data in under a minute: mark, issue, leak, collude, trace."""
    from onnxfp.report.plain import to_json
    from onnxfp.report.status import NOT_SUPPORTED, PASSED
    from onnxfp.workflows.demo import demo, story_text

    story = demo(now(), progress)
    progress("")
    tell(to_json(story) if form == "json" else story_text(story))
    return PASSED if story.right else NOT_SUPPORTED
