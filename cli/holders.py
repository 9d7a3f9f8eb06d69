"""Commands about key images: who is handed one, whose one is, which are taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxfp.errors import UsageError
from onnxfp_cli.shared import (
    MODEL,
    force_option,
    format_option,
    now,
    opened,
    option,
    reaching_options,
    say,
    show,
    suspect_at,
)


@click.group("keys", no_args_is_help=False)
def keys_group() -> None:
    """Key images: one secret picture for each holder.

    A model marked with extra_class answers them with a class of its own. A key image authenticates whoever presents it;
    it names no leaker, and is no evidence about a copy.
    """


@keys_group.command("issue")
@option("--to", "recipient", required=True, help="Who gets it.")
@option("-o", "--output", type=MODEL, required=True, help="Where it is written: .png or .bmp, without loss.")
@option("--claim", default="", help="Of which claim: a scheme, or first digits. [default: the only one]")
@option("--expires", default="", metavar="YYYY-MM-DD", help="The last day on which it holds, UTC. [default: no end]")
@force_option
@format_option
@click.pass_context
def keys_issue_command(context: click.Context, /, form: str, **request: Any) -> None:
    """Hand somebody a key image. The same name and last day get the same bytes again while it holds.

    It says who holds it only to you, and authenticates whoever presents it, also a copy: hand it over in secret.
    """
    from onnxfp.workflows.issue_key import KeyIssuing, issue_key, issued_key_rows

    with opened(context) as vault:
        show(issue_key(vault, KeyIssuing(at=now(), **request)), issued_key_rows, form)
    say("Keep the file as it is: converting it to JPEG, resizing or editing it destroys the payload.")


@keys_group.command("authenticate")
@click.argument("image", type=MODEL)
@option("--suspect", help="Also ask this model (a file or a URL) about the very picture.")
@option("--claim", default="", help="Only under this claim: a scheme, or first digits. [default: all that have some]")
@reaching_options("require_device", "rate", "retries")
@format_option
@click.pass_context
def keys_authenticate_command(
    context: click.Context, /, image: Path, suspect: str | None, claim: str, form: str, **how: Any
) -> int:
    """Whose key image is this? genuine, expired, revoked, damaged or not ours.

    It authenticates whoever presents the picture. It names no leaker and is no evidence about a copy, and one answer
    of a suspect is no proof of ownership (verify is). A suspect is asked only about a picture that authenticates.

    Exit status: 0 genuine (and honoured by the suspect); 3 expired, revoked, damaged, not ours or not honoured; 4 the
    suspect could not be asked; 2 a file that cannot be read without loss, or other bad input.
    """
    from onnxfp.report.status import exit_status
    from onnxfp.workflows.authenticate_key import Presented, authenticate_key, authenticated_rows

    if suspect == "":
        raise UsageError("expected a file or a URL with --suspect, found nothing; leave it out to ask nobody")
    asked = suspect_at(suspect, how)
    with opened(context) as vault:
        result = authenticate_key(vault, Presented(image, now(), claim, asked))
    show(result, authenticated_rows, form)
    return exit_status(result.decision)


@keys_group.command("revoke")
@click.argument("serials", type=click.IntRange(1), nargs=-1)
@option("--to", "recipient", default="", help="Revoke all that this recipient was handed.")
@option("--reason", default="", help="Kept in the ledger, for you.")
@format_option
@click.pass_context
def keys_revoke_command(
    context: click.Context, /, serials: tuple[int, ...], recipient: str, reason: str, form: str
) -> None:
    """Take key images back, by serial or all of somebody's.

    Models go on answering them: it is authenticate that no longer accepts them. What is revoked already keeps its day
    and its reason, and the answer says so.
    """
    from onnxfp.workflows.list_keys import revoke_key, revoked_rows

    with opened(context) as vault:
        show(revoke_key(vault, serials, recipient, reason, now()), revoked_rows, form)


@keys_group.command("list")
@format_option
@click.pass_context
def keys_list_command(context: click.Context, /, form: str) -> None:
    """Which key images were handed out, to whom, and which still hold."""
    from onnxfp.workflows.list_keys import held_rows, list_keys

    with opened(context) as vault:
        show(list_keys(vault, now()), held_rows, form)
