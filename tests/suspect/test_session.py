"""Models that run in a process of their own: what they answer, and what they cannot do to this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from onnxfp.demo import path as demo_file
from onnxfp.domain import Answered, QueryProbe, Response, Unanswered
from onnxfp.errors import ArtifactError, UsageError
from onnxfp.suspect.session import Limits, ModelInput, open_session
from onnxfp.workflows.fidelity import load_data
from tests.suspect import runnable_models as models
from tests.suspect.test_opened import PROBE

DIGITS = demo_file("digits.onnx")
INPUTS = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
LOGITS = INPUTS @ models.WEIGHTS
LOGS = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))


def ask(path: Path, inputs: np.ndarray = INPUTS, limits: Limits | None = None) -> Response:
    with open_session(path, limits=limits or Limits()) as session:
        return session.answer(QueryProbe(inputs))


def answered(path: Path, inputs: np.ndarray = INPUTS) -> np.ndarray:
    response = ask(path, inputs)
    assert isinstance(response, Answered), response
    return response.values


def refused(path: Path, inputs: np.ndarray = INPUTS, limits: Limits | None = None) -> str:
    response = ask(path, inputs, limits)
    assert isinstance(response, Unanswered)
    assert response.reason.isprintable()
    assert len(response.reason) < 700
    return response.reason


@pytest.fixture
def model(tmp_path):
    return tmp_path / "model.onnx"


# --- what models answer -----------------------------------------------------------------------------------------------


def test_the_demo_model_answers_as_it_does_in_this_process():
    data = load_data(demo_file("digits_test.npz"))
    bare = onnxruntime.InferenceSession(DIGITS, providers=["CPUExecutionProvider"])
    expected = bare.run(None, {bare.get_inputs()[0].name: data.inputs})[0]
    with open_session(DIGITS) as session:
        response = session.answer(QueryProbe(data.inputs))
        outputs = session.outputs(data.inputs)
        assert session.provider == response.provider == "CPUExecutionProvider"
        assert session.input == ModelInput("input", (None, 1, 8, 8), "float32")
        assert session.fallback == ""
    assert np.allclose(outputs, expected, atol=1e-5)
    assert outputs.dtype == np.float64
    assert (response.values.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_many_batches_come_back_in_order(model):
    assert np.allclose(answered(models.linear(model)), LOGS, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 512])
def test_a_fixed_batch_is_filled_up_and_the_filling_dropped(model, batch):
    assert np.allclose(answered(models.linear(model, batch), INPUTS[:20]), LOGS[:20], atol=1e-5)


def test_weights_in_a_second_file_are_found_under_confinement(model):
    assert np.allclose(answered(models.external(model)), LOGS, atol=1e-5)


def test_an_optional_input_needs_nothing(model):
    assert np.allclose(answered(models.optional_input(model)), LOGS, atol=1e-5)


def test_half_precision_may_round_the_inputs(model):
    said = answered(models.one_hot_image(model), INPUTS.reshape(-1, 6, 1, 1))
    assert said.shape == (300, 3)
    assert np.allclose(said, LOGS, atol=0.05)


def test_pictures_of_bytes_get_labels(model):
    pictures = np.random.default_rng(1).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    expected = pictures.astype(float).mean(axis=(1, 2)).argmax(axis=1)
    models.image_labels(model)
    assert (answered(model, pictures) == expected).all()
    assert (answered(model, pictures.astype(np.float64)) == expected).all()  # whole numbers lose nothing
    assert "would lose digits" in refused(model, pictures / 255)


def test_the_labels_beside_a_sequence_of_maps_are_read(model):
    assert (answered(models.zip_map(model)) == LOGITS.argmax(axis=1)).all()
    assert "holds object" in refused(models.zip_map(model, labels=False))


def test_a_quantised_model_answers(model):
    from onnxruntime.quantization import quantize_dynamic

    models.linear(model)
    small = model.with_name("small.onnx")
    quantize_dynamic(model, small)
    assert np.mean(answered(small).argmax(axis=1) == LOGITS.argmax(axis=1)) > 0.95


def test_answers_that_are_no_numbers_are_no_answers(model):
    spoilt = INPUTS.copy()
    spoilt[3, 0] = -1e30
    said = answered(models.single(model, "Exp"), spoilt * 100)
    assert np.isnan(said).any()


def test_the_first_output_is_returned_whatever_its_shape(model):
    with open_session(models.flood(model, 5)) as session:
        assert np.array_equal(session.outputs(INPUTS), np.repeat(INPUTS.astype(np.float64), 5, axis=1))


# --- what cannot be asked ---------------------------------------------------------------------------------------------


def test_weights_are_not_read(model):
    with open_session(models.linear(model)) as session:
        assert "asked for outputs" in session.answer(PROBE).reason


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (INPUTS[:, :5], r"it takes shape \[n, 6\], they are \[n, 5\]"),
        (INPUTS[:, :, None], r"they are \[n, 6, 1\]"),
        (INPUTS[:0], "there are none"),
        (np.float32(1), "there are none"),
        (INPUTS.astype(np.float64) + 1e-12, "takes float32, they are float64 and would lose digits"),
        (INPUTS.astype("S"), "give numbers"),
        (np.zeros((2, 6), dtype=complex), "give numbers"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_one_line(inputs, reason, tmp_path):
    with open_session(models.linear(tmp_path / "m.onnx")) as session:
        response = session.answer(QueryProbe(np.asarray(inputs)))
        assert isinstance(response, Unanswered)
        assert response.unfit == ("[n" in reason)
        with pytest.raises(UsageError, match=reason):
            session.outputs(np.asarray(inputs))
        assert isinstance(session.answer(QueryProbe(INPUTS)), Answered)  # it still lives


def test_two_inputs_are_too_many(model):
    assert "it takes 2 inputs ('x', 'z'), expected one" in refused(models.two_inputs(model))


def test_a_type_that_numpy_does_not_have_is_refused(model):
    models.single(model, "Identity", models.TensorProto.BFLOAT16)
    assert "tensor(bfloat16), which has no numpy type" in refused(model)


def test_what_is_no_model_is_a_reason_and_for_its_owner_an_error(model):
    model.write_bytes(b"\x08\x0a\x12" * 99)
    assert "cannot be run" in refused(model)
    with open_session(model) as session:
        assert (session.provider, session.input.shape) == ("", ())
        with pytest.raises(ArtifactError, match=r"model\.onnx cannot be run"):
            session.outputs(INPUTS)
    with pytest.raises(ArtifactError, match="No such file"):
        open_session(model.with_name("missing.onnx"))


def test_operators_of_others_are_not_loaded(model):
    path = models.write(
        model,
        [models.node("Spy", ["x"], ["y"], domain="evil")],
        [models.info("x", ["n", 6])],
        [models.info("y", None)],
        domains=["evil"],
    )
    assert "evil" in refused(path)


@pytest.mark.parametrize(("device", "message"), [("cuda", "CPUExecutionProvider runs it"), ("tpu", "no device 'tpu'")])
def test_a_required_device_that_is_not_there_is_refused(device, message):
    if device == "cuda":
        with open_session(DIGITS, device="cuda") as session:
            if session.provider == "CUDAExecutionProvider":
                pytest.skip("CUDA works here")
            assert session.fallback == "cuda was asked for, CPUExecutionProvider runs it"
    with pytest.raises(UsageError, match=message):
        open_session(DIGITS, device=device, require_device=True)


# --- what hostile models do -------------------------------------------------------------------------------------------


def test_a_crash_is_a_reason_and_stays_one(model):
    with open_session(models.linear(model)) as session:
        assert isinstance(session.answer(QueryProbe(INPUTS)), Answered)
        os.kill(session._worker._process.pid, signal.SIGSEGV)
        first = session.answer(QueryProbe(INPUTS))
        assert "was ended by SIGSEGV" in first.reason
        assert session.answer(QueryProbe(INPUTS)) == first
        with pytest.raises(ArtifactError, match="SIGSEGV"):
            session.outputs(INPUTS)


def test_a_model_that_never_ends_is_ended_and_not_asked_again(model):
    with open_session(models.endless(model), limits=Limits(answer_s=0.5)) as session:
        began = time.monotonic()
        first = session.answer(QueryProbe(INPUTS))
        assert "did not answer within 0.5 s" in first.reason
        assert time.monotonic() - began < 5
        began = time.monotonic()
        assert session.answer(QueryProbe(INPUTS)) == first
        assert time.monotonic() - began < 0.1
        assert session._worker._process.returncode == -signal.SIGKILL


def test_a_model_that_never_loads_is_ended(model):
    os.mkfifo(model)
    assert "did not answer within 1 s" in refused(model, limits=Limits(start_s=1))


def test_a_memory_bomb_hits_a_limit_and_not_the_machine(model):
    assert "Failed to allocate memory" in refused(models.memory_bomb(model, 2**20))  # 4 TiB
    models.memory_bomb(model, 64)  # 256 MiB
    refused(model, INPUTS[:9], Limits(memory_bytes=128 << 20))
    assert isinstance(ask(model, INPUTS[:9]), Answered)


def test_a_model_without_room_to_start_is_a_reason(model):
    assert "cannot be run" in refused(models.linear(model), limits=Limits(memory_bytes=1 << 20))


def test_outputs_too_large_for_many_are_asked_for_few(model):
    with open_session(models.flood(model, 2**18)) as session:  # 6 MiB for one input
        assert session.outputs(INPUTS[:12]).shape == (12, 6 << 18)


def test_an_enormous_output_is_refused(model):
    assert "more than 64 MiB" in refused(models.flood(model, 3 << 20), INPUTS[:2])  # 72 MiB for one input


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([models.node("ReduceSum", ["x"], ["y"], keepdims=0)], r"shape \[\]"),
        ([models.node("Transpose", ["x"], ["y"])], r"shape \[0, "),
        ([models.node("NonZero", ["x"], ["y"])], "expected"),
    ],
)
def test_outputs_that_are_not_one_for_each_input_are_refused(model, nodes, reason):
    assert reason.replace("\\", "") in refused(models.with_scores(model, nodes))


def test_a_model_that_lies_about_its_shapes_is_found_out(model):
    path = models.write(
        model,
        [models.node("Reshape", ["x", "to"], ["y"])],
        [models.info("x", ["n", 6])],
        [models.info("y", ["n", 6])],
        [models.constant("to", [-1, 4])],
    )
    assert "expected [300, classes]" in refused(path)


# --- what is left behind ----------------------------------------------------------------------------------------------

VISIT = """
import sys
from pathlib import Path
import numpy as np
from onnxfp.domain import QueryProbe
from onnxfp.suspect.session import open_session
from onnxfp.demo import path
with open_session(path("digits.onnx")) as session:
    session.answer(QueryProbe(np.zeros((300, 1, 8, 8), np.float32)))
    print(session._worker._process.pid)
if "leave" in sys.argv:
    Path.home().joinpath("left").touch()
"""


@pytest.fixture
def visited(tmp_path):
    """Run a visit to a model in empty folders; return the number of the child and the files left there."""

    def visit(*arguments: str) -> tuple[int, list[str]]:
        places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "cwd")}
        for place in places.values():
            place.mkdir()
        env = {**os.environ, **{name: str(place) for name, place in places.items()}, "PYTHONDONTWRITEBYTECODE": "1"}
        env.pop("ORT_DISABLE_TELEMETRY", None)
        command = [sys.executable, "-c", VISIT, *arguments]
        done = subprocess.run(command, env=env, cwd=places["cwd"], check=True, capture_output=True, text=True)
        assert done.stderr == ""
        return int(done.stdout), sorted(str(file) for file in tmp_path.rglob("*") if file.is_file())

    return visit


def test_a_visit_leaves_no_file_and_no_process(visited):
    child, files = visited()
    assert files == []
    assert not Path(f"/proc/{child}").exists()


def test_a_visit_that_leaves_something_is_found_out(visited):
    assert visited("leave")[1] != []


def test_a_session_that_nobody_closed_ends_with_its_owner(model):
    session = open_session(models.linear(model))
    child = session._worker._process
    del session
    assert child.returncode is not None


def test_a_child_does_not_outlive_a_parent_that_is_killed(model):
    models.linear(model)
    source = f"""
import os, signal
from pathlib import Path
from onnxfp.suspect.session import open_session
session = open_session(Path({str(model)!r}))
print(session._worker._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", source], check=False, capture_output=True, text=True)
    state = Path(f"/proc/{int(done.stdout)}")
    end = time.monotonic() + 5
    while _runs(state) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _runs(state)


def _runs(process: Path) -> bool:
    return process.exists() and "\nState:\tZ" not in (process / "status").read_text()


def test_a_session_outlives_the_thread_that_opened_it(model):
    models.linear(model)
    opened = []
    thread = threading.Thread(target=lambda: opened.append(open_session(model)))
    thread.start()
    thread.join()
    with opened[0] as session:
        assert isinstance(session.answer(QueryProbe(INPUTS)), Answered)


def test_no_secret_of_the_environment_reaches_the_child(model, monkeypatch):
    monkeypatch.setenv("ONNXFP_PASSPHRASE", "a secret")
    with open_session(models.linear(model)) as session:
        seen = Path(f"/proc/{session._worker._process.pid}/environ").read_text()
    assert "ORT_DISABLE_TELEMETRY=1" in seen
    assert "secret" not in seen


def test_an_interrupted_question_ends_the_session(model, monkeypatch):
    with open_session(models.linear(model)) as session:
        monkeypatch.setattr(type(session._worker._channel), "receive", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.answer(QueryProbe(INPUTS))
        monkeypatch.undo()
        assert "it was interrupted" in session.answer(QueryProbe(INPUTS)).reason


def _interrupted(self: object) -> None:
    raise KeyboardInterrupt
