"""The file that shows one leaf: all that its holder needs to ask a suspect for the word of one recipient.

It holds the leaf, the triggers in their order, which symbols each can have, and what the unmarked reference answers, so
that neither a vault nor a key is needed. The digest that the ledger keeps binds to all of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from onnxfp.codes.allowed import Allowed
from onnxfp.codes.key_labels import Asked, label_reading
from onnxfp.codes.leaves import leaf_digest, word_of_leaf
from onnxfp.domain import Answered, Codebook, QueryProbe, Reading, Response, Symbols
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import SECRET_BYTES, Keystream
from onnxfp.keys.recipient import canonical_name
from onnxfp.ledger.entries import canonical_json
from onnxfp.workflows.arrays import digest_of, packed, read_npz
from onnxfp.workflows.channels import RECIPIENT, DrawnChannel

Arrays = dict[str, npt.NDArray[Any]]

VERSION = 1
_FORMAT = "onnxfp leaf"
_MOST = 1 << 30  # bytes that a file may unpack to: a thousand triggers of 224 by 224 in colour are 0.6 GB
_MOST_FACTS = 1 << 20  # bytes
_LONGEST = 1000  # letters of a text, such as a beacon: a printed line of it must not pass for several
_MOST_POSITIONS, _MOST_SYMBOLS = 1024, 255
_MOST_CLASSES, _MOST_ANSWERS = 1 << 16, 1 << 25
_CERTAIN = 1e-6  # a log-probability may exceed 0 by rounding
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


@final
@dataclass(frozen=True)
class Whose:
    """Whose word it is, and of which claim."""

    recipient: str
    reference: str
    """Digest of the artifact that the recipient holds a copy of."""
    scheme: str
    claim: str
    """The claim's commitment."""
    beacon: str
    """The public value that symbols depend on; empty for none."""
    committed_at: str


@final
@dataclass(frozen=True)
class ShownLeaf:
    """One leaf, and what is asked for its word."""

    whose: Whose
    secret: bytes = field(repr=False)
    """The leaf."""
    inputs: npt.NDArray[Any] = field(repr=False)
    """(positions, ...) the triggers, in their order."""
    allowed: npt.NDArray[np.bool_] = field(repr=False)
    """(positions, alphabet): which symbols a trigger can have, all of them equally probable."""
    asked: Asked = field(repr=False)

    @property
    def digest(self) -> str:
        """What binds to all of this and shows none of it; the ledger keeps it."""
        about = canonical_json(asdict(self.whose)).encode() + bytes.fromhex(digest_of(self._arrays()))
        return leaf_digest(self.secret, hashlib.sha256(about).digest())

    @property
    def codebook(self) -> Codebook:
        """The prior of the symbols."""
        return Allowed(self.allowed).codebook(Keystream(self.secret), len(self.allowed))

    @property
    def word(self) -> Symbols:
        """The word (1, positions) that hangs on the leaf."""
        return word_of_leaf(self.secret, self.codebook)

    @property
    def probe(self) -> QueryProbe:
        """All triggers."""
        return QueryProbe(self.inputs, self.asked.each, self.asked.answers.shape[1])

    def read(self, response: Response) -> Reading:
        """Return what answers to the triggers say of the symbols."""
        return label_reading(self.asked, self.codebook, response)

    def known(self, heard: Sequence[bool]) -> Reading:
        """Return what a suspect would have said that knows the word, where it was heard (positions,)."""
        labels = self.asked.classes[self.word[0]].astype(np.float64)
        return self.read(Answered(np.where(heard, labels, np.nan)))

    def packed(self, issued_at: str) -> bytes:
        """Return the file."""
        facts = {"format": _FORMAT, "version": VERSION, "issued_at": issued_at, **asdict(self.whose)}
        plain = {"facts": canonical_json(facts).encode(), "leaf": self.secret}
        return packed({**self._arrays(), **{name: np.frombuffer(one, np.uint8) for name, one in plain.items()}})

    def _arrays(self) -> Arrays:
        answers, classes = self.asked.answers, self.asked.classes
        return {"inputs": self.inputs, "allowed": self.allowed, "answers": answers, "classes": classes}


def leaf_of(drawn: DrawnChannel, recipient: str, reference: str) -> ShownLeaf | None:
    """Return the leaf of a recipient's word in one channel of a reference; None where words hang on none."""
    secret = drawn.leaf(recipient)
    if secret is None:
        return None
    channel, key = drawn.channel, drawn.public.key
    claim = channel.commitment or reference
    whose = Whose(recipient, reference, channel.scheme, claim, channel.beacon, channel.committed_at)
    return ShownLeaf(whose, secret, key.asked, key.code.allowed.allowed, key.reference)


def digest_of_leaf(channels: Sequence[DrawnChannel], recipient: str, reference: str) -> str:
    """Return what the ledger keeps of a recipient's leaf; empty where no channel of the copy has leaves."""
    copies = [channel for channel in channels if channel.channel.role == RECIPIENT]
    leaves = [leaf_of(channel, recipient, reference) for channel in copies]
    return next((leaf.digest for leaf in leaves if leaf is not None), "")


# --- reading what anybody may have made -------------------------------------------------------------------------------


def read_leaf(path: Path) -> tuple[ShownLeaf, str]:
    """Return what a file shows, and when it says that the copy was issued.

    Raises:
        UsageError: it is missing, damaged, of another version, or shows something that no leaf could be.
    """
    if not path.is_file():
        raise UsageError(f"{path}: expected a file from `onnxfp leaf export`, found none, a folder, pipe or device")
    arrays = read_npz(path, "one leaf", _MOST)
    try:
        facts = _facts(_array(arrays, "facts", np.uint8, 1).tobytes())
        return _shown(arrays, facts), facts["issued_at"]
    except (ValueError, RecursionError) as problem:
        raise UsageError(
            f"{path} is no leaf file of version {VERSION}: {str(problem)[:200]}; name what `onnxfp leaf export` wrote"
        ) from problem


def _facts(data: bytes) -> dict[str, str]:
    """Return what is said in words; nothing but text is let through."""
    facts = json.loads(data[: _MOST_FACTS + 1])
    names = {"format", "issued_at", *(one.name for one in fields(Whose))}
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        raise ValueError("it does not say that it is one")
    version = facts.pop("version", None)
    if version != VERSION or not isinstance(version, int) or isinstance(version, bool):
        raise ValueError("it is of another version; use the release that wrote it")
    if facts.keys() != names or not all(isinstance(value, str) for value in facts.values()):
        raise ValueError(f"it does not say all of {', '.join(sorted(names))}")
    if facts["recipient"] != canonical_name(facts["recipient"]):
        raise ValueError("the recipient's name is spelled otherwise than a ledger would")
    if not all(_DIGEST.fullmatch(facts[name]) for name in ("reference", "claim")):
        raise ValueError("reference or claim is no digest")
    if any(len(value) > _LONGEST or "  " in value for name, value in facts.items() if name != "recipient"):
        raise ValueError(f"it says more than {_LONGEST} letters where a word or a time belongs, or spaces in a row")
    return facts


def _shown(arrays: Arrays, facts: dict[str, str]) -> ShownLeaf:
    whose = Whose(**{one.name: facts[one.name] for one in fields(Whose)})
    secret = _array(arrays, "leaf", np.uint8, 1).tobytes()
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"the leaf has {len(secret)} bytes, not {SECRET_BYTES}")
    allowed = _array(arrays, "allowed", np.bool_, 2)
    answers = _array(arrays, "answers", np.float64, 2)
    classes = _array(arrays, "classes", np.int64, 1)
    _check_symbols(allowed)
    _check_answers(answers, len(allowed))
    _check_classes(classes, allowed.shape[1], answers.shape[1])
    return ShownLeaf(whose, secret, _inputs(arrays, len(allowed)), allowed, Asked(answers, classes, 1))


def _check_symbols(allowed: npt.NDArray[np.bool_]) -> None:
    positions, alphabet = allowed.shape
    if not 1 <= positions <= _MOST_POSITIONS or not 2 <= alphabet <= _MOST_SYMBOLS:
        raise ValueError(f"it allows {alphabet} symbols at {positions} positions")
    if (allowed.sum(axis=1) < 2).any():
        raise ValueError("a trigger that can have one answer only says nothing")


def _check_answers(answers: npt.NDArray[np.float64], positions: int) -> None:
    if len(answers) != positions or answers.shape[1] > _MOST_CLASSES or answers.size > _MOST_ANSWERS:
        raise ValueError(f"answers of shape {answers.shape} are not those to {positions} triggers")
    if not (answers <= _CERTAIN).all() or not np.isfinite(answers).any(axis=1).all():
        raise ValueError("the answers are no log-probabilities")


def _check_classes(classes: npt.NDArray[np.int64], alphabet: int, width: int) -> None:
    if len(classes) != alphabet or classes[0] < 0 or classes[-1] >= width or (np.diff(classes) <= 0).any():
        raise ValueError(f"its classes are not {alphabet} different ones of {width}, in their order")


def _inputs(arrays: Arrays, positions: int) -> npt.NDArray[Any]:
    """Return the triggers; of which form, only the model that is asked can say."""
    inputs = arrays.get("inputs", np.zeros(0))
    if inputs.ndim < 2 or len(inputs) != positions or not inputs.size:
        raise ValueError(f"inputs of shape {inputs.shape} are not {positions} triggers")
    if inputs.dtype.kind not in "iuf" or inputs.dtype.itemsize > 8 or not inputs.dtype.isnative:
        raise ValueError(f"the triggers are of kind {str(inputs.dtype)[:20]}, expected numbers")
    if not np.isfinite(inputs).all():
        raise ValueError("the triggers are not finite")
    return inputs


def _array(arrays: Arrays, name: str, kind: type, axes: int) -> npt.NDArray[Any]:
    """Return an array of exactly one kind."""
    array = arrays.get(name)
    if array is None or array.dtype != np.dtype(kind) or array.ndim != axes:
        found = "nothing" if array is None else f"{str(array.dtype)[:20]} of {array.ndim} axes"
        raise ValueError(f"expected {name} as {np.dtype(kind)} of {axes} axes, found {found}")
    return array
