"""The shape of the house: who may import whom, and what a quick answer may load."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import relubench

PACKAGE = Path(relubench.__file__).parent
# Packages from the ground up; what lies beside them in relubench/ is the ground.
FLOORS = [
    {"ground", "stats"},
    {"activations", "datasets", "formats", "metrics", "neurons"},
    {"config", "models"},
    {"report", "training"},
    {"execution", "profiling"},
    {"baselines"},
    {"commands"},
    {"cli", "door"},
    {"__main__"},
]
FLOOR = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
FILES = {
    path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", "."): path
    for path in PACKAGE.rglob("*.py")
}
MODULES = sorted(FILES)


def imports(module: str) -> set[str]:
    """Every name that the source imports, inside functions too, or in Deferred(…)."""
    names = set()
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "Deferred":
            names.add(ast.literal_eval(node.args[0]))
    return names


def neighbours(module: str) -> set[str]:
    """The modules of relubench that it imports from; a package is its `__init__`."""
    found = set()
    for name in imports(module):
        for candidate in (name, f"{name}.__init__", *(_parents(name))):
            if candidate in FILES and candidate != module:
                found.add(candidate)
                break
    return found


def _parents(name: str) -> tuple[str, str]:
    parent = name.rpartition(".")[0]
    return parent, f"{parent}.__init__"


def package(module: str) -> str:
    room = module.split(".")[1]
    return room if room in FLOOR or (PACKAGE / room).is_dir() else "ground"


def test_there_are_few_floors() -> None:
    assert len(FLOORS) <= 12
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages == set(FLOOR) - {"ground", "__main__"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_package_and_floors_below(module: str) -> None:
    home = package(module)
    for other in neighbours(module):
        below = FLOOR[package(other)] < FLOOR[home]
        assert below or package(other) == home, f"{module} imports {other}"


def test_no_import_leads_back() -> None:
    """A package's `__init__` gathers what is in it, so only what it gathers counts."""
    graph = {
        module: {other for other in neighbours(module) if not other.endswith("__init__")}
        for module in MODULES
        if not module.endswith("__init__")
    }
    order = graphlib.TopologicalSorter(graph).static_order()  # CycleError names the circle
    assert set(order) >= set(graph)


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_room(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(module)}
    assert "typer" not in roots or package(module) == "cli"
    # The second says what .plot() gives, for type checkers alone.
    drawing = ("relubench.formats.plots", "relubench.door.result")
    assert "matplotlib" not in roots or module in drawing
    assert not roots & {"dask", "distributed"} or module == "relubench.execution.cluster"
    reading = ("relubench.execution.records", "relubench.baselines.record")
    assert "pydantic" not in roots or package(module) == "config" or module in reading


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
        ["help"],
        ["help", "statistics"],
        ["help", "compare"],
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
