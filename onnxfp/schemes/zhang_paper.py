"""Zhang as published: every trigger gets one and the same target label.

Paper: Zhang et al., ASIACCS 2018, section 3 and Algorithm 1: one pattern, one target label, ordinary cross-entropy.
Marks: the target label on task images that bear the owner's pattern.
Reads: labels of images that bear the owner's pattern, beside labels of the same images under control patterns.
Null: the owner's pattern is one of 256 that the key drew alike, and the suspect does not know which. An independent
model may well answer the target label to everything that looks odd, so that hits have no known chance level: the naive
binomial would accuse it. Only the rank among the controls has one: the p-value is at least 1/256.
Departs: the paper states no test; this paired one is ours. The owner's label is drawn from the key.
Limits: at alpha = 1e-6 it never says "ours"; it is here to reproduce the paper. `zhang` is the sound form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from onnxfp.codes.key_labels import answered_labels
from onnxfp.codes.uniform import Uniform
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
    Unanswered,
)
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.interface import Ask, Exhibit, Samples, Scheme, options_of
from onnxfp.triggers.canvas import Inputs
from onnxfp.triggers.corpus import corpus_of, pick_corpus
from onnxfp.triggers.kinds import KINDS, Kind

CANDIDATES = 256  # the owner's pattern and 255 controls: all that one symbol can tell apart
_GAINS = (0.0, 1.0, 4.0)  # per answered image


@dataclass(frozen=True)
class ZhangPaperOptions:
    """How the published trigger set is made."""

    triggers: str = "content"
    """``content`` or ``noise``."""
    taught: int = 256
    """Task images that teach the pattern."""
    each: int = 8
    """Task images that ask, under every candidate pattern."""
    deviation: float = 0.35
    """Of noise, as a share of the range of the inputs."""


@dataclass(frozen=True)
class ZhangPaperKey:
    """All candidate patterns; which one is the owner's is the only symbol."""

    kind: Kind
    each: int
    label: int
    """The target label."""
    preferred: float
    """How often the unmarked reference answers it to images under control patterns."""
    code: Uniform

    @property
    def positions(self) -> int:
        """One position: which candidate."""
        return 1


@dataclass(frozen=True)
class _Amounts:
    """As many positions as there are candidates."""

    taught: int
    each: int
    deviation: float
    positions: int = CANDIDATES


@final
class ZhangPaper(Scheme[ZhangPaperKey]):
    """The published form, with a test that accuses nobody wrongly."""

    name = "zhang_paper"
    paper = "Zhang et al., ASIACCS 2018 (as published)"
    access = Access.LABELS
    traces_copies = False

    def options(self, values: Mapping[str, Any]) -> ZhangPaperOptions:
        """Return options from plain values."""
        options = options_of(self.name, ZhangPaperOptions, values)
        if options.triggers not in ("content", "noise"):
            raise UsageError(f"published triggers with controls are content or noise, not {options.triggers!r}")
        if not (1 <= options.taught <= 4096 and 1 <= options.each <= 64 and 0 < options.deviation <= 1):
            raise UsageError("a pattern is taught by 1 to 4096 images, asked for by 1 to 64, at a deviation in (0, 1]")
        return options

    def own_pictures(self, options: ZhangPaperOptions) -> str:
        """Logos to stamp; noise needs none."""
        return "logos" if options.triggers == "content" else ""

    def select(self, data: Samples, options: ZhangPaperOptions, keystream: Keystream, ask: Ask) -> Samples:
        """Pick the pictures below the patterns, and draw the target label among the reference's classes."""
        corpus = pick_corpus(data, options.each, keystream.derive("corpus"))
        answers = np.asarray(ask(corpus.held_out))
        if answers.ndim != 2 or answers.shape[1] < 2:
            raise UsageError("the model gives no scores per class; a trigger set needs a classifier")
        label = keystream.derive("label").words32(1).astype(np.int64) % answers.shape[1]
        samples = {**corpus.samples(), "label": label}
        answers = np.asarray(ask(_asked(_key(samples, options, keystream))))
        return {**samples, "preferred": np.mean(answers.argmax(axis=1) == samples["label"])[None]}

    def keygen(
        self, profile: ModelProfile, samples: Samples, options: ZhangPaperOptions, keystream: Keystream
    ) -> ZhangPaperKey:
        """Draw all candidate patterns alike."""
        del profile
        return _key(samples, options, keystream)

    def lint(self, key: ZhangPaperKey) -> tuple[str, ...]:
        """Say how often the unmarked reference answers the target label to what looks like the owner's triggers."""
        return (
            f"the unmarked model answers {key.preferred:.0%} of images under control patterns with the target label: "
            "so may an independent one, hence hits prove nothing and only their rank among the controls counts",
        )

    def settled(self, options: ZhangPaperOptions, key: ZhangPaperKey) -> ZhangPaperOptions:
        """Return the options; they leave nothing open."""
        del key
        return options

    def plan(self, claim: Claim[ZhangPaperKey]) -> tuple[OutputTarget, ...]:
        """One target: the owner's pattern on task images, all with the target label."""
        kind, owner = claim.public.key.kind, int(claim.codeword[0])
        inputs = kind.taught_at(np.full(kind.amounts.taught, owner))
        none = np.zeros(len(inputs), dtype=np.int64)
        return (OutputTarget(inputs, none + claim.public.key.label, none),)

    def probes(self, public: PublicClaim[ZhangPaperKey]) -> tuple[QueryProbe, ...]:
        """One probe: the same few images under every candidate."""
        return (QueryProbe(_asked(public.key), CANDIDATES * public.key.each),)

    def knower(self, claim: Claim[ZhangPaperKey]) -> tuple[Answered, ...]:
        """The target label under the owner's pattern and another one under all controls."""
        key, owners = claim.public.key, np.arange(CANDIDATES) == claim.codeword[0]
        return (Answered(np.repeat(np.where(owners, key.label, key.label + 1.0), key.each)),)

    def exhibits(self, claim: Claim[ZhangPaperKey]) -> tuple[Exhibit, ...]:
        """The owner's pattern on the images that taught it, and on those that ask."""
        key, target = claim.public.key, self.plan(claim)[0]
        asked = _asked(key).reshape(CANDIDATES, key.each, *key.kind.canvas.shape)[int(claim.codeword[0])]
        return (
            Exhibit("taught", target.inputs, target.labels),
            Exhibit("held out", asked, np.full(len(asked), key.label)),
        )

    def read(self, public: PublicClaim[ZhangPaperKey], responses: Sequence[Response]) -> Reading:
        """Count, for each candidate, how many of the same images get the target label under it."""
        shape, key = (len(_GAINS), 1, CANDIDATES), public.key
        weights = np.full(len(_GAINS), 1.0 / len(_GAINS))
        match responses[0]:
            case Unanswered(reason):
                return Reading(np.zeros(shape), weights, 0.0, (reason,))
            case Answered() as answered:
                labels = answered_labels(answered, CANDIDATES * key.each)
        if labels is None:
            what = f"answers of shape {answered.values.shape} to {CANDIDATES * key.each} triggers"
            return Reading(np.zeros(shape), weights, 0.0, (*answered.unread, what))
        counted = (labels == key.label).reshape(1, CANDIDATES, key.each).sum(axis=2)
        return Reading(
            np.asarray(_GAINS)[:, None, None] * counted,
            weights,
            answered.coverage if (labels >= 0).any() else 0.0,
            answered.unread,
            answered.transforms,
            counted,
            key.each,
            answered.provider,
        )


def _key(samples: Samples, options: ZhangPaperOptions, keystream: Keystream) -> ZhangPaperKey:
    amounts = _Amounts(options.taught, options.each, options.deviation)
    kind = KINDS[options.triggers](corpus_of(samples), amounts, keystream.derive("triggers", options.triggers))
    preferred = float(samples["preferred"][0]) if "preferred" in samples else 0.0
    return ZhangPaperKey(kind, options.each, int(samples["label"][0]), preferred, Uniform(CANDIDATES))


def _asked(key: ZhangPaperKey) -> Inputs:
    kind = key.kind
    positions = np.repeat(np.arange(CANDIDATES), key.each)
    pictures = np.tile(kind.canvas.pictures(kind.corpus.held_out), (CANDIDATES, 1, 1, 1))
    return kind.canvas.inputs(kind.put(pictures, positions))
