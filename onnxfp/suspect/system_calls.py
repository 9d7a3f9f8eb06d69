"""A filter over system calls (seccomp, Linux): a process that computes needs no network, no programs, no other process.

The filter denies instead of allowing, since onnxruntime and the C library differ in what they need; what it denies is
every door known to lead out of the process. Denied calls fail with EPERM, as if the caller had no right to them. The
two whose arguments a filter cannot read, clone3 and openat2, fail as if they did not exist, so that the C library uses
their elders.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_SET_FILTER, _ALL_THREADS = 1, 1
_CLONE_THREAD = 0x10000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_OTHER_ABI = 0x40000000  # x32: the same calls under other numbers

# Call by call: the number on x86_64 and on aarch64; None where there is no such call.
_NO_NETWORK = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
}  # fmt: skip
_NO_PROCESSES = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kill": (62, 129), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "setrlimit": (160, 164), "setpriority": (141, 140),
}  # fmt: skip
_NO_SYSTEM = {
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104), "reboot": (169, 142),
    "open_by_handle_at": (304, 265), "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190),
    "msgget": (68, 186), "mq_open": (240, 180), "mq_unlink": (241, 181),
}  # fmt: skip
_NO_CHANGES = {
    "creat": (85, None), "truncate": (76, 45), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "link": (86, None), "linkat": (265, 37),
    "unlink": (87, None), "unlinkat": (263, 35), "symlink": (88, None), "symlinkat": (266, 36), "mknod": (133, None),
    "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}  # fmt: skip
DENIED: Mapping[str, tuple[int | None, int | None]] = _NO_NETWORK | _NO_PROCESSES | _NO_SYSTEM | _NO_CHANGES


@dataclass(frozen=True)
class _Machine:
    """What differs between processors."""

    column: int
    audit: int
    """How the kernel names it."""
    seccomp: int
    open: int | None
    openat: int
    openat2: int
    clone: int
    clone3: int
    tgkill: int
    prlimit: int


_MACHINES = {
    "x86_64": _Machine(0, 0xC000003E, 317, 2, 257, 437, 56, 435, 234, 302),
    "aarch64": _Machine(1, 0xC00000B7, 277, None, 56, 437, 220, 435, 131, 261),
}


def install_filter(*, writing: bool) -> bool:
    """Filter the system calls of all threads of this process, for good; return whether that succeeded.

    Args:
        writing: allow files to be opened for writing, without which no driver of an accelerator works.
    """
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return False
    program = filter_program(machine, os.getpid(), writing=writing)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions, and where they are
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.syscall(machine.seccomp, _SET_FILTER, _ALL_THREADS, ctypes.byref(header)) == 0)


def filter_program(machine: _Machine, process: int, *, writing: bool) -> bytes:
    """Return the filter as the kernel reads it: `struct sock_filter` after another."""
    rules = [_step(_LOAD, _MACHINE), _step(_EQUAL, machine.audit, 1, 0), _DENY]
    rules += [_step(_LOAD, _NUMBER), _step(_ANY_BIT, _OTHER_ABI, 0, 1), _DENY]
    numbers = [numbers[machine.column] for numbers in DENIED.values()]
    rules += [_rule(number, b"", _DENY) for number in numbers if number is not None]
    missing = _step(_RETURN, _ERROR | errno.ENOSYS)
    rules += [_rule(number, b"", missing) for number in (machine.clone3, machine.openat2)]
    # A process may start threads, and signal and limit itself; nothing beyond.
    rules.append(_rule(machine.clone, _argument(0) + _step(_ANY_BIT, _CLONE_THREAD, 1, 0), _DENY))
    rules.append(_rule(machine.tgkill, _argument(0) + _step(_EQUAL, process, 1, 0), _DENY))
    upper = _step(_LOAD, _ARGUMENTS + 8 * 2 + 4) + _step(_EQUAL, 0, 1, 0)
    rules.append(_rule(machine.prlimit, _argument(2) + _step(_EQUAL, 0, 0, 2) + upper, _DENY))
    if not writing:
        for number, at in ((machine.open, 1), (machine.openat, 2)):
            if number is not None:
                rules.append(_rule(number, _argument(at) + _step(_ANY_BIT, _WRITES, 0, 1), _DENY))
    return b"".join([*rules, _step(_RETURN, _ALLOW)])


def _step(code: int, value: int, matched: int = 0, otherwise: int = 0) -> bytes:
    """Return one instruction; a comparison skips so many steps if it holds, and so many otherwise."""
    return struct.pack("@HBBI", code, matched, otherwise, value)


_DENY = _step(_RETURN, _ERROR | errno.EPERM)


def _argument(at: int) -> bytes:
    return _step(_LOAD, _ARGUMENTS + 8 * at)


def _rule(number: int, condition: bytes, verdict: bytes) -> bytes:
    """Return `verdict` for a call for which `condition` falls through; a condition that fails skips one step."""
    rest = condition + verdict + (_step(_LOAD, _NUMBER) if condition else b"")
    return _step(_EQUAL, number, 0, len(rest) // 8) + rest
