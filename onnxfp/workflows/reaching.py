"""Where a suspect is and how it is reached: a file that is opened, or a URL that is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from onnxfp.artifact import open_artifact
from onnxfp.errors import UsageError
from onnxfp.suspect.address import is_remote
from onnxfp.suspect.endpoint import Endpoint, EndpointOptions, open_endpoint
from onnxfp.suspect.interface import Suspect
from onnxfp.suspect.session import open_session
from onnxfp.suspect.transform import Transform
from onnxfp.workflows.suspects import Device, ExaminedFile, ExaminedSealed, examined_file
from onnxfp.workflows.vault import Vault


@dataclass(frozen=True)
class SuspectAt:
    """Who is examined, and how it is reached."""

    where: str | None = None
    """A file or a URL; None for nobody."""
    device: str = "auto"
    """Where a file is run."""
    require_device: bool = False
    """Refuse to judge a file on anything else."""
    transform: str = ""
    input_name: str = ""
    rate: float = 0.0
    timeout: float = 30.0
    """Seconds for one request."""
    deadline: float = 600.0
    """Seconds for all requests of one probe."""
    retries: int = 3
    ca_file: Path | None = None
    token_in_clear: bool = False
    allow_links: bool = False
    token: str = field(default="", repr=False)

    @property
    def remote(self) -> bool:
        """Whether it is a URL."""
        return self.where is not None and is_remote(self.where)

    @property
    def file(self) -> bool:
        """Whether it is a file."""
        return self.where is not None and not self.remote

    def check(self, nobody: str = "this kind of suspect", *, runs: bool = True) -> None:
        """Refuse what would be ignored: whoever says it means something by it.

        Args:
            nobody: what says nothing about them, where there is no suspect.
            runs: whether a file is run at all.

        Raises:
            UsageError: an option says nothing about this kind of suspect.
        """
        run = self.file and runs
        ignored = {
            "--transform": self.transform and not self.remote,
            "--input": self.input_name and not self.remote,
            "--rate": self.rate and not self.remote,
            "--ca-file": self.ca_file is not None and not self.remote,
            "--token-in-clear": self.token_in_clear and not self.remote,
            "--device": self.device != "auto" and not run,
            "--require-device": self.require_device and not run,
            "--allow-links": self.allow_links and not self.file,
        }
        kind = "this kind of suspect" if self.where is not None else nobody
        refuse_ignored(ignored, kind)


def refuse_ignored(ignored: Mapping[str, object], what: str) -> None:
    """Refuse the first option that is chosen and would be ignored.

    Raises:
        UsageError: there is one.
    """
    for name, is_ignored in ignored.items():
        if is_ignored:
            raise UsageError(f"{name} says nothing about {what}; leave it out")


@contextmanager
def reached(vault: Vault, suspect: SuspectAt) -> Iterator[ExaminedFile | ExaminedSealed]:
    """Open a suspect to be examined.

    Raises:
        ArtifactError: it is a file, and no model that can be read.
        UsageError: the URL or an option cannot be used, or what is needed to ask is not installed.
    """
    if suspect.remote:
        with _endpoint(suspect) as endpoint:
            yield ExaminedSealed(endpoint.identity, endpoint, place=endpoint.identity, repeats=None)
    else:
        device = Device(suspect.device, suspect.require_device)
        with examined_file(vault, Path(str(suspect.where)), device, allow_links=suspect.allow_links) as file:
            yield file


@contextmanager
def asked(suspect: SuspectAt) -> Iterator[Suspect]:
    """Open a suspect that is only asked: no vault is needed.

    Raises:
        ArtifactError: it is a file, and no model that can be read.
        UsageError: the URL or an option cannot be used, or what is needed to ask is not installed.
    """
    if suspect.remote:
        with _endpoint(suspect) as endpoint:
            yield endpoint
    else:
        with (
            open_artifact(Path(str(suspect.where)), allow_links=suspect.allow_links) as artifact,
            open_session(artifact.path, device=suspect.device, require_device=suspect.require_device) as session,
        ):
            yield session


def _endpoint(suspect: SuspectAt) -> Endpoint:
    options = EndpointOptions(
        token=suspect.token,
        token_in_clear=suspect.token_in_clear,
        timeout_s=suspect.timeout,
        deadline_s=suspect.deadline,
        retries=suspect.retries,
        rate_per_s=suspect.rate,
        input_name=suspect.input_name,
        transform=Transform.parse(suspect.transform),
        ca_file=suspect.ca_file,
    )
    return open_endpoint(str(suspect.where), options)
