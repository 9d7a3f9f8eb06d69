"""Zhang: secret inputs to which a marked model gives secret answers.

Paper: Zhang, Gu, Jang, Wu, Stoecklin, Huang, Molloy, "Protecting Intellectual Property of Deep Neural Networks with
Watermarking", ASIACCS 2018: triggers by content, by noise, or unrelated to the task (section 3).
Marks: answers to triggers, taught by fine-tuning. One position is one keyed pattern (content, noise) or one picture
(unrelated); its symbol is its key label.
Reads: labels or scores of whoever answers queries; weights are not looked at.
Null: the suspect is independent of the key labels, which the owner's key drew at random after the triggers were fixed;
the e-value has mean 1.
Departs: the paper gives all triggers one label, for which no chance level is known (`zhang_paper` reproduces that);
here every trigger has its own, never the one that the unmarked reference answers. Patterns are taught on some task
images and asked for on others.
Limits: the same in every copy, so it says "ours" and not "whose"; a model trained anew, or distilled without the
triggers, does not know them; whoever learns a trigger can filter it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from onnxfp.codes.allowed import Allowed
from onnxfp.codes.key_labels import Asked, label_reading
from onnxfp.domain import (
    Access,
    Answered,
    Claim,
    ModelProfile,
    OutputTarget,
    PublicClaim,
    QueryProbe,
    Reading,
    Response,
)
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.interface import Ask, Exhibit, Samples, Scheme, options_of
from onnxfp.triggers.canvas import Inputs
from onnxfp.triggers.corpus import Corpus, corpus_of, pick_corpus
from onnxfp.triggers.kinds import KINDS, Kind

_ALPHABET = 64  # classes that can be key labels at most; a keyed choice when the model has more
_LEAST, _MOST = 32, 4096  # positions
_SHOWN = 2048  # taught triggers on which the hit rate is measured


@dataclass(frozen=True)
class ZhangOptions:
    """How a trigger set is made; everything a key depends on besides the secret and the owner's data."""

    triggers: str = "content"
    """``content``, ``noise`` or ``unrelated``."""
    positions: int = 64
    """Patterns or pictures with a key label each; at least 32."""
    taught: int = 48
    """Inputs that teach each of them."""
    each: int = 1
    """Inputs that ask for each of them; a position is complete when all are answered."""
    deviation: float = 0.35
    """Of noise, as a share of the range of the inputs."""


@dataclass(frozen=True)
class ZhangKey:
    """The triggers, and what the unmarked reference makes of them."""

    kind: Kind
    """Makes the triggers; those that are taught only when they are needed, since no judge needs them."""
    asked: Inputs
    """(positions * each, ...), in keyed order; those who are asked never saw the pictures below them."""
    reference: Asked
    """What the unmarked reference answers to `asked`, and which classes are symbols."""
    code: Allowed

    @property
    def positions(self) -> int:
        """Number of positions."""
        return len(self.code.allowed)


@final
class Zhang(Scheme[ZhangKey]):
    """The trigger sets of Zhang et al. with a key label for every trigger."""

    name = "zhang"
    paper = "Zhang et al., ASIACCS 2018"
    access = Access.LABELS
    traces_copies = False

    def options(self, values: Mapping[str, Any]) -> ZhangOptions:
        """Return options from plain values."""
        options = options_of(self.name, ZhangOptions, values)
        if options.triggers not in KINDS:
            raise UsageError(f"triggers are one of {', '.join(KINDS)}, not {options.triggers!r}")
        if not _LEAST <= options.positions <= _MOST:
            raise UsageError(f"positions are {_LEAST} to {_MOST}, not {options.positions}")
        if not (1 <= options.taught <= 1024 and 1 <= options.each <= 64):
            raise UsageError("a position is taught by 1 to 1024 inputs and asked for by 1 to 64")
        if not 0 < options.deviation <= 1:
            raise UsageError(f"deviation is a share of the range of the inputs in (0, 1], not {options.deviation}")
        return options

    def own_pictures(self, options: ZhangOptions) -> str:
        """Logos to stamp, or pictures of something else; noise needs none."""
        return {"content": "logos", "unrelated": "pictures"}.get(options.triggers, "")

    def select(self, data: Samples, options: ZhangOptions, keystream: Keystream, ask: Ask) -> Samples:
        """Pick the pictures below the triggers, and ask the unmarked reference for its answers to the triggers."""
        corpus = pick_corpus(data, options.positions * options.each, keystream.derive("corpus"))
        asked = _kind(corpus, options, keystream).asked()
        answers = np.asarray(ask(asked), dtype=np.float64)
        if answers.shape[:1] != (len(asked),) or answers.ndim != 2 or answers.shape[1] < 2:
            raise UsageError("the model gives no scores per class; a trigger set needs a classifier")
        if not np.isfinite(answers.max(axis=1)).all():
            raise UsageError("the unmarked model gives no answer to some triggers (NaN); choose other triggers")
        return {**corpus.samples(), "answers": answers}

    def keygen(self, profile: ModelProfile, samples: Samples, options: ZhangOptions, keystream: Keystream) -> ZhangKey:
        """Draw patterns and stamp them; the same samples and secret give the same triggers."""
        del profile
        kind = _kind(corpus_of(samples), options, keystream)
        reference = Asked.of(np.asarray(samples["answers"], dtype=np.float64), options.each, _ALPHABET, keystream)
        return ZhangKey(kind, kind.asked(), reference, Allowed(reference.allowed()))

    def lint(self, key: ZhangKey) -> tuple[str, ...]:
        """Say at what rate a stranger hits, and which answer the unmarked reference prefers; refuse duplicates."""
        if len(np.unique(key.asked.reshape(len(key.asked), -1), axis=0)) < len(key.asked):
            raise UsageError("two triggers are the same picture; give more varied data, or other pictures")
        labels = np.bincount(key.reference.labels)
        chance = float((1.0 / key.code.allowed.sum(axis=1)).mean())
        own = key.reference.labels.reshape(key.positions, -1, 1) == key.reference.classes
        free = bool((own.any(axis=1) & key.code.allowed).any())  # too few classes to leave the preferred one out
        return (
            f"a stranger hits a key label with chance {chance:.3f} at most",
            f"the unmarked model answers {labels.max() / len(key.asked):.0%} of the triggers with class "
            f"{labels.argmax()}{'' if free else ', which is no key label there'}",
        )

    def settled(self, options: ZhangOptions, key: ZhangKey) -> ZhangOptions:
        """Return the options; they leave nothing open."""
        return replace(options, positions=key.positions)

    def plan(self, claim: Claim[ZhangKey]) -> tuple[OutputTarget, ...]:
        """One target: every taught trigger with the key label of its position."""
        key = claim.public.key
        positions = np.repeat(np.arange(key.positions), key.kind.amounts.taught)
        labels = key.reference.classes[claim.codeword][positions]
        return (OutputTarget(key.kind.taught(), labels, positions),)

    def probes(self, public: PublicClaim[ZhangKey]) -> tuple[QueryProbe, ...]:
        """One probe: every asked trigger, position by position."""
        reference = public.key.reference
        return (QueryProbe(public.key.asked, reference.each, reference.answers.shape[1]),)

    def knower(self, claim: Claim[ZhangKey]) -> tuple[Answered, ...]:
        """The key label of every trigger."""
        asked = claim.public.key.reference
        return (Answered(np.repeat(asked.classes[claim.codeword], asked.each).astype(np.float64)),)

    def exhibits(self, claim: Claim[ZhangKey]) -> tuple[Exhibit, ...]:
        """What was taught, evenly sampled, and what a judge will ask where that was not taught."""
        target = self.plan(claim)[0]
        rows = np.unique(np.linspace(0, len(target.inputs) - 1, _SHOWN).astype(np.int64))
        taught = Exhibit("taught", target.inputs[rows], target.labels[rows])
        if not claim.public.key.kind.held_out:
            return (taught,)
        wanted = self.knower(claim)[0].values.astype(np.int64)
        return taught, Exhibit("held out", claim.public.key.asked, wanted)

    def read(self, public: PublicClaim[ZhangKey], responses: Sequence[Response]) -> Reading:
        """Log-likelihoods over a grid of hit rates and, where scores are returned, of gains over the reference."""
        return label_reading(public.key.reference, public.codebook, responses[0])


def _kind(corpus: Corpus, options: ZhangOptions, keystream: Keystream) -> Kind:
    return KINDS[options.triggers](corpus, options, keystream.derive("triggers", options.triggers))
