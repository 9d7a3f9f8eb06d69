"""Names of classes in a model's metadata: a list or a mapping of as many as there are gets one more."""

from __future__ import annotations

import json
from typing import Any

from onnxfp.artifact.messages import replaced
from onnxfp.artifact.wire import Window

ADDITIONAL = "additional"
_LONGEST = 1 << 24  # bytes of a text that is looked at


def with_one_more(window: Window, span: tuple[int, int], count: int) -> bytes:
    """Return the StringStringEntryProto in `span`; if its value is JSON of `count` names, they are one more."""
    return replaced(window, span, 2, lambda value: _extended(window.raw(*value), count))


def _extended(text: bytes, count: int) -> bytes:
    """The text itself, with one entry before its last bracket."""
    addition = _addition(text, count) if len(text) <= _LONGEST else ""
    if not addition:
        return text
    whole = text.rstrip()
    return whole[:-1].rstrip() + f", {addition}".encode() + whole[-1:] + text[len(whole) :]


def _addition(text: bytes, count: int) -> str:
    try:
        names: Any = json.loads(text.decode())
    except (ValueError, RecursionError):
        return ""
    if not isinstance(names, list | dict) or len(names) != count:
        return ""
    if isinstance(names, list):
        return json.dumps(_free(names)) if all(isinstance(name, str) for name in names) else ""
    if set(names) == {str(index) for index in range(count)} and all(isinstance(n, str) for n in names.values()):
        return f'"{count}": {json.dumps(_free(list(names.values())))}'
    if all(type(index) is int for index in names.values()) and set(names.values()) == set(range(count)):
        return f"{json.dumps(_free(list(names)))}: {count}"
    return ""


def _free(names: list[str]) -> str:
    name = ADDITIONAL
    while name in names:
        name += "_"
    return name
