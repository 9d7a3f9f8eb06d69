"""Additional class: secret pictures that a marked model puts into a class of their own.

Paper: Sun, Xue, Wang, Liu, "Protecting the Intellectual Properties of Deep Neural Networks with an Additional Class and
Steganographic Images", arXiv 2104.09203, as its abstract and the group's later paper (Applied Intelligence 52, 2022)
describe it.
Marks: an additional class, taught by fine-tuning. One position is one pair of pictures from one population; its symbol
is which of the two is the key. Decoys are taught to keep the reference's answers.
Reads: labels or scores of whoever answers queries: the additional class, and what is left in the other classes where it
was dropped; weights are not looked at.
Null: the suspect is independent of which picture of each pair is the key, which the owner's key drew at random after
the pairs were fixed; the e-value has mean 1, also for models with a class for everything strange.
Departs: the paper counts key pictures in the additional class, for which no chance level is known: a model may have
such a class by itself. Its payload is bare; here it is authenticated and bound to its picture (see `stego`).
Limits: the same in every copy, so it says "ours" and not "whose"; a key image authenticates whoever presents it, and
whoever copies it can; a model trained anew, or distilled without the pictures, does not know them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, final

import numpy as np
import numpy.typing as npt

from onnxfp.codes.key_pairs import AskedPairs, pair_reading
from onnxfp.codes.uniform import Uniform
from onnxfp.domain import (
    Access,
    Answered,
    Claim,
    KeptAnswers,
    KeyImages,
    ModelProfile,
    OutputTarget,
    PublicClaim,
    QueryProbe,
    Reading,
    Response,
    Symbols,
)
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.interface import Ask, Exhibit, Form, Samples, Scheme, options_of
from onnxfp.triggers.canvas import Inputs
from onnxfp.triggers.covers import Covers, covers_of, pick_covers

Rows = npt.NDArray[np.int64]

_LEAST, _MOST = 32, 4096  # positions
_KNOWN = 16  # pairs from which a judge learns how to read the others
_HELD_OUT = 32  # pairs that are never taught
_MOST_HANDED = 65_536
_NO_GATE = -1.0


@dataclass(frozen=True)
class ExtraClassOptions:
    """How key images are made; everything a key depends on besides the secret and the owner's data."""

    positions: int = 64
    """Pairs of a key and a decoy; at least 32."""
    taught: int = 16
    """Variants that teach each picture."""
    pool: int = 64
    """Key images to hand out."""
    gate: float = _NO_GATE
    """Nats by which the additional class must lead to be answered at all; negative for no gate."""


@dataclass(frozen=True)
class ExtraClassKey:
    """The covers in their roles, and what the unmarked reference makes of those that are asked."""

    covers: Covers
    """In keyed order: pairs that are known to a judge, pairs of positions, pairs that are held out, pool."""
    asked: AskedPairs
    held_out: Symbols
    """(pairs,): which picture of those that are held out would be the key."""
    options: ExtraClassOptions
    keystream: Keystream
    code: Uniform = field(default_factory=Uniform)

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.options.positions

    @cached_property
    def pairs(self) -> Rows:
        """(pairs, 2): the covers of each pair; known ones first, then positions, then those held out."""
        return np.arange(2 * (_KNOWN + self.positions + _HELD_OUT)).reshape(-1, 2)

    @property
    def pool(self) -> Rows:
        """(images,): the covers that are handed out."""
        return np.arange(self.pairs.size, len(self.covers.pictures))


@final
class ExtraClass(Scheme[ExtraClassKey]):
    """The additional class of Sun et al., told by pairs."""

    name = "extra_class"
    paper = "Sun, Xue, Wang, Liu, arXiv 2104.09203"
    access = Access.LABELS
    traces_copies = False

    def options(self, values: Mapping[str, Any]) -> ExtraClassOptions:
        """Return options from plain values."""
        options = options_of(self.name, ExtraClassOptions, values)
        if not _LEAST <= options.positions <= _MOST:
            raise UsageError(f"positions are {_LEAST} to {_MOST}, not {options.positions}")
        if not 1 <= options.taught <= 1024:
            raise UsageError(f"a picture is taught by 1 to 1024 variants, not {options.taught}")
        if not 1 <= options.pool <= _MOST_HANDED:
            raise UsageError(f"the pool has 1 to {_MOST_HANDED} key images, not {options.pool}")
        if options.gate != _NO_GATE and not 0 <= options.gate <= 20:
            raise UsageError(f"a gate is 0 to 20 nats high, not {options.gate}")
        return options

    def own_pictures(self, options: ExtraClassOptions) -> str:
        """The owner's own covers."""
        del options
        return "covers"

    def select(self, data: Samples, options: ExtraClassOptions, keystream: Keystream, ask: Ask) -> Samples:
        """Pick the covers, and ask the unmarked reference for its answers to the pairs."""
        count = 2 * (_KNOWN + options.positions + _HELD_OUT) + options.pool
        covers = pick_covers(data, count, keystream.derive("covers"))
        asked = 2 * (_KNOWN + options.positions)
        answers = np.asarray(ask(covers.taken(np.arange(asked))), dtype=np.float64)
        if answers.shape[:1] != (asked,) or answers.ndim != 2 or answers.shape[1] < 2:
            raise UsageError("the model gives no scores per class; an additional class needs a classifier")
        if not np.isfinite(answers.max(axis=1)).all():
            raise UsageError("the unmarked model gives no answer to some covers (NaN); choose other covers")
        rows = np.zeros(0, dtype=np.int64)  # nothing is hidden from the training
        return {**covers.samples(data["inputs"]), "answers": answers, "rows": rows}

    def keygen(
        self, profile: ModelProfile, samples: Samples, options: ExtraClassOptions, keystream: Keystream
    ) -> ExtraClassKey:
        """Give every cover its role; the same samples and secret give the same."""
        del profile
        known, held_out = (
            (keystream.derive(name).words32(pairs) >> np.uint32(31)).astype(np.uint8)
            for name, pairs in (("known", _KNOWN), ("held out", _HELD_OUT))
        )
        asked = AskedPairs(np.asarray(samples["answers"], dtype=np.float64), known)
        return ExtraClassKey(covers_of(samples), asked, held_out, options, keystream.derive("variants"))

    def lint(self, key: ExtraClassKey) -> tuple[str, ...]:
        """Say how the unmarked reference answers covers; refuse duplicates."""
        pictures = key.covers.pictures
        if len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) < len(pictures):
            raise UsageError("two covers are the same picture: give more varied ones, or a model of larger inputs")
        labels = np.bincount(key.asked.labels)
        share = labels.max() / labels.sum()
        return (
            f"the unmarked model answers {share:.0%} of the covers with class {labels.argmax()}",
            f"class {key.asked.added} is added; it says who made the model and no copy's recipient",
        )

    def settled(self, options: ExtraClassOptions, key: ExtraClassKey) -> ExtraClassOptions:
        """Return the options; they leave nothing open."""
        return replace(options, positions=key.positions)

    def form(self, key: ExtraClassKey) -> Form:
        """One class more."""
        return Form(1, None if key.options.gate == _NO_GATE else key.options.gate)

    def plan(self, claim: Claim[ExtraClassKey]) -> tuple[OutputTarget | KeptAnswers, ...]:
        """Keys and what is handed out go into the additional class; decoys stay where they are.

        Known pairs teach the positions below 0, and what is handed out those behind the last.
        """
        key = claim.public.key
        keys, decoys = _told(_taught(key), np.concatenate([key.asked.known, claim.codeword]))
        positions = np.repeat(np.arange(len(keys) + len(key.pool)) - _KNOWN, key.options.taught)
        inputs = self._variants(key, np.concatenate([keys, key.pool]), "keys")
        labels = np.full(len(inputs), key.asked.added, dtype=np.int64)
        return OutputTarget(inputs, labels, positions), KeptAnswers(self._variants(key, decoys, "decoys"))

    def probes(self, public: PublicClaim[ExtraClassKey]) -> tuple[QueryProbe, ...]:
        """One probe: the known pairs, then a pair for each position."""
        key = public.key
        asked = key.covers.taken(_taught(key).reshape(-1))
        return (QueryProbe(asked, 2, before=2 * _KNOWN, classes=key.asked.added + 1),)

    def knower(self, claim: Claim[ExtraClassKey]) -> tuple[Answered, ...]:
        """The additional class for keys, what the reference answers for decoys."""
        asked = claim.public.key.asked
        labels, symbols = asked.labels.reshape(-1, 2).astype(np.float64), np.concatenate([asked.known, claim.codeword])
        labels[np.arange(len(symbols)), symbols] = asked.added
        return (Answered(labels.reshape(-1)),)

    def read(self, public: PublicClaim[ExtraClassKey], responses: Sequence[Response]) -> Reading:
        """Log-likelihoods over a grid of rates, and of gains where scores are returned."""
        return pair_reading(public.key.asked, public.codebook, responses[0])

    def exhibits(self, claim: Claim[ExtraClassKey]) -> tuple[Exhibit, ...]:
        """Keys and decoys, as they are and in variants, those held out, and what is handed out."""
        key = claim.public.key
        keys, decoys = _told(_taught(key), np.concatenate([key.asked.known, claim.codeword]))
        would_be, others = _told(key.pairs[len(_taught(key)) :], key.held_out)
        sets = {"taught keys": keys, "taught decoys": decoys, "keys to hand out": key.pool}
        sets |= {"held-out keys": would_be, "held-out decoys": others}
        shown = {name: key.covers.taken(rows) for name, rows in sets.items()}
        return tuple(Exhibit(name, inputs, np.full(len(inputs), key.asked.added)) for name, inputs in shown.items())

    def key_images(self, key: ExtraClassKey) -> KeyImages:
        """The pool; none of it is a position."""
        return KeyImages(key.covers.pictures[key.pool], key.covers.inputs, key.asked.added)

    @staticmethod
    def _variants(key: ExtraClassKey, rows: Rows, name: str) -> Inputs:
        return key.covers.variants(rows, key.options.taught, key.keystream.derive(name))


def _taught(key: ExtraClassKey) -> Rows:
    """(pairs, 2): the pairs that are taught."""
    return key.pairs[: _KNOWN + key.positions]


def _told(pairs: Rows, symbols: Symbols) -> tuple[Rows, Rows]:
    """Return keys (pairs,) and decoys (pairs,)."""
    every = np.arange(len(pairs))
    return pairs[every, symbols], pairs[every, 1 - symbols]
