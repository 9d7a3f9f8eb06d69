"""What the doctor says of machines that have what others lack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from onnxfp.errors import UsageError
from onnxfp.report.plain import to_json
from onnxfp.suspect.confinement import CALLS, MEMORY
from onnxfp.suspect.facts import Installed
from onnxfp.workflows.doctor import Examination, Machine, examination_rows, examine

FOUND = Installed((MEMORY, CALLS), False, 0, "1.31.1", "13.0", ("CUDAExecutionProvider", "CPUExecutionProvider"))
VERSIONS = {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1", "torch": "2.13.0"}
SOUND = Machine(
    packages=lambda: {"onnxruntime": ["onnxruntime-gpu"]},
    version=lambda name: VERSIONS.get(name, ""),
    requirements=lambda: ('torch<3; extra == "embed"', 'pillow; extra == "embed"', "click<9", 'ruff; extra == "test"'),
    look=lambda device: FOUND,
    runs_on=lambda device: "CPUExecutionProvider",
    environment={}.get,
)


def said(subject: str, examination: Examination) -> tuple[str, str]:
    (finding,) = [finding for finding in examination.findings if finding.subject == subject]
    return finding.state, finding.says


def broken(device: str) -> Installed:
    raise UsageError("module 'onnxruntime' has no attribute '__version__'")


def test_a_sound_machine_is_sound():
    examination = examine(SOUND)
    assert examination.sound
    assert said("cpu", examination) == ("ok", "runs models")
    assert said("confinement", examination)[0] == "ok"
    assert said("telemetry", examination) == ("ok", "off")


def test_a_machine_without_a_runtime_is_sound_and_told_what_to_install():
    examination = examine(replace(SOUND, packages=dict, look=broken))
    assert examination.sound
    assert said("onnxruntime", examination) == ("absent", "models cannot be run; install `onnxfp[runtime]`")
    assert "cpu" not in dict(examination_rows(examination))


def test_two_builds_in_one_folder_are_wrong_even_while_one_works():
    builds = ["onnxruntime-gpu", "onnxruntime", "onnxruntime"]
    state, says = said("onnxruntime", examine(replace(SOUND, packages=lambda: {"onnxruntime": builds})))
    assert state == "WRONG"
    assert says.startswith("onnxruntime 1.31.1, onnxruntime-gpu 1.31.1 share one folder")
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in says
    assert "pip install --force-reinstall --no-deps onnxruntime-gpu==1.31.1" in says


def test_an_empty_package_is_wrong_and_repaired_by_its_own_build():
    examination = examine(replace(SOUND, look=broken))
    state, says = said("cpu", examination)
    assert not examination.sound
    assert state == "WRONG"
    assert "no attribute '__version__'" in says
    assert "--force-reinstall --no-deps onnxruntime-gpu==1.31.1" in says


def test_a_runtime_that_runs_nothing_is_wrong():
    assert said("cpu", examine(replace(SOUND, runs_on=lambda device: "")))[0] == "WRONG"


@pytest.mark.parametrize(
    ("found", "provider", "state", "words"),
    [
        (FOUND, "CPUExecutionProvider", "absent", "no NVIDIA driver"),
        (replace(FOUND, cuda=""), "CPUExecutionProvider", "absent", "this build of onnxruntime has none"),
        (replace(FOUND, driver=13010), "CUDAExecutionProvider", "ok", "supports CUDA 13.1"),
        (replace(FOUND, driver=12040), "CPUExecutionProvider", "WRONG", "supports CUDA 12.4, this build needs 13.0"),
        (replace(FOUND, driver=13000), "CPUExecutionProvider", "WRONG", "install `onnxfp[cuda]`"),
    ],
)
def test_cuda_is_what_runs_and_not_what_is_listed(found, provider, state, words):
    examination = examine(replace(SOUND, look=lambda device: found, runs_on=lambda device: provider))
    assert said("cuda", examination)[0] == state
    assert words in said("cuda", examination)[1]
    assert examination.sound == (state != "WRONG")


def test_tensorrt_is_what_runs():
    found = replace(FOUND, driver=13000, listed=("TensorrtExecutionProvider", *FOUND.listed))
    for provider, state in (("TensorrtExecutionProvider", "ok"), ("CUDAExecutionProvider", "absent")):
        machine = replace(SOUND, look=lambda device: found, runs_on=lambda device, name=provider: name)
        assert said("tensorrt", examine(machine))[0] == state


def test_what_a_platform_cannot_confine_is_said():
    examination = examine(replace(SOUND, look=lambda device: replace(FOUND, confined=())))
    state, says = said("confinement", examination)
    assert state == "absent"
    assert says.startswith("nothing but a process of its own; LACKING memory limit")
    assert examination.sound


def test_telemetry_that_is_on_elsewhere_is_said():
    assert "off where models run" in said("telemetry", examine(replace(SOUND, environment=lambda name: "0")))[1]


def test_a_missing_extra_is_named():
    assert said("embed", examine(SOUND)) == ("absent", "needs pillow; install `onnxfp[embed]`")
    whole = replace(SOUND, version=lambda name: "1")
    assert said("embed", examine(whole)) == ("ok", "torch 1, pillow 1")


def test_the_json_says_what_the_table_says():
    result = json.loads(to_json(examine(SOUND)))
    assert result["sound"] is True
    assert [finding["subject"] for finding in result["findings"]][:3] == ["python", "onnxfp", "onnxruntime"]


def test_the_command_looks_at_this_machine(program):
    outcome = program("doctor", status=None)
    assert outcome.status in (0, 3)
    assert outcome.err == ""
    rows = {line.split()[0]: line for line in outcome.out.splitlines()}
    assert "runs models" in rows["cpu"]
    if sys.platform == "linux" and os.uname().machine in ("x86_64", "aarch64"):
        assert "system calls filtered" in rows["confinement"]
        assert "memory limit" in rows["confinement"]
        assert "LACKING" not in rows["confinement"]


def test_a_clash_on_this_machine_is_found(tmp_path):
    """With the metadata of a second build on the path, the command says so and exits with 3."""
    clash = tmp_path / "onnxruntime-1.31.1.dist-info"
    clash.mkdir()
    (clash / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 1.31.1\n")
    (clash / "top_level.txt").write_text("onnxruntime\n")
    source = "from onnxfp_cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", source, "doctor"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3
    assert "share one folder and overwrite each other" in done.stdout
