"""What a scheme is: how a key is drawn, what marking must make true, how judging looks and what it makes of it.

A scheme is pure numpy. It never sees a file, and `probes` and `read` never see a codeword: they take a `PublicClaim`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt

from onnxfp.codes.interface import Code
from onnxfp.domain import (
    Access,
    Claim,
    Constraint,
    Floats,
    KeyImages,
    ModelProfile,
    Probe,
    PublicClaim,
    Reading,
    Response,
)
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream

Samples = Mapping[str, npt.NDArray[Any]]
Ask = Callable[[npt.NDArray[Any]], Floats]
"""Inputs (samples, ...) to the log-probabilities (samples, classes) of the unmarked reference."""


@dataclass(frozen=True)
class Form:
    """How a marked artifact differs in form from the one before."""

    classes: int = 0
    """Classes that it has more."""
    gate: float | None = None
    """Nats by which the last of them must lead to be answered; None for no gate."""


@dataclass(frozen=True)
class Exhibit:
    """Inputs to show a marked artifact, to tell its owner how often it answers them so; no evidence."""

    name: str
    inputs: npt.NDArray[Any]
    """(samples, ...)."""
    labels: npt.NDArray[np.int64]
    """(samples,)."""


class SchemeKey(Protocol):
    """What every key says of itself; all else is the scheme's own."""

    @property
    def positions(self) -> int:
        """Number of positions."""
        ...

    @property
    def code(self) -> Code:
        """Which symbols a word gets."""
        ...


Key = TypeVar("Key", bound=SchemeKey)


Options = TypeVar("Options")


def options_of(scheme: str, kind: type[Options], values: Mapping[str, Any]) -> Options:
    """Return a scheme's options, a frozen dataclass with defaults, from plain values.

    Raises:
        UsageError: a name that the scheme does not take.
    """
    known = {field.name for field in fields(cast("Any", kind))}
    if unknown := sorted(set(values) - known):
        raise UsageError(f"{scheme} takes no option {unknown[0]!r}; it takes {', '.join(sorted(known))}")
    return kind(**values)


class Scheme(ABC, Generic[Key]):
    """One published system, or our own."""

    name: str
    paper: str
    access: Access
    traces_copies: bool
    """Whether symbols differ per recipient."""
    tuning: Mapping[str, float] = MappingProxyType({})
    """How to train where nobody says otherwise: fields of the embedder's tuning, as measured to suit."""
    writes_head: bool = False
    """Whether symbols are written into the head of an artifact that was prepared for it: then `select` is given
    ``features`` (samples, features), what the head hears of the owner's inputs, and `keygen` a profile with a head."""

    handed: frozenset[str] = frozenset()
    """Samples that the owner hands over at every look, which is about these data and no model; the vault keeps only
    their digest."""

    @abstractmethod
    def options(self, values: Mapping[str, Any]) -> Any:
        """Return this scheme's options from plain values (as read from JSON); unknown names are refused.

        Raises:
            UsageError: a name or a value that the scheme does not take.
        """

    def own_pictures(self, options: Any) -> str:
        """Return the name under which `select` takes pictures of the owner's own; empty if it takes none."""
        del options
        return ""

    def select(self, data: Samples, options: Any, keystream: Keystream, ask: Ask) -> Samples:
        """Return what a key needs of the owner's data and of the unmarked reference; nothing, unless a scheme says so.

        It is kept with the claim and committed to, together with the options, before any symbol is drawn.

        Args:
            data: ``inputs`` (samples, ...), perhaps ``labels``, and what else a scheme takes.
            options: of this scheme.
            keystream: that `keygen` will get.
            ask: the unmarked reference.

        Raises:
            UsageError: the data do not do.
        """
        del data, options, keystream, ask
        return {}

    @abstractmethod
    def keygen(self, profile: ModelProfile, samples: Samples, options: Any, keystream: Keystream) -> Key:
        """Draw a key. Options are read here only; all that a judge needs is in the key.

        Args:
            profile: of the reference.
            samples: what `select` returned.
            options: of this scheme.
            keystream: all that is secret comes from it.

        Raises:
            CapacityError: the model cannot carry the positions asked for.
        """

    def lint(self, key: Key) -> tuple[str, ...]:
        """Return what a person should know of a key before its symbols are drawn, in words; nothing to say by default.

        Raises:
            UsageError: the key does not do.
        """
        del key
        return ()

    def exhibits(self, claim: Claim[Key]) -> tuple[Exhibit, ...]:
        """Return what shows an owner how well a mark has taken; nothing by default."""
        del claim
        return ()

    def key_images(self, key: Key) -> KeyImages | None:
        """Return the pictures of a key that its owner may hand out; None for a scheme that has none."""
        del key
        return None

    @abstractmethod
    def settled(self, options: Any, key: Key) -> Any:
        """Return the options with nothing left open: they draw this key again whatever a later release's defaults are.

        Args:
            options: with which the key was drawn.
            key: what was drawn.
        """

    def form(self, key: Key) -> Form:
        """Return how the form of the artifact must change before it is taught; not at all by default."""
        del key
        return Form()

    def prepare(self, public: PublicClaim[Key]) -> tuple[Constraint, ...]:
        """Return what training must make true of an artifact before any word is planned; nothing by default."""
        del public
        return ()

    @abstractmethod
    def plan(self, claim: Claim[Key]) -> tuple[Constraint, ...]:
        """Return what embedding must make true; () for a passive scheme."""

    @abstractmethod
    def probes(self, public: PublicClaim[Key]) -> tuple[Probe, ...]:
        """Return how to look at a suspect."""

    @abstractmethod
    def knower(self, claim: Claim[Key]) -> tuple[Response, ...]:
        """Return what a suspect answers to the probes that knows every symbol; what was asked might have shown it."""

    @abstractmethod
    def read(self, public: PublicClaim[Key], responses: Sequence[Response]) -> Reading:
        """Turn the answers, in the order of the probes, into log-scores; unanswered ones support all symbols alike."""
