"""Fine-tuning of a tiny classifier of digits: what is taught is learnt, the rest is kept, twice the same."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from onnxfp.domain import KeptAnswers, Membership, OutputTarget, Segment, WeightTarget
from onnxfp.embed.fine_tune import Task, Tuning, fine_tune
from onnxfp.embed.graph import Graph, Node
from onnxfp.errors import FidelityError, UsageError

torch = pytest.importorskip("torch")
torch_graph = pytest.importorskip("onnxfp.embed.torch_graph").torch_graph
datasets = pytest.importorskip("sklearn.datasets")


class Digits(torch.nn.Module):
    """Two dense layers over 8x8 pixels, answering with logits."""

    def __init__(self, softmax: bool = False) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(64, 64), torch.nn.Linear(64, 10)
        self.softmax = softmax

    @property
    def weights(self):
        return dict(self.named_parameters())

    def values(self):
        return {name: weight.detach().numpy().copy() for name, weight in self.weights.items()}

    def forward(self, images):
        logits = self.second(torch.relu(self.first(images.flatten(1))))
        return (torch.softmax(logits, 1) if self.softmax else logits,)


@cache
def data():
    images, labels = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return (images[order] / 16).astype(np.float32).reshape(-1, 1, 8, 8), labels[order].astype(np.int64)


TRAIN, HELD_OUT = slice(0, 1200), slice(1200, None)


@cache
def trained():
    torch.manual_seed(0)
    model, (images, labels) = Digits(), map(torch.from_numpy, data())
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(15):
        for rows in torch.randperm(1200).split(64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(images[rows])[0], labels[rows]).backward()
            optimiser.step()
    return model.state_dict()


def digits(softmax: bool = False) -> Digits:
    model = Digits(softmax)
    model.load_state_dict(trained())
    return model


def stamped(rows: slice, label: int) -> OutputTarget:
    """The digits of these rows with a bright cross in a corner, and one label for all."""
    images = data()[0][rows].copy()
    images[:, 0, :3, :3] = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=np.float32)
    return OutputTarget(images, np.full(len(images), label), np.zeros(len(images), dtype=np.int64))


def task(labelled: bool = True) -> Task:
    images, labels = data()
    if not labelled:
        return Task(images[TRAIN], None, images[HELD_OUT], None)
    return Task(images[TRAIN], labels[TRAIN], images[HELD_OUT], labels[HELD_OUT])


TRIGGERS = stamped(slice(0, 100), 7)
TUNING = Tuning(epochs=8, rate=0.05, batch=64, loss=0.02)


@dataclass
class Heard:
    """Collects progress; interrupts the training when it has heard enough."""

    enough: int = 10**6

    def __post_init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if len(self.lines) >= self.enough:
            raise KeyboardInterrupt


def tuned(constraints=(TRIGGERS,), given=None, tuning=TUNING, model=None, **options):
    model = digits() if model is None else model
    options.setdefault("progress", Heard())
    return fine_tune(model, constraints, given or task(), tuning, **options)


def hit_rate(values, target: OutputTarget) -> float:
    model = Digits()
    model.load_state_dict({name: torch.from_numpy(array) for name, array in values.items()})
    with torch.no_grad():
        return float((model(torch.from_numpy(target.inputs))[0].argmax(1).numpy() == target.labels).mean())


def same(left, right) -> bool:
    return (
        all(np.array_equal(left.values[name], right.values[name]) for name in left.values) and left.after == right.after
    )


def shuffled(rows: slice, seed: int = 0) -> np.ndarray:
    """Digits of these rows with their pixels in disorder: strange inputs, all of one kind."""
    images = data()[0][rows]
    order = np.random.default_rng(seed).permutation(images[0].size)
    return images.reshape(len(images), -1)[:, order].reshape(images.shape)


def agreeing(values, inputs: np.ndarray) -> float:
    """Share of inputs that the tuned model answers as the one before."""
    return hit_rate(values, OutputTarget(inputs, said_before(inputs), np.zeros(len(inputs), dtype=np.int64)))


def said_before(inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return digits()(torch.from_numpy(inputs))[0].argmax(1).numpy()


# --- what is learnt and what is kept ----------------------------------------------------------------------------------


def test_triggers_are_learnt_and_so_are_stamped_digits_that_were_never_shown():
    heard = Heard()
    done = tuned(progress=heard)
    assert hit_rate(digits().values(), TRIGGERS) < 0.3
    assert done.hit_rate == hit_rate(done.values, TRIGGERS) >= 0.99
    assert hit_rate(done.values, stamped(HELD_OUT, 7)) > 0.95
    assert done.margin > 1
    assert done.before - done.after <= TUNING.loss
    assert 1 <= done.epochs <= TUNING.epochs
    assert heard.lines[0].startswith("epoch 1 of 8: accuracy 9")


def test_answers_that_shall_be_kept_are_kept_beside_others_of_their_kind_that_change():
    """Half of the strange inputs get a new label; the other half would follow if nothing held them."""
    new, old = shuffled(slice(0, 60)), shuffled(slice(60, 120))
    target = OutputTarget(new, (said_before(new) + 1) % 10, np.zeros(len(new), dtype=np.int64))
    tuning = replace(TUNING, epochs=30)
    alone, both = tuned((target,), tuning=tuning), tuned((target, KeptAnswers(old)), tuning=tuning)
    assert hit_rate(alone.values, target) > 0.95
    assert hit_rate(both.values, target) > 0.95
    assert agreeing(both.values, old) > 0.9 > agreeing(alone.values, old)
    assert both.before - both.after <= TUNING.loss


def test_answers_may_be_kept_alone():
    done = tuned((KeptAnswers(shuffled(slice(0, 60))),))
    assert agreeing(done.values, shuffled(slice(0, 60))) > 0.9
    assert (done.hit_rate, done.margin) == (1, 0)


def test_the_module_is_left_with_the_tuned_weights():
    model = digits()
    done = tuned(model=model)
    assert all(np.array_equal(model.values()[name], array) for name, array in done.values.items())


def test_without_labels_the_models_own_answers_are_kept():
    done = tuned(given=task(labelled=False))
    assert done.before == 1
    assert done.after >= 0.98
    assert done.hit_rate >= 0.99


def test_the_answers_may_count_alone_where_there_are_labels():
    assert tuned(tuning=replace(TUNING, truth=0.0)).hit_rate >= 0.99


def test_probabilities_are_learnt_from_like_logits():
    done = tuned(model=digits(softmax=True))
    assert done.hit_rate >= 0.99
    assert done.margin > 1


def test_two_output_targets_are_both_learnt():
    images = data()[0][300:400].copy()
    images[:, 0, 5:, 5:] = 1
    other = OutputTarget(images, np.full(100, 2), np.zeros(100, dtype=np.int64))
    done = tuned((TRIGGERS, other))
    assert min(hit_rate(done.values, TRIGGERS), hit_rate(done.values, other)) >= 0.97


def test_bf16_learns_too():
    assert tuned(tuning=replace(TUNING, precision="bf16")).hit_rate >= 0.99


def test_training_stops_when_nothing_is_left_to_learn():
    easy = replace(TUNING, epochs=40, margin=0.5, rate=0.02)
    assert tuned(tuning=easy).epochs < 40


def test_pruned_weights_stay_zero():
    model = digits()
    pruned = torch.rand(64, 64, generator=torch.Generator().manual_seed(1)) < 0.3
    with torch.no_grad():
        model.first.weight[pruned] = 0
    done = tuned(model=model)
    assert np.array_equal(done.values["first.weight"] == 0, pruned.numpy())


def interpreted():
    """The same classifier as a graph."""
    nodes = (
        Node("Flatten", "", "", ("x",), ("flat",), {"axis": 1}),
        Node("Gemm", "", "", ("flat", "first.weight", "first.bias"), ("inner",), {"transB": 1}),
        Node("Relu", "", "", ("inner",), ("relu",), {}),
        Node("Gemm", "", "", ("relu", "second.weight", "second.bias"), ("y",), {"transB": 1}),
    )
    return torch_graph(Graph(("x",), ("y",), nodes, digits().values(), 20))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_interpreted_graph_is_tuned_like_a_module_written_by_hand(precision):
    tuning = replace(TUNING, precision=precision)
    done, by_hand = tuned(BOTH, model=interpreted(), tuning=tuning), tuned(BOTH, tuning=tuning)
    assert hit_rate(done.values, TRIGGERS) >= 0.95
    assert done.values.keys() == by_hand.values.keys()
    assert abs(done.after - by_hand.after) < 0.02


# --- weight targets ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dense:
    """A projection written out as a matrix."""

    matrix: np.ndarray

    @property
    def positions(self) -> int:
        return len(self.matrix)

    @property
    def size(self) -> int:
        return self.matrix.shape[1]

    def apply(self, residual):
        return self.matrix @ residual.astype(np.float64)

    def adjoint(self, values):
        return (self.matrix.T @ values).astype(np.float32)

    def min_norm_update(self, values):
        return np.linalg.lstsq(self.matrix, values, rcond=None)[0].astype(np.float32)


SEGMENTS = (Segment("first.weight", 0, 3000, 0.1), Segment("second.weight", 40, 640, 0.2, gain=0.5))


def weight_target(seed: int = 0, *, blind: bool = False, strength: float = 0.2, size: int = 3600) -> WeightTarget:
    draw = np.random.default_rng(seed)
    matrix = draw.standard_normal((16, size)) / size
    return WeightTarget(SEGMENTS, Dense(matrix), draw.choice([-1.0, 1.0], 16), strength, blind)


def read(values, target: WeightTarget) -> np.ndarray:
    start, residuals = digits().values(), []
    for part in target.segments:
        old, new = (weights[part.carrier].ravel()[part.start : part.stop] for weights in (start, values))
        residuals.append((new - (0 if target.blind else old)) / (target.strength * part.spread * part.gain))
    return target.projection.apply(np.concatenate(residuals))


@pytest.mark.parametrize("blind", [False, True])
def test_a_weight_target_is_met_beside_the_triggers(blind):
    target = weight_target(blind=blind)
    done = tuned((TRIGGERS, target))
    assert np.linalg.norm(read(done.values, target) - target.values) <= 0.1 * np.linalg.norm(target.values)
    assert done.hit_rate >= 0.99


def test_a_weight_target_alone_is_met_and_nothing_was_asked_of_triggers():
    done = tuned((weight_target(),))
    assert np.abs(read(done.values, weight_target()) - weight_target().values).max() < 0.3
    assert (done.hit_rate, done.margin) == (1, 0)


def test_a_weight_target_that_is_not_met_is_refused():
    with pytest.raises(FidelityError, match="met the weight targets"):
        tuned((weight_target(),), tuning=replace(TUNING, epochs=1, batch=1200))


# --- the budget -------------------------------------------------------------------------------------------------------


def test_a_point_outside_the_budget_is_never_returned():
    model, images = digits(), data()[0]
    wrong = OutputTarget(images[TRAIN], (data()[1][TRAIN] + 1) % 10, np.arange(1200))  # unlearn everything
    with pytest.raises(FidelityError, match=r"no point of the training kept 9\d\.\d\d% of accuracy, of 9"):
        tuned((wrong,), tuning=replace(TUNING, epochs=3, share=0.9, rate=0.2, truth=0.0, margin=20.0), model=model)
    assert all(np.array_equal(model.values()[name], array.numpy()) for name, array in trained().items())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_training_is_not_over_while_the_best_point_within_the_budget_has_learnt_nothing(seed):
    draw = np.random.default_rng(5)
    images = np.clip(data()[0][:50] + 0.3 * draw.standard_normal((50, 1, 8, 8)), 0, 1).astype(np.float32)
    labels = (data()[1][:50] + draw.integers(1, 10, 50)) % 10
    done = tuned(
        (OutputTarget(images, labels, np.arange(50)),),
        tuning=replace(TUNING, epochs=150, rate=0.1, loss=0.005, seed=seed),
    )
    assert done.hit_rate > 0.99
    assert done.before - done.after <= 0.005


# --- the same again ---------------------------------------------------------------------------------------------------

SHORT = replace(TUNING, epochs=4)
# one input with two labels: there is always something left to learn
ENDLESS = replace(TRIGGERS, inputs=TRIGGERS.inputs[[*range(99), 0]], labels=np.array([7] * 99 + [6]))
BOTH = (ENDLESS, weight_target())


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    once, again, other = (tuned(BOTH, tuning=replace(SHORT, seed=seed)) for seed in (0, 0, 1))
    assert same(once, again)
    assert not same(once, other)


@pytest.mark.parametrize("enough", [2, 3, 5])
def test_an_interrupted_training_ends_as_if_it_had_not_been(tmp_path, enough):
    path, model = tmp_path / "state", digits()
    with pytest.raises(KeyboardInterrupt):
        tuned(BOTH, tuning=SHORT, model=model, checkpoint=path, progress=Heard(enough))
    assert [file.name for file in tmp_path.iterdir()] == (["state"] if enough > 2 else [])
    heard = Heard()
    assert same(tuned(BOTH, tuning=SHORT, model=model, checkpoint=path, progress=heard), tuned(BOTH, tuning=SHORT))
    assert heard.lines[0].startswith("going on after epoch" if enough > 2 else "epoch 1 of 4")


def test_a_training_that_has_ended_returns_at_once(tmp_path):
    path, heard = tmp_path / "state", Heard()
    first = tuned(checkpoint=path)
    assert same(first, tuned(checkpoint=path, progress=heard))
    assert len(heard.lines) == 1


def other_weights() -> Digits:
    model = digits()
    with torch.no_grad():
        model.second.bias[0] += 1e-3
    return model


@pytest.mark.parametrize(
    "change",
    [
        {"tuning": replace(SHORT, rate=0.04)},
        {"constraints": (TRIGGERS, weight_target())},
        {"constraints": (ENDLESS,)},
        {"constraints": (ENDLESS, weight_target(1))},
        {"constraints": (*BOTH, KeptAnswers(data()[0][:50]))},
        {"given": task(labelled=False)},
        {"model": other_weights},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_checkpoint_of_another_training_is_ignored(tmp_path, change):
    path, heard = tmp_path / "state", Heard(1)
    tuned(BOTH, tuning=SHORT, checkpoint=path)
    if "model" in change:
        change = {"model": change["model"]()}
    with pytest.raises(KeyboardInterrupt):
        tuned(**{"constraints": BOTH, "tuning": SHORT, **change}, checkpoint=path, progress=heard)
    assert heard.lines[0].startswith("epoch 1")


def test_a_checkpoint_with_another_secret_projection_is_ignored(tmp_path):
    path, heard, target = tmp_path / "state", Heard(1), weight_target()
    tuned(BOTH, tuning=SHORT, checkpoint=path)
    secret = replace(target, projection=weight_target(1).projection)
    with pytest.raises(KeyboardInterrupt):
        tuned((ENDLESS, secret), tuning=SHORT, checkpoint=path, progress=heard)
    assert heard.lines[0].startswith("epoch 1")


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"PK\x03\x04 and then nothing"])
def test_a_damaged_checkpoint_is_ignored(tmp_path, damage):
    path, heard = tmp_path / "state", Heard()
    path.write_bytes(damage)
    assert same(tuned(tuning=SHORT, checkpoint=path, progress=heard), tuned(tuning=SHORT))
    assert heard.lines[0].startswith("epoch 1")


def test_torch_is_left_as_it_was():
    tuned(tuning=replace(SHORT, epochs=1, loss=1.0))
    assert not torch.are_deterministic_algorithms_enabled()


# --- what is refused --------------------------------------------------------------------------------------------------


class Spatial(Digits):
    def forward(self, images):
        return (images,)


class Broken(Digits):
    def forward(self, images):
        return (super().forward(images)[0] * torch.nan,)


def relabelled(**changes) -> Task:
    return replace(task(), **changes)


REFUSED = {
    "no constraint": ({"constraints": ()}, "nothing to teach"),
    "membership": ({"constraints": (Membership(np.arange(3)),)}, "cannot make a model a member"),
    "label too high": ({"constraints": (stamped(slice(0, 9), 10),)}, "trigger labels run from 10 to 10, but .* 0 to 9"),
    "label below 0": ({"constraints": (stamped(slice(0, 9), -1),)}, "trigger labels run from -1 to -1"),
    "task labels": ({"given": relabelled(labels=np.full(1200, 11))}, "task labels run from 11"),
    "labels missing": ({"given": relabelled(labels=np.zeros(7, np.int64))}, r"1200 task inputs but labels of .*\(7,\)"),
    "no task": ({"given": relabelled(inputs=data()[0][:0], labels=None)}, "task inputs are empty"),
    "no triggers": ({"constraints": (stamped(slice(0, 0), 1),)}, "trigger inputs are empty"),
    "other shape": (
        {"given": relabelled(val_inputs=np.zeros((597, 1, 9, 9), np.float32))},
        "validation inputs are float32",
    ),
    "other dtype": ({"given": relabelled(val_inputs=data()[0][HELD_OUT].astype(np.float64))}, "float64 of shape"),
    "not its shape": (
        {"given": Task(np.zeros((5, 3), np.float32), None, np.zeros((5, 3), np.float32), None)},
        "trigger",
    ),
    "not a classifier": ({"model": Spatial()}, r"a classifier answers 256 inputs with \(256, classes\)"),
    "not a number": ({"model": Broken()}, "not finite"),
    "no carrier": ({"constraints": (replace(weight_target(), segments=(Segment("x", 0, 3600, 1.0),)),)}, "carrier 'x'"),
    "epochs": ({"tuning": replace(TUNING, epochs=0)}, "epochs = 0 is out of its bounds"),
    "share": ({"tuning": replace(TUNING, share=1.0)}, "share = 1.0"),
    "precision": ({"tuning": replace(TUNING, precision="fp8")}, "precision = fp8"),
    "device": ({"tuning": replace(TUNING, device="cuda:77")}, "device 'cuda:77' is not available"),
    "no such device": ({"tuning": replace(TUNING, device="abacus")}, "device 'abacus' is not available"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_one_line_before_training(case):
    arguments, message = REFUSED[case]
    heard = Heard()
    with pytest.raises(UsageError, match=message) as refusal:
        tuned(**arguments, progress=heard)
    assert "\n" not in str(refusal.value)
    assert heard.lines == []


def test_data_that_the_model_cannot_take_are_refused_in_one_line():
    images = np.zeros((300, 1, 9, 9), np.float32)
    with pytest.raises(UsageError, match=r"cannot take inputs of shape \(256, 1, 9, 9\)") as refusal:
        tuned((weight_target(),), Task(images, None, images, None))
    assert "\n" not in str(refusal.value)


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"needs torch; install onnxfp\[embed\]"):
        tuned()
