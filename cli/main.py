"""The command line: parse, call one workflow, print. Results go to stdout, talk and progress to stderr."""

from __future__ import annotations

import sys

import click

from onnxfp import __version__
from onnxfp.errors import OnnxfpError
from onnxfp.report.status import BAD_INPUT, INTERRUPTED
from onnxfp_cli.judging import trace_command, verify_command
from onnxfp_cli.marking import init_command, inspect_command, issue_command, register_command
from onnxfp_cli.trying import attack_command, demo_command, ledger_group


@click.group(context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ONNXFP"})
@click.version_option(__version__, prog_name="onnxfp")
@click.option(
    "--vault",
    default="./onnxfp-vault",
    show_default=True,
    help="Folder with the owner key, the ledger and the references (env ONNXFP_VAULT).",
)
@click.pass_context
def cli(context: click.Context, /, vault: str) -> None:
    """Whose ONNX model is this, and who let it out?

    Exit status: 0 supported or passed, 3 not supported, 4 inconclusive, 2 usage or bad input, 130 interrupted.
    """
    context.obj = vault


for command in (
    init_command,
    inspect_command,
    register_command,
    issue_command,
    trace_command,
    verify_command,
    attack_command,
    ledger_group,
    demo_command,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; every error of ours is one line on stderr and exit status 2."""
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except click.ClickException as problem:
        problem.show()
        sys.exit(BAD_INPUT)
    except OnnxfpError as problem:
        click.echo(f"onnxfp: {problem}", err=True)
        sys.exit(BAD_INPUT)
    sys.exit(status if isinstance(status, int) else 0)
