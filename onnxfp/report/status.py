"""The exit status of every command, decided in one place."""

from __future__ import annotations

from typing import assert_never

from onnxfp.domain import Decision

PASSED = 0
BAD_INPUT = 2
NOT_SUPPORTED = 3
INCONCLUSIVE = 4
INTERRUPTED = 130


def exit_status(decision: Decision) -> int:
    """Return the exit status of a verdict; 1 is never one, since a crash exits with it."""
    match decision:
        case Decision.SUPPORTED:
            return PASSED
        case Decision.NOT_SUPPORTED:
            return NOT_SUPPORTED
        case Decision.INCONCLUSIVE:
            return INCONCLUSIVE
    assert_never(decision)
