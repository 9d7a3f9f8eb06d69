"""The exit status of every command, decided in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:  # a command that only reports a version or an error must not load numpy
    from onnxfp.domain import Decision

PASSED = 0
BAD_INPUT = 2
NOT_SUPPORTED = 3
INCONCLUSIVE = 4
INTERRUPTED = 130


def exit_status(decision: Decision) -> int:
    """Return the exit status of a verdict; 1 is never one, since a crash exits with it."""
    from onnxfp.domain import Decision

    match decision:
        case Decision.SUPPORTED:
            return PASSED
        case Decision.NOT_SUPPORTED:
            return NOT_SUPPORTED
        case Decision.INCONCLUSIVE:
            return INCONCLUSIVE
    assert_never(decision)
