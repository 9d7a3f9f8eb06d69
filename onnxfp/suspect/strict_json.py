"""JSON from a stranger: bounded before it is parsed, and nothing that the standard does not know."""

from __future__ import annotations

import json
from typing import Any

from onnxfp.suspect.v2 import Refused

_AT_MOST = {b"[": 2**17, b"{": 2**12, b'"': 2**20, b",": 2**23}
"""How often each may occur: python spends a hundred bytes on what a stranger writes with two."""


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse one JSON object.

    Raises:
        Refused: it is something else, nested without end, or has the same key twice.
    """
    for mark, limit in _AT_MOST.items():
        if body.count(mark) > limit:
            raise Refused(f"the answer is JSON with more than {limit} times {mark.decode()}")
    try:
        parsed = json.loads(body, parse_constant=_constant, object_pairs_hook=_object)
    except RecursionError as problem:
        raise Refused("the answer is JSON nested too deeply") from problem
    except ValueError as problem:  # also of numbers with thousands of digits, and of bytes that are no text
        raise Refused("the answer is not JSON") from problem
    if not isinstance(parsed, dict):
        raise Refused("the answer is JSON, but not an object")
    return parsed


def _constant(name: str) -> Any:
    raise Refused(f"the answer holds {name}, which is not a number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise Refused("the answer is JSON with one key twice")
    return made
