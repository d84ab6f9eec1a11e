"""A user's own activation, by module or file: it trains like any other, or the check is named."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_engine import numbers
from torch.testing import assert_close

from relubench import user_code, user_imports
from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.models import layers
from relubench.neurons.formulas import derivatives
from relubench.plan import Cell, Machine, Recipe, Stack
from relubench.results import RunResult
from relubench.training import building, engine
from relubench.user_code import UserCodeError

UNITS = """
import torch
from torch import nn

def leaky(x, *, slope: float = 0.2):
    return torch.where(x > 0, x, slope * x)

class Shared(nn.Module):
    def __init__(self, start: float = 0.25):
        super().__init__()
        self.a = nn.Parameter(torch.full((1,), start))

    def forward(self, x):
        return torch.where(x > 0, x, self.a * x)

class Drawn(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(1, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.inner.weight * x + self.inner.bias)

def factory(*, alpha: float = 1.0):
    return nn.ELU(alpha)

instance = nn.ELU()

def undecided(x):
    return torch.relu(x) if x.sum().item() < 1e9 else -x

class OldFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0)

old_function = OldFunction.apply

def softmax(x):
    return torch.softmax(x, dim=1)

def centred(x):
    return torch.tanh(x - x.mean(dim=0))
"""
BROKEN = """
import torch
from torch import nn

def in_place(x): return x.mul_(2)
def wider(x): return torch.cat([x, x], dim=1)
def half(x): return torch.relu(x).half()
def logarithm(x): return torch.log(x)
def overflowing(x): return torch.exp(x)
def noisy(x): return x * torch.rand_like(x)
def step(x): return (x > 0).to(x.dtype)
def flat(x): return 0 * x
def steep(x): return torch.sqrt(torch.abs(x).clamp(max=1e3) - 1e3 + 1e3) + (x / 0).clamp(0, 1)
def pair(x): return x, x
def raising(x): raise KeyError("nothing here")
def needing(x, *, scale): return scale * x
def no_module(): return 3
class Plain: pass
class Sized(nn.Module):
    def __init__(self, units): super().__init__()
number = 3.0
"""
CELL = Cell(
    dataset="iris",
    model="ffnn:hidden=8x6",
    activation="relu",
    recipe=Recipe(epochs=3, batch_size=16, lr=0.01),
)
TINY = ["-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "1", "--quiet"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a user's own files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("units.py").write_text(UNITS, encoding="utf-8")
    Path("broken.py").write_text(BROKEN, encoding="utf-8")
    return tmp_path


def fit(activation: str, machine: Machine, seeds: int = 1) -> list[RunResult]:
    cells = [dataclasses.replace(CELL, activation=activation, seed=s) for s in range(seeds)]
    return engine.fit(Stack(tuple(cells)), machine)


def rows(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main([*arguments, "--format", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


SAME = [
    ("./units.py:leaky", "leaky_relu:negative_slope=0.2"),
    ("units.py:leaky:slope=0.3", "leaky_relu:negative_slope=0.3"),
    ("./units.py:factory:alpha=2", "elu:alpha=2"),
    ("./units.py:instance", "elu"),
    ("torch.nn:ELU:alpha=2", "elu:alpha=2"),
    ("torch.nn.functional:silu", "silu"),
    ("./units.py:undecided", "relu"),
    ("./units.py:old_function", "relu"),
]


@pytest.mark.parametrize(("own", "listed"), SAME)
def test_a_unit_of_ones_own_trains_and_counts_like_the_listed_one(
    own: str, listed: str, machine: Machine
) -> None:
    (mine,), (theirs,) = fit(own, machine), fit(listed, machine)
    assert mine.failed is None
    assert numbers(mine) == pytest.approx(numbers(theirs), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["leaky", "Shared", "Drawn", "factory", "softmax", "undecided"])
def test_a_stack_is_its_cells_alone(name: str, machine: Machine) -> None:
    """Law 3, in float64; what has no vectorised pass is trained alone."""
    double = dataclasses.replace(machine, dtype="float64")
    together = fit(f"./units.py:{name}", double, seeds=3)
    assert {r.environment.stack for r in together} == {1 if name == "undecided" else 3}
    for stacked in together:
        (alone,) = engine.fit(Stack((stacked.cell,)), double)
        assert numbers(stacked) == pytest.approx(numbers(alone), rel=1e-9, abs=1e-9)


def test_every_layer_has_its_own_module_and_learns_it_undecayed(machine: Machine) -> None:
    network = building.build(
        dataclasses.replace(CELL, activation="./units.py:Shared:start=0.5"), (4,), machine
    )
    own = {name: p for name, p in network.named_parameters() if name.endswith(".a")}
    assert [p.item() for p in own.values()] == [0.5, 0.5]
    groups = layers.parameter_groups(dict(network.named_parameters()), 0.1)
    free = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    assert free == {id(p) for p in own.values()}


def test_what_a_module_draws_at_first_is_the_cells(machine: Machine) -> None:
    before = torch.random.get_rng_state()
    cell = dataclasses.replace(CELL, activation="./units.py:Drawn")
    first, again, other = (
        dict(building.build(dataclasses.replace(cell, seed=s), (4,), machine).named_parameters())
        for s in (0, 0, 1)
    )
    plain = dict(building.build(CELL, (4,), machine).named_parameters())
    inner = "dense{}.activation.learned.inner.weight"
    assert torch.equal(first[inner.format(1)], again[inner.format(1)])
    assert not torch.equal(first[inner.format(1)], first[inner.format(2)])
    assert not torch.equal(first[inner.format(1)], other[inner.format(1)])
    for name, weight in plain.items():  # law 2: the same draw, scaled
        mine, theirs = (each / max(1e-9, each.norm().item()) for each in (first[name], weight))
        assert_close(mine, theirs)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "elementwise"),
    [("leaky", True), ("Shared", True), ("softmax", False), ("centred", False)],
)
def test_whether_it_is_elementwise_is_found(name: str, elementwise: bool) -> None:
    assert ACTIVATIONS.choose(f"./units.py:{name}").entry.elementwise == elementwise


def test_a_unit_that_mixes_counts_by_its_outputs() -> None:
    act = layers.Act(ACTIVATIONS.choose("./units.py:softmax"), 5).double()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(act, x)
    assert_close(derivatives(act, x), jacobian.abs().amax(dim=(2, 3)))


REFUSED = {
    "in_place": "fails the check 'leaves its input alone': it writes into x",
    "wider": "fails the check 'keeps the shape': (6, 4) becomes (6, 8)",
    "half": "fails the check 'keeps the type': torch.float64 becomes torch.float16",
    "logarithm": "fails the check 'is finite': nan at x = -10000",
    "overflowing": "fails the check 'is finite': inf at x = 10000",
    "noisy": "fails the check 'repeats itself': the same x gives another value",
    "step": "fails the check 'has a gradient': its value does not depend on x for autograd",
    "flat": "fails the check 'has a gradient': it is 0 everywhere",
    "steep": "fails the check 'has a gradient': it is not finite at x = ",
    "pair": "fails the check 'gives a tensor': it gives tuple",
    "raising": "fails the check 'runs': KeyError: 'nothing here'",
    "needing": "fails the check 'runs': TypeError: needing() missing",
    "no_module": "fails the check 'makes a module': without an input it gives int",
    "Plain": "fails the check 'makes a module': without an input it gives Plain",
    "Sized": "fails the check 'runs': TypeError: Sized.__init__() missing",
    "number": "is of type float: an activation is a function or nn.Module",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_one_is_refused_by_the_check_that_failed(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, "-a", f"./broken.py:{name}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"relubench: ./broken.py:{name} {REFUSED[name]}")


def test_parameters_are_checked_with_the_values_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "-a", "torch.nn:ELU:inplace=true"]) == 2
    assert "fails the check 'leaves its input alone'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./none.py:unit", "cannot read ./none.py: No such file or directory"),
        ("./units.py:leeky", "./units.py has no attribute 'leeky': did you mean 'leaky'?"),
        ("units.py", "'units.py' names no attribute: write units.py:NAME"),
        ("units.py:slope=1", "'units.py' names no attribute: write units.py:NAME"),
        ("no.such:unit", "no module 'no' here or among the installed ones"),
        ("./units.py:leaky:slop=1", "--activation: ./units.py:leaky has no parameter 'slop'"),
        ("./units.py:leaky:slope=x", "--activation: ./units.py:leaky: slope='x' is not a number"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    name: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *TINY, "-a", name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"relubench: {says}")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be"),
        ("x = = 1", "SyntaxError: invalid syntax"),
        ("raise ValueError('one\\ntwo')", "ValueError: one ("),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
@pytest.mark.parametrize("where", ["./raises.py", "package_of_mine.raises"])
def test_code_that_raises_is_told_in_one_line_and_shown_on_demand(
    source: str, says: str, where: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = here if where.startswith("./") else here / "package_of_mine"
    folder.mkdir(exist_ok=True)
    (folder / "raises.py").write_text(source, encoding="utf-8")
    arguments = ["train", *TINY, "-a", f"{where}:unit"]
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"relubench: {where} cannot be loaded: {says}")
    assert main([*arguments, "--verbose"]) == 2
    assert "Traceback" in (told := capsys.readouterr().err)
    assert "raises.py" in told


def test_it_stands_wherever_an_activation_does(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("benchmarks.toml").write_text(
        '[benchmark.mine]\ndataset = "iris"\nmodel = "ffnn:hidden=4"\nepochs = 1\nseeds = 2\n'
        'activation = ["tanh", "units.py:leaky:slope=0.2"]\nreference = "./units.py:Shared"\n',
        encoding="utf-8",
    )
    found = rows(["compare", "mine", "--quiet"], capsys)
    names = {"tanh", "units.py:leaky", "./units.py:Shared"}  # as written, but for a default
    assert {row["activation"] for row in found} == names
    assert {row["reference"] for row in found} == {"./units.py:Shared"}


def test_worker_processes_find_it(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", *TINY, "-a", "./units.py:leaky,leaky_relu:negative_slope=0.2"]
    own, listed = rows([*arguments, "--jobs", "2", "--threads", "1"], capsys)
    assert own["failed"] is listed["failed"] is None
    assert own["loss"] == listed["loss"]


def test_edited_code_is_never_answered_from_the_ledger(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", *[a for a in TINY if a != "--quiet"], "-a", "./units.py:leaky"]

    def losses() -> tuple[float, bool]:
        assert main([*arguments, "--format", "json"]) == 0
        printed = capsys.readouterr()
        return json.loads(printed.out)[0]["loss"], "1 of 1 run taken" in printed.err

    first, taken = losses()
    assert not taken
    assert losses() == (first, True)
    Path("units.py").write_text(UNITS.replace("slope * x)", "3 * slope * x)"), encoding="utf-8")
    edited, taken = losses()
    assert not taken
    assert edited != first
    Path("units.py").write_text(UNITS, encoding="utf-8")
    assert losses() == (first, True)


def test_the_digest_covers_what_a_file_takes_from_its_folder(here: Path) -> None:
    Path("main.py").write_text("import math, helper\nfrom sub.deep import f\n", encoding="utf-8")
    Path("sub").mkdir()
    sources = {Path("helper.py"): "k = {}", Path("sub/deep.py"): "def f(x): return {} * x"}
    script = "from relubench.user_code import load; print(load('./main.py', 'f').sha256)"

    def digest() -> str:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    seen = []
    for edited in (None, None, *sources):
        for path, source in sources.items():
            path.write_text(source.format(1 + (path == edited)), encoding="utf-8")
        seen.append(digest())
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


def test_a_file_is_run_again_only_when_it_has_changed(here: Path) -> None:
    path = Path("counted.py")
    path.write_text("thing = object()", encoding="utf-8")
    first = user_code.load("./counted.py", "thing")
    assert user_code.load("./counted.py", "thing") is first
    path.write_text("thing = object() ", encoding="utf-8")
    assert user_code.load("./counted.py", "thing").thing is not first.thing
    with pytest.raises(UserCodeError):
        user_code.load("./counted.py", "other")


def test_a_unit_that_this_network_cannot_use_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("flat.py").write_text(
        "def unit(x):\n    examples, units = x.shape\n    return x.relu()\n", encoding="utf-8"
    )
    assert main(["train", *TINY, "-a", "./flat.py:unit"]) == 0
    capsys.readouterr()
    arguments = ["train", "-d", "digits", "-m", "cnn:padding=1", "--quiet", "-a", "./flat.py:unit"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(
        "relubench: ./flat.py:unit fails in cnn:padding=1: ValueError: too many values"
    )


def test_installed_packages_below_the_file_are_not_its_source(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = here / ".venv" / "packages"
    installed.mkdir(parents=True)
    (installed / "library.py").write_text("scale = 1.0", encoding="utf-8")
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setattr(user_imports, "INSTALLED", {str(installed)})
    source = "import library, mine\ndef unit(x): return library.scale * x.relu()"
    Path("mine.py").write_text("", encoding="utf-8")
    Path("with_library.py").write_text(source, encoding="utf-8")
    own = user_code.load("./with_library.py", "unit")
    files = user_imports.FINDER.owners[own.thing.__module__.split(".")[0]].read
    assert {Path(file).name for file in files} == {"with_library.py", "mine.py"}
    assert user_code.load("library", "scale").sha256  # one of theirs has its own
