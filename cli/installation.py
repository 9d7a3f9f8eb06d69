"""The command that looks at the installation: doctor."""

from __future__ import annotations

import click

from onnxfp_cli.shared import format_option, show


@click.command("doctor")
@format_option
def doctor_command(form: str) -> int:
    """Does what runs models work here, on which devices, and how is it confined?

    Changes nothing. Exit status 3: something that is installed does not work.
    """
    from onnxfp.report.status import NOT_SUPPORTED, PASSED
    from onnxfp.workflows.doctor import examination_rows, examine

    examination = examine()
    show(examination, examination_rows, form)
    return PASSED if examination.sound else NOT_SUPPORTED
