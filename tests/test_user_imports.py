"""What a user's file imports from beside it: its own, whole in the digest, the same anywhere."""

from __future__ import annotations

import json
import pickle
import random
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch

from relubench import user_code, user_imports
from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.models import MODELS
from relubench.plan import Cell, Machine, Recipe, Stack
from relubench.training import engine
from relubench.training.checkpoints import CheckpointStore
from relubench.user_code import UserCode, UserCodeError

IRIS = ["-d", "iris", "--epochs", "1"]
WIDTHS = {"one": 8, "two": 16}  # by folder: each has files of the same names
NET = """
    from torch import nn

    def net(shape, classes, activation):
        units = {}
        return nn.Sequential(nn.Linear(4, units), activation(units), nn.Linear(units, classes))
"""
HELPERS = {
    "utils.py": "WIDTH = {}",
    "random.py": "WIDTH = {}",  # as one of Python's
    "tabulate.py": "WIDTH = {}",  # as an installed one
    "package/__init__.py": "from .inner import WIDTH",
    "package/inner.py": "WIDTH = {}",
    "plain/deep.py": "WIDTH = {}",
    "first.py": "def width():\n    from second import WIDTH\n    return WIDTH",
    "second.py": "from utils import *",
    "around.py": "import circular\nimport utils\n\ndef width(): return utils.WIDTH + circular.NONE",
    "lib/below.py": "WIDTH = {}",
}
SPELLINGS = {  # by name: what stands at the top, the width, the helpers that are used
    "plain": ("import utils", "utils.WIDTH", "utils.py"),
    "from": ("from utils import WIDTH", "WIDTH", "utils.py"),
    "star": ("from utils import *", "WIDTH", "utils.py"),
    "relative": ("from . import utils", "utils.WIDTH", "utils.py"),
    "called": ("", "__import__('utils').WIDTH", "utils.py"),
    "import_module": (
        "import importlib",
        "importlib.import_module('utils').WIDTH",
        "utils.py",
    ),
    "computed": ("import importlib as i\nu = i.import_module('ut' + 'ils')", "u.WIDTH", "utils.py"),
    "lazy": ("def width():\n    import utils\n    return utils.WIDTH", "width()", "utils.py"),
    "folder": ("import package", "package.WIDTH", "package/__init__.py package/inner.py"),
    "dotted": ("import package.inner as p", "p.WIDTH", "package/__init__.py package/inner.py"),
    "namespace": ("from plain import deep", "deep.WIDTH", "plain/deep.py"),
    "chain": ("import first", "first.width()", "first.py second.py utils.py"),
    "circular": ("import around\nNONE = 0", "around.width()", "around.py utils.py"),
    "like_python_s": ("import random", "random.WIDTH", "random.py"),
    "like_an_installed": ("import tabulate", "tabulate.WIDTH", "tabulate.py"),
    "path": (
        "import os, sys\nsys.path[:0] = [os.path.dirname(__file__) + '/lib']\nimport below",
        "below.WIDTH",
        "lib/below.py",
    ),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder; what an import leaves behind is nothing but private names."""
    monkeypatch.chdir(tmp_path)
    modules, path = set(sys.modules), [*sys.path]
    yield tmp_path
    left = {name: getattr(sys.modules[name], "__file__", None) for name in {*sys.modules} - modules}
    public = [name for name, file in left.items() if file and file.startswith(str(tmp_path))]
    assert all(name.startswith(user_imports.PREFIX) for name in public)
    assert sys.path == path


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(dedent(text), encoding="utf-8")


def write_all(spelling: str) -> None:
    """The same files in each folder, but for the width that they say."""
    head, width, _ = SPELLINGS[spelling]
    for folder, value in WIDTHS.items():
        write(f"{folder}/{spelling}.py", f"{head}\n{dedent(NET.format(width))}")
        for name, text in HELPERS.items():
            write(f"{folder}/{name}", text.format(value))


def cell(model: str, activation: str = "relu", seed: int = 0) -> Cell:
    recipe = Recipe(epochs=1)
    return Cell(dataset="iris", model=model, activation=activation, recipe=recipe, seed=seed)


def hidden(name: str) -> int:
    """The width of the hidden layer of a user's own network."""
    network = MODELS.choose(name)((4,), 3, ACTIVATIONS.choose("relu"))
    return len(next(iter(network.parameters())))


def read(own: UserCode) -> set[str]:
    """The files that a digest covers."""
    covered = user_imports.FINDER.owners[own.thing.__module__.partition(".")[0]].read
    return {Path(file).relative_to(Path.cwd()).as_posix() for file in covered}


def forget() -> None:
    """As in a process that begins now."""
    user_code.LOADED.clear()
    for name in [*sys.modules]:
        if name.startswith(user_imports.PREFIX):
            del sys.modules[name]


@pytest.mark.parametrize("folders", [("one", "two"), ("two", "one")], ids="-".join)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_each_import_is_its_own_and_the_digest_covers_it(
    spelling: str, folders: tuple[str, str]
) -> None:
    write_all(spelling)
    owns = {folder: user_code.load(f"./{folder}/{spelling}.py", "net") for folder in folders}
    found = {folder: hidden(f"./{folder}/{spelling}.py:net") for folder in folders}
    assert found == WIDTHS
    for folder, own in owns.items():
        names = f"{spelling}.py {SPELLINGS[spelling][2]}".split()
        assert read(own) == {f"{folder}/{name}" for name in names}


def test_a_helper_of_another_file_is_not_found() -> None:
    write("one/nets.py", "import only_here")
    write("one/only_here.py", "")
    write("two/nets.py", "import only_here")
    with pytest.raises(UserCodeError, match="has no attribute"):
        user_code.load("one/nets.py", "net")
    with pytest.raises(UserCodeError, match="ModuleNotFoundError: No module named 'only_here'"):
        user_code.load("two/nets.py", "net")


@pytest.mark.parametrize("names", ["one/sub/nets.py two/sub/nets.py", "two.sub.nets one.sub.nets"])
def test_a_file_of_a_package_is_a_module_of_it(names: str) -> None:
    for folder, value in WIDTHS.items():
        write(f"{folder}/__init__.py", "from .sub.nets import net")
        write(f"{folder}/sub/__init__.py", "")
        write(f"{folder}/sub/nets.py", f"from ..beside import WIDTH\n{dedent(NET).format('WIDTH')}")
        write(f"{folder}/beside.py", f"from {folder}.absolute import WIDTH")
        write(f"{folder}/absolute.py", f"WIDTH = {value}")
    for name in names.split():
        assert hidden(f"{name}:net") == WIDTHS[name[:3]]
        parts = ["__init__", "sub/__init__", "sub/nets", "beside", "absolute"]
        covered = read(user_code.load(name, "net"))
        assert covered == {f"{name[:3]}/{part}.py" for part in parts}


def test_dotted_modules_and_files_keep_apart() -> None:
    """One's `import utils` starts from the working folder, the other's from its own."""
    write("utils.py", "WIDTH = 5")
    write("one/utils.py", "WIDTH = 8")
    write("one/nets.py", f"import utils\n{dedent(NET).format('utils.WIDTH')}")
    assert [hidden(name) for name in ("one.nets:net", "one/nets.py:net")] == [5, 8]
    assert read(user_code.load("one.nets", "net")) == {"one/nets.py", "utils.py"}


def test_a_unit_and_a_model_each_have_their_helper(machine: Machine) -> None:
    write("one/nets.py", f"import utils\n{dedent(NET).format('utils.WIDTH')}")
    write("one/utils.py", "WIDTH = 8")
    write("two/units.py", "def unit(x):\n    import utils\n    return utils.SLOPE * x.relu()")
    write("two/utils.py", "SLOPE = 2.0")
    (result,) = engine.fit(Stack((cell("one/nets.py:net", "two/units.py:unit"),)), machine)
    assert result.failed is None
    assert result.parameters == 5 * 8 + 9 * 3


def test_worker_processes_tell_them_apart(capsys: pytest.CaptureFixture[str]) -> None:
    write_all("lazy")
    names = "two/lazy.py:net,one/lazy.py:net"
    arguments = ["-m", names, "--no-ledger", "--jobs", "2", "--format", "json"]
    assert main(["train", *IRIS, "--quiet", *arguments]) == 0
    rows = {row["model"]: row["parameters"] for row in json.loads(capsys.readouterr().out)}
    assert rows == {"one/lazy.py:net": 67, "two/lazy.py:net": 131}


def test_a_module_that_relubench_uses_is_the_same_one() -> None:
    write("relubench.py", "")
    write("nets.py", "from relubench.models.layers import Act\nimport math, sys, torch")
    assert user_code.load("./nets.py", "Act").thing is sys.modules["relubench.models.layers"].Act


# --- edits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_edited_helper_is_loaded_again_and_has_another_digest(spelling: str) -> None:
    """Within a second, and as long as before: a compiled file would count as fresh."""
    write_all(spelling)
    name = f"one/{spelling}.py"
    first = user_code.load(name, "net")
    assert user_code.load(name, "net") is first
    assert hidden(f"{name}:net") == 8
    helper = next(h for h in SPELLINGS[spelling][2].split() if "{" in HELPERS[h])
    write(f"one/{helper}", HELPERS[helper].format(9))
    assert user_code.load(name, "net").sha256 != first.sha256
    assert hidden(f"{name}:net") == 9
    write(f"one/{helper}", HELPERS[helper].format(8))
    assert user_code.load(name, "net") is first


def test_a_new_file_that_comes_first_is_seen() -> None:
    write("nets.py", "import tabulate\nthing = tabulate.__file__")
    first = user_code.load("nets.py", "thing")
    write("tabulate.py", "")
    assert user_code.load("nets.py", "thing").sha256 != first.sha256


def test_text_that_moves_from_one_helper_to_another_changes_the_digest() -> None:
    digests = set()
    for a, b in (("x = 1\n", "y = 2\n"), ("x = 1\ny = 2\n", "")):
        write("nets.py", "import a, b")
        write("a.py", a)
        write("b.py", b)
        digests.add(user_code.load("nets.py", "a").sha256)
    assert len(digests) == 2


def test_an_edited_helper_is_never_answered_from_the_ledger(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_all("chain")
    arguments = ["train", *IRIS, "-m", "one/chain.py:net"]

    def taken() -> bool:
        assert main(arguments) == 0
        return "1 of 1 run taken" in capsys.readouterr().err

    assert [taken(), taken()] == [False, True]
    write("one/utils.py", "WIDTH = 9")
    assert [taken(), taken()] == [False, True]


def test_a_command_and_its_workers_keep_to_one_version() -> None:
    write_all("lazy")
    with user_code.held():
        first = user_code.load("one/lazy.py", "net")
        write("one/utils.py", "WIDTH = 9")
        assert user_code.load("one/lazy.py", "net") is first
        assert hidden("one/lazy.py:net") == 8  # what the digest covers, not what is there by now
        digests = user_code.held_digests()
    assert user_code.as_held(digests, user_code.load, "one/lazy.py", "net") is first
    forget()
    with pytest.raises(UserCodeError, match=r"one/lazy\.py has changed since this command began"):
        user_code.as_held(digests, user_code.load, "one/lazy.py", "net")


def test_an_unfinished_training_is_gone_on_with_by_the_same_code(
    machine: Machine, tmp_path: Path
) -> None:
    write_all("plain")
    stack = Stack((cell("one/plain.py:net"),))
    unfinished = CheckpointStore(tmp_path / "unfinished", 0.0)
    engine.fit(stack, machine, checkpoints=unfinished)
    write("one/utils.py", "WIDTH = 8  # edited")
    engine.fit(stack, machine, checkpoints=unfinished)
    assert len(list(unfinished.path(stack).iterdir())) == 2


def test_a_module_that_the_digest_cannot_cover_is_refused() -> None:
    name = "__import__('ut' + 'ils').WIDTH"
    write("nets.py", dedent(NET).format(name))
    write("utils.py", "WIDTH = 8")
    with pytest.raises(user_imports.LateImport, match=r"utils\.py is imported while"):
        hidden("nets.py:net")


# --- as any other module --------------------------------------------------------------------------


def test_its_classes_can_be_looked_up_by_their_modules() -> None:
    write(
        "confs.py",
        """
        from __future__ import annotations
        import dataclasses
        from helper import Part

        @dataclasses.dataclass
        class Conf:
            part: Part | None = None
        """,
    )
    write("helper.py", "class Part: pass")
    conf: Any = user_code.load("confs.py", "Conf").thing
    part: Any = user_code.load("confs.py", "Part").thing
    assert typing.get_type_hints(conf) == {"part": typing.Optional[part]}  # noqa: UP045
    assert isinstance(pickle.loads(pickle.dumps(conf(part()))).part, part)


def test_errors_tell_the_names_that_the_user_wrote() -> None:
    write("nets.py", "import package.none")
    write("package/__init__.py", "")
    with pytest.raises(UserCodeError, match=r"No module named 'package\.none'"):
        user_code.load("nets.py", "net")


def test_what_is_drawn_at_import_is_the_same_in_each_process_and_leaves_no_trace() -> None:
    source = """
        import random
        import numpy, torch
        from helper import also
        drawn = [random.random(), numpy.random.rand(), torch.rand(2).tolist(), also]
    """
    write("helper.py", "import torch\nalso = torch.rand(1).item()")
    found = []
    for seed, edit in ((1, ""), (2, "# edited")):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        write("draws.py", dedent(source) + edit)
        before = torch.random.get_rng_state()
        found.append(user_code.load("draws.py", "drawn").thing)
        assert torch.equal(torch.random.get_rng_state(), before)
        assert random.random() == random.Random(seed).random()
    assert found[0] == found[1]


def test_a_module_first_imported_under_vmap_is_as_any_other(machine: Machine) -> None:
    """A worker makes no trial before its first pass: what the helper draws must not be batched."""
    write(
        "nets.py",
        """
        from torch import nn

        class Net(nn.Module):
            def __init__(self, shape, classes, activation):
                super().__init__()
                self.first, self.act = nn.Linear(4, 6), activation(6)
                self.last = nn.Linear(6, classes)

            def forward(self, x):
                import helper
                return self.last(self.act(self.first(x)) + helper.SHIFT)
        """,
    )
    write("helper.py", "import torch\nSHIFT = torch.randn(6)")
    cells = [cell("nets.py:Net", seed=seed) for seed in (0, 1)]
    together = engine.fit(Stack(tuple(cells)), machine)
    assert {result.environment.stack for result in together} == {2}
    forget()
    for single, stacked in zip(cells, together, strict=True):
        alone = engine.fit(Stack((single,)), machine)[0]
        assert stacked.scores["loss"] == pytest.approx(alone.scores["loss"], rel=1e-5)
