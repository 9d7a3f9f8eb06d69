"""The attacks by name, from their text form to a written artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from onnxfp.artifact import shown
from onnxfp.attacks import coalition
from onnxfp.attacks.chip_learning import LearnedChips, Rule
from onnxfp.attacks.classes import Drop, Mask, Merge, Reclassed
from onnxfp.attacks.coalition import Coalition, Kernel
from onnxfp.attacks.half import Half
from onnxfp.attacks.interface import Attack, Step, nothing, number, whole_number
from onnxfp.attacks.noise import Noise
from onnxfp.attacks.prune import Prune
from onnxfp.attacks.rounding import Round
from onnxfp.errors import UsageError

_MAX_GAIN = 100.0
_LAST_CLASS = 65_535


def parse(text: str) -> Step:
    """Return the step that a text such as ``prune:0.5`` or ``average`` names.

    Raises:
        UsageError: there is no such attack, or its value is not one that it takes.
    """
    name, _, value = text.partition(":")
    if name not in CATALOGUE:
        known = ", ".join(attack.usage for attack in CATALOGUE.values())
        raise UsageError(f"expected an attack, found '{shown(name[:40])}'; there are {known}")
    return CATALOGUE[name].step(value)


def run(step: Step, sources: Sequence[Path], destination: Path, seed: int, *, force: bool = False) -> None:
    """Apply a step to one artifact or to a coalition's copies and write the result.

    Args:
        step: what `parse` returned.
        sources: the artifact, or the copies; everything but carriers is taken from the first.
        destination: the file to write.
        seed: of the adversary's own randomness; the same seed gives the same bytes.
        force: replace what exists at the destination.

    Raises:
        UsageError: too few or too many sources, or they do not fit together, or the destination cannot be taken.
        ArtifactError: a source is not what it claims to be.
    """
    least, most = step.sources
    if len(sources) < least or (most is not None and len(sources) > most):
        wanted = f"exactly {least}" if most == least else f"at least {least}"
        raise UsageError(f"expected {wanted} artifact{'s' if least > 1 else ''} for this attack, found {len(sources)}")
    step.write(sources, destination, np.random.default_rng(seed), force=force)


def _together(kernel: Kernel, *, whole: bool = False) -> Callable[[str], Step]:
    def build(value: str) -> Step:
        nothing(value)
        return Coalition(kernel, whole)

    return build


def _half(value: str) -> Step:
    nothing(value)
    return Half()


def _learned(value: str) -> Step:
    rule, _, gain = value.partition(":")
    names = [known.value for known in Rule]
    if rule not in names:
        raise ValueError(f"give one of {', '.join(names)}")
    return LearnedChips(Rule(rule), number(gain, 0, _MAX_GAIN) if gain else 1.0)


def _class_of(text: str) -> int | None:
    return whole_number(text, 0, _LAST_CLASS) if text else None


def _merge(value: str) -> Step:
    first, colon, second = value.partition(":")
    into = second if colon else first
    index = whole_number(first, 0, _LAST_CLASS) if colon else None
    return Reclassed(Merge(index, whole_number(into, 0, _LAST_CLASS) if value else 0))


CATALOGUE: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack(
            "prune",
            "prune:SHARE",
            "the smallest SHARE of all carrier weights become zero; 0 to 1",
            lambda value: Prune(number(value, 0, 1)),
        ),
        Attack(
            "noise",
            "noise:LEVEL",
            "Gaussian noise of LEVEL standard deviations of each carrier; 0 to 100",
            lambda value: Noise(number(value, 0, 100)),
        ),
        Attack(
            "round",
            "round:BITS",
            "symmetric uniform rounding of each carrier to BITS bits; 2 to 16",
            lambda value: Round(whole_number(value, 2, 16)),
        ),
        Attack("fp16", "fp16", "float32 carriers are stored as FLOAT16", _half),
        Attack("average", "average", "mean of all copies", _together(coalition.average)),
        Attack("min", "min", "smallest value of each weight", _together(coalition.minimum)),
        Attack("max", "max", "largest value of each weight", _together(coalition.maximum)),
        Attack("median", "median", "middle value of each weight", _together(coalition.median)),
        Attack("midrange", "midrange", "(min + max) / 2 of each weight", _together(coalition.midrange)),
        Attack("random", "random", "each weight from a copy picked at random", _together(coalition.random_pick)),
        Attack("splice", "splice", "each carrier from one copy", _together(coalition.splice, whole=True)),
        Attack(
            "learned",
            "learned:RULE[:GAIN]",
            "learn chips from the copies' differences and set them by RULE: pick, minority or majority; where chips "
            "overlap, minority and majority lean by GAIN amplitudes of the mark (default 1, up to 100)",
            _learned,
        ),
        Attack(
            "drop_class",
            "drop_class[:INDEX]",
            "the class (default the last) is no longer among the answers",
            lambda value: Reclassed(Drop(_class_of(value))),
        ),
        Attack(
            "mask_class",
            "mask_class[:INDEX]",
            "the class (default the last) keeps its place among the answers and is never the answer",
            lambda value: Reclassed(Mask(_class_of(value))),
        ),
        Attack(
            "merge_class",
            "merge_class[:[FROM:]INTO]",
            "the class FROM (default the last) is answered as the class INTO (default 0)",
            _merge,
        ),
    )
}
