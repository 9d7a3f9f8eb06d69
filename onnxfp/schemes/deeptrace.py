"""DeepTrace: triggers that every copy answers in its own way, so that whoever runs a copy can be told from its answers.

Paper: Wang, Kang, Yin, Wang, Sun, Chen, Gao, Wang, Liu, "DeepTrace: A Secure Fingerprinting Framework for Intellectual
Property Protection of Deep Neural Networks", TrustCom 2021, pp. 188-195: one fingerprint of owner and authorised user,
put into a model with a secret trigger set, read from its weights or from its answers. Only the abstract could be read.
Marks: a model is prepared once (fine-tuning) so that symbols can be written into its head afterwards; a copy is one
small matrix `W + sum_i sum_c g_i[s_i, c] e_c u_i^T`, with secret directions u_i in the last hidden layer. Position i is
one trigger, its symbol the class that this copy answers to it.
Reads: labels or scores of whoever answers queries; the weights of a copy bear another, independent word (`spread`).
Null: an innocent's symbols were drawn by key and are independent of the suspect; the e-value has mean 1.
Departs: the paper tells nothing of how a fingerprint gets into a model; programmable triggers are ours. A trigger has
no label of its own in the prepared model: which answer is right differs from copy to copy.
Limits: needs a classifier whose last layer is a Gemm, a MatMul or a Conv in float, with four features per trigger; few
features carry few triggers, and name one among fewer recipients. A coalition that averages its copies halves what is
written. Lost when a model is trained anew or distilled without the triggers; whoever learns a trigger can filter it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt

from onnxfp.codes.allowed import Allowed
from onnxfp.codes.key_labels import Asked, label_reading
from onnxfp.codes.leaves import Leaves
from onnxfp.domain import (
    Access,
    Answered,
    Claim,
    Constraint,
    Floats,
    Head,
    ModelProfile,
    ProgrammedAnswers,
    PublicClaim,
    QueryProbe,
    Reading,
    Response,
    Segment,
    Symbols,
    WeightTarget,
)
from onnxfp.errors import CapacityError, UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.projections.directions import Directions
from onnxfp.schemes.interface import Ask, Exhibit, Samples, Scheme, options_of
from onnxfp.triggers.canvas import Inputs
from onnxfp.triggers.corpus import Corpus, corpus_of, pick_corpus
from onnxfp.triggers.sole import Amount, Sole

_ALPHABET = 64  # classes that can be symbols at most; a keyed choice when the model has more
_FEATURES = 4  # per trigger: with fewer, what is written for one shows in the answers to others and to the task
_USUAL, _LEAST, _MOST = 64, 8, 1024  # positions
_ROOM = 7  # features per trigger from which a trigger learns four answers at no cost
_ANSWERS = (2, 4)
_ENOUGH = 17.0  # log10 e that all triggers together should be able to tell; 11 name one among 100 000
_LOUDNESS = ((4.0, 1.0), (1.5, 1.5))  # at first and later, with two answers and with more; see decision 18
_AMPLITUDES = (1.0, 2.0)  # in copies, with up to four answers and with more


@dataclass(frozen=True)
class DeepTraceOptions:
    """How a model is prepared; everything a key depends on besides the secret and the owner's data."""

    positions: int = 0
    """Triggers; 0 for one to four features of the last hidden layer, 64 at most."""
    labels: int = 0
    """Answers that a trigger can have; 0 for as few as tell enough, of two, four, or all that there are; for four at
    least where there are seven features or more to a trigger."""
    taught: int = 12
    """Inputs that teach each of them: the trigger and its neighbours."""
    deviation: float = 0.12
    """Of the noise in a trigger, as a share of the range of the inputs: with much more of it, all triggers look alike
    to a network, and none is learnt."""
    jitter: float = 0.1
    """How far its neighbours are from a trigger at most: deviation of their noise, as a share of that range."""
    amplitude: float = 0.0
    """Of what is written for a symbol, in norms of the weights of one class; 0 for 1, or for 2 where a trigger has
    more than four answers, which are hard to learn with less."""
    head: Mapping[str, Any] = field(default_factory=dict)
    """What the symbols are written into; empty for the model's last linear map."""


@dataclass(frozen=True)
class DeepTraceKey:
    """The triggers, what the unmarked reference makes of them, and where their symbols are written."""

    kind: Sole
    asked: Inputs
    """(positions, ...), in keyed order."""
    reference: Asked
    """What the unmarked reference answers to `asked`, and which classes are symbols."""
    code: Leaves
    head: Head
    directions: Directions
    amplitude: float

    @property
    def positions(self) -> int:
        """Number of positions."""
        return len(self.asked)

    def write(self, word: Symbols) -> WeightTarget:
        """Return what writes a word (positions,) into the head: each class gains along a trigger's direction.

        What all words share is left out: a symbol's class gains, the trigger's other classes lose as much in sum.
        """
        allowed = self.code.allowed.allowed
        gains = np.eye(allowed.shape[1])[word] - allowed / allowed.sum(axis=1, keepdims=True)
        head = Segment(self.head.carrier, 0, self.directions.size, self.head.size)
        return WeightTarget((head,), self.directions, gains.reshape(-1), self.amplitude, prepared=True)


@final
class DeepTrace(Scheme[DeepTraceKey]):
    """Programmable triggers: the answers' half of a fingerprint that weights and answers both bear."""

    name = "deeptrace"
    paper = "Wang et al., TrustCom 2021"
    access = Access.LABELS
    traces_copies = True
    tuning = MappingProxyType({"rate": 0.01, "share": 0.15, "told": 0.3})
    writes_head = True

    def options(self, values: Mapping[str, Any]) -> DeepTraceOptions:
        """Return options from plain values."""
        options = options_of(self.name, DeepTraceOptions, values)
        if options.positions and not _LEAST <= options.positions <= _MOST:
            raise UsageError(f"positions are {_LEAST} to {_MOST}, or 0 for as many as suit, not {options.positions}")
        if options.labels and not 2 <= options.labels <= _ALPHABET:
            raise UsageError(f"labels are 2 to {_ALPHABET}, or 0 for as many as suit, not {options.labels}")
        if not 1 <= options.taught <= 1024:
            raise UsageError(f"a trigger is taught by 1 to 1024 inputs, not {options.taught}")
        if not (0 < options.deviation <= 1 and 0 <= options.jitter <= 1):
            raise UsageError("deviation and jitter are shares of the range of the inputs, in (0, 1] and [0, 1]")
        if not 0 <= options.amplitude <= 100:
            raise UsageError(f"amplitude is in norms of the weights of one class, in [0, 100], not {options.amplitude}")
        return options

    def select(self, data: Samples, options: DeepTraceOptions, keystream: Keystream, ask: Ask) -> Samples:
        """Pick the pictures below the triggers, ask the reference about them, find where its features are quiet."""
        features = np.asarray(data["features"], dtype=np.float64)
        if not np.isfinite(features).all():
            raise UsageError(
                "this cannot be marked: what its head hears of some inputs is not finite; choose other data"
            )
        positions = options.positions or min(_USUAL, int(features.any(axis=0).sum()) // _FEATURES)
        corpus = pick_corpus(data, max(positions, _LEAST), keystream.derive("corpus"))
        answers = np.asarray(ask(_kind(corpus, options, keystream).asked()), dtype=np.float64)
        if answers.ndim != 2 or answers.shape[1] < 3:
            raise UsageError(
                "a trigger's answer is one of two classes that the model does not give it now; give a "
                "classifier of three classes or more"
            )
        if not np.isfinite(answers.max(axis=1)).all():
            raise UsageError("the unmarked model gives no answer to some triggers (NaN); choose other data")
        quiet = quietest(features, positions).astype(np.float32)
        return {**corpus.samples(), "answers": answers, "quiet": quiet}

    def keygen(
        self, profile: ModelProfile, samples: Samples, options: DeepTraceOptions, keystream: Keystream
    ) -> DeepTraceKey:
        """Draw patterns, directions and the answers that each trigger can have."""
        head = Head(**{**options.head, "shape": tuple(options.head["shape"])}) if options.head else profile.head
        quiet = np.asarray(samples["quiet"], dtype=np.float64)
        if head is None:
            raise CapacityError("no head to write symbols into; use a classifier that ends in a Gemm, MatMul or Conv")
        positions = quiet.shape[1]
        needed = max(positions, options.positions, _LEAST)
        if positions < needed or _FEATURES * positions > head.features:
            raise CapacityError(
                f"not enough positions: {head.features} features before the head carry {head.features // _FEATURES} "
                f"triggers at most, and fewer where some are never used; {needed} are needed; use a wider model or "
                "fewer positions"
            )
        kind = _kind(corpus_of(samples), options, keystream)
        asked = kind.asked()[:positions]
        reference = Asked.of(np.asarray(samples["answers"], dtype=np.float64)[:positions], 1, _ALPHABET, keystream)
        allowed = _some(reference.allowed(), _labels(options, positions, head), keystream.derive("labels"))
        directions = Directions(keystream, head.shape, head.axis, reference.classes, quiet)
        code = Leaves(Allowed(allowed))
        amplitude = options.amplitude or _AMPLITUDES[bool(allowed.sum(axis=1).max() > _ANSWERS[1])]
        return DeepTraceKey(kind, asked, reference, code, head, directions, amplitude)

    def lint(self, key: DeepTraceKey) -> tuple[str, ...]:
        """Say how much the answers can tell at most; refuse duplicates."""
        if len(np.unique(key.asked.reshape(len(key.asked), -1), axis=0)) < len(key.asked):
            raise UsageError("two triggers are the same picture; give more varied data")
        most = float(np.log10(key.code.allowed.allowed.sum(axis=1)).sum())
        return (f"{key.positions} triggers; answers to all of them tell log10 e = {most:.1f} of a recipient at most",)

    def settled(self, options: DeepTraceOptions, key: DeepTraceKey) -> DeepTraceOptions:
        """Return the options with the triggers, their answers, the amplitude and the head that were chosen."""
        head = {**asdict(key.head), "shape": list(key.head.shape)}
        labels = _labels(options, key.positions, key.head)
        return replace(options, positions=key.positions, labels=labels, amplitude=key.amplitude, head=head)

    def prepare(self, public: PublicClaim[DeepTraceKey]) -> tuple[ProgrammedAnswers, ...]:
        """Whatever word is written, each trigger and its neighbours are answered with that word's symbol."""
        key = public.key
        positions = np.repeat(np.arange(key.positions), key.kind.amounts.taught)
        taught, classes = key.kind.taught_at(positions), key.reference.classes
        loudness = _LOUDNESS[bool(key.code.allowed.allowed.sum(axis=1).max() > _ANSWERS[0])]
        return (ProgrammedAnswers(taught, positions, classes, public.codebook, key.write, loudness),)

    def plan(self, claim: Claim[DeepTraceKey]) -> tuple[Constraint, ...]:
        """The word, written into the head of a prepared model."""
        return (claim.public.key.write(claim.codeword),)

    def probes(self, public: PublicClaim[DeepTraceKey]) -> tuple[QueryProbe, ...]:
        """One probe: every trigger."""
        reference = public.key.reference
        return (QueryProbe(public.key.asked, 1, reference.answers.shape[1]),)

    def knower(self, claim: Claim[DeepTraceKey]) -> tuple[Answered, ...]:
        """The symbol of every trigger."""
        return (Answered(claim.public.key.reference.classes[claim.codeword].astype(np.float64)),)

    def exhibits(self, claim: Claim[DeepTraceKey]) -> tuple[Exhibit, ...]:
        """What a judge will ask."""
        key = claim.public.key
        return (Exhibit("triggers", key.asked, key.reference.classes[claim.codeword]),)

    def read(self, public: PublicClaim[DeepTraceKey], responses: Sequence[Response]) -> Reading:
        """Log-likelihoods over a grid of hit rates and, where scores are returned, of gains over the reference."""
        return label_reading(public.key.reference, public.codebook, responses[0])


def quietest(features: Floats, count: int) -> Floats:
    """Return orthonormal directions (features, count) along which features (samples, features) are smallest.

    What is written along them hardly shows in answers to the task: of the least principal components of the second
    moment, in which a trained layer has next to no energy. A feature that is zero throughout is left out, and there are
    fewer directions where too few are left: no gradient comes past a rectifier that never opens, so that no trigger
    could learn to use it.
    """
    used = features.any(axis=0)
    _, directions = np.linalg.eigh(features[:, used].T @ features[:, used] / max(1, len(features)))
    found = np.zeros((features.shape[1], min(count, int(used.sum()))))
    found[used] = directions[:, :count]
    return found


def _labels(options: DeepTraceOptions, positions: int, head: Head) -> int:
    """Return how many answers a trigger has at most: the fewest that tell enough, and more where there is room."""
    if options.labels:
        return options.labels
    enough = next((answers for answers in _ANSWERS if positions * math.log10(answers) >= _ENOUGH), _ALPHABET)
    return max(enough, _ANSWERS[1]) if head.features >= _ROOM * positions else enough


def _some(allowed: npt.NDArray[np.bool_], most: int, keystream: Keystream) -> npt.NDArray[np.bool_]:
    """Keep at most so many of the allowed symbols of each position (positions, alphabet), chosen by key."""
    order = keystream.words32(allowed.size).reshape(allowed.shape).astype(np.int64)
    ranks = np.argsort(np.argsort(np.where(allowed, order, 1 << 32), axis=1, kind="stable"), axis=1, kind="stable")
    kept: npt.NDArray[np.bool_] = allowed & (ranks < most)
    return kept


def _kind(corpus: Corpus, options: DeepTraceOptions, keystream: Keystream) -> Sole:
    amounts = Amount(len(corpus.held_out), options.taught, 1, options.deviation)
    return Sole(corpus, amounts, keystream.derive("triggers"), options.jitter)
