"""The command line: parse, call one workflow, print. Results go to stdout, talk and progress to stderr."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from onnxfp import __version__
from onnxfp.errors import OnnxfpError
from onnxfp.report.status import BAD_INPUT, INTERRUPTED, PASSED
from onnxfp_cli.holders import keys_group
from onnxfp_cli.installation import doctor_command
from onnxfp_cli.judging import trace_command, verify_command
from onnxfp_cli.leaves import leaf_group
from onnxfp_cli.marking import init_command, inspect_command, issue_command, register_command
from onnxfp_cli.pools import pools_group
from onnxfp_cli.shared import forget_output, option, say
from onnxfp_cli.teaching import mark_command
from onnxfp_cli.trying import attack_command, demo_command, ledger_group


class _Root(click.Group):
    """The program; whoever stops reading its help or version has had enough, which is no failure."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Read the command line, which may print."""
        try:
            return super().make_context(*args, **options)
        except BrokenPipeError:
            forget_output()
            raise click.exceptions.Exit(PASSED) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            forget_output()
            return PASSED


@click.group(
    cls=_Root,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ONNXFP"},
)
@click.version_option(__version__, prog_name="onnxfp", allow_from_autoenv=False)
@option(
    "--vault",
    default="./onnxfp-vault",
    show_default=True,
    help="Folder with the owner key, the ledger and the references (env ONNXFP_VAULT).",
)
@click.pass_context
def cli(context: click.Context, /, vault: str) -> None:
    """Whose ONNX model is this, and who let it out?

    Exit status: 0 supported or passed, 3 not supported, 4 inconclusive, 2 usage or bad input, 130 interrupted.

    Every option may be set by the environment: trace --allow-links is ONNXFP_TRACE_ALLOW_LINKS.
    """
    context.obj = vault
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (
    init_command,
    inspect_command,
    register_command,
    issue_command,
    mark_command,
    trace_command,
    verify_command,
    attack_command,
    keys_group,
    leaf_group,
    pools_group,
    ledger_group,
    demo_command,
    doctor_command,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; every error that is not a defect of ours is one line on stderr and exit status 2."""
    try:
        status = cli.main(standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.exceptions.Abort:
        say("interrupted")
        sys.exit(INTERRUPTED)
    except click.ClickException as problem:
        _refuse(_usage(problem))
    except OnnxfpError as problem:
        _refuse(str(problem))
    except OSError as problem:
        forget_output()
        _refuse(f"{problem.filename or 'reading or printing'}: {problem.strerror or problem}; check the disk")
    sys.exit(status if isinstance(status, int) else PASSED)


def _refuse(message: str) -> NoReturn:
    say(f"onnxfp: {message}")
    sys.exit(BAD_INPUT)


def _usage(problem: click.ClickException) -> str:
    """Return a message of click's as one line, which says where to read on."""
    message = " ".join(problem.format_message().split()).rstrip(".")
    context = getattr(problem, "ctx", None)
    return message if context is None else f"{message}; see '{context.command_path} --help'"
