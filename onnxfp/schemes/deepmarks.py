"""DeepMarks: every symbol is one coefficient of a layer's averaged weights in a secret orthonormal basis.

Paper: Chen, Rouhani, Fu, Zhao, Koushanfar, "DeepMarks", ICMR 2019 (arXiv 1804.03648).
Marks: v coefficients of one Conv, ConvTranspose, Gemm or MatMul carrier, averaged over its outputs: X w = f.
Reads: the weights of the suspect alone; the reference only gives the unit.
Null: the suspect is independent of the symbols, which the owner's key drew at random; the e-value has mean 1.
Limits: `paper_decode` bounds no false accusation; BIBD and orthogonal words name nobody by e-value, and are as many as
    positions; subtracting each layer's average filter washes the mark off; dies when the weights do.

Departs: closed form instead of gamma * MSE while training; units of `strength` (both: `projections.gaussian`). The
threshold's scale is not visible in what is public of the paper, so it is an option. Operators: a Gemm weight is taken
as (outputs, inputs), as torch exports it; one stored the other way is averaged over its inputs instead.
Notation: v positions, M averaged weights, b the coefficients, c the code bits, f = U b, tau the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, assert_never, final

import numpy as np

from onnxfp.codes.bibd import Bibd, and_coalition, covering
from onnxfp.codes.catalogue import COLUMN_CODES, code_named
from onnxfp.codes.coalition import antipodal, coalition_reading
from onnxfp.codes.columns import unsigned
from onnxfp.codes.interface import Code
from onnxfp.codes.orthogonal import Orthogonal
from onnxfp.domain import (
    Access,
    Answered,
    Carrier,
    Claim,
    Floats,
    ModelProfile,
    PublicClaim,
    Reading,
    Response,
    Segment,
    Symbols,
    Unanswered,
    WeightProbe,
    WeightTarget,
)
from onnxfp.errors import CapacityError, UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.projections.gaussian import Gaussian, averaged_size
from onnxfp.schemes.interface import Samples, Scheme, options_of

NO_BOUND = (
    "The published decoder gives no bound on false accusations: shrunken or noisy weights, or more colluders than the "
    "code was made for, name innocents. It accuses nobody on its own."
)
_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0, "MatMul": -1}
_EXACT = 0.01  # the published threshold leaves a coefficient little room
_ROLES = ("owner", "recipient")
_SCALES = ("coefficient", "unit")
_MOST_POSITIONS = 512  # unless asked for more: the matrix X is dense
_CORRELATION = 0.1  # Departs: the paper's threshold is not known; half of what each of five averaging colluders has


@dataclass(frozen=True)
class DeepMarksOptions:
    """How a reference is marked; everything a key depends on besides the secret."""

    role: str = "recipient"
    """Whose word the positions hold: the ``owner``'s (the same in all copies) or a ``recipient``'s."""
    code: str = "bibd31"
    """``bibd31``, ``bibd21``, ``bibd13``, ``bibd7``, ``orthogonal``; ``uniform`` or ``tardos`` to name by e-value."""
    positions: int = 0
    """v; 0 for the code's own number, or for half of the averaged weights, up to 512, if it has none."""
    carrier: str = ""
    """Name of the tensor to mark; empty for the one with the most averaged weights M."""
    strength: float = 0.1
    """Change of a weight that a unit coefficient takes, as a multiple of the carrier's spread."""
    tau: float = 0.85
    """Threshold of the published decoder."""
    scale: str = "coefficient"
    """What tau bounds: the ``coefficient`` b in [-1, 1], or the ``unit`` (b + 1)/2 in [0, 1]."""


@dataclass(frozen=True)
class DeepMarksKey:
    """Where the coefficients are, how strong, whose words they hold, and the published threshold."""

    segments: tuple[Segment, ...]
    projection: Gaussian
    strength: float
    code: Code
    threshold: float
    """Least coefficient b that the published decoder takes for a 1."""

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.projection.positions


@final
class DeepMarks(Scheme[DeepMarksKey]):
    """The reproduction baseline, weighed by e-values like every other scheme."""

    name = "deepmarks"
    paper = "Chen et al., DeepMarks, ICMR 2019"
    access = Access.WEIGHTS
    traces_copies = True

    def options(self, values: Mapping[str, Any]) -> DeepMarksOptions:
        """Return options from plain values."""
        options = options_of(self.name, DeepMarksOptions, values)
        if options.role not in _ROLES or options.scale not in _SCALES:
            raise UsageError(
                f"a role is one of {', '.join(_ROLES)}, a scale one of {', '.join(_SCALES)}, "
                f"not {options.role!r} and {options.scale!r}"
            )
        if not (0 < options.strength <= 1 and 0 < options.tau < 1):
            raise UsageError(f"strength and tau are in (0, 1], not {options.strength} and {options.tau}")
        return options

    def keygen(
        self, profile: ModelProfile, samples: Samples, options: DeepMarksOptions, keystream: Keystream
    ) -> DeepMarksKey:
        """Pick the carrier, draw the projection; owner and recipients share the carrier and nothing else."""
        del samples
        code = code_named(options.code)
        fixed = COLUMN_CODES[code.name].points if code.name in COLUMN_CODES else 0
        carrier = _pick_carrier(profile.carriers, options.carrier)
        axis = _OUTPUT_AXIS[carrier.operator]
        averaged = averaged_size(carrier.shape, axis)
        positions = options.positions or fixed or min(_MOST_POSITIONS, averaged // 2)
        if not 0 < positions <= averaged:
            raise CapacityError(
                f"not enough positions: {carrier.name!r} has {averaged} weights after averaging, {max(positions, 1)} "
                "are needed; use another carrier, a shorter code or fewer positions"
            )
        code.codebook(keystream, positions)  # refuses a number that is not the code's own
        projection = Gaussian(keystream.derive("gaussian", options.role), carrier.shape, axis, positions)
        segments = (Segment(carrier.name, 0, carrier.size, carrier.spread),)
        threshold = options.tau if options.scale == "coefficient" else 2 * options.tau - 1
        return DeepMarksKey(segments, projection, options.strength, code, threshold)

    def settled(self, options: DeepMarksOptions, key: DeepMarksKey) -> DeepMarksOptions:
        """Return the options with the carrier and the number of positions that were chosen."""
        return replace(options, positions=key.positions, carrier=key.segments[0].carrier)

    def plan(self, claim: Claim[DeepMarksKey]) -> tuple[WeightTarget, ...]:
        """One blind target: the coefficients shall be the symbols (centred by the prior if that is biased)."""
        key = claim.public.key
        values = antipodal(claim.codeword, claim.public.codebook)
        return (WeightTarget(key.segments, key.projection, values, key.strength, blind=True, tolerance=_EXACT),)

    def probes(self, public: PublicClaim[DeepMarksKey]) -> tuple[WeightProbe, ...]:
        """One blind probe: all coefficients, of weights in units of strength times spread, nothing clipped."""
        key = public.key
        return (WeightProbe(key.segments, key.projection, float("inf"), key.strength, blind=True),)

    def knower(self, claim: Claim[DeepMarksKey]) -> tuple[Answered, ...]:
        """The values that the plan asks for."""
        return tuple(Answered(target.values) for target in self.plan(claim))

    def read(self, public: PublicClaim[DeepMarksKey], responses: Sequence[Response]) -> Reading:
        """Gaussian log-likelihoods over a grid of coalition sizes and shares of the mark in what was read."""
        return coalition_reading(public.codebook, responses[0])


@dataclass(frozen=True)
class PaperDecode:
    """What the published decoder says of a suspect, in columns of the code. None of it is a verdict."""

    coefficients: Floats
    """(positions,) b', the signs taken off."""
    bits: Symbols
    """(positions,) c' = 1 where b' > tau."""
    single: int | None
    """The column whose word is c', if there is one."""
    coalition: tuple[int, ...] | None
    """The columns, at most k - 1, whose AND is c'; for orthogonal words those whose correlation is large."""
    superset: tuple[int, ...]
    """All columns with a 1 wherever c' has one; for orthogonal words the same as the coalition."""
    bound: str = NO_BOUND


def paper_decode(
    public: PublicClaim[DeepMarksKey], responses: Sequence[Response], signs: Floats
) -> PaperDecode | Unanswered:
    """Decode as published: threshold, look the word up, else find the colluders; with no bound on being wrong.

    Args:
        public: the claim that was marked.
        responses: answers to its probes.
        signs: (positions,) from the code's `signs`, to take off.

    Raises:
        UsageError: the code has no columns; its words are weighed by e-value only.
    """
    name = public.key.code.name
    if name not in COLUMN_CODES:
        raise UsageError(f"the published decoder reads {', '.join(COLUMN_CODES)}; words of {name!r} go by e-value")
    match responses[0]:
        case Unanswered() as refusal:
            return refusal
        case Answered(values):
            coefficients = unsigned(values, signs)
            bits = threshold_bits(coefficients, public.key.threshold)
    match COLUMN_CODES[name]:
        case Bibd() as code:
            table = code.table()
            superset = tuple(np.flatnonzero(covering(table, bits)).tolist())
            coalition = and_coalition(table, bits, code.colluders)
        case Orthogonal() as code:
            table = code.table()
            correlation = coefficients @ (2.0 * table - 1.0).T / code.points
            superset = tuple(np.flatnonzero(correlation > _CORRELATION).tolist())
            coalition = superset or None
        case never:
            assert_never(never)
    same = np.flatnonzero((table == bits).all(axis=1)).tolist()
    return PaperDecode(coefficients, bits, same[0] if same else None, coalition, superset)


def threshold_bits(coefficients: Floats, threshold: float) -> Symbols:
    """Return c' (..., positions) of b' (..., positions): 1 above the threshold, else 0; what is not a number is 0."""
    return (coefficients > threshold).astype(np.uint8)


def _pick_carrier(carriers: Sequence[Carrier], name: str) -> Carrier:
    """Return the named carrier, or else the one with the most averaged weights."""
    usable = [
        carrier
        for carrier in carriers
        if carrier.writable and carrier.spread > 0 and carrier.operator in _OUTPUT_AXIS and len(carrier.shape) > 1
    ]
    chosen = [carrier for carrier in usable if name in ("", carrier.name)]
    if not chosen:
        what = f"carrier {name!r} is not" if name else "there is not"
        raise CapacityError(
            f"not enough positions: {what} a writable {', '.join(_OUTPUT_AXIS)} weight with a spread; "
            f"there are {', '.join(repr(carrier.name) for carrier in usable) or 'none'}"
        )
    return max(chosen, key=lambda carrier: averaged_size(carrier.shape, _OUTPUT_AXIS[carrier.operator]))
