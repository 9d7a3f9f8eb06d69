"""The architecture is kept, and every check of it has been seen to fail on a deliberate breach."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = [contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]]
FOLDERS = {"onnxfp": ROOT / "onnxfp", "onnxfp_cli": ROOT / "cli"}
MODULES = sorted(path for folder in FOLDERS.values() for path in folder.rglob("*.py"))
SCHEMES = sorted(
    path
    for path in (ROOT / "onnxfp" / "schemes").glob("*.py")
    if path.stem not in ("__init__", "interface", "catalogue")
)

# contract, module that breaks it, the line that does
BREACHES = (
    ("Rooms", "onnxfp/errors.py", "import onnxfp.domain"),
    ("Rooms", "onnxfp/demo/__init__.py", "import onnxfp.keys.recipient"),
    ("Rooms", "onnxfp/codes/words.py", "import onnxfp.projections.residual"),
    ("Rooms", "onnxfp/schemes/spread.py", "import onnxfp.ledger.chain"),
    ("Rooms", "onnxfp/verdict/look.py", "import onnxfp.suspect.interface"),
    ("Rooms", "onnxfp/report/text.py", "import onnxfp.workflows.vault"),
    ("Rooms", "onnxfp/artifact/wire.py", "def later():\n    import onnxfp.verdict.betting"),
    ("Rooms", "onnxfp/a_new_room.py", ""),
    ("The library does not know its command line", "onnxfp/domain.py", "import click"),
    ("The library does not know its command line", "onnxfp/workflows/judge.py", "import onnxfp_cli.shared"),
    ("Schemes, ledger and embedding never see a file", "onnxfp/schemes/spread.py", "import onnxfp.artifact.wire"),
    ("Schemes, ledger and embedding never see a file", "onnxfp/embed/post_hoc.py", "import onnxfp.artifact"),
    ("A judgement needs no runtime", "onnxfp/verdict/trace.py", "import onnxruntime"),
    ("A judgement needs no runtime", "onnxfp/ledger/entries.py", "import onnx"),
    ("Only embedding by training", "onnxfp/workflows/attack.py", "def later():\n    import torch"),
    ("The reader of hostile files", "onnxfp/artifact/reader.py", "import onnx"),
    ("Schemes never import each other", "onnxfp/schemes/spread.py", "import onnxfp.schemes.deepmarks"),
    ("No cycles between siblings", "onnxfp/codes/interface.py", "import onnxfp.codes.uniform"),
    ("No cycles between siblings", "onnxfp/verdict/betting.py", "import onnxfp.verdict.look"),
)


# --- rooms ------------------------------------------------------------------------------------------------------------


def broken_contracts(folder: Path) -> set[str]:
    """Run the linter over the packages in a folder and return the names of the contracts that are broken."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
    states = dict(re.findall(r"^(.*?)(?: \(.*\))? (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert sorted(states) == sorted(CONTRACTS), done.stdout + done.stderr
    broken = {name for name, state in states.items() if state == "BROKEN"}
    assert (done.returncode == 0) is not bool(broken)
    return broken


@pytest.fixture
def packages(tmp_path):
    """A copy of the packages and of the contracts, to be broken."""
    for name, folder in FOLDERS.items():
        shutil.copytree(folder, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.npz"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept(packages):
    assert broken_contracts(packages) == set()


@pytest.mark.parametrize(("contract", "module", "line"), BREACHES, ids=[f"{b[1]}: {b[2][-30:]}" for b in BREACHES])
def test_a_breach_is_found_and_no_other_contract_is_blamed(packages, contract, module, line):
    with (packages / module).open("a") as source:
        source.write(f"\n{line}\n")
    (name,) = broken_contracts(packages)
    assert name.startswith(contract)


def test_every_contract_has_a_breach():
    assert [name for name in CONTRACTS if not any(name.startswith(breach[0]) for breach in BREACHES)] == []


def test_every_scheme_is_named_by_the_contract_of_independence():
    (contract,) = (c for c in PROJECT["tool"]["importlinter"]["contracts"] if c["type"] == "independence")
    assert sorted(contract["modules"]) == sorted(f"onnxfp.schemes.{path.stem}" for path in SCHEMES)


# --- what starting up costs -------------------------------------------------------------------------------------------

HEAVY = {
    "numpy",
    "scipy",
    "onnx",
    "onnxruntime",
    "torch",
    "sklearn",
    "sqlalchemy",
    "matplotlib",
    "cryptography",
    "rich",
}
VERSION = "import sys; sys.argv = ['onnxfp', '--version']; from onnxfp_cli.main import main; main()"


def loaded_by(code: str) -> set[str]:
    """Names of all modules that are loaded when `code` has run in a fresh interpreter."""
    program = "import atexit, sys; atexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))\n" + code
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def heavy(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} & HEAVY


def test_the_version_loads_nothing_heavy():
    assert heavy(loaded_by(VERSION)) == set()


@pytest.mark.parametrize("module", ["numpy", "sqlalchemy", "onnxfp.workflows.judge"])
def test_the_check_of_what_is_loaded_can_fail(module):
    assert heavy(loaded_by(f"import {module}; {VERSION}"))


def test_the_version_costs_at_most_two_and_a_half_times_what_click_costs():
    bare = len(loaded_by("pass"))
    click, ours = (len(loaded_by(code)) - bare for code in ("import click", VERSION))
    assert ours <= 2.5 * click
    assert len(loaded_by(f"import onnxfp.workflows.judge; {VERSION}")) - bare > 2.5 * click, "the measure cannot fail"


@pytest.mark.parametrize("room", ["onnxfp.artifact", "onnxfp.workflows.judge", "onnxfp.workflows.register"])
def test_the_white_box_path_needs_no_runtime(room):
    names = {name.partition(".")[0] for name in loaded_by(f"import {room}")}
    assert not names & {"onnxruntime", "torch", "sklearn", "matplotlib"}


# --- packages and modules ---------------------------------------------------------------------------------------------


def packages_on_disk() -> set[str]:
    found = set()
    for name, folder in FOLDERS.items():
        for path in folder.rglob("__init__.py"):
            found.add(".".join((name, *path.parent.relative_to(folder).parts)))
    return found


def test_every_package_is_installed():
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages_on_disk())


def test_every_folder_with_modules_is_a_package():
    assert [str(path) for path in MODULES if not (path.parent / "__init__.py").exists()] == []


def test_no_module_has_a_name_that_says_nothing():
    folders = (*FOLDERS.values(), ROOT / "tests", ROOT / "fixtures", ROOT / "bench")
    names = {path.stem for folder in folders for path in folder.rglob("*") if path.suffix == ".py" or path.is_dir()}
    assert names & {"utils", "util", "helpers", "helper", "common", "misc", "tools", "stuff"} == set()


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_a_module_says_what_it_is(path):
    doc = ast.get_docstring(ast.parse(path.read_text()))
    assert doc
    assert doc.splitlines()[0].rstrip()[-1] in ".:?", f"{shown(path)} opens with half a sentence"


HEADER = ("Paper", "Marks", "Reads", "Null", "Limits")


def missing_lines(doc: str) -> list[str]:
    """The labelled lines that a scheme's docstring lacks, or has out of order."""
    found = re.findall(r"^(\w+): +\S", doc, re.MULTILINE)
    present = [label for label in found if label in HEADER]
    return [label for label in HEADER if label not in present] or ([] if present == list(HEADER) else ["order"])


@pytest.mark.parametrize("path", SCHEMES, ids=lambda path: path.stem)
def test_a_scheme_says_what_it_marks_and_what_it_cannot_do(path):
    assert missing_lines(ast.get_docstring(ast.parse(path.read_text()))) == []


def test_the_check_of_headers_can_fail():
    whole = "\n".join(f"{label}: something" for label in HEADER)
    assert missing_lines(whole) == []
    assert missing_lines(whole.replace("Null: ", "")) == ["Null"]
    assert missing_lines(whole.replace("Limits: something", "Limits:")) == ["Limits"]
    assert missing_lines("\n".join(reversed(whole.splitlines()))) == ["order"]


# --- habits that a linter does not know -------------------------------------------------------------------------------


def numpy_randomness(source: str) -> list[int]:
    """Lines on which numpy's generators are used."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Attribute) and node.attr == "random" and ast.unparse(node.value) in ("np", "numpy"))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numpy.random"))
        or (isinstance(node, ast.Import) and any(alias.name.startswith("numpy.random") for alias in node.names))
    ]


def test_randomness_comes_from_keys_except_an_adversarys():
    used = {shown(path): numpy_randomness(path.read_text()) for path in MODULES if "attacks" not in path.parts}
    assert {path: lines for path, lines in used.items() if lines} == {}


def test_the_check_of_randomness_can_fail():
    assert numpy_randomness("import numpy as np\nx = np.random.default_rng(1)") == [2]
    assert numpy_randomness("from numpy.random import default_rng") == [1]
    assert numpy_randomness("import numpy.random") == [1]
    attacks = [path for path in MODULES if "attacks" in path.parts]
    assert any(numpy_randomness(path.read_text()) for path in attacks)


FORBIDDEN_CALLS = {"eval", "exec", "pickle.load", "pickle.loads", "torch.load", "os.system"}


def forbidden_calls(source: str) -> list[str]:
    """Calls that execute what they read, and numpy's licence to do so."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [ast.unparse(call.func) for call in calls]
    allowed = [keyword for call in calls for keyword in call.keywords if keyword.arg == "allow_pickle"]
    loose = ["allow_pickle" for keyword in allowed if ast.unparse(keyword.value) != "False"]
    return [name for name in named if name in FORBIDDEN_CALLS] + loose


def test_nothing_executes_what_it_reads():
    assert {shown(path): found for path in MODULES if (found := forbidden_calls(path.read_text()))} == {}
    assert forbidden_calls("np.load(p, allow_pickle=True); pickle.load(f)") == ["pickle.load", "allow_pickle"]


def catches_everything(source: str) -> list[int]:
    """Lines of handlers that catch Exception or everything and neither raise nor chain."""
    handlers = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ExceptHandler)]
    broad = [h for h in handlers if h.type is None or ast.unparse(h.type) in ("Exception", "BaseException")]
    return [handler.lineno for handler in broad if not any(isinstance(node, ast.Raise) for node in ast.walk(handler))]


def test_no_handler_swallows_what_it_does_not_know():
    used = {shown(path): catches_everything(path.read_text()) for path in MODULES}
    assert {path: lines for path, lines in used.items() if lines} == {}
    assert catches_everything("try:\n    f()\nexcept Exception:\n    pass") == [3]


def test_only_the_command_line_prints():
    library = [path for path in MODULES if path.is_relative_to(ROOT / "onnxfp")]
    calls = {
        shown(path): [node.lineno for node in ast.walk(ast.parse(path.read_text())) if _prints(node)]
        for path in library
    }
    assert {path: lines for path, lines in calls.items() if lines} == {}
    assert _prints(ast.parse("print(1)").body[0].value)


def _prints(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
