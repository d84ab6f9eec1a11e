"""The shape of the house: who may import whom, and what a quick answer may load."""

from __future__ import annotations

import ast
import graphlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import relubench

PACKAGE = Path(relubench.__file__).parent
# Packages from the ground up; what lies beside them in relubench/ is the ground.
FLOORS = [
    {"ground", "stats"},
    {"rows"},
    {"activations", "datasets", "exports", "formats", "metrics"},
    {"config", "models"},
    {"neurons"},
    {"report", "training"},
    {"execution", "profiling"},
    {"baselines", "page"},
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
    drawn = package(module) == "page"
    assert "typer" not in roots or package(module) == "cli"
    # All but the first say what .plot() gives, for type checkers alone.
    drawing = ("relubench.formats.plots", "relubench.door.result", "relubench.door.counts")
    assert "matplotlib" not in roots or module in drawing or drawn
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
        ["report", "--help"],
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


TINY = ["-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "1"]
# Beside what each may load: what a training needs is torch, and scipy's functions for its table.
COMPILER = {"torch._dynamo", "sympy", "torch._inductor"}
KNOWN = {
    "train": ["train", *TINY, "--seeds", "3"],
    "cv": ["cv", *TINY, "--folds", "3"],
    "compare": ["compare", *TINY, "-a", "relu,gelu", "--seeds", "3"],
    "deadcount": ["deadcount", *TINY],
    "csv": ["train", "-d", "csv:t.csv:target=y", "-m", "ffnn:hidden=4", "--epochs", "1"],
}


@pytest.mark.parametrize("arguments", KNOWN.values(), ids=KNOWN)
def test_what_the_ledger_has_is_shown_without_torch(arguments: list[str], tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b,y\n" + "1,2,p\n3,5,q\n2,1,p\n4,4,q\n" * 5)
    os.utime(table, (10**9, 10**9))
    trained = loaded(arguments, tmp_path)
    assert "torch" in trained
    assert not (COMPILER | {"sklearn", "scipy.stats"}) & trained
    assert ("pandas" in trained) == ("csv:t.csv:target=y" in arguments)
    answered = loaded(arguments, tmp_path)
    assert not (SLOW | {"scipy.stats"}) - {"scipy"} & answered


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", *TINY, "-a", "relu,gelu", "--seeds", "3", "--dry-run"],
        ["show", "activation", "relu"],
        ["ledger", "show"],
    ],
    ids=" ".join,
)
def test_what_trains_nothing_needs_no_torch(arguments: list[str], tmp_path: Path) -> None:
    loaded(["train", *TINY], tmp_path)  # a ledger, and what is remembered of this machine
    loaded(["show", "activation", "relu"], tmp_path)
    assert not SLOW - {"scipy"} & loaded(arguments, tmp_path)


def test_a_refusal_needs_no_torch(tmp_path: Path) -> None:
    for wrong in (["-a", "reul"], ["-m", "resnet50"], ["--lr", "0"], ["--folds", "x"]):
        assert not SLOW & loaded(["train", *wrong], tmp_path, code=2)


def test_a_benchmark_loads_no_library_that_only_another_one_names(tmp_path: Path) -> None:
    assert "torchvision" not in loaded(["compare", "smoke", "--dry-run", "--no-ledger"], tmp_path)


def loaded(arguments: list[str], folder: Path, code: int = 0) -> set[str]:
    """The modules of a fresh process that has answered, or refused."""
    script = (
        "import sys; from relubench.cli import main; code = main(sys.argv[1:]); "
        "print(code, *sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=folder
    )
    ended, *modules = done.stderr.splitlines()[-1].split()
    assert ended == str(code), done.stderr
    assert bool(done.stdout) == (code == 0)
    return set(modules)
