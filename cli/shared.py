"""What several commands share: options declared once, the clock, the vault, printing."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxfp.report.printable import printable

if TYPE_CHECKING:
    from onnxfp.workflows.reaching import SuspectAt
    from onnxfp.workflows.vault import Vault

Command = TypeVar("Command", bound=Callable[..., Any])

MODEL = click.Path(path_type=Path)
SECRET = "ONNXFP_PASSPHRASE"  # noqa: S105
"""Holds the passphrase itself; the flag of `init` has a twin of its own, ONNXFP_INIT_PASSPHRASE."""


TOKEN = "ONNXFP_TOKEN"  # noqa: S105
"""Holds the bearer token for a remote suspect."""


class Number(click.FloatRange):
    """A number in a range; unlike click's own, it takes no NaN, which no comparison would ever refuse later."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


class Option(click.Option):
    """An option whose environment twin is named as it is typed: ONNXFP_TRACE_ALLOW_LINKS is trace's --allow-links."""

    def twin(self, ctx: click.Context) -> str:
        """Return the name of the variable."""
        typed = max(self.opts, key=len).lstrip("-").replace("-", "_").upper()
        return f"{ctx.auto_envvar_prefix}_{typed}"

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """Return what the environment says, or None where it says nothing."""
        return os.environ.get(self.twin(ctx)) or None


option = partial(click.option, cls=Option)

format_option = option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to print."
)
links_option = option("--allow-links", is_flag=True, help="Accept external data through links within its folder.")
force_option = option("--force", is_flag=True, help="Replace the output if it exists.")
alpha_option = option(
    "--alpha",
    type=Number(1e-100, 0.5),  # every look may halve it: far below lies 0, which is no bound
    default=1e-6,
    show_default=True,
    help="Probability of a false accusation, fixed beforehand.",
)
DEVICES = click.Choice(["auto", "cpu", "cuda", "tensorrt"])
_REACHING = {
    "device": option("--device", type=DEVICES, default="auto", show_default=True, help="Where a file is run."),
    "require_device": option(
        "--require-device", is_flag=True, help="Refuse to judge when that device is not the one that really runs."
    ),
    "transform": option(
        "--transform", default="", help='What a remote suspect expects, such as "scale=255 layout=nhwc dtype=uint8".'
    ),
    "input_name": option(
        "--input", "input_name", default="", help="Name of a remote model's input. [default: its own]"
    ),
    "rate": option(
        "--rate", type=Number(0), default=0.0, help="Requests per second to a remote suspect at most; 0 for no limit."
    ),
    "timeout": option(
        "--timeout", type=Number(0, min_open=True), default=30.0, show_default=True, help="Seconds for one request."
    ),
    "retries": option(
        "--retries", type=click.IntRange(0, 20), default=3, show_default=True, help="Of a request that failed."
    ),
    "ca_file": option("--ca-file", type=MODEL, help="Certificates to trust instead of the usual ones."),
    "token_in_clear": option("--token-in-clear", is_flag=True, help="Send the token over an unencrypted connection."),
    "allow_links": links_option,
}


def reaching_options(*besides: str) -> Callable[[Command], Command]:
    """Give a command the options that say how a suspect is reached, besides some; `suspect_at` takes them."""

    def give(command: Command) -> Command:
        for name in reversed(_REACHING):
            command = command if name in besides else _REACHING[name](command)
        return command

    return give


def suspect_at(where: str | None, chosen: dict[str, Any]) -> SuspectAt:
    """Return where a suspect is; what says how it is reached is taken out of what was chosen."""
    from onnxfp.workflows.reaching import SuspectAt

    how = {name: chosen.pop(name) for name in _REACHING if name in chosen}
    return SuspectAt(where, token=os.environ.get(TOKEN, ""), **how)


def now() -> str:
    """Return the time, UTC, ISO 8601."""
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat(timespec="seconds")


def passphrase() -> str:
    """Return the owner key's passphrase: from ONNXFP_PASSPHRASE, or asked for on a terminal."""
    return _passphrase("the owner key has a passphrase; set ONNXFP_PASSPHRASE")


def new_passphrase() -> str:
    """Return what is to protect a new owner key; who types it types it twice."""
    return _passphrase("no terminal to ask on; set ONNXFP_PASSPHRASE to protect the new key", twice=True)


def _passphrase(missing: str, *, twice: bool = False) -> str:
    if SECRET in os.environ:
        return os.environ[SECRET]
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError(missing)
    answer: str = click.prompt("Passphrase of the owner key", hide_input=True, confirmation_prompt=twice, err=True)
    return answer


def opened(context: click.Context) -> Vault:
    """Open the vault that the command line names."""
    from onnxfp.workflows.vault import open_vault

    return open_vault(Path(context.obj), passphrase)


def say(text: str) -> None:
    """Say something on stderr that is not a result; where nobody can hear it, that is no failure."""
    with suppress(OSError):
        click.echo(printable(text), err=True)


def progress(text: str) -> None:
    """Show progress on one line of a terminal; silent when stderr is not one."""
    if sys.stderr is not None and sys.stderr.isatty():
        click.echo(f"\r\x1b[K{printable(text)}", err=True, nl=False)


def tell(text: str) -> None:
    """Print a result; a reader that went away does not change how the command ends."""
    try:
        click.echo(text)
    except BrokenPipeError:
        forget_output()


def forget_output() -> None:
    """Let what stdout still holds go nowhere, so that the end of the program does not fail on it again."""
    with suppress(OSError, AttributeError):  # a stdout that is closed or no file has nothing to redirect
        stdout = sys.stdout.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stdout)
        os.close(nowhere)


def show(result: Any, rows: Callable[[Any], list[tuple[str, str]]], form: str) -> None:
    """Print a result, as a table of `rows` or as JSON."""
    from onnxfp.report.plain import to_json
    from onnxfp.report.text import table

    progress("")
    tell(to_json(result) if form == "json" else table(rows(result)))
