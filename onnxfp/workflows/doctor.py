"""Is what runs models installed, whole and confined? What is found, and how to repair what is wrong."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from onnxfp import __version__
from onnxfp.demo import path as demo_file
from onnxfp.errors import OnnxfpError
from onnxfp.suspect.confinement import CALLS, MEMORY
from onnxfp.suspect.facts import Installed
from onnxfp.suspect.running import look_around
from onnxfp.suspect.session import open_session

OK, ABSENT, WRONG = "ok", "absent", "WRONG"
_OPTIONAL = ("embed", "remote", "grpc", "pools", "report")
_EXTRA = re.compile(r"""^([A-Za-z0-9._-]+).*\bextra == ["']([a-z]+)["']""")
_TENSORRT = "TensorrtExecutionProvider"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _runs_on(device: str) -> str:
    """Return the execution provider that really runs a model; empty if none does."""
    with open_session(demo_file("digits.onnx"), device=device) as session:
        return session.provider


@dataclass(frozen=True)
class Machine:
    """Where to look; by default, at this machine."""

    packages: Callable[[], Mapping[str, Sequence[str]]] = metadata.packages_distributions
    """Which distributions hold an import package."""
    version: Callable[[str], str] = _version
    """Of a distribution; empty where it is not installed."""
    requirements: Callable[[], Sequence[str]] = lambda: metadata.requires("onnxfp") or ()
    look: Callable[[str], Installed] = look_around
    """What a process that is to run models on a device finds; `OnnxfpError` where onnxruntime does not load."""
    runs_on: Callable[[str], str] = _runs_on
    environment: Callable[[str], str | None] = os.environ.get


THIS = Machine()


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    state: str
    """``ok``, ``absent`` (and may be so), or ``WRONG``."""
    says: str


@dataclass(frozen=True)
class Examination:
    """All that was looked at."""

    sound: bool
    """Whether everything that is installed works."""
    findings: tuple[Finding, ...]


def examine(machine: Machine = THIS) -> Examination:
    """Look at everything that running models needs; nothing is changed and nothing leaves the machine."""
    findings = tuple(_findings(machine))
    return Examination(all(finding.state != WRONG for finding in findings), findings)


def examination_rows(examination: Examination) -> list[tuple[str, str]]:
    """Return what a person wants to see."""
    return [(finding.subject, f"{finding.state:<6}  {finding.says}") for finding in examination.findings]


def _findings(machine: Machine) -> Iterator[Finding]:
    system = f"{platform.system()} {platform.machine()}"
    yield Finding("python", OK, f"{platform.python_version()} on {system}, {sys.executable}")
    yield Finding("onnxfp", OK, __version__)
    yield from _runtime(machine)
    yield _telemetry(machine.environment)
    yield from _extras(machine)


def _runtime(machine: Machine) -> Iterator[Finding]:
    builds = sorted(set(machine.packages().get("onnxruntime", ())))
    shown = ", ".join(f"{build} {machine.version(build)}" for build in builds)
    if not builds:
        yield Finding("onnxruntime", ABSENT, "models cannot be run; install `onnxfp[runtime]`")
        return
    yield Finding("onnxruntime", *_build(builds, shown, machine))
    try:
        found, tried = machine.look("cpu"), machine.look("auto")
        cpu = machine.runs_on("cpu")
    except OnnxfpError as problem:
        yield Finding("cpu", WRONG, f"{shown} does not load: {problem}; {_repair(builds, machine)}")
        return
    yield Finding("cpu", OK if cpu else WRONG, "runs models" if cpu else f"runs no model; {_repair(builds, machine)}")
    yield _cuda(machine, tried)
    yield _tensorrt(machine, tried)
    yield _confinement(found)


def _build(builds: Sequence[str], shown: str, machine: Machine) -> tuple[str, str]:
    if len(builds) == 1:
        return OK, shown
    return WRONG, f"{shown} share one folder and overwrite each other; {_repair(builds, machine)}"


def _repair(builds: Sequence[str], machine: Machine) -> str:
    keep = "onnxruntime-gpu" if "onnxruntime-gpu" in builds else builds[0]
    version = machine.version(keep)
    exact = f"{keep}=={version}" if version else keep
    return f"run `pip uninstall -y {' '.join(builds)}`, then `pip install --force-reinstall --no-deps {exact}`"


def _cuda(machine: Machine, found: Installed) -> Finding:
    if not found.cuda:
        return Finding("cuda", ABSENT, "this build of onnxruntime has none; models run on the CPU")
    if not found.driver:
        return Finding("cuda", ABSENT, "there is no NVIDIA driver (libcuda); models run on the CPU")
    if machine.runs_on("cuda") == "CUDAExecutionProvider":
        return Finding("cuda", OK, f"runs models; the driver supports CUDA {_cuda_version(found.driver)}")
    if found.driver // 1000 < int(found.cuda.partition(".")[0] or 0):
        why = (
            f"the driver supports CUDA {_cuda_version(found.driver)}, this build needs {found.cuda}; update the driver"
        )
    else:
        why = f"its libraries for CUDA {found.cuda} or cuDNN are missing; install `onnxfp[cuda]`"
    return Finding("cuda", WRONG, f"there is a driver, but models run on the CPU: {why}")


def _cuda_version(driver: int) -> str:
    return f"{driver // 1000}.{driver % 1000 // 10}"


def _tensorrt(machine: Machine, found: Installed) -> Finding:
    if _TENSORRT in found.listed and found.driver and machine.runs_on("tensorrt") == _TENSORRT:
        return Finding("tensorrt", OK, "runs models")
    return Finding("tensorrt", ABSENT, "not needed; only `--device tensorrt` would use it")


def _confinement(found: Installed) -> Finding:
    missing = [name for name in (MEMORY, CALLS) if name not in found.confined]
    held = "; ".join(found.confined) or "nothing but a process of its own"
    # What a platform does not offer is not broken, but whoever judges strangers' models has to know.
    return Finding("confinement", ABSENT if missing else OK, f"{held}{_lacking(missing)}")


def _lacking(missing: Sequence[str]) -> str:
    return f"; LACKING {'; '.join(missing)}: judge strangers' models in a container" if missing else ""


def _telemetry(environment: Callable[[str], str | None]) -> Finding:
    off = (environment("ORT_DISABLE_TELEMETRY") or "1").strip().lower() in ("1", "true")
    says = "off" if off else "off where models run, but ORT_DISABLE_TELEMETRY does not say 1; unset it"
    return Finding("telemetry", OK, says)


def _extras(machine: Machine) -> Iterator[Finding]:
    wanted: dict[str, list[str]] = {extra: [] for extra in _OPTIONAL}
    for requirement in machine.requirements():
        match = _EXTRA.match(requirement)
        if match and match[2] in wanted and match[1] != "onnxfp":
            wanted[match[2]].append(match[1])
    for extra, names in wanted.items():
        missing = [name for name in names if not machine.version(name)]
        if missing:
            yield Finding(extra, ABSENT, f"needs {', '.join(missing)}; install `onnxfp[{extra}]`")
        elif names:
            yield Finding(extra, OK, ", ".join(f"{name} {machine.version(name)}" for name in names))
