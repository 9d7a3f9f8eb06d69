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


def driver_version() -> int:
    """Return the CUDA version that NVIDIA's driver supports, as 1000 * major + 10 * minor; 0 where there is no driver.

    Loads the driver into this process.
    """
    version = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        driver.cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value
