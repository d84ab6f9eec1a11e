"""Digests of objects: what decides a value is in them, and nothing else is."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from relubench import compiled

HEAD = "import torch, functools\nfrom torch import nn\nfrom torch.nn import functional as F\n"
HEAD += "from torch.autograd import Function\n"
# What an object is made by, and what may be changed in it: the second has another digest.
CHANGED = {
    "a constant": ("def f(x): return x * 2", "def f(x): return x * 3"),
    "an operator": ("def f(x): return x + x", "def f(x): return x - x"),
    "a function that is called": ("def f(x): return F.relu(x)", "def f(x): return F.silu(x)"),
    "a default": ("def f(x, a=1.0): return a * x", "def f(x, a=2.0): return a * x"),
    "a keyword's default": ("def f(x, *, a=1.0): return a * x", "def f(x, *, a=2.0): return a * x"),
    "a global": ("a = 1.0\ndef f(x): return a * x", "a = 2.0\ndef f(x): return a * x"),
    "a helper": (
        "def g(x): return x\ndef f(x): return g(x)",
        "def g(x): return -x\ndef f(x): return g(x)",
    ),
    "a helper's helper": (
        "def h(x): return x\ndef g(x): return h(x)\ndef f(x): return g(x)",
        "def h(x): return -x\ndef g(x): return h(x)\ndef f(x): return g(x)",
    ),
    "a closure": (
        "def g(a): return lambda x: a * x\nf = g(1.0)",
        "def g(a): return lambda x: a * x\nf = g(2.0)",
    ),
    "a tensor": (
        "a = torch.tensor([1.0])\ndef f(x): return a * x",
        "a = torch.tensor([2.0])\ndef f(x): return a * x",
    ),
    "a set": (
        "def f(x): return x if 'a' in {'a', 'b'} else -x",
        "def f(x): return x if 'a' in {'c', 'b'} else -x",
    ),
    "a partial": (
        "f = functools.partial(F.leaky_relu, negative_slope=0.1)",
        "f = functools.partial(F.leaky_relu, negative_slope=0.2)",
    ),
    "a module's parameter": ("f = nn.ELU(0.5)", "f = nn.ELU(0.6)"),
    "an attribute of a class": (
        "class f(nn.Module):\n  a = 1\n  def forward(self, x): return x",
        "class f(nn.Module):\n  a = 2\n  def forward(self, x): return x",
    ),
    "a method": (
        "class f(nn.Module):\n  def forward(self, x): return x",
        "class f(nn.Module):\n  def forward(self, x): return -x",
    ),
    "a base": (
        "class B(nn.Module):\n  def forward(self, x): return x\nclass f(B): pass",
        "class B(nn.Module):\n  def forward(self, x): return -x\nclass f(B): pass",
    ),
    "an inner function": (
        "def f(x):\n  def g(y): return y\n  return g(x)",
        "def f(x):\n  def g(y): return -y\n  return g(x)",
    ),
    "what a static method does": (
        "class A(Function):\n  @staticmethod\n  def forward(c, x): return x\nf = A.apply",
        "class A(Function):\n  @staticmethod\n  def forward(c, x): return -x\nf = A.apply",
    ),
}


def made(source: str, file: str = "one.py") -> Any:
    """What `f` is after the source was run, as in a notebook: without a file."""
    space: dict[str, Any] = {"__name__": "__nowhere__"}
    exec(compile(HEAD + source, file, "exec"), space)
    return space["f"]


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
def test_what_decides_a_value_is_in_the_digest(changed: tuple[str, str]) -> None:
    one, other = changed
    assert compiled.digest(made(one)) != compiled.digest(made(other))


@pytest.mark.parametrize("source", [pair[0] for pair in CHANGED.values()], ids=CHANGED)
def test_where_it_stands_is_not(source: str) -> None:
    further_down = f"\n\n# a comment\nunused = object()\n{source}"
    assert compiled.digest(made(source)) == compiled.digest(made(further_down, "two.py"))


def test_it_is_the_same_in_another_process(tmp_path: Path) -> None:
    sources = [pair[0] for pair in CHANGED.values()]
    script = tmp_path / "digests.py"
    script.write_text(
        "import sys, json\nfrom test_compiled import made, compiled\n"
        "print(*(compiled.digest(made(source)) for source in json.load(sys.stdin)))\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    answers = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, str(script)],
            input=json.dumps(sources),
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": seed},
        )
        answers.add(done.stdout)
    assert len(answers) == 1
    assert answers == {" ".join(compiled.digest(made(source)) for source in sources) + "\n"}


LOCK = threading.Lock()


def locked(x: torch.Tensor) -> torch.Tensor:
    with LOCK:
        return x


def test_what_cannot_be_known_is_named() -> None:
    with pytest.raises(compiled.Unknowable, match=r"^LOCK is an object of type lock$"):
        compiled.digest(locked)


@pytest.mark.parametrize(
    "thing",
    [nn.GELU, F.gelu, torch.relu, torch.tanh, nn.Linear(2, 2).forward, functools.lru_cache(made)],
)
def test_what_libraries_have_is_known_by_name(thing: Callable[..., object]) -> None:
    assert compiled.digest(thing) == compiled.digest(thing)


def test_a_network_goes_by_its_weights() -> None:
    first = nn.Linear(2, 2)
    net = nn.Sequential(first, nn.ReLU())
    before = compiled.digest(net)
    assert compiled.digest(net) == before
    with torch.no_grad():
        first.weight += 1
    assert compiled.digest(net) != before


def test_a_module_goes_by_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = []
    for body in ("def g(x): return x\n", "def g(x): return -x\n"):
        (tmp_path / "beside_it.py").write_text(body, encoding="utf-8")
        module = ModuleType("beside_it")
        module.__file__ = str(tmp_path / "beside_it.py")
        exec(body, vars(module))
        monkeypatch.setitem(sys.modules, "beside_it", module)
        digests.append(compiled.digest(made("import beside_it\ndef f(x): return beside_it.g(x)")))
    assert digests[0] != digests[1]


def test_what_refers_to_itself_comes_to_an_end() -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert compiled.digest(circle) == compiled.digest(circle)
    assert compiled.digest(made("def f(x): return f(x)"))
