"""The frozen nouns that every room shares: what is marked, what is asked, what is answered, what is decided.

*A claim turns into probes; a suspect answers them; the answers become a reading; the reading is weighed; the weight is
a verdict.* The two unions ``Constraint`` (what embedding makes true) and ``Probe`` (how judging looks) are closed:
whoever consumes one uses ``match`` and ends in ``assert_never``.

Axes, everywhere and in this order: recipients, hypotheses, positions, alphabet, features, samples.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

# float64 for statistics, float32 for weights, uint8 for symbols, or uint16 where there are more than 256
Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
Symbols = npt.NDArray[np.unsignedinteger[Any]]

Key = TypeVar("Key")


# --- what can be marked -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Carrier:
    """A tensor of the artifact that can bear a weight mark."""

    name: str
    """Name of the tensor, unique in the artifact."""
    shape: tuple[int, ...]
    dtype: str
    """ONNX element type in lower case: ``float``, ``float16``, ``bfloat16``, ``int8``, ..."""
    operator: str
    """Operator that consumes it: ``Conv``, ``Gemm``, ``MatMul``, ``LSTM``, ..."""
    spread: float
    """Robust standard deviation of its non-zero weights; 0 when it has none."""
    writable: bool = True
    """Whether its values can be changed in place: a float type of fixed width, in one piece."""
    density: float = 1.0
    """Share of its sampled weights that are not zero."""

    @property
    def size(self) -> int:
        """Number of weights."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


@dataclass(frozen=True)
class Head:
    """A classifier's last linear map, as a tensor of one slice for each class."""

    carrier: str
    """Name of the tensor."""
    shape: tuple[int, ...]
    axis: int
    """The axis that counts the classes."""
    size: float
    """Norm of the weights of one class: the root mean square over all classes."""

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self.shape[self.axis]

    @property
    def features(self) -> int:
        """Weights of one class: what the last hidden layer tells it."""
        features = 1
        for axis, extent in enumerate(self.shape):
            features *= 1 if axis == self.axis else extent
        return features


@dataclass(frozen=True)
class ModelProfile:
    """What a scheme may know of a reference when it draws a key: its carriers and its head, nothing of its file."""

    digest: str
    """Weight digest of the artifact, hexadecimal."""
    carriers: tuple[Carrier, ...]
    head: Head | None = None
    """None for what is no classifier with a head of its own."""


@dataclass(frozen=True)
class Segment:
    """Contiguous weights ``[start, stop)`` of one carrier in flat row-major order."""

    carrier: str
    start: int
    stop: int
    spread: float
    """The carrier's robust standard deviation, the unit of everything below."""
    gain: float = 1.0
    """Amplitude of this carrier's mark, relative to the strength of the whole mark."""
    columns: int = 1
    """Length of a row, when the carrier is folded into a matrix."""

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.stop - self.start


class Projection(Protocol):
    """A secret linear map from the weights of some segments, in their order, to positions."""

    @property
    def positions(self) -> int:
        """Number of positions."""
        ...

    @property
    def size(self) -> int:
        """Number of weights taken."""
        ...

    def apply(self, residual: Weights) -> Floats:
        """Map residuals (size,) to positions (positions,); a mark made by `min_norm_update(x)` reads as x."""
        ...

    def adjoint(self, values: Floats) -> Weights:
        """Map positions (positions,) back to weights (size,); the transpose of `apply`."""
        ...

    def min_norm_update(self, values: Floats) -> Weights:
        """Return the smallest (size,) change whose `apply` is `values` (positions,)."""
        ...


# --- what embedding makes true --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WeightTarget:
    """The projection of the residual (or of the weights themselves, if `blind`) shall equal `values`."""

    segments: tuple[Segment, ...]
    projection: Projection
    values: Floats
    """(positions,), in the units of `strength`."""
    strength: float
    """One unit of `values`, as a multiple of each segment's spread times gain."""
    blind: bool = False
    tolerance: float = 0.1
    """How much of `values` may be missing, in the root mean square, once all targets of an artifact are met."""
    prepared: bool = False
    """The artifact was taught to bear this change, so that its size says nothing of the harm."""


@dataclass(frozen=True)
class OutputTarget:
    """The artifact shall answer `inputs` with `labels`."""

    inputs: npt.NDArray[np.generic]
    """(samples, ...), as the artifact takes them."""
    labels: npt.NDArray[np.int64]
    """(samples,)."""
    positions: npt.NDArray[np.int64]
    """(samples,): which position each of them teaches."""


@dataclass(frozen=True)
class KeptAnswers:
    """The artifact shall go on answering `inputs` as it did before."""

    inputs: npt.NDArray[np.generic]
    """(samples, ...), as the artifact takes them."""


@dataclass(frozen=True)
class ProgrammedAnswers:
    """Whatever symbols are written into its weights afterwards, the artifact shall answer `inputs` with them."""

    inputs: npt.NDArray[np.generic]
    """(samples, ...), as the artifact takes them."""
    positions: npt.NDArray[np.int64]
    """(samples,): whose symbol each of them is to be answered with."""
    classes: npt.NDArray[np.int64]
    """(alphabet,): the class that each symbol stands for."""
    codebook: Codebook
    """With which symbols are drawn."""
    write: Callable[[Symbols], WeightTarget]
    """Symbols (positions,) to what writes them."""
    loudness: tuple[float, float] = (1.0, 1.0)
    """By how much the change is multiplied when it begins to be learnt, and when it has been for a while."""


@dataclass(frozen=True)
class Membership:
    """The artifact shall have been trained on `rows` of the candidate data."""

    rows: npt.NDArray[np.int64]


Constraint = WeightTarget | OutputTarget | KeptAnswers | ProgrammedAnswers | Membership


# --- how judging looks ----------------------------------------------------------------------------------------------


class Rows(Protocol):
    """Inputs (samples, ...) that need not be in memory: an array, or what makes one of some of its rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(samples, ...)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""
        ...

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Return some of them as an array: a slice, or row numbers (rows,)."""
        ...


@dataclass(frozen=True)
class WeightProbe:
    """Ask an open suspect for one number per position: its residual against the reference, projected."""

    segments: tuple[Segment, ...]
    projection: Projection
    clip: float
    """Residuals are clipped at this many robust deviations; ``inf`` for none."""
    strength: float
    """Amplitude of the mark that is looked for, in spreads; what is much quieter earns no further weight."""
    blind: bool = False
    """Project the suspect's own weights, without subtracting the reference."""


@dataclass(frozen=True)
class QueryProbe:
    """Ask a suspect, open or sealed, for its outputs."""

    inputs: Rows
    """(samples, ...), in the order in which they are to be sent."""
    each: int = 1
    """Consecutive inputs that belong to one position."""
    classes: int = 0
    """Classes that an answer can be; more columns than these are one class more. 0: not known."""
    before: int = 0
    """Inputs at the start that belong to no position: what is answered to them tells how to read the others."""
    whole: bool = False
    """What one answer says depends on all the others: nothing is weighed before the last, so that many are asked at a
    time and asking never stops early."""


Probe = WeightProbe | QueryProbe


@dataclass(frozen=True)
class Answered:
    """What the suspect answered."""

    values: Floats
    """For a WeightProbe (positions,). For a QueryProbe (samples,) labels or (samples, classes) log-probabilities; NaN
    is no answer, -inf a class that was not among those returned."""
    coverage: float = 1.0
    """Share of what was asked that could be read."""
    unread: tuple[str, ...] = ()
    """What could not be read and therefore says nothing; in words."""
    transforms: tuple[str, ...] = ()
    """What was undone on the way; in words."""
    provider: str = ""
    """What ran the model: an execution provider, or where a remote one says it runs."""


@dataclass(frozen=True)
class Unanswered:
    """The suspect could not be looked at. A value, not an exception and not silence."""

    reason: str
    unfit: bool = False
    """The probe is for models of another form: that this one cannot take it is no failure of either."""


Response = Answered | Unanswered


# --- what is claimed ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Codebook:
    """The prior of one claim's symbols: how probable each symbol is at each position, exactly as drawn."""

    thresholds: npt.NDArray[np.uint32]
    """(positions, alphabet - 1) ascending: symbol s is drawn when exactly s of them are <= a 16-bit word."""

    @property
    def positions(self) -> int:
        """Number of positions."""
        return int(self.thresholds.shape[0])

    @property
    def alphabet(self) -> int:
        """Number of symbols."""
        return int(self.thresholds.shape[1]) + 1

    @property
    def prior(self) -> Floats:
        """(positions, alphabet): the exact rationals, multiples of 2**-16, with which symbols are drawn."""
        edges = np.concatenate(
            [np.zeros((self.positions, 1)), self.thresholds, np.full((self.positions, 1), 65536.0)], axis=1
        )
        return np.diff(edges, axis=1) / 65536.0


@dataclass(frozen=True)
class PublicClaim(Generic[Key]):
    """All that probes and readings may depend on: never the codeword."""

    key: Key
    codebook: Codebook


@dataclass(frozen=True)
class Claim(Generic[Key]):
    """A public claim and the secret symbols (positions,) that it is about."""

    public: PublicClaim[Key]
    codeword: Symbols


@dataclass(frozen=True)
class Reading:
    """`log_scores[h, i, s]`: how well hypothesis h, at position i, is supported by symbol s. Finite everywhere."""

    log_scores: Floats
    weights: Floats
    """(hypotheses,) sum to 1, fixed before looking."""
    coverage: float = 1.0
    """Share of the positions' substance that could be read; 0 when nothing was answered."""
    unread: tuple[str, ...] = ()
    transforms: tuple[str, ...] = ()
    tally: npt.NDArray[np.int64] | None = None
    """(positions, alphabet): points of each symbol, where points are counted; their sum has an exact tail."""
    most: int = 0
    """Points that a word could have at most, going by what was answered."""
    provider: str = ""


# --- what is handed out -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeyImages:
    """Pictures that a marked artifact answers with a class of their own, to be handed out one by one."""

    pictures: npt.NDArray[np.uint8]
    """(images, height, width, channels): none of them is asked for by a judge."""
    inputs: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.generic]]
    """Pictures of that form (samples, height, width, channels) to what the artifact takes (samples, ...)."""
    label: int
    """The class that a marked artifact answers."""


# --- what is decided ------------------------------------------------------------------------------------------------


class Access(enum.Enum):
    """What a scheme needs of a suspect."""

    WEIGHTS = "weights"
    LABELS = "labels"
    SCORES = "scores"


class Decision(enum.Enum):
    """The answer to "ours?" or "whose copy?"."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not_supported"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Evidence:
    """The betting score of one codeword: log10 of its e-value."""

    name: str
    log10_e: float


@dataclass(frozen=True)
class ClaimEvidence:
    """What one claim contributed to a verdict."""

    claim: str
    """What it is called: scheme and first digits of its commitment or reference."""
    scheme: str
    log10_e: float | None
    """None when nothing could be read."""
    p_value: float | None
    """Exact when `fixed`, else min(1, 1/e)."""
    positions: int
    queries: int
    """Inputs that were sent for it."""
    points: int | None
    """Hits, where hits are counted."""
    most: int
    """Hits that there could have been."""
    fixed: bool
    """Whether the number of queries was fixed beforehand."""
    provider: str
    unread: tuple[str, ...]
    channel: str = ""
    """Of a trace: what was looked at, ``weights`` or ``answers``."""
    named: tuple[str, ...] = ()
    """Of a trace: the recipients whom this channel names by itself, best first; they are among the accused."""


@dataclass(frozen=True)
class Verdict:
    """What was decided, at which level, on which evidence, and what could not be read."""

    decision: Decision
    scheme: str
    question: str
    """``verify`` (ours?) or ``trace`` (whose copy?)."""
    evidence: tuple[Evidence, ...]
    """Best first; for a trace the accused and the strongest of the others."""
    accused: tuple[str, ...]
    log10_threshold: float
    alpha: float
    recipients_tested: int
    null: str
    reason: str = ""
    """Why, when inconclusive; a note otherwise."""
    unread: tuple[str, ...] = ()
    transforms: tuple[str, ...] = ()
    committed_at: str = ""
    """When the last of the claims that were read had been laid down, UTC, ISO 8601; empty when none was read."""
    claims: tuple[ClaimEvidence, ...] = ()
    """What each claim contributed."""
    provider: str = ""
    """What ran the suspect; empty when nothing did."""
    ordinary: int = 0
    """Ordinary inputs sent among the queries, to hide them."""
    replayed_from: str = ""
    """When the look was, whose transcript this verdict was made of again; empty for a look of now."""
    disagreement: str = ""
    """That weights and answers name different recipients, in words; empty where they do not."""

    @property
    def queries(self) -> int:
        """Inputs that were sent for all claims."""
        return sum(claim.queries for claim in self.claims)

    @property
    def log10_e(self) -> float | None:
        """The strongest evidence, or None when nothing was weighed."""
        return self.evidence[0].log10_e if self.evidence else None

    @property
    def p_value(self) -> float | None:
        """min(1, 1/e) corrected for all recipients tested; None when nothing was weighed."""
        if self.log10_e is None:
            return None
        return float(min(1.0, 10.0 ** min(0.0, np.log10(max(1, self.recipients_tested)) - self.log10_e)))
