"""What is refused before training is looked at once: one network, one split, one dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relubench import datasets
from relubench.cli import main
from relubench.execution import checks, data_checks
from relubench.execution.checks import check_cell
from relubench.plan import Cell, Machine
from relubench.training import building

NORMED = f"{Path(__file__).parent / 'normed.py'}:net"
CODE = "def unit(x):\n    return x.sin()\n"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what is done, and with which activation a network is built."""
    counts: Counter[str] = Counter()

    def count(module: Any, name: str, what: str, by_cell: bool = False) -> None:
        function: Callable[..., Any] = getattr(module, name)

        def counting(cell: Cell, *rest: Any) -> Any:
            counts[f"{what} with {cell.activation}" if by_cell else what] += 1
            return function(cell, *rest)

        monkeypatch.setattr(module, name, counting)

    count(building, "skeleton", "build", by_cell=True)
    count(checks, "skeleton", "build", by_cell=True)
    count(checks, "with_weights", "draw weights")
    count(data_checks, "split", "split")
    return counts


@pytest.mark.parametrize(
    ("model", "activation", "expected"),
    [  # before, networks were built 1, 2, 1, 2, 2 and 3 times, and rows split twice
        ("ffnn:hidden=4", "relu", {"build with relu": 1}),
        ("ffnn:hidden=4", "user", {"build with user": 1, "draw weights": 1}),
        (
            "vgg:depth=11:batch_norm=true:filters=2x3x4x3x4:dense=5x4",
            "relu",
            {"build with relu": 1},
        ),
        (NORMED, "relu", {"build with relu": 1, "build with elu": 1, "draw weights": 1}),
        (NORMED, "elu", {"build with elu": 1, "draw weights": 1}),
        (NORMED, "user", {"build with user": 1, "build with elu": 1, "draw weights": 2}),
    ],
)
def test_a_network_is_built_once_and_once_more_with_elu_if_it_is_foreign(
    model: str,
    activation: str,
    expected: dict[str, int],
    calls: Counter[str],
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "own.py").write_text(CODE, encoding="utf-8")
    user = f"{tmp_path / 'own.py'}:unit"
    cell = Cell(
        dataset="iris" if "vgg" not in model else "digits",
        model=model,
        activation=activation.replace("user", user),
    )
    monkeypatch.setattr(checks, "_padded", lambda *_: [])
    check_cell(cell, machine)
    expected = {name.replace("user", user): count for name, count in expected.items()}
    assert calls == {**expected, "split": 1}


def test_a_dataset_is_loaded_once_per_command(tmp_path: Path) -> None:
    datasets.load.cache_clear()
    arguments = ["-d", "iris,wine", "-m", "ffnn:hidden=4", "--epochs", "1", "--seeds", "2"]
    assert main(["compare", "-a", "relu,tanh", *arguments, "--data-dir", str(tmp_path)]) == 0
    assert datasets.load.cache_info().misses == 2
