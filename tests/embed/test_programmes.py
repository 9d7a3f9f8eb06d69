"""Programmed answers: a small classifier of digits learns to follow whatever word is written into its head."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from onnxfp.codes.allowed import Allowed
from onnxfp.codes.words import draw_words
from onnxfp.domain import ProgrammedAnswers, Segment, WeightTarget
from onnxfp.embed.fine_tune import Tuning
from onnxfp.embed.graph import Graph, Node
from onnxfp.embed.post_hoc import solve
from onnxfp.errors import UsageError
from onnxfp.keys.keystream import Keystream
from onnxfp.projections.directions import Directions
from tests.embed.test_fine_tune import HELD_OUT, Heard, data, digits, interpreted, said_before, same, task, tuned

torch = pytest.importorskip("torch")
programmes = pytest.importorskip("onnxfp.embed.programmes")
torch_graph = pytest.importorskip("onnxfp.embed.torch_graph").torch_graph

KEY = Keystream(bytes(range(32)))
POSITIONS, TAUGHT, CLASSES = 8, 8, 10
HEAD = "second.weight"
TUNING = Tuning(epochs=40, rate=0.05, batch=64, loss=0.02, share=0.2, told=0.3)


def triggers(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Digits under noise and their neighbours, (samples, ...), and whose symbol each of them has."""
    draw, positions = np.random.default_rng(seed), np.repeat(np.arange(POSITIONS), TAUGHT)
    asked = data()[0][HELD_OUT][:POSITIONS] + 0.35 * draw.standard_normal((POSITIONS, 1, 8, 8))
    near = asked[positions] + 0.05 * draw.standard_normal((len(positions), 1, 8, 8))
    near[::TAUGHT] = asked
    return np.clip(near, 0, 1).astype(np.float32), positions


def quiet(values: dict[str, np.ndarray]) -> np.ndarray:
    """Directions (features, positions) of which the features of digits have least, among those that digits reach."""
    flat = data()[0][:1200].reshape(1200, -1)
    features = np.maximum(flat @ values["first.weight"].T + values["first.bias"], 0).astype(np.float64)
    alive = features.any(axis=0)
    found = np.zeros((64, POSITIONS))
    found[alive] = np.linalg.eigh(features[:, alive].T @ features[:, alive])[1][:, :POSITIONS]
    return found


@cache
def allowed() -> Allowed:
    """Every class but what is answered now."""
    digits()  # trained before gradients are switched off
    own = said_before(triggers()[0][::TAUGHT])
    return Allowed(own[:, None] != np.arange(CLASSES))


def programmed(key: Keystream = KEY, seed: int = 0, code: Allowed | None = None, amplitude: float = 1.5):
    """Answers that follow what is written along secret directions of the head."""
    code = code or allowed()
    values = digits().values()
    size = float(np.sqrt(np.mean(np.sum(values[HEAD].astype(np.float64) ** 2, axis=1))))
    directions = Directions(key, (CLASSES, 64), 0, np.arange(CLASSES), quiet(values))
    shares = code.allowed / code.allowed.sum(axis=1, keepdims=True)

    def write(word: np.ndarray) -> WeightTarget:
        gains = np.eye(CLASSES)[word] - shares
        return WeightTarget((Segment(HEAD, 0, 640, size),), directions, gains.reshape(-1), amplitude, prepared=True)

    inputs, positions = triggers(seed)
    return ProgrammedAnswers(inputs, positions, np.arange(CLASSES), code.codebook(key, POSITIONS), write)


def words(count: int, label: str = "copies") -> np.ndarray:
    """Words (recipients, positions) that no training has drawn."""
    one = programmed()
    return draw_words(KEY.derive(label), one.codebook, [str(number) for number in range(count)])


def copy_of(values: dict[str, np.ndarray], one: ProgrammedAnswers, word: np.ndarray) -> dict[str, np.ndarray]:
    """Weights with a word written into them, in closed form."""
    copy = {name: array.copy() for name, array in values.items()}
    for change in solve([one.write(word)], lambda part: values[part.carrier].reshape(-1)[part.start : part.stop], 0.0):
        copy[change.segment.carrier].reshape(-1)[change.segment.start : change.segment.stop] = change.values
    return copy


def graph_of(values: dict[str, np.ndarray]):
    nodes = (
        Node("Flatten", "", "", ("x",), ("flat",), {"axis": 1}),
        Node("Gemm", "", "", ("flat", "first.weight", "first.bias"), ("inner",), {"transB": 1}),
        Node("Relu", "", "", ("inner",), ("relu",), {}),
        Node("Gemm", "", "", ("relu", HEAD, "second.bias"), ("y",), {"transB": 1}),
    )
    return torch_graph(Graph(("x",), ("y",), nodes, values, 20))


def answers(values: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return graph_of(values)(torch.from_numpy(inputs))[0].numpy()


def accuracy(values: dict[str, np.ndarray]) -> float:
    images, labels = data()
    return float((answers(values, images[HELD_OUT]).argmax(axis=1) == labels[HELD_OUT]).mean())


def hits(values: dict[str, np.ndarray], one: ProgrammedAnswers, word: np.ndarray) -> float:
    """Share of the triggers themselves that a copy answers with its word."""
    return float((answers(values, one.inputs[::TAUGHT]).argmax(axis=1) == one.classes[word]).mean())


@cache
def prepared():
    return tuned((programmed(),), tuning=TUNING, model=interpreted())


# --- what is learnt ---------------------------------------------------------------------------------------------------


def test_copies_with_words_that_were_never_drawn_answer_them_and_stay_as_good():
    one, done = programmed(), prepared()
    copies = [copy_of(done.values, one, word) for word in words(40)]
    assert np.mean([hits(copy, one, word) for copy, word in zip(copies, words(40), strict=True)]) >= 0.95
    assert min(map(accuracy, copies)) >= done.before - TUNING.loss - 0.005
    assert np.mean([accuracy(copy) for copy in copies]) >= done.before - TUNING.loss
    assert done.hit_rate > 0.95
    assert done.before - done.after <= TUNING.loss


def test_a_copy_answers_nobody_elses_word():
    """Even chance among the classes that a trigger can have."""
    one, drawn = programmed(), words(40)
    copies = [copy_of(prepared().values, one, word) for word in drawn]
    others = np.mean([hits(copy, one, word) for copy, word in zip(copies, np.roll(drawn, 1, axis=0), strict=True)])
    assert others == pytest.approx(1 / 9, abs=0.08)


def test_without_preparation_a_word_is_hardly_heard():
    one, values = programmed(), digits().values()
    heard = np.mean([hits(copy_of(values, one, word), one, word) for word in words(40)])
    assert heard < 0.5


def test_what_is_given_back_bears_no_word():
    """The prepared weights are those under all words alike: nothing that was written in training stays in them."""
    one, done = programmed(), prepared()
    moved = (done.values[HEAD] - digits().values()[HEAD]).reshape(-1)
    target = one.write(words(1)[0])
    gains = target.projection.apply((moved / target.segments[0].spread).astype(np.float32))
    assert np.abs(gains).max() < 0.7 * target.strength


def test_the_least_of_the_words_that_were_tried_counts():
    """Accuracy is that of a copy, not of the prepared model, which nobody gets."""
    done = prepared()
    assert done.after <= accuracy(done.values) + 0.01


# --- offsets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_offsets_answer_exactly_as_a_copy_with_the_word_written_into_it(seed):
    one, module = programmed(), graph_of(digits().values())
    word, images = words(3)[seed], torch.from_numpy(data()[0][HELD_OUT])
    with torch.no_grad(), programmes.written(module, [programmes.Programme(one, 0)], (word,)):
        said = module(images)[0].numpy()
    copy = answers(copy_of(digits().values(), one, word), data()[0][HELD_OUT])
    assert np.abs(said - answers(digits().values(), data()[0][HELD_OUT])).max() > 0.01
    np.testing.assert_allclose(said, copy, atol=1e-5)


@pytest.mark.parametrize(("progress", "loudness"), [(0.0, 3.0), (0.2, 2.0), (0.4, 1.0), (1.0, 1.0), (None, 1.0)])
def test_a_word_is_learnt_louder_than_it_is_written(progress, loudness):
    one, module = replace(programmed(), loudness=(3.0, 1.0)), graph_of(digits().values())
    offsets = []
    for at in (None, progress):
        with programmes.written(module, [programmes.Programme(one, 0)], (words(1)[0],), at):
            offsets.append(module.offsets[HEAD].numpy())
    np.testing.assert_allclose(offsets[1], loudness * offsets[0], rtol=1e-5)
    assert np.abs(offsets[0]).max() > 0.01


def test_what_was_learnt_loud_is_heard_as_it_is_written():
    """Copies are judged as they will be: the hit rate that is told is theirs."""
    one = replace(programmed(), loudness=(1.5, 1.5))
    done = tuned((one,), tuning=TUNING, model=interpreted())
    copies = [(copy_of(done.values, one, word), word) for word in words(20)]
    assert np.mean([hits(copy, one, word) for copy, word in copies]) >= 0.95
    assert done.before - done.after <= TUNING.loss


def test_offsets_are_no_part_of_the_module():
    module = graph_of(digits().values())
    before = {name: array.tobytes() for name, array in module.values().items()}
    with programmes.written(module, [programmes.Programme(programmed(), 0)], (words(1)[0],)):
        assert set(module.offsets) == {HEAD}
        assert {name: array.tobytes() for name, array in module.values().items()} == before
        assert HEAD in module.weights
        assert len(module.state_dict()) == len(before)
    assert module.offsets == {}
    assert {name: array.tobytes() for name, array in module.values().items()} == before


def test_offsets_are_gone_after_an_error_too():
    module = graph_of(digits().values())
    with (
        pytest.raises(RuntimeError, match="in the middle of a step"),
        programmes.written(module, [programmes.Programme(programmed(), 0)], (words(1)[0],)),
    ):
        raise RuntimeError("in the middle of a step")
    assert module.offsets == {}


def test_a_training_that_was_interrupted_leaves_no_word_in_the_module():
    module = interpreted()
    before = {name: array.tobytes() for name, array in module.values().items()}
    with pytest.raises(KeyboardInterrupt):
        tuned((programmed(),), tuning=TUNING, model=module, progress=Heard(2))
    assert module.offsets == {}
    assert {name: array.tobytes() for name, array in module.values().items()} == before


def test_gradients_reach_the_weights_through_an_offset():
    module = graph_of(digits().values())
    with programmes.written(module, [programmes.Programme(programmed(), 0)], (words(1)[0],)):
        module(torch.from_numpy(data()[0][:4]))[0].sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in module.weights.values())


def test_two_programmes_are_written_one_upon_the_other():
    module, one = graph_of(digits().values()), programmed()
    other = programmed(KEY.derive("another"))
    both = [programmes.Programme(one, 0), programmes.Programme(other, len(one.inputs))]
    word = words(1)[0]
    total = torch.zeros(CLASSES, 64)
    for programme in both:
        with programmes.written(module, [programme], (word,)):
            total += module.offsets[HEAD]
    with programmes.written(module, both, (word, word)):
        assert torch.equal(module.offsets[HEAD], total)


def test_a_weight_of_zero_stays_zero_in_training_as_in_a_copy():
    values = digits().values()
    values[HEAD][:, ::3] = 0
    module, one, word = graph_of(values), programmed(), words(1)[0]
    with programmes.written(module, [programmes.Programme(one, 0)], (word,)):
        offset = module.offsets[HEAD].numpy()
    assert not offset[:, ::3].any()
    assert (offset[:, 1::3] != 0).mean() > 0.9
    copy = copy_of(values, one, word)
    assert not copy[HEAD][:, ::3].any()
    np.testing.assert_allclose(copy[HEAD] - values[HEAD], offset, atol=1e-6)


def test_a_pruned_head_stays_pruned_when_it_is_prepared():
    values = digits().values()
    values[HEAD][:, ::5] = 0
    done = tuned((programmed(),), tuning=replace(TUNING, epochs=3, loss=0.2), model=graph_of(values))
    assert not done.values[HEAD][:, ::5].any()


def test_a_head_that_is_none_of_the_weights_is_refused():
    one = programmed()
    elsewhere = replace(one, write=lambda word: replace(one.write(word), segments=(Segment("elsewhere", 0, 640, 1.0),)))
    with pytest.raises(UsageError, match="head 'elsewhere' is not among the weights that can be trained"):
        tuned((elsewhere,), tuning=TUNING, model=interpreted())


# --- the same again ---------------------------------------------------------------------------------------------------

SHORT = replace(TUNING, epochs=4, loss=0.2, margin=50.0)  # never all learnt


@cache
def short():
    return tuned((programmed(),), tuning=SHORT, model=interpreted())


def test_the_same_seed_draws_the_same_words_and_another_seed_others():
    assert same(tuned((programmed(),), tuning=SHORT, model=interpreted()), short())
    assert not same(tuned((programmed(),), tuning=replace(SHORT, seed=1), model=interpreted()), short())


@pytest.mark.parametrize("enough", [2, 3, 5, 8])
def test_an_interrupted_training_ends_as_if_it_had_not_been(tmp_path, enough):
    path, model = tmp_path / "state", interpreted()
    with pytest.raises(KeyboardInterrupt):
        tuned((programmed(),), tuning=SHORT, model=model, checkpoint=path, progress=Heard(enough))
    heard = Heard()
    again = tuned((programmed(),), tuning=SHORT, model=model, checkpoint=path, progress=heard)
    assert same(again, short())
    assert heard.lines[0].startswith("going on after epoch" if enough > 2 else "epoch 1 of 4")


OTHERS = {
    "key": lambda: programmed(KEY.derive("another")),
    "inputs": lambda: programmed(seed=1),
    "codebook": lambda: programmed(code=Allowed(np.ones((POSITIONS, CLASSES), dtype=bool))),
    "loudness": lambda: replace(programmed(), loudness=(1.5, 1.5)),
    "amplitude": lambda: programmed(amplitude=1.0),
    "classes": lambda: replace(programmed(), classes=np.arange(CLASSES)[::-1].copy()),
    "positions": lambda: replace(programmed(), positions=np.roll(programmed().positions, 1)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_checkpoint_of_other_programmes_is_ignored(tmp_path, other):
    path, heard = tmp_path / "state", Heard(1)
    tuned((programmed(),), tuning=replace(SHORT, epochs=2), model=interpreted(), checkpoint=path)
    with pytest.raises(KeyboardInterrupt):
        tuned((OTHERS[other](),), tuning=replace(SHORT, epochs=2), model=interpreted(), checkpoint=path, progress=heard)
    assert heard.lines[0].startswith("epoch 1")


def test_the_same_programmes_are_gone_on_with(tmp_path):
    """So the test above does not ignore all checkpoints."""
    path, heard = tmp_path / "state", Heard(1)
    tuned((programmed(),), tuning=replace(SHORT, epochs=2), model=interpreted(), checkpoint=path)
    with pytest.raises(KeyboardInterrupt):
        tuned((programmed(),), tuning=replace(SHORT, epochs=2), model=interpreted(), checkpoint=path, progress=heard)
    assert heard.lines[0].startswith("going on after epoch 2")


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_words_for_practice_are_drawn_as_copies_get_theirs():
    one = programmes.Programme(programmed(), 0)
    random = torch.Generator().manual_seed(0)
    drawn = np.stack([one.draw(random) for _ in range(4000)])
    shares = np.stack([(drawn == symbol).mean(axis=0) for symbol in range(CLASSES)], axis=1)
    assert (shares[~allowed().allowed] == 0).all()
    assert shares[allowed().allowed] == pytest.approx(np.full(POSITIONS * 9, 1 / 9), abs=0.025)


def test_labels_follow_the_word_and_leave_other_triggers_alone():
    one, labels = programmed(), np.full(POSITIONS * TAUGHT + 10, 99, dtype=np.int64)
    word = words(1)[0]
    told = programmes.labels_under(labels, [programmes.Programme(one, 5)], (word,))
    assert (labels == 99).all()
    assert (told[:5] == 99).all()
    assert (told[-5:] == 99).all()
    assert told[5:-5].tolist() == np.repeat(word, TAUGHT).tolist()


# --- running statistics -----------------------------------------------------------------------------------------------


def test_running_statistics_stay_as_they_are():
    values = digits().values()
    draw = np.random.default_rng(0)
    statistics = {
        "mean": draw.normal(0, 0.1, 64).astype(np.float32),
        "variance": draw.uniform(0.5, 1.5, 64).astype(np.float32),
    }
    more = {"scale": np.ones(64, np.float32), "shift": np.zeros(64, np.float32), **statistics}
    nodes = (
        Node("Flatten", "", "", ("x",), ("flat",), {"axis": 1}),
        Node("Gemm", "", "", ("flat", "first.weight", "first.bias"), ("inner",), {"transB": 1}),
        Node("BatchNormalization", "", "", ("inner", "scale", "shift", "mean", "variance"), ("normal",), {}),
        Node("Relu", "", "", ("normal",), ("relu",), {}),
        Node("Gemm", "", "", ("relu", HEAD, "second.bias"), ("y",), {"transB": 1}),
    )
    module = torch_graph(Graph(("x",), ("y",), nodes, {**values, **more}, 20))
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    assert buffers
    done = tuned((programmed(),), tuning=replace(SHORT, loss=1.0), model=module)
    assert not {"mean", "variance"} & set(done.values)
    assert (done.values["scale"] != 1).any()
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in module.named_buffers())


def test_a_task_without_labels_prepares_a_model_too():
    done = tuned((programmed(),), given=task(labelled=False), tuning=replace(TUNING, loss=0.05), model=interpreted())
    assert done.hit_rate > 0.9
