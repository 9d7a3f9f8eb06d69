"""Channels of a reference: which scheme holds whose word, and the claims drawn for it from the owner's key.

A reference has one channel for the owner's word, the same in all copies, and one for recipients' words. What a channel
is stands in the ledger; its secrets are drawn anew from the owner's key whenever they are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from onnxfp.codes.leaves import Leaves, leaf
from onnxfp.domain import Carrier, Claim, Constraint, ModelProfile, PublicClaim, Symbols, WeightTarget
from onnxfp.keys.keystream import Keystream
from onnxfp.schemes.catalogue import scheme_named
from onnxfp.schemes.interface import Samples, Scheme

OWNER, RECIPIENT = "owner", "recipient"
NOTHING: Samples = MappingProxyType({})
_LATER = ("of", "samples", "commitment", "committed_at", "beacon")


@dataclass(frozen=True)
class Channel:
    """What the ledger records of a channel."""

    role: str
    scheme: str
    options: Mapping[str, Any]
    of: str = ""
    """Digest of the artifact before this mark; empty for the reference itself."""
    samples: str = ""
    """Digest of what the key needs of the owner's data, as the vault keeps it; empty for nothing."""
    commitment: str = ""
    """To all of the above, made before the symbols were drawn; empty where registering commits to them."""
    committed_at: str = ""
    """UTC, ISO 8601; empty where registering commits to them."""
    beacon: str = ""
    """A public value that came after the commitment and that the symbols depend on; empty for none."""

    @property
    def in_copies(self) -> bool:
        """Whether issuing a copy writes it; an owner's mark that was taught is in the reference already."""
        return self.role == RECIPIENT or not self.of

    def to_json(self) -> dict[str, Any]:
        """Return the channel as plain values; what is empty is left out."""
        later = {name: getattr(self, name) for name in _LATER if getattr(self, name)}
        return {"role": self.role, "scheme": self.scheme, "options": dict(self.options), **later}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Channel:
        """Return the channel that `to_json` described."""
        return cls(**values)


@dataclass(frozen=True)
class DrawnChannel:
    """A channel with its key drawn."""

    channel: Channel
    scheme: Scheme[Any]
    public: PublicClaim[Any]
    secret: Keystream

    @property
    def settled(self) -> Channel:
        """The channel as the ledger keeps it: nothing in it depends on a release's defaults."""
        options = self.scheme.settled(self.scheme.options(self.channel.options), self.public.key)
        return replace(self.channel, options=asdict(options))

    def words(self, names: Sequence[str]) -> Symbols:
        """Return the words of some names (recipients, positions)."""
        return self.public.key.code.words(self.secret, self.public.codebook, names)  # type: ignore[no-any-return]

    def leaf(self, recipient: str) -> bytes | None:
        """Return the leaf from which a recipient's word, and nobody else's, is drawn; None for words without leaves."""
        return leaf(self.secret, recipient) if isinstance(self.public.key.code, Leaves) else None

    def claim(self, name: str) -> Claim[Any]:
        """Return the claim about one name."""
        return Claim(self.public, self.words([name])[0])

    def word_of(self, recipient: str) -> str:
        """Return under which name a recipient's copy holds a word in this channel."""
        return OWNER if self.channel.role == OWNER else recipient

    def taught(self) -> tuple[Constraint, ...]:
        """Return what training must make true: of the owner's word the word itself, of copies that any can follow."""
        prepared = self.scheme.prepare(self.public)
        return prepared if self.channel.role == RECIPIENT else (*prepared, *self.scheme.plan(self.claim(OWNER)))

    def written(self) -> frozenset[str]:
        """Return the carriers into which its words are written by a change that the artifact was prepared for."""
        plan = self.scheme.plan(self.claim(OWNER)) if self.channel.in_copies else ()
        targets = [one for one in plan if isinstance(one, WeightTarget) and one.prepared]
        return frozenset(segment.carrier for target in targets for segment in target.segments)


def draw(channel: Channel, profile: ModelProfile, reference_key: Keystream, samples: Samples = NOTHING) -> DrawnChannel:
    """Draw a channel's key; the same reference key, channel and samples give the same.

    Raises:
        CapacityError: the model cannot carry the channel.
        UsageError: the options are not the scheme's.
    """
    scheme = scheme_named(channel.scheme)
    keystream = scheme_key(reference_key, channel.scheme)
    key = scheme.keygen(profile, samples, scheme.options(channel.options), keystream)
    after = (channel.commitment, channel.beacon) if channel.commitment else ()
    secret = keystream.derive("words", channel.role, *after)
    return DrawnChannel(channel, scheme, PublicClaim(key, key.code.codebook(secret, key.positions)), secret)


def scheme_key(reference_key: Keystream, scheme: str) -> Keystream:
    """Return the key of one scheme on one reference."""
    return reference_key.derive("scheme", scheme)


def profile_to_json(profile: ModelProfile) -> dict[str, Any]:
    """Return a profile as plain values."""
    carriers = [[c.name, list(c.shape), c.dtype, c.operator, c.spread, c.writable, c.density] for c in profile.carriers]
    return {"digest": profile.digest, "carriers": carriers}


def profile_from_json(values: Mapping[str, Any]) -> ModelProfile:
    """Return the profile that `profile_to_json` described."""
    carriers = tuple(Carrier(name, tuple(shape), *rest) for name, shape, *rest in values["carriers"])
    return ModelProfile(values["digest"], carriers)
