"""The README is executed: its bash blocks run in order in an empty folder, and its help texts are the program's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from fixtures import help_texts

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```bash(?: exit=(?P<status>\d+))?\n(?P<script>.*?)```", re.DOTALL)


def run_blocks(text: str, folder: Path) -> list[tuple[int, subprocess.CompletedProcess[str]]]:
    """Run every bash block of a page; return the promised exit status and what happened."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {"PATH": path, "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    return [
        (
            int(block["status"] or 0),
            subprocess.run(
                ["bash", "-e", "-c", block["script"]],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            ),
        )
        for block in BLOCK.finditer(text)
    ]


def test_every_bash_block_of_the_readme_does_what_it_promises(tmp_path):
    outcomes = run_blocks((ROOT / "README.md").read_text(), tmp_path)
    assert len(outcomes) == 12
    for promised, outcome in outcomes:
        assert outcome.returncode == promised, outcome.stderr
        assert "Traceback" not in outcome.stderr
    said = [outcome.stdout for _, outcome in outcomes]
    setup, leak, innocent, answering, stranger, copies, leaf, classed, holder, revoked, pooled, unplanned = said
    assert "ledger head" in setup
    assert "NAMED: Acme Corp" in leak
    assert "OURS" in leak
    assert '"Beta GmbH"' in leak
    assert "NOBODY NAMED" in innocent
    assert "hit rate" in answering
    assert answering.count("OURS\n") == 2
    assert "NOT SUPPORTED" in stranger
    assert copies.count("NAMED: Acme Corp") == 3
    assert "Acme Corp" in leaf
    assert "OURS\n" in classed
    assert "GENUINE" in holder
    assert "REVOKED" in revoked
    assert "OURS\n" in pooled
    assert "NOT SUPPORTED" in unplanned


def test_a_block_that_breaks_its_promise_is_noticed(tmp_path):
    ((promised, outcome),) = run_blocks("```bash\nonnxfp trace missing.onnx\n```", tmp_path)
    assert promised == 0
    assert outcome.returncode == 2


def test_the_readme_shows_the_real_help():
    text = (ROOT / "README.md").read_text()
    assert "Usage: onnxfp" in text
    assert help_texts.readme(text) == text


def test_the_page_of_commands_shows_the_real_help():
    assert (ROOT / "docs" / "commands.md").read_text() == help_texts.commands_page()


def test_every_command_has_help_of_its_own():
    for words in help_texts.commands():
        assert "Usage:" in help_texts.help_of(*words)


def test_every_link_of_the_documents_leads_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"
