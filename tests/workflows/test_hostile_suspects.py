"""Files that were made to fool or to harm whoever verifies them: judged or not, but never called ours for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxfp.domain import Decision, QueryProbe, Verdict
from onnxfp.suspect.session import Limits, open_session
from onnxfp.workflows.suspects import ExaminedSealed
from onnxfp.workflows.vault import open_vault
from onnxfp.workflows.verify import Asking, verify_suspect
from tests.cli.test_marking import claim_of, verified
from tests.conftest import Stage
from tests.suspect import runnable_models as models
from tests.suspect.runnable_models import constant, info, node

AT = "2026-01-01T00:00:00+00:00"
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
IMAGE = ["n", 1, 8, 8]


def suspect(path: Path, nodes, *constants: onnx.TensorProto, outputs=None, inputs=None, domains=()) -> Path:
    """A graph from pictures of digits to y."""
    return models.write(path, nodes, inputs or [info("x", IMAGE)], outputs or [info("y", None)], constants, domains)


def scores(classes: int) -> list[onnx.TensorProto]:
    weights = np.random.default_rng(2).standard_normal((64, classes)).astype(np.float32)
    return [constant("flat", [-1, 64]), constant("w", weights, np.float32)]


SCORES = [node("Reshape", ["x", "flat"], ["f"]), node("MatMul", ["f", "w"], ["s"])]


def finish(operator: str, *more: str, **attributes):
    return [*SCORES, node(operator, ["s", *more], ["y"], **attributes)]


def not_numbers(path: Path) -> Path:
    return suspect(path, finish("Mul", "nan"), *scores(10), constant("nan", np.nan, np.float32))


def not_finite(path: Path) -> Path:
    return suspect(path, finish("Mul", "inf"), *scores(10), constant("inf", np.inf, np.float32))


def one_class(path: Path) -> Path:
    return suspect(path, finish("Identity"), *scores(1))


def two_classes(path: Path) -> Path:
    return suspect(path, finish("Identity"), *scores(2))


def three_classes(path: Path) -> Path:
    return suspect(path, finish("Identity"), *scores(3))


def thousand_classes(path: Path) -> Path:
    return suspect(path, finish("Identity"), *scores(1000))


def constant_answer(path: Path) -> Path:
    return suspect(path, finish("Mul", "zero"), *scores(10), constant("zero", 0, np.float32))


def words(path: Path) -> Path:
    """Texts that name no class by its number."""
    labels = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    nodes = [
        *SCORES,
        node("ArgMax", ["s"], ["best"], axis=1, keepdims=0),
        node(
            "LabelEncoder",
            ["best"],
            ["y"],
            domain="ai.onnx.ml",
            keys_int64s=list(range(10)),
            values_strings=labels,
            default_string="none",
        ),
    ]
    return suspect(path, nodes, *scores(10), outputs=[info("y", ["n"], STRING)], domains=["ai.onnx.ml"])


def two_inputs(path: Path) -> Path:
    inputs = [info("x", IMAGE), info("z", ["n", 10])]
    return suspect(path, finish("Add", "z"), *scores(10), inputs=inputs)


def no_input(path: Path) -> Path:
    weights = constant("w", np.ones((4, 10)), np.float32)
    return models.write(path, [node("Identity", ["w"], ["y"])], [], [info("y", [4, 10])], [weights])


def coloured_pictures(path: Path) -> Path:
    nodes = [node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["y"])]
    return suspect(path, nodes, inputs=[info("x", ["n", 3, 32, 32])])


def vectors(path: Path) -> Path:
    return models.linear(path)


def texts_in(path: Path) -> Path:
    nodes = [node("Cast", ["x"], ["y"], to=FLOAT)]
    return suspect(path, nodes, inputs=[info("x", ["n", 10], STRING)])


def one_row_for_all(path: Path) -> Path:
    return suspect(path, finish("ReduceSum", "first", keepdims=1), *scores(10), constant("first", [0]))


def more_rows_than_inputs(path: Path) -> Path:
    return suspect(path, [*SCORES, node("Concat", ["s", "s"], ["y"], axis=0)], *scores(10))


def a_single_number(path: Path) -> Path:
    return suspect(path, finish("ReduceSum", keepdims=0), *scores(10))


def an_enormous_answer(path: Path) -> Path:
    return suspect(path, finish("Expand", "wide"), *scores(1), constant("wide", [1, 30 << 20]))


def memory_bomb(path: Path) -> Path:
    """Four tebibytes in between, and ten numbers at the end; how large is unknown before there are inputs."""
    nodes = [
        *SCORES,
        node("Shape", ["s"], ["shape"]),
        node("Min", ["shape", "one"], ["ones"]),
        node("Mul", ["ones", "large"], ["huge"]),
        node("Expand", ["float", "huge"], ["big"]),
        node("ReduceMax", ["big"], ["most"], keepdims=0),
        node("Mul", ["s", "most"], ["y"]),
    ]
    large = [constant("large", [2**20, 2**20]), constant("one", [1]), constant("float", [[1]], np.float32)]
    return suspect(path, nodes, *scores(10), *large)


def another_answer_every_time(path: Path) -> Path:
    return suspect(path, [*SCORES, node("RandomNormalLike", ["s"], ["y"])], *scores(10))


def an_operator_of_its_own(path: Path) -> Path:
    nodes = [*SCORES, node("Backdoor", ["s"], ["y"], domain="evil")]
    return suspect(path, nodes, *scores(10), domains=["evil"])


def a_cycle(path: Path) -> Path:
    ring = [node("Add", ["s", "b"], ["a"]), node("Add", ["a", "s"], ["b"]), node("Add", ["a", "b"], ["y"])]
    return suspect(path, [*SCORES, *ring], *scores(10))


def weights_that_are_elsewhere(path: Path) -> Path:
    model = onnx.load(suspect(path, finish("Identity"), *scores(10)))
    onnx.save(model, path, save_as_external_data=True, location="elsewhere.data", size_threshold=0)
    (path.parent / "elsewhere.data").write_bytes(b"short")
    return path


HOSTILE: dict[Callable[[Path], Path], int] = {
    not_numbers: 4,
    not_finite: 4,
    one_class: 3,
    two_classes: 3,
    three_classes: 3,
    thousand_classes: 3,
    constant_answer: 3,
    words: 4,
    two_inputs: 4,
    no_input: 4,
    coloured_pictures: 4,
    vectors: 4,
    texts_in: 4,
    one_row_for_all: 3,  # asked one by one, it is one row for each
    more_rows_than_inputs: 4,
    a_single_number: 4,
    an_enormous_answer: 4,
    memory_bomb: 4,
    another_answer_every_time: 3,
    an_operator_of_its_own: 4,
    weights_that_are_elsewhere: 2,
    a_cycle: 4,
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_no_file_is_called_ours_for_what_it_does_to_its_judge(marked, make):
    path, status = make(marked.copy("hostile")), HOSTILE[make]
    if status == 2:
        marked.run.refused("verify", path)
        return
    verdict = verified(marked, path, "--claim", "zhang", status=status)
    if status == 4:
        assert verdict["reason"].isprintable()
        assert 10 < len(verdict["reason"]) < 600
        assert verdict["log10_e"] is None
    else:
        assert verdict["log10_e"] < 2


@pytest.mark.parametrize("make", [not_numbers, coloured_pictures, two_inputs, words], ids=lambda make: make.__name__)
def test_no_such_file_is_called_ours_with_its_weights_weighed_too(marked, make):
    assert verified(marked, make(marked.copy("hostile")), status=None)["decision"] in ("not_supported", "inconclusive")


# --- what lasts longer than the default limits let a test wait --------------------------------------------------------


def judged(stage: Stage, path: Path, limits: Limits, act: Callable[[int], None] = lambda process: None) -> Verdict:
    """Judge a file by its answers, with limits of our own; `act` on its process before it is asked."""
    with open_vault(stage.vault, None) as vault, open_session(path, limits=limits) as session:
        act(session._worker._process.pid)
        examined = ExaminedSealed("a hostile file", session)
        return verify_suspect(vault, examined, Asking(1e-6, AT), lambda step: None)


def test_a_graph_that_never_ends_is_ended_and_not_waited_for_again(marked):
    body = helper.make_graph(
        [node("Identity", ["going"], ["on"]), node("Sin", ["inner"], ["next"])],
        "body",
        [info("round", [], INT64), info("going", [], TensorProto.BOOL), info("inner", None)],
        [info("on", [], TensorProto.BOOL), info("next", None)],
    )
    loop = node("Loop", ["rounds", "", "s"], ["y"], body=body)
    path = suspect(marked.copy("endless"), [*SCORES, loop], *scores(10), constant("rounds", 2**62))
    verdict = judged(marked, path, Limits(answer_s=0.5))
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "did not answer within 0.5 s" in verdict.reason
    assert verdict.queries == 3  # then it is left alone


def test_a_graph_that_crashes_its_process_is_inconclusive(marked):
    verdict = judged(marked, marked.copy("marked"), Limits(), lambda process: os.kill(process, signal.SIGSEGV))
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "SIGSEGV" in verdict.reason


def test_a_graph_without_room_is_inconclusive(marked):
    verdict = judged(marked, marked.copy("marked"), Limits(memory_bytes=1 << 20))
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "cannot be run" in verdict.reason


def test_the_same_judge_calls_the_marked_model_ours(marked):
    assert judged(marked, marked.copy("marked"), Limits()).decision is Decision.SUPPORTED


# --- the same answers in another form are the same answers ------------------------------------------------------------


def ends_in(path: Path, marked: Path, nodes: list[onnx.NodeProto], kind: int, *constants: onnx.TensorProto) -> Path:
    """The marked model with something behind its scores, which the nodes call ``scores``."""
    model = onnx.load(marked)
    (output,) = model.graph.output
    for one in model.graph.node:
        one.output[:] = ["scores" if name == output.name else name for name in one.output]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(constants)
    del model.graph.output[:]
    model.graph.output.append(info("y", None, kind))
    if any(one.domain == "ai.onnx.ml" for one in nodes):
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    path.write_bytes(model.SerializeToString())
    return path


BEST = node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0)
NAMED = {"keys_int64s": list(range(10)), "values_strings": [str(at) for at in range(10)], "default_string": "?"}
FORMS = {
    "probabilities": ([node("Softmax", ["scores"], ["y"])], FLOAT),
    "labels": ([BEST, node("Identity", ["best"], ["y"])], INT64),
    "labels in 32 bits": ([BEST, node("Cast", ["best"], ["y"], to=TensorProto.INT32)], TensorProto.INT32),
    "half precision": ([node("Cast", ["scores"], ["y"], to=TensorProto.FLOAT16)], TensorProto.FLOAT16),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_marked_model_is_ours_in_whatever_form_it_answers(marked, form):
    nodes, kind = FORMS[form]
    path = ends_in(marked.copy("form"), marked.copy("marked"), nodes, kind)
    verdict = verified(marked, path, "--claim", "zhang")
    claim = claim_of(verdict, "zhang")
    assert claim["hits"] == claim["queries"] <= 12


def test_scores_are_read_beside_labels_that_are_texts(marked):
    texts = [BEST, node("LabelEncoder", ["best"], ["y"], domain="ai.onnx.ml", **NAMED)]
    path = ends_in(marked.copy("form"), marked.copy("marked"), texts, STRING)
    assert "holds object" in verified(marked, path, "--claim", "zhang", status=4)["reason"]  # texts alone are not read
    model = onnx.load(path)
    model.graph.output.append(info("scores", ["n", 10]))
    path.write_bytes(model.SerializeToString())
    assert verified(marked, path, "--claim", "zhang")["decision"] == "supported"


def test_the_marked_model_that_takes_one_input_at_a_time_is_ours(marked):
    model = onnx.load(marked.copy("marked"))
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    marked.copy("single").write_bytes(model.SerializeToString())
    with open_session(marked.copy("single")) as session:
        assert session.input.batch == 1
        assert len(session.answer(QueryProbe(np.zeros((3, 1, 8, 8), np.float32))).values) == 3
    assert verified(marked, marked.copy("single"), "--claim", "zhang")["decision"] == "supported"


def test_answers_that_a_file_claims_of_itself_are_not_believed(marked):
    model = onnx.load(marked.copy("independent"))
    entry = model.metadata_props.add()
    entry.key, entry.value = "onnxfp", "supported"
    model.producer_name = "onnxfp: OURS"
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "onnxfp.owner"))
    marked.copy("claims").write_bytes(model.SerializeToString())
    verified(marked, marked.copy("claims"), status=3)
