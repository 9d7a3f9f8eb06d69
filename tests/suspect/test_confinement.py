"""What a confined process can no longer do, and that it could before."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from onnxfp.suspect import confinement, system_calls
from onnxfp.suspect.confinement import Confinement
from onnxfp.suspect.session import Limits, open_session
from tests.suspect import runnable_models as models

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there is everything in force")

# Each leaves `number` at 0, or raises OSError.
DEEDS = {
    "a socket": "import socket; socket.socket()",
    "a local socket": "import socket; socket.socket(socket.AF_UNIX)",
    "a pair of sockets": "import socket; socket.socketpair()",
    "a program": "os.execv('/bin/true', ['true'])",
    "a program in a new process": "os.posix_spawn('/bin/true', ['true'], {})",
    "a new process": "os._exit(0) if os.fork() == 0 else os.wait()",
    "a signal to another": "os.kill(os.getppid(), 0)",
    "a signal to another's thread": "call(234 if X86 else 131, os.getppid(), os.getppid(), 0)",
    "a descriptor of another": "os.pidfd_open(os.getppid())",
    "tracing another": "call(101 if X86 else 117, 16, os.getppid(), 0, 0)",
    "reading another's memory": "call(310 if X86 else 270, os.getppid(), 0, 0, 0, 0, 0)",
    "a limit of another": "resource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))",
    "a ring of calls": "call(425, 1, 0)",
    "a name space": "call(272 if X86 else 97, 0x10000000)",
    "a file to write": "open(FILE, 'w')",
    "a file to append": "open(FILE, 'a')",
    "a file to read and write": "os.open(FILE, os.O_RDWR)",
    "a file without a name": "os.open(FOLDER, os.O_TMPFILE | os.O_WRONLY)",
    "a folder": "os.mkdir(FOLDER + '/new')",
    "a link": "os.symlink('a', FOLDER + '/link')",
    "a removal": "os.unlink(FILE)",
    "another name": "os.rename(FILE, FILE + '2')",
    "a mode": "os.chmod(FILE, 0o777)",
    "a time": "os.utime(FILE)",
    "a length": "os.truncate(FILE, 0)",
    "new privileges back": "sys.exit(0 if PRCTL(39, 0, 0, 0, 0) == 0 else errno.EPERM)",
}
HARMLESS = {
    "a thread": "import threading; t = threading.Thread(target=int); t.start(); t.join()",
    "a file to read": "open(FILE).close()",
    "memory": "bytearray(100 << 20)",
    "asking for a limit": "resource.getrlimit(resource.RLIMIT_CORE)",
    "a module": "import numpy",
    "the end of itself": "os.abort()",
}

SOURCE = """
import ctypes, errno, os, resource, sys
from onnxfp.suspect.confinement import Confinement, confine
FOLDER, X86 = sys.argv[1], os.uname().machine == "x86_64"
FILE = FOLDER + "/file"
C = ctypes.CDLL(None, use_errno=True)
PRCTL = C.prctl

def call(*numbers):
    if C.syscall(*numbers) < 0:
        raise OSError(ctypes.get_errno(), "refused")

{confined}
try:
    {deed}
except OSError as problem:
    os._exit(problem.errno)
os._exit(0)
"""


def attempt(deed: str, folder, confined: str) -> int:
    (folder / "file").write_text("x")
    source = SOURCE.format(confined=confined, deed=deed)
    return subprocess.run([sys.executable, "-c", source, str(folder)], check=False, capture_output=True).returncode


CONFINED = "confine(Confinement())"


@pytest.mark.parametrize("deed", DEEDS)
def test_a_confined_process_may_not(deed, tmp_path):
    assert attempt(DEEDS[deed], tmp_path, CONFINED) == errno.EPERM


# What would be done to the tests themselves, or what not every machine allows, is not tried.
UNTRIED = {
    "tracing another",
    "reading another's memory",
    "a limit of another",
    "a name space",
    "a ring of calls",
    "a file without a name",
}


@pytest.mark.parametrize("deed", sorted(DEEDS.keys() - UNTRIED))
def test_a_free_process_may(deed, tmp_path):
    assert attempt(DEEDS[deed], tmp_path, "") == 0


@pytest.mark.parametrize("deed", HARMLESS)
def test_a_confined_process_still_may(deed, tmp_path):
    assert attempt(HARMLESS[deed], tmp_path, CONFINED) == (-6 if deed == "the end of itself" else 0)


def test_threads_that_run_already_are_confined_too(tmp_path):
    confined = """
import threading
go, done = threading.Event(), []
def late():
    go.wait()
    try:
        import socket
        socket.socket()
    except OSError as problem:
        os._exit(problem.errno)
    os._exit(0)
thread = threading.Thread(target=late)
thread.start()
confine(Confinement())
go.set()
"""
    assert attempt("thread.join()", tmp_path, confined) == errno.EPERM


@pytest.mark.parametrize(
    ("deed", "error"),
    [
        ("os.write(OPEN, b'x' * 9)", errno.EFBIG),
        ("[os.open(FILE, os.O_RDONLY) for _ in range(500)]", errno.EMFILE),
    ],
)
def test_limits_hold(deed, error, tmp_path):
    opening = "OPEN = os.open(FILE, os.O_RDWR)\n"
    assert attempt(deed, tmp_path, opening + CONFINED) == error
    assert attempt(deed, tmp_path, opening) == 0


def test_memory_beyond_the_limit_is_not_given(tmp_path):
    for limit, status in ((50 << 20, errno.ENOMEM), (500 << 20, 0)):
        deed = "import mmap; mmap.mmap(-1, 100 << 20)"
        assert attempt(deed, tmp_path, f"confine(Confinement({limit}))") == status


def test_a_driver_may_open_its_device_and_nothing_more(tmp_path):
    confined = "confine(Confinement(device=True))"
    assert attempt("os.open('/dev/null', os.O_RDWR)", tmp_path, confined) == 0
    for deed in ("a socket", "a program", "a new process", "a removal"):
        assert attempt(DEEDS[deed], tmp_path, confined) == errno.EPERM


def test_calls_by_their_other_numbers_are_refused(tmp_path):
    if os.uname().machine != "x86_64":
        pytest.skip("there are none")
    assert attempt("call(0x40000000 + 39)", tmp_path, CONFINED) == errno.EPERM


def test_the_filter_fits_and_knows_both_processors():
    for machine in system_calls._MACHINES.values():
        program = system_calls.filter_program(machine, 1, writing=False)
        assert len(program) % 8 == 0
        assert len(program) // 8 < 4096  # BPF_MAXINSNS
        assert len(program) > len(system_calls.filter_program(machine, 1, writing=True))


def test_on_an_unknown_processor_nothing_is_claimed(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert system_calls.install_filter(writing=False) is False


def test_a_child_with_a_model_is_confined(tmp_path):
    with open_session(models.linear(tmp_path / "m.onnx"), limits=Limits(memory_bytes=1 << 30)) as session:
        session.outputs(np.zeros((300, 6), np.float32))
        with (
            open(f"/proc/{session._worker._process.pid}/status") as status,
            open(f"/proc/{session._worker._process.pid}/limits") as limits,
        ):
            said, held = status.read(), limits.read()
    assert "NoNewPrivs:\t1" in said
    assert "Seccomp:\t2" in said
    assert f"{confinement._FILES}  " in held
    assert Confinement().parent == 0
