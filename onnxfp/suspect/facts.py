"""What a child says of itself and of the model it opened, read strictly: it may be an adversary's by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxfp.suspect.model_input import ModelInput, numpy_type

_NAME = 400
"""Characters; more is said of nothing."""
_ENTRIES = 64


class Implausible(ValueError):
    """What was said makes no sense."""


@dataclass(frozen=True)
class Facts:
    """A model that was opened, and by whom."""

    provider: str
    """The execution provider that runs the first nodes, as the session says."""
    input: ModelInput
    inputs: tuple[str, ...]
    """The first few that must be given."""
    count: int
    """How many there are."""
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Installed:
    """A child that opened nothing."""

    confined: tuple[str, ...]
    """What holds it, in words."""
    device: bool
    """Whether it went for an accelerator, which loosens that."""
    driver: int
    """The CUDA version that the driver supports, times 1000; 0 where there is none or nobody asked."""
    version: str
    """Of onnxruntime."""
    cuda: str
    """The CUDA version that it was built for; empty for none."""
    listed: tuple[str, ...]
    """The execution providers that its build lists."""


def facts(said: Mapping[str, Any]) -> Facts:
    """Return what was said of a model.

    Raises:
        Implausible: it makes no sense.
    """
    shape = said.get("shape")
    count = said.get("count")
    if not isinstance(shape, list) or len(shape) > _ENTRIES or not all(map(_is_side, shape)):
        raise Implausible("a shape that is none")
    if type(count) is not int or count < 0:
        raise Implausible("a number of inputs that is none")
    takes = ModelInput(_text(said, "name"), tuple(shape), numpy_type(_text(said, "type")))
    return Facts(_text(said, "provider"), takes, _texts(said, "inputs"), count, _texts(said, "outputs"))


def installed(said: Mapping[str, Any]) -> Installed:
    """Return what a child without a model said of itself.

    Raises:
        Implausible: it makes no sense.
    """
    driver = said.get("driver")
    if type(driver) is not int or driver < 0:
        raise Implausible("a driver that is none")
    return Installed(
        _texts(said, "confined"),
        said.get("device") is True,
        driver,
        _text(said, "version"),
        _text(said, "cuda"),
        _texts(said, "listed"),
    )


def one_line(text: Any) -> str:
    """Return what a child gives as a reason, fit to be shown."""
    shown = str(text)[:_NAME] if isinstance(text, str) else ""
    return "".join(c if c.isprintable() else " " for c in shown).strip() or "it gave no reason"


def _is_side(side: Any) -> bool:
    return side is None or (type(side) is int and 0 <= side < 2**63)


def _text(said: Mapping[str, Any], key: str) -> str:
    text = said.get(key)
    if not isinstance(text, str):
        raise Implausible(f"no {key}")
    return text


def _texts(said: Mapping[str, Any], key: str) -> tuple[str, ...]:
    texts = said.get(key)
    if not isinstance(texts, list) or len(texts) > _ENTRIES or not all(isinstance(one, str) for one in texts):
        raise Implausible(f"no {key}")
    return tuple(text[:_NAME] for text in texts)
