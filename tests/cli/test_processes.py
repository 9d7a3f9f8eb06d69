"""The installed program as a process of its own: ends, signals, kills, and what they leave behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SHAPES, layers, save

PROGRAM = Path(sys.executable).with_name("onnxfp")
LARGE = ((1024, 1024), (1024, 1024), (1024, 512))  # takes long enough to be interrupted
PATIENCE = 60  # seconds


def start(vault: Path, *arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [str(PROGRAM), "--vault", str(vault), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def run(vault: Path, *arguments: object) -> tuple[int, str, str]:
    process = start(vault, *arguments)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def rows(vault: Path, kind: str) -> list[str]:
    """Subjects of the rows of one kind."""
    connection = sqlite3.connect(f"file:{vault / 'ledger.db'}?mode=ro", uri=True, timeout=10)
    try:
        found = connection.execute("SELECT subject FROM entries WHERE kind = ? ORDER BY seq", (kind,)).fetchall()
    finally:
        connection.close()
    return [subject for (subject,) in found]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A folder with a vault and a registered model that is slow to mark."""
    folder = tmp_path_factory.mktemp("large")
    model = save(layers(1, *LARGE), folder / "model.onnx")
    assert run(folder / "vault", "init")[0] == 0
    assert run(folder / "vault", "register", model)[0] == 0
    return folder


# --- the installed program --------------------------------------------------------------------------------------------


def test_the_story_of_a_leak_as_a_person_types_it(tmp_path):
    vault, model = tmp_path / "vault", save(layers(1, *SHAPES), tmp_path / "model.onnx")
    other = save(layers(2, *SHAPES), tmp_path / "other.onnx")
    acme, leaked = tmp_path / "acme.onnx", tmp_path / "leaked.onnx"
    for arguments, status in (
        (("init",), 0),
        (("inspect", model), 0),
        (("register", model), 0),
        (("issue", model, "--to", "Acme Corp", "-o", acme), 0),
        (("attack", acme, "--with", "prune:0.5", "-o", leaked), 0),
        (("trace", leaked), 0),
        (("verify", leaked), 0),
        (("trace", other), 3),
        (("trace", save(layers(2, (33, 44)), tmp_path / "strange.onnx")), 4),
        (("trace", tmp_path / "missing.onnx"), 2),
        (("ledger", "verify"), 0),
    ):
        code, out, err = run(vault, *arguments)
        assert code == status, (arguments, out, err)
        assert "Traceback" not in err
        assert bool(out) is (status != 2)


def test_the_version_and_the_help_end_well(tmp_path):
    assert run(tmp_path, "--version")[:2] == (0, "onnxfp, version 0.1.0\n")
    code, out, err = run(tmp_path, "--help")
    assert (code, err) == (0, "")
    assert "Exit status: 0 supported or passed, 3 not supported" in out


def test_the_vault_may_be_named_by_the_environment(tmp_path):
    process = subprocess.run(
        [PROGRAM, "init"], env={**os.environ, "ONNXFP_VAULT": str(tmp_path / "mine")}, capture_output=True, check=True
    )
    assert process.returncode == 0
    assert (tmp_path / "mine" / "owner.key").exists()


# --- interrupted ------------------------------------------------------------------------------------------------------


def when(process: subprocess.Popen[str], happened: Callable[[], bool], deed: int) -> tuple[int, str, str]:
    """Send a signal as soon as something has happened, and wait for the end."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(deed)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def moments(folder: Path, recipient: str) -> dict[str, Callable[[], bool]]:
    """Points in the life of `issue`: the bytes are being copied; the row is reserved, the copy not yet delivered."""
    out = folder / recipient
    return {
        "copying": lambda: any(out.iterdir()),
        "reserved": lambda: recipient in rows(folder / "vault", "reserved") and not time.sleep(0.03),
    }


def issue(folder: Path, recipient: str) -> subprocess.Popen[str]:
    (folder / recipient).mkdir(exist_ok=True)
    output = folder / recipient / "copy.onnx"
    return start(folder / "vault", "issue", folder / "model.onnx", "--to", recipient, "-o", output, "--force")


@pytest.mark.parametrize("moment", ["copying", "reserved"])
def test_an_interrupted_issue_ends_with_130_and_leaves_at_most_a_reservation(large, moment):
    recipient = f"interrupted while {moment}"
    process = issue(large, recipient)
    code, out, err = when(process, moments(large, recipient)[moment], signal.SIGINT)
    assert (code, out) == (130, "")
    assert err.strip() == "interrupted"
    assert list((large / recipient).iterdir()) == []
    assert recipient not in rows(large / "vault", "issued")
    assert run(large / "vault", "ledger", "verify")[0] == 0


@pytest.mark.parametrize("moment", ["copying", "reserved"])
def test_a_killed_issue_is_completed_by_issuing_again_with_the_same_bytes_and_one_row(large, moment):
    recipient = f"killed while {moment}"
    code, _, _ = when(issue(large, recipient), moments(large, recipient)[moment], signal.SIGKILL)
    assert code == -signal.SIGKILL
    output = large / recipient / "copy.onnx"
    assert not output.exists() or recipient in rows(large / "vault", "reserved")
    again = issue(large, recipient)
    _, err = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, err
    contents = output.read_bytes()
    once_more = issue(large, recipient)
    once_more.communicate(timeout=PATIENCE)
    assert output.read_bytes() == contents
    assert rows(large / "vault", "reserved").count(recipient) == rows(large / "vault", "issued").count(recipient) == 1
    code, out, _ = run(large / "vault", "trace", output)
    assert code == 0
    assert out.startswith(f"NAMED: {recipient}")


def test_two_processes_that_issue_at_once_both_succeed(tmp_path):
    vault, model = tmp_path / "vault", save(layers(1, *SHAPES), tmp_path / "model.onnx")
    run(vault, "init")
    run(vault, "register", model)
    wanted = [("Acme", "a"), ("Beta", "b"), ("Acme", "c")]
    running = [start(vault, "issue", model, "--to", name, "-o", tmp_path / file) for name, file in wanted]
    ends = [(process.communicate(timeout=PATIENCE), process.returncode) for process in running]
    assert [code for _, code in ends] == [0, 0, 0], ends
    assert (tmp_path / "a").read_bytes() == (tmp_path / "c").read_bytes() != (tmp_path / "b").read_bytes()
    assert sorted(rows(vault, "reserved")) == sorted(rows(vault, "issued")) == ["Acme", "Beta"]
    assert run(vault, "ledger", "verify")[0] == 0


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A folder with a vault, a registered model, one copy, and a model that is nobody's."""
    folder = tmp_path_factory.mktemp("judged")
    model = save(layers(1, *SHAPES), folder / "model.onnx")
    save(layers(2, *SHAPES), folder / "other.onnx")
    for arguments in (("init",), ("register", model), ("issue", model, "--to", "Acme", "-o", folder / "acme.onnx")):
        assert run(folder / "vault", *arguments)[0] == 0
    return folder


PRINTING = [
    (("trace", "acme.onnx"), 0),
    (("trace", "other.onnx"), 3),
    (("verify", "other.onnx", "--format", "json"), 3),
    (("inspect", "model.onnx"), 0),
    (("ledger", "verify"), 0),
    (("--version",), 0),
    (("--help",), 0),
    (("trace", "--help"), 0),
    ((), 0),
]


def ended(folder: Path, arguments: tuple[str, ...], shell: str) -> tuple[int, str]:
    """Run the program with its stdout somewhere; return the exit status of the program and its stderr."""
    command = [str(PROGRAM), "--vault", "vault", *arguments]
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "status"), PRINTING, ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value)
)
def test_a_reader_that_goes_away_changes_no_verdict_and_gets_no_traceback(judged, arguments, status):
    waiting = 'exec 3> >(true); sleep 0.2; "$@" >&3'
    assert ended(judged, arguments, waiting) == (status, "")


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in PRINTING], ids=" ".join)
def test_a_result_that_cannot_be_printed_is_one_line_and_status_2(judged, arguments):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no full device")
    status, err = ended(judged, arguments, '"$@" >/dev/full')
    assert status == 2
    assert err.startswith("onnxfp: ")
    assert "No space left on device" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("shell", ['"$@" 2>/dev/full', '"$@" >&-', '"$@" 2>&-'])
def test_streams_that_are_shut_change_no_verdict(judged, shell):
    assert ended(judged, ("trace", "acme.onnx"), shell) == (0, "")
    assert ended(judged, ("trace", "missing.onnx"), shell)[0] == 2
