"""A sealed suspect: a model behind the Open Inference Protocol, which may be an adversary's.

It is asked in batches, in the order of the probe. A batch without an answer that can be read is NaN, with the reason
among what was not read; only an endpoint that says nothing at all leaves the whole probe unanswered.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar, assert_never, final

import numpy as np
import numpy.typing as npt

from onnxfp.domain import Probe, QueryProbe, Response, Unanswered, WeightProbe
from onnxfp.errors import UsageError
from onnxfp.suspect.address import Address, parse_address
from onnxfp.suspect.endpoint_options import EndpointOptions
from onnxfp.suspect.heard import Heard
from onnxfp.suspect.pacing import Clock, Pace
from onnxfp.suspect.v2 import DTYPES, Description, InputFacts, Refused, Tensor, Wire, datatype_of, plain

__all__ = ["Endpoint", "EndpointOptions", "open_endpoint"]

_SILENT = 3
"""After as many batches without any sign of life, the rest is not asked."""
_SMALLER = 8

Answer = TypeVar("Answer")


@dataclass
class _Learned:
    """What asking has taught: what the endpoint is, and how many samples it takes at a time."""

    batch: int
    settled: bool = False
    description: Description | None = None


@final
@dataclass(frozen=True)
class Endpoint:
    """A model that answers over the network. Made by `open_endpoint`; a context manager."""

    address: Address
    options: EndpointOptions
    wire: Wire = field(repr=False)
    pace: Pace = field(repr=False)
    _learned: _Learned = field(repr=False)

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.wire.close()

    @property
    def identity(self) -> str:
        """Its canonical URL, without any secret."""
        return self.address.identity

    @property
    def provider(self) -> str:
        """What it says that it is; known once it has been asked."""
        description = self._learned.description
        named = description.server if description else ""
        return self.options.discreet(f"remote: {named or 'a server without a name'}")

    @property
    def input(self) -> InputFacts | None:
        """What it says about the input that is asked; None when it does not say, or has not been asked yet."""
        description = self._learned.description
        wanted = self.options.input_name
        inputs = description.inputs if description else ()
        return next((one for one in inputs if wanted in ("", one.name)), None)

    def answer(self, probe: Probe) -> Response:
        """Answer one row per sample of a QueryProbe."""
        match probe:
            case WeightProbe():
                return Unanswered("it is a remote endpoint, sealed: it answers inputs and shows no weights")
            case QueryProbe():
                try:
                    return self._query(np.asarray(probe.inputs))
                except (Refused, UsageError) as problem:
                    return Unanswered(self.options.discreet(str(problem)))
        assert_never(probe)

    def _query(self, inputs: npt.NDArray[Any]) -> Response:
        until = self.pace.clock.now() + self.options.deadline_s
        if self._learned.description is None:
            self._learned.description = self._describe(until)
        heard = Heard(len(inputs))
        at, silent = 0, 0
        while at < len(inputs) and silent < _SILENT:
            rows = slice(at, min(at + self._learned.batch, len(inputs)))
            try:
                heard.take(rows, self._infer(inputs[rows], until))
                silent = 0
            except Refused as problem:
                if self._takes_fewer(problem, rows):
                    continue
                heard.refuse(rows, str(problem))
                silent = silent + 1 if problem.silent else 0
            at = rows.stop
        if at < len(inputs):
            heard.refuse(slice(at, len(inputs)), "not asked: it had stopped answering")
        sent_as = str(self.options.transform)
        return heard.response(self.provider, (f"inputs sent with {sent_as}",) if sent_as else (), self.options.discreet)

    def _infer(self, inputs: npt.NDArray[Any], until: float) -> tuple[Tensor, ...]:
        description = self._learned.description or Description()
        asked = self._tensor(inputs)
        binary = description.binary if self.options.binary is None else self.options.binary
        outputs = self.pace.persist(lambda: self.wire.infer(asked, until, binary=binary), until)
        if self._learned.batch < self.options.batch:
            self._learned.settled = True
        return outputs

    def _takes_fewer(self, problem: Refused, rows: slice) -> bool:
        """Whether to ask again with fewer samples at a time; found out once."""
        learned, count = self._learned, rows.stop - rows.start
        if not problem.smaller or learned.settled:
            return False
        if count == 1:  # that was not the reason
            learned.batch, learned.settled = self.options.batch, True
            return False
        learned.batch = _SMALLER if count > _SMALLER else 1
        return True

    # --- what it is ---------------------------------------------------------------------------------------------------

    def _describe(self, until: float) -> Description:
        """Ask what it is; whoever does not say may still answer."""
        server = self._told(lambda: self.wire.server(until), until) or Description()
        inputs = self._told(lambda: self.wire.inputs(until), until) or ()
        if len(inputs) > 1 and not self.options.input_name:
            names = ", ".join(plain(one.name, 40) for one in inputs[:4])
            raise UsageError(f"expected a model with one input, found {len(inputs)} ({names}); name the one to ask")
        return Description(server.server, server.binary, inputs)

    def _told(self, ask: Callable[[], Answer], until: float) -> Answer | None:
        try:
            return self.pace.persist(ask, until)
        except Refused as problem:
            if problem.unreachable:
                raise
            return None

    # --- what is sent -------------------------------------------------------------------------------------------------

    def _tensor(self, inputs: npt.NDArray[Any]) -> Tensor:
        facts = self.input
        name = facts.name if facts else self.options.input_name or "input-0"
        values = self.options.transform.apply(inputs)
        if values.dtype.kind == "O":
            return Tensor(name, values[:, 0] if facts and len(facts.shape) == 1 else values)
        if facts and facts.datatype and not self.options.transform.dtype:
            values = _converted(values, facts.datatype)
        return Tensor(name, values)


def open_endpoint(url: str, options: EndpointOptions) -> Endpoint:
    """Prepare to ask a model; nothing is sent before the first probe.

    Raises:
        UsageError: the URL or the options cannot be used, or what talks to it is not installed.
    """
    address = parse_address(url)
    options.check(address)
    pace = Pace(options.retries, options.rate_per_s, Clock())
    return Endpoint(address, options, _wire(address, options), pace, _Learned(options.batch))


def _wire(address: Address, options: EndpointOptions) -> Wire:
    if address.grpc:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it would talk on stderr beside us
        try:
            from onnxfp.suspect.v2_grpc import open_grpc
        except ImportError as problem:
            raise UsageError("asking over gRPC needs more packages; install `onnxfp[grpc]`") from problem
        return open_grpc(address, options)
    try:
        from onnxfp.suspect.v2_http import open_http
    except ImportError as problem:
        raise UsageError("asking a remote endpoint needs more packages; install `onnxfp[remote]`") from problem
    return open_http(address, options)


def _converted(values: npt.NDArray[Any], datatype: str) -> npt.NDArray[Any]:
    wanted = DTYPES.get(datatype)
    if wanted is None or not np.can_cast(values.dtype, wanted, "same_kind"):
        raise UsageError(
            f"expected inputs that can be sent as {plain(datatype, 8)}, found {datatype_of(values.dtype)}; "
            "say how with a transform, such as dtype=uint8 or jpeg=90"
        )
    with np.errstate(over="ignore"):
        return values.astype(wanted)
