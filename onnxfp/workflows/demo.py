"""The whole story on a small model that was really trained: mark, issue, leak, collude, trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from onnxfp.demo import path as demo_file
from onnxfp.domain import Verdict
from onnxfp.workflows.attack import attack
from onnxfp.workflows.fidelity import Data, accuracy, load_data
from onnxfp.workflows.issue import Issuing, issue
from onnxfp.workflows.judge import Question
from onnxfp.workflows.register import Registration, register
from onnxfp.workflows.trace import trace_file
from onnxfp.workflows.vault import Vault, create_vault, open_vault

RECIPIENTS = ("Acme Corp", "Beta GmbH", "Gamma SA", "Delta Ltd", "Epsilon Inc")
ALPHA = 1e-6


@dataclass(frozen=True)
class Scene:
    """One suspect of the story, who should be named and what was decided."""

    title: str
    accuracy: float
    expected: tuple[str, ...]
    verdict: Verdict

    @property
    def right(self) -> bool:
        """Whether exactly the right recipients were named."""
        return sorted(self.verdict.accused) == sorted(self.expected)


@dataclass(frozen=True)
class Story:
    """What the demo did."""

    accuracy_reference: float
    accuracy_copies: tuple[float, ...]
    relative_change: float
    scenes: tuple[Scene, ...]

    @property
    def right(self) -> bool:
        """Whether every scene came out right."""
        return all(scene.right for scene in self.scenes)


def demo(at: str, progress: Callable[[str], None]) -> Story:
    """Play the story in a temporary folder, with a fresh owner key; nothing of it remains."""
    data = load_data(demo_file("digits_test.npz"))
    with TemporaryDirectory(prefix="onnxfp-demo-") as name:
        folder = Path(name)
        create_vault(folder / "vault", None)
        with open_vault(folder / "vault", None) as vault:
            progress("registering the reference")
            register(vault, Registration(demo_file("digits.onnx"), "spread", {}, at))
            copies, change = _issue_all(vault, folder, at, progress)
            scenes = tuple(_scenes(vault, folder, copies, data, at, progress))
        before = accuracy(demo_file("digits.onnx"), data)
        return Story(before, tuple(accuracy(copy, data) for copy in copies), change, scenes)


def _issue_all(vault: Vault, folder: Path, at: str, progress: Callable[[str], None]) -> tuple[tuple[Path, ...], float]:
    copies, change = [], 0.0
    for number, recipient in enumerate(RECIPIENTS):
        progress(f"issuing to {recipient}")
        copy = folder / f"copy{number}.onnx"
        issued = issue(vault, Issuing(demo_file("digits.onnx"), recipient, copy, at, ALPHA))
        copies.append(copy)
        change = max(change, issued.relative_change)
    return tuple(copies), change


def _scenes(
    vault: Vault, folder: Path, copies: tuple[Path, ...], data: Data, at: str, progress: Callable[[str], None]
) -> Iterator[Scene]:
    pruned, leaked, averaged = folder / "pruned.onnx", folder / "leaked.onnx", folder / "averaged.onnx"
    attack([copies[1]], "prune:0.5", pruned, 1, force=False)
    attack([pruned], "round:8", leaked, 1, force=False)
    attack([copies[0], copies[2], copies[4]], "average", averaged, 1, force=False)
    suspects = (
        ("Beta GmbH's copy, half its weights pruned, the rest rounded to 8 bits", leaked, RECIPIENTS[1:2]),
        ("Acme, Gamma and Epsilon averaged their copies", averaged, RECIPIENTS[::2]),
        ("a model trained independently, same shapes", demo_file("digits_independent.onnx"), ()),
    )
    for title, suspect, expected in suspects:
        progress(f"tracing: {title}")
        verdict = trace_file(vault, Question(suspect, ALPHA, at), progress)
        yield Scene(title, accuracy(suspect, data), expected, verdict)


def story_text(story: Story) -> str:
    """Return the story for a reader."""
    return "\n".join(_tell(story))


def _tell(story: Story) -> Iterator[str]:
    low, high = min(story.accuracy_copies), max(story.accuracy_copies)
    yield f"A CNN that reads digits: {story.accuracy_reference:.2%} of the held-out images right."
    yield (
        f"Five recipients got a copy each: {low:.2%} to {high:.2%} right, weights moved by "
        f"{story.relative_change:.1%} of their norm."
    )
    for scene in story.scenes:
        verdict = scene.verdict
        yield ""
        yield f"Suspect: {scene.title} ({scene.accuracy:.2%} right)"
        for item in verdict.evidence:
            mark = "->" if item.name in verdict.accused else "  "
            yield f"  {mark} {item.name:<12} log10 e = {item.log10_e:8.1f}"
        named = ", ".join(verdict.accused) or "nobody"
        yield f"  named: {named} (log10 e >= {verdict.log10_threshold:.1f} was needed)"
    yield ""
    yield (
        f"For each suspect, the chance that any innocent recipient is named is at most {ALPHA:g}, whatever the "
        "colluders did."
    )
    yield "Exactly the right recipients were named." if story.right else "WRONG: not exactly the right recipients."
