"""What a process gives up for good before it looks at a hostile model; best effort, and it says what it achieved."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from onnxfp.suspect.system_calls import install_filter

_DIE_WITH_PARENT, _NO_NEW_PRIVILEGES = 1, 38  # prctl
_FILES = 256
_PROCESSOR_SECONDS = 86_400
"""The parent's watch is much stricter; this one ends a child whose parent was stopped."""

MEMORY = "memory limit"
FILE_SIZE = "no file grows"
FILES = "few open files"
PROCESSOR = "processor time limit"
CORES = "no core dumps"
PRIVILEGES = "no new privileges"
PARENT = "ends with its parent"
CALLS = "system calls filtered: no network, no programs, no other process, no change of files"
DEVICE_CALLS = "system calls filtered: no network, no programs, no other process"


@dataclass(frozen=True)
class Confinement:
    """What a process is to be held to."""

    memory: int = 0
    """Bytes of address space beyond what it has now; 0 for no limit, which the drivers of accelerators need."""
    device: bool = False
    """Leave what the drivers of accelerators need: opening device files for writing, and more of everything."""
    parent: int = 0
    """Process that this one shall not outlive, if it is its child; 0 for none."""


def confine(to: Confinement) -> tuple[str, ...]:
    """Confine this process, in all its threads, and return what is in force."""
    done = _limits(to)
    if sys.platform == "linux":
        done += _kernel(to)
    return tuple(done)


def _limits(to: Confinement) -> list[str]:
    if sys.platform == "win32":
        return []
    import resource

    wanted = [(CORES, resource.RLIMIT_CORE, 0), (PROCESSOR, resource.RLIMIT_CPU, _PROCESSOR_SECONDS)]
    if not to.device:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write that is too much fails instead
        wanted += [(FILE_SIZE, resource.RLIMIT_FSIZE, 0), (FILES, resource.RLIMIT_NOFILE, _FILES)]
    if to.memory and sys.platform == "linux":
        wanted.append((MEMORY, resource.RLIMIT_AS, _address_space() + to.memory))
    return [name for name, which, limit in wanted if _limited(resource, which, limit)]


def _limited(resource: Any, which: int, limit: int) -> bool:
    hard = resource.getrlimit(which)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    try:
        resource.setrlimit(which, (limit, limit))
    except (OSError, ValueError):
        return False
    return True


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _kernel(to: Confinement) -> list[str]:
    done, control = [], ctypes.CDLL(None, use_errno=True).prctl
    if control(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0:
        done.append(PRIVILEGES)
    if to.parent and control(_DIE_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0) == 0:
        if os.getppid() != to.parent:  # it is gone already
            os._exit(1)
        done.append(PARENT)
    if install_filter(writing=to.device):
        done.append(DEVICE_CALLS if to.device else CALLS)
    return done
