"""The shape of the house: who may import whom, and what a quick answer may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import relubench

PACKAGE = Path(relubench.__file__).parent
FLOORS = [
    {"plain"},
    {"guard", "errors", "folds", "stats", "latex", "docstrings"},
    {"own_imports"},
    {"own_code", "libraries"},
    {"plan", "catalog", "files", "pictures", "abreast", "noise"},
    {"activations", "heads", "metrics", "datasets", "optimizers", "preprocessing"}
    | {"formats", "results", "seeds"},
    {"inits", "moments", "records"},
    {"layers", "cluster", "listing", "neurons", "examples", "ledger", "advice", "plots", "graphs"}
    | {"measures", "rates", "recording"},
    {"models", "networks", "report", "portrait", "executors", "config"}
    | {"augmentations", "perturbations"},
    {"states"},
    {"checkpoints", "matching", "paces", "prediction", "baseline", "published"},
    {"learning", "cost", "gate", "protocols"},
    {"engine"},
    {"checks", "tuning", "bill", "console", "ci"},
    {"work"},
    {"gatekeeper"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}
FILES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path for path in PACKAGE.rglob("*.py")
}
MODULES = sorted(name for name in FILES if name != "__init__")


def imports(module: str) -> set[str]:
    """Every module that the source names in an import, inside functions too, or in Deferred(…)."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Deferred":
            found.add(ast.literal_eval(node.args[0]))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_floors_below(module: str) -> None:
    for name in imports(module):
        if name.startswith("relubench."):
            other, room = name.split(".")[1], module.split("/")[0]
            if other in FLOOR:
                below = FLOOR[other] < FLOOR[room]
                assert below or other == room, f"{module} imports {other}"
            else:
                assert other == "__version__", f"{other} stands on no floor"


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_room(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(module)}
    assert "typer" not in roots or module.split("/")[0] == "cli"
    assert "matplotlib" not in roots or module == "plots"
    assert not roots & {"dask", "distributed"} or module == "cluster"
    assert "pydantic" not in roots or module in ("config", "records", "baseline")


SLOW = {"torch", "torchvision", "sklearn", "scipy", "matplotlib", "distributed", "pandas", "PIL"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["compare", "--help"],
        *(
            ["list", kind]
            for kind in (
                *("activations", "models", "datasets", "heads", "metrics", "optimizers"),
                "executors",
            )
        ),
        ["list", "benchmarks", "--format", "json"],
        ["list"],
    ],
    ids=" ".join,
)
def test_a_quick_answer_loads_nothing_slow(arguments: list[str], tmp_path: Path) -> None:
    assert not SLOW & loaded(arguments, tmp_path)


def test_a_benchmark_loads_no_library_that_only_another_one_names(tmp_path: Path) -> None:
    assert "torchvision" not in loaded(["compare", "smoke", "--dry-run", "--no-ledger"], tmp_path)


def loaded(arguments: list[str], folder: Path) -> set[str]:
    """The modules of a fresh process that has answered."""
    script = (
        "import sys; from relubench.cli import main; code = main(sys.argv[1:]); "
        "print(code, *sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=folder
    )
    code, *modules = done.stderr.splitlines()[-1].split()
    assert code == "0"
    assert done.stdout
    return set(modules)
