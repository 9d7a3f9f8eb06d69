"""What a suspect is: something that answers probes."""

from __future__ import annotations

from typing import Protocol

from onnxfp.domain import Probe, Response


class Suspect(Protocol):
    """A model under examination; open (weights readable) or sealed (only queries)."""

    def answer(self, probe: Probe) -> Response:
        """Answer one probe, or say why not; never an exception for "could not look"."""
        ...
