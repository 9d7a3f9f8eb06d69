"""Which execution providers of onnxruntime to ask for: what a build lists is not what a machine has."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
DEVICES = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
"""The devices that may be asked for by name, beside `auto`."""


def asked_for(device: str, listed: Sequence[str], *, driver: bool) -> list[str]:
    """Return the providers to ask for, best first; what the session then says it has is what counts.

    Args:
        device: `auto`, or one of `DEVICES`.
        listed: what the build of onnxruntime lists.
        driver: whether the driver of the accelerator loads; without it, an attempt costs seconds and fails.
    """
    match device:
        case "tensorrt":
            wanted = [TENSORRT, CUDA, CPU]
        case "cuda" | "auto":
            wanted = [CUDA, CPU]
        case _:
            wanted = [CPU]
    return [one for one in wanted if one == CPU or (driver and one in listed)]


def driver_loads() -> bool:
    """Say whether the driver of NVIDIA's accelerators can be loaded; loads it into this process."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
