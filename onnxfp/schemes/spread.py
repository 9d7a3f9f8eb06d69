"""Spread: every symbol is a keyed signed sum over many weights, hidden under many others.

Paper: ours; spread-spectrum fingerprints in the line of Cox et al. (IEEE Trans. Image Processing 6(12), 1997).
Marks: one overlapping chip per position, in Conv, ConvTranspose, Gemm, MatMul and recurrent weights.
Reads: the weights of the suspect against the registered reference.
Null: the suspect is independent of the symbols, which the owner's key drew at random; the e-value has mean 1.
Limits: dies when the weights do (distillation, training anew); whoever holds the reference can wash every copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from onnxfp.codes.catalogue import code_named
from onnxfp.codes.coalition import antipodal, coalition_reading
from onnxfp.codes.interface import Code
from onnxfp.domain import (
    Access,
    Answered,
    Claim,
    ModelProfile,
    PublicClaim,
    Reading,
    Response,
    Segment,
    WeightProbe,
    WeightTarget,
)
from onnxfp.errors import CapacityError, UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.projections.centring import Layout
from onnxfp.projections.chips import Chips
from onnxfp.projections.segments import pick_segments
from onnxfp.schemes.interface import Samples, Scheme, options_of

_WEIGHTS_PER_POSITION = 12  # fewer than this and chips disturb one another more than they carry
_CLIP = 4.0
_ENERGY = 1200.0  # of a mark: weights times carriers times squared strength


@dataclass(frozen=True)
class _Role:
    """What differs between the owner's word, the same in all copies, and a recipient's."""

    share: float
    """Of the strength; the squares of all shares sum to 1."""
    most: int
    """Positions at most, unless more are asked for."""
    overlap: int
    code: str


# The owner's symbols are the same in every copy, so that no comparison of copies shows them: fewer chips overlap, and
# no coalition has to be provided for by biased symbols.
_ROLES = {
    "owner": _Role(share=0.2**0.5, most=512, overlap=4, code="uniform"),
    "recipient": _Role(share=0.8**0.5, most=8192, overlap=16, code="tardos"),
}


@dataclass(frozen=True)
class SpreadOptions:
    """How a reference is marked; everything a key depends on besides the secret."""

    role: str = "recipient"
    """Whose word the positions hold: the ``owner``'s (the same in all copies) or a ``recipient``'s."""
    positions: int = 0
    """Number of positions; 0 for as many as the model carries, up to 8192 (512 for the owner)."""
    strength: float = 0.0
    """Root-mean-square change of a weight by owner and recipient together, in units of its carrier's spread; 0 for
    sqrt(1200 / (weights * carriers)), between 0.005 and 0.05: the more layers a model has, the less each may move."""
    overlap: int = 0
    """Chips to which a weight belongs; 0 for 16 (4 for the owner)."""
    max_weights: int = 3 << 19
    """Weights used at most, in keyed contiguous blocks spread over all carriers."""
    code: str = ""
    """``tardos`` or ``uniform``; empty for ``tardos`` (``uniform`` for the owner)."""


@dataclass(frozen=True)
class SpreadKey:
    """Where the chips are and how strong they are."""

    segments: tuple[Segment, ...]
    chips: Chips
    strength: float
    """Of owner and recipient together."""
    share: float
    """Of the strength, that these chips have."""
    code: Code

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.chips.positions


@final
class Spread(Scheme[SpreadKey]):
    """The default scheme."""

    name = "spread"
    paper = "onnxfp (overlapping keyed chips)"
    access = Access.WEIGHTS
    traces_copies = True

    def options(self, values: Mapping[str, Any]) -> SpreadOptions:
        """Return options from plain values."""
        options = options_of(self.name, SpreadOptions, values)
        if options.role not in _ROLES:
            raise UsageError(f"a role is one of {', '.join(_ROLES)}, not {options.role!r}")
        if options.positions and not (options.positions.bit_count() == 1 and 64 <= options.positions <= 1 << 17):
            raise UsageError(f"positions are a power of two from 64 to {1 << 17}, not {options.positions}")
        if not 0 <= options.strength <= 1:
            raise UsageError(f"strength is a share of a carrier's spread in (0, 1], not {options.strength}")
        return options

    def keygen(
        self, profile: ModelProfile, samples: Samples, options: SpreadOptions, keystream: Keystream
    ) -> SpreadKey:
        """Pick the weights, draw the chips. Owner and recipients share the weights and nothing else."""
        del samples
        segments = pick_segments(profile.carriers, options.max_weights, keystream.derive("segments"))
        size = _weights_heard(segments, profile)
        role = _ROLES[options.role]
        positions = options.positions or _power_of_two_below(min(role.most, size // _WEIGHTS_PER_POSITION))
        if size < _WEIGHTS_PER_POSITION * max(positions, 64):
            raise CapacityError(
                f"not enough positions: {size} weights that are not zero carry {size // _WEIGHTS_PER_POSITION}, "
                f"{max(positions, 64)} are needed; use a larger model or fewer positions"
            )
        chips = Chips(
            keystream.derive("chips", options.role), Layout.of(segments), positions, options.overlap or role.overlap
        )
        strength = options.strength or _default_strength(segments)
        return SpreadKey(segments, chips, strength, role.share, code_named(options.code or role.code))

    def settled(self, options: SpreadOptions, key: SpreadKey) -> SpreadOptions:
        """Return the options with the number of positions, strength, overlap and code that were chosen."""
        return replace(
            options,
            positions=key.positions,
            strength=key.strength,
            overlap=key.chips.overlap,
            code=key.code.name,
        )

    def plan(self, claim: Claim[SpreadKey]) -> tuple[WeightTarget, ...]:
        """One target: each position's symbol, centred by its prior so that no strength is spent on what all share."""
        key = claim.public.key
        values = antipodal(claim.codeword, claim.public.codebook)
        return (WeightTarget(key.segments, key.chips, values, key.strength * key.share),)

    def probes(self, public: PublicClaim[SpreadKey]) -> tuple[WeightProbe, ...]:
        """One probe: all chips."""
        key = public.key
        return (WeightProbe(key.segments, key.chips, _CLIP, key.strength),)

    def knower(self, claim: Claim[SpreadKey]) -> tuple[Answered, ...]:
        """The values that the plan asks for."""
        return tuple(Answered(target.values) for target in self.plan(claim))

    def read(self, public: PublicClaim[SpreadKey], responses: Sequence[Response]) -> Reading:
        """Gaussian log-likelihoods over a grid of coalition sizes and shares of the mark in what was read."""
        return coalition_reading(public.codebook, responses[0])


def _weights_heard(segments: Sequence[Segment], profile: ModelProfile) -> int:
    """Return how many weights are about to bear the mark: a zero stays zero."""
    density = {carrier.name: carrier.density for carrier in profile.carriers}
    return round(sum(segment.size * density[segment.carrier] for segment in segments))


def _default_strength(segments: Sequence[Segment]) -> float:
    """Return what carries about the same evidence in every model, under noise that the model can bear.

    Evidence grows with weights times squared strength. Disturbances add up over layers, the mark's and an attacker's
    noise alike, so a deep model can afford, and needs, a weaker mark.
    """
    weights = sum(segment.size for segment in segments)
    carriers = len({segment.carrier for segment in segments})
    return float(min(0.05, max(0.005, (_ENERGY / (weights * carriers)) ** 0.5)))


def _power_of_two_below(number: int) -> int:
    return 1 << (number.bit_length() - 1) if number > 0 else 0
