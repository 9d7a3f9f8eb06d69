"""The child process that runs a hostile model: it loads its libraries, confines itself, opens the model and answers.

Started by `onnxfp.suspect.worker`; nothing else of the library is loaded here. Whoever takes this process over can say
anything to the parent, and nothing to anybody else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxfp.suspect.channel import Channel, Garbled, TooLarge, open_channel
from onnxfp.suspect.confinement import Confinement, confine
from onnxfp.suspect.providers import CPU, asked_for, driver_version

_OUTPUTS = 64
"""More outputs of a model are not computed."""
_NAME = 100
_REASON = 300


class Failed(Exception):
    """onnxruntime does not do what was asked of it."""


def main(shared: str) -> None:
    """Serve one model until the parent hangs up; `shared` is the descriptor of the shared memory, or empty."""
    reader, writer = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # nothing that a library prints gets between the messages
        os.dup2(nowhere, standard)
    channel = open_channel(reader, writer, int(shared) if shared else None, parent=False)
    try:
        _serve(channel)
    except (EOFError, BrokenPipeError, Garbled):
        sys.exit(0)


def _serve(channel: Channel) -> None:
    order, _ = channel.receive()
    try:
        session, facts = _opened(order)
    except Failed as problem:
        channel.send({"failed": str(problem)})
        return
    channel.send(facts)
    while session is not None:
        request, arrays = channel.receive()
        try:
            channel.send({}, _outputs(session, str(request["name"]), arrays[0]))
        except Failed as problem:
            channel.send({"failed": str(problem)})
        except TooLarge as problem:
            channel.send({"large": problem.size})


def _opened(order: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Load, confine, and only then look at the model; without a path there is none to look at."""
    ort = _library()
    ort.set_default_logger_severity(4)
    listed = ort.get_available_providers()
    driver = driver_version() if order["device"] != "cpu" and len(listed) > 1 else 0
    wanted = asked_for(order["device"], listed, driver=driver > 0)
    device = wanted != [CPU]
    if device:
        ort.preload_dlls()
    # The address space of a driver has no bound; then the parent watches the memory in use.
    held_to = Confinement(0 if device else order["memory"], device, order["parent"])
    facts = {"confined": list(confine(held_to)), "device": device, "driver": driver, "listed": listed}
    facts.update(version=ort.__version__, cuda=str(getattr(ort, "cuda_version", "") or ""))
    if not order["path"]:
        return None, facts
    try:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(order["path"], options, providers=wanted)
    except Exception as problem:  # onnxruntime raises types of its own, without a common root
        raise Failed(_first_line(problem)) from problem
    return session, {**facts, **_described(session)}


def _library() -> Any:
    try:
        import onnxruntime as ort
    except ImportError as problem:
        raise Failed(_first_line(problem)) from problem
    return ort


def _described(session: Any) -> dict[str, Any]:
    inputs = session.get_inputs()
    first = inputs[0] if inputs else None
    return {
        "provider": session.get_providers()[0],
        "inputs": [one.name[:_NAME] for one in inputs[:3]],
        "count": len(inputs),
        "name": first.name if first else "",
        "type": first.type[:_NAME] if first else "",
        "shape": [side if isinstance(side, int) and side >= 0 else None for side in (first.shape if first else [])],
        "outputs": [one.name[:_NAME] for one in session.get_outputs()[:_OUTPUTS]],
    }


def _outputs(session: Any, name: str, inputs: Any) -> Sequence[npt.NDArray[Any]]:
    names = [one.name for one in session.get_outputs()[:_OUTPUTS]]
    try:
        outputs = session.run(names, {name: inputs})
    except Exception as problem:  # as above
        raise Failed(_first_line(problem)) from problem
    # Sequences and maps, such as those of scikit-learn's models, stand in place but empty.
    unread = np.empty(0, dtype=object)
    return [output if isinstance(output, np.ndarray) else unread for output in outputs]


def _first_line(problem: Exception) -> str:
    return (str(problem).strip().partition("\n")[0] or type(problem).__name__)[:_REASON]
