"""A child that was taken over: whatever it says, this process gets a reason and keeps its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxfp.domain import Answered, QueryProbe, Unanswered
from onnxfp.suspect import worker as workers
from onnxfp.suspect.channel import ROOM, TYPES, Garbled, TooLarge, open_channel, shared_memory
from onnxfp.suspect.facts import Implausible, facts, installed, one_line
from onnxfp.suspect.limits import Limits, memory_of
from onnxfp.suspect.running import start_running
from onnxfp.suspect.session import Session, open_session
from onnxfp.suspect.worker import Lost, Worker
from tests.suspect import runnable_models as models

INPUTS = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)


@pytest.fixture
def taken_over():
    """Start a child that runs other code than ours; it finds `say`, which frames a message."""
    opened = []

    def start(source: str) -> Worker:
        source = f"""
import json, os, struct, sys, time
def say(message):
    text = message if isinstance(message, bytes) else json.dumps(message).encode()
    os.write(1, struct.pack('<I', len(text)) + text)
{source}
"""
        memory = shared_memory()
        assert memory is not None
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", source, str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=(memory,),
            start_new_session=True,
        )
        channel = open_channel(process.stdout.fileno(), process.stdin.fileno(), memory, parent=True)
        os.close(memory)
        opened.append(Worker(process, channel))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


GARBAGE = {
    "nothing": ("", "ended with status 0"),
    "a crash": ("os.abort()", "was ended by SIGABRT"),
    "half a length": ("os.write(1, b'ab')", "ended with status 0"),
    "half a message": ("os.write(1, struct.pack('<I', 100) + b'{')", "ended with status 0"),
    "a length beyond reason": ("os.write(1, b'\\xff' * 4)", "a message of 4294967295 bytes"),
    "no JSON": ("say(b'{]')", "a message that is not JSON"),
    "no text": ("say(b'\\xff\\xfe\\xff')", "a message that is not JSON"),
    "a deep hole": ("say(b'[' * 60000)", "a message that is not JSON"),
    "a list": ("say([1])", "a message that is not an object"),
    "a huge number": ("say(b'{\"a\": ' + b'9' * 60000 + b'}')", "a message that is not JSON"),
    "no arrays": ("say({})", "no list of arrays"),
    "too many arrays": ("say({'arrays': [['bool', [0]]] * 65})", "no list of arrays"),
    "arrays that are none": ("say({'arrays': [3]})", "an array that is none"),
    "an unknown type": ("say({'arrays': [['U99', [1]]]})", "an array that is none"),
    "objects": ("say({'arrays': [['object', [3]]]})", "an array that is none"),
    "a negative side": ("say({'arrays': [['int8', [-1]]]})", "an array that is none"),
    "a side that is true": ("say({'arrays': [['int8', [True]]]})", "an array that is none"),
    "a side that is a float": ("say({'arrays': [['int8', [1.0]]]})", "an array that is none"),
    "a side beyond reason": ("say({'arrays': [['int8', [2**62]]]})", "an array that is none"),
    "too many sides": ("say({'arrays': [['int8', [1] * 17]]})", "an array that is none"),
    "large sides": ("say({'arrays': [['int8', [2**20, 2**20]]]})", "an array that does not fit"),
    "large sides and none": ("say({'arrays': [['int8', [0] + [2**26] * 15]]})", "an array that does not fit"),
    "large arrays": ("say({'arrays': [['int8', [2**26]]] * 2})", "arrays that do not fit"),
    "silence": ("os.close(1); time.sleep(60)", "fell silent"),
}


@pytest.mark.parametrize("defect", GARBAGE)
def test_garbage_is_a_reason(defect, taken_over):
    source, reason = GARBAGE[defect]
    child = taken_over(source)
    with pytest.raises(Lost, match=reason.replace("[", r"\[")):
        child.ask({}, seconds=20)
    with pytest.raises(Lost, match=reason):
        child.ask({}, seconds=20)


def test_a_child_that_takes_too_much_memory_is_ended(taken_over):
    source = "hold = bytearray(200 << 20); time.sleep(60)"
    with pytest.raises(Lost, match="used more than 100 MiB"):
        taken_over(source).ask({}, seconds=20, resident=100 << 20)
    with pytest.raises(Lost, match=r"did not answer within 0\.3 s"):
        taken_over(source).ask({}, seconds=0.3)


def test_a_child_that_does_not_listen_is_ended():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "shared_memory", lambda: None)
        patch.setattr(workers, "_START", "import time; time.sleep(60)")
        child = workers.start_worker()
    with pytest.raises(Lost, match=r"did not answer within 0\.3 s"):
        child.ask({}, [np.zeros(1 << 20)], seconds=0.3)


def test_the_memory_cannot_be_cut_off_under_the_parent(taken_over):
    source = """
memory = int(sys.argv[1])
refused = 0
for size in (0, 1 << 30):
    try:
        os.ftruncate(memory, size)
    except OSError:
        refused += 1
say({"refused": refused, "arrays": [["uint8", [1 << 26]]]})
time.sleep(60)
"""
    message, (array,) = taken_over(source).ask({}, seconds=20)
    assert message == {"refused": 2}
    assert not array.any()


def test_what_was_received_does_not_change_any_more(taken_over):
    source = """
import mmap
memory = mmap.mmap(int(sys.argv[1]), 1 << 27)
sys.stdin.buffer.raw.read(999)
memory[1 << 26] = 1
say({"arrays": [["uint8", [1]]]})
sys.stdin.buffer.raw.read(999)
memory[1 << 26] = 2
say({"arrays": [["uint8", [1]]]})
time.sleep(60)
"""
    child = taken_over(source)
    _, (first,) = child.ask({}, seconds=20)
    _, (second,) = child.ask({}, seconds=20)
    assert (first[0], second[0]) == (1, 2)


# --- what it says of the model ----------------------------------------------------------------------------------------

SAID = {
    "provider": "CPUExecutionProvider",
    "inputs": ["x"],
    "count": 1,
    "name": "x",
    "type": "tensor(float)",
    "shape": [None, 6],
    "outputs": ["y"],
}
LIES = [
    {"provider": 3},
    {"inputs": "x"},
    {"inputs": [1]},
    {"count": "1"},
    {"count": -1},
    {"count": True},
    {"name": None},
    {"shape": None},
    {"shape": [-1]},
    {"shape": [2**70]},
    {"shape": ["n"]},
    {"shape": [1] * 99},
    {"outputs": ["y"] * 99},
    {"type": []},
]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_what_makes_no_sense_is_not_believed(lie):
    assert facts(SAID).input.shape == (None, 6)
    with pytest.raises(Implausible):
        facts(SAID | lie)


def test_what_a_child_without_a_model_says_is_read_strictly():
    said = {"confined": ["a"], "device": 1, "driver": 0, "version": "1", "cuda": "", "listed": []}
    assert installed(said).device is False
    for lie in ({"confined": None}, {"driver": "13"}, {"version": 1}):
        with pytest.raises(Implausible):
            installed(said | lie)


def test_a_reason_is_one_line_that_does_nothing():
    assert one_line("\x1b[31mred\nnext") == "[31mred next"
    assert one_line(["x"]) == one_line("") == "it gave no reason"
    assert len(one_line("x" * 9999)) < 500


REPLIES = {
    "a batch beyond reason": ({"shape": [2**40, 6]}, None, "takes more than 64 MiB"),
    "a sample beyond reason": ({"shape": [None, 2**40]}, None, r"they are \[n, 6\]"),
    "another number of outputs": ({}, {"arrays": []}, "has 1 outputs and returned 0"),
    "large, it says": ({}, {"large": "very", "arrays": []}, "take more than 64 MiB"),
    "failed, it says": ({}, {"failed": {"a": 1}, "arrays": []}, "it gave no reason"),
    "no outputs": ({"outputs": []}, {"arrays": []}, "returned no output"),
}


@pytest.mark.parametrize("case", REPLIES)
def test_a_session_over_a_child_that_was_taken_over_has_reasons(case, taken_over, tmp_path):
    lie, reply, reason = REPLIES[case]
    child = taken_over(
        f"say({SAID | lie | {'arrays': []}!r})\nwhile sys.stdin.buffer.raw.read(99):\n    say({reply!r})"
    )
    running = start_running(child, tmp_path / "m.onnx", "cpu", Limits(start_s=20, answer_s=20))
    response = Session(tmp_path / "m.onnx", child, running, "cpu").answer(QueryProbe(INPUTS))
    assert isinstance(response, Unanswered)
    assert reason.replace("\\", "") in response.reason


# --- both ends --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["memory", "pipes"])
def ends(request):
    memory = shared_memory() if request.param == "memory" else None
    down, up = os.pipe(), os.pipe()
    yield open_channel(up[0], down[1], memory, parent=True), open_channel(down[0], up[1], memory, parent=False)
    for descriptor in (*down, *up, *([] if memory is None else [memory])):
        os.close(descriptor)


def test_arrays_arrive_as_they_were_sent(ends):
    sent = [np.arange(5, dtype=name) for name in sorted(TYPES - {"bool"})] + [np.array([[True], [False]]), np.zeros(())]
    for sender, receiver in (ends, ends[::-1]):
        sender.send({"a": "ä"}, [*sent, sent[0][::2], np.empty((0, 3), np.int8), np.array(["text"])])
        message, received = receiver.receive()
        assert message == {"a": "ä"}
        for one, other in zip([*sent, sent[0][::2], np.empty((0, 3), np.int8)], received, strict=False):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
        assert (received[-1].dtype, received[-1].shape) == (object, (0,))


def test_what_does_not_fit_is_not_sent(ends):
    for message, arrays_ in (({}, [np.zeros(ROOM + 1, np.int8)]), ({"a": "x" * 70_000}, []), ({}, [np.zeros(1)] * 65)):
        with pytest.raises(TooLarge):
            ends[0].send(message, arrays_)
    ends[0].send({"the": "first"})
    assert ends[1].receive()[0] == {"the": "first"}


@given(
    st.one_of(st.binary(max_size=200), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
)
@settings(max_examples=200, deadline=None)
def test_any_message_is_read_or_garbled(said):
    text = said if isinstance(said, bytes) else json.dumps({"arrays": said}).encode()
    reader, writer = os.pipe()
    os.write(writer, len(text).to_bytes(4, "little") + text)
    os.close(writer)
    try:
        open_channel(reader, -1, None, parent=True).receive()
    except (Garbled, EOFError):
        pass
    finally:
        os.close(reader)


def test_without_shared_memory_the_answers_are_the_same(tmp_path, monkeypatch):
    models.linear(tmp_path / "m.onnx")
    responses = []
    for _ in range(2):
        with open_session(tmp_path / "m.onnx") as session:
            responses.append(session.answer(QueryProbe(INPUTS)))
        monkeypatch.setattr(workers, "shared_memory", lambda: None)
    assert isinstance(responses[1], Answered)
    assert np.array_equal(responses[0].values, responses[1].values)


def test_a_session_that_was_closed_says_so(tmp_path):
    session = open_session(models.linear(tmp_path / "m.onnx"))
    session.close()
    session.close()
    assert "it was closed" in session.answer(QueryProbe(INPUTS)).reason


def test_a_batch_that_takes_long_is_not_made_longer(taken_over, tmp_path):
    source = """
say({said!r})
while sys.stdin.buffer.raw.read(999):
    time.sleep(0.2)
    say({{'arrays': [['int8', [16]]]}})
"""
    for answer_s, batch in ((60, 256), (5, 16)):
        child = taken_over(source.format(said=SAID | {"arrays": []}))
        running = start_running(child, tmp_path / "m.onnx", "cpu", Limits(answer_s=answer_s))
        running.outputs(INPUTS[:16], everything=False)
        assert running._batch == batch


def test_memory_follows_what_lies_beside_the_model_within_the_machine(tmp_path):
    (tmp_path / "m.onnx").touch()
    least = memory_of(tmp_path / "m.onnx", Limits())
    with (tmp_path / "m.data").open("wb") as file:
        file.truncate(1 << 40)
    most = memory_of(tmp_path / "m.onnx", Limits())
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert least == min(4 << 30, machine * 3 // 4)
    assert most == machine * 3 // 4
    assert memory_of(tmp_path / "m.onnx", Limits(memory_bytes=7)) == 7


@given(arrays.arrays(np.float32, (3, 2)))
@settings(max_examples=100, deadline=None)
def test_casting_back_gives_the_same_values(values):
    from onnxfp.errors import UsageError
    from onnxfp.suspect.model_input import cast

    for name in sorted(TYPES):
        try:
            changed = cast(values, name)
        except UsageError:
            continue
        if name != "float16":
            assert np.array_equal(changed.astype(np.float32), values, equal_nan=True)
