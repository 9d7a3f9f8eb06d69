"""A copy that was just written and has no name yet, as a suspect: its weights are read, its graph is run."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import assert_never, final

from onnxfp.artifact import StagedCopy
from onnxfp.domain import Probe, QueryProbe, Response, WeightProbe
from onnxfp.suspect.opened import OpenedWeights
from onnxfp.suspect.session import Session, open_session


@final
@dataclass
class FreshCopy:
    """Answers every probe; the graph is run only when it is asked for outputs. `opened` closes what was opened."""

    weights: OpenedWeights
    staged: StagedCopy
    opened: ExitStack
    _session: Session | None = field(default=None, repr=False)

    def answer(self, probe: Probe) -> Response:
        """Answer any probe."""
        match probe:
            case WeightProbe():
                return self.weights.answer(probe)
            case QueryProbe():
                if self._session is None:
                    path = self.opened.enter_context(self.staged.runnable())
                    self._session = self.opened.enter_context(open_session(path))
                return self._session.answer(probe)
        assert_never(probe)
