"""All ways to trace: a file or an endpoint, by weights, by answers or by both; or a transcript."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from onnxfp.artifact import check_target
from onnxfp.domain import Verdict
from onnxfp.errors import UsageError
from onnxfp.verdict.look import ANSWERS, WEIGHTS
from onnxfp.workflows.judge import Progress, Question
from onnxfp.workflows.pool_data import PoolData, PoolsAt, open_pool_data
from onnxfp.workflows.reaching import SuspectAt, reached, refuse_ignored
from onnxfp.workflows.trace import Tracing, replay_trace, trace_suspect
from onnxfp.workflows.transcript import Transcript, read_transcript, seal_key
from onnxfp.workflows.vault import Vault, refuse_inside_vault


@dataclass(frozen=True)
class TraceRequest:
    """All that a person may say."""

    at: str
    """Now, UTC, ISO 8601."""
    suspect: SuspectAt = field(default_factory=SuspectAt)
    alpha: float = 1e-6
    channels: str = ""
    """Empty for the weights of a file and the answers of a URL, or where candidate data are given."""
    limit: int = 0
    twice: bool = False
    camouflage: int = 0
    transcript: Path | None = None
    replay: Path | None = None
    force: bool = False
    pools: PoolsAt = field(default_factory=PoolsAt)

    @property
    def chosen(self) -> str:
        """Which channels are looked at."""
        return self.channels or (ANSWERS if self.suspect.remote or self.pools.data is not None else WEIGHTS)

    def asking(self) -> Tracing:
        """Return what is looked at, and how much is asked."""
        return Tracing(self.alpha, self.at, self.chosen, self.limit, self.twice, self.camouflage)

    def paper(self) -> Question:
        """Return the question that the published decoder takes: a file, and nothing else.

        Raises:
            UsageError: there is no file, or another option is chosen.
        """
        where = self.suspect.where
        plain = SuspectAt(where, allow_links=self.suspect.allow_links, token=self.suspect.token)
        if where is None or self.suspect.remote or self.suspect != plain:
            raise UsageError("--paper decodes the weights of a file as published, and takes none of these options")
        beside = {"--transcript": self.transcript, "--replay": self.replay, "--data": self.pools.data}
        refuse_ignored({**beside, **self._asks()}, "--paper")
        return Question(Path(where), self.alpha, self.at, self.suspect.allow_links)

    def check(self) -> None:
        """Refuse what cannot be meant, before anything is read.

        Raises:
            UsageError: not exactly one suspect was named, or what was chosen does not go with it.
        """
        if (self.suspect.where is None) is (self.replay is None):
            raise UsageError("expected either a suspect (a file or a URL) or --replay, found both or none")
        if self.replay is not None:
            said = {"--transcript": self.transcript, "--alpha": self.alpha != TraceRequest.alpha, **self._asks()}
            refuse_ignored(said, "a transcript")
        elif self.suspect.remote and self.chosen != ANSWERS:
            raise UsageError(
                f"a URL only answers, its weights cannot be read: --channels {self.chosen} takes a file; leave it out"
            )
        elif self.chosen == WEIGHTS:
            beside = {**self._asks(), "--data": self.pools.data, "--channels": False}
            refuse_ignored(beside, "weights, which are not asked anything")
        self.suspect.check(runs=self.chosen != WEIGHTS)

    def _asks(self) -> dict[str, object]:
        return {
            "--channels": self.channels,
            "--max-queries": self.limit,
            "--twice": self.twice,
            "--camouflage": self.camouflage,
        }


def trace_request(vault: Vault, request: TraceRequest, progress: Progress) -> Verdict:
    """Do what was asked.

    Raises:
        UsageError: not exactly one suspect was named, or what was named cannot be used.
    """
    request.check()
    with open_pool_data(vault, request.pools) as data:
        if request.replay is not None:
            facts, recorded = read_transcript(request.replay, seal_key(vault), "trace")
            return replay_trace(vault, facts, recorded, progress, data)
        return _traced(vault, request, data, progress)


def _traced(vault: Vault, request: TraceRequest, data: PoolData | None, progress: Progress) -> Verdict:
    if request.transcript is None:
        with reached(vault, request.suspect) as suspect:
            return trace_suspect(vault, suspect, request.asking(), progress, None, data)
    refuse_inside_vault(request.transcript)
    check_target(request.transcript, force=request.force)
    transcript = Transcript()
    with reached(vault, request.suspect) as suspect:
        verdict = trace_suspect(vault, suspect, request.asking(), progress, transcript, data)
    if transcript.facts:  # else nothing was looked at
        transcript.write(request.transcript, force=request.force, key=seal_key(vault))
    return verdict
