"""Settings of the whole process are put back, whatever happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from relubench.execution import tuning
from relubench.plan import Cell, Machine, Recipe, Stack
from relubench.training import engine
from relubench.training.compute import compute_settings

CELL = Cell(
    dataset="iris",
    model="ffnn:hidden=4",
    activation="relu",
    recipe=Recipe(epochs=1),
)
Settings = tuple[int, str, bool]


def settings() -> Settings:
    tf32: bool = torch.backends.cudnn.allow_tf32
    return torch.get_num_threads(), torch.get_float32_matmul_precision(), tf32


@pytest.fixture
def unusual() -> Iterator[Settings]:
    """Settings that no command makes; the session's are put back."""
    threads, precision, tf32 = settings()
    torch.set_num_threads(3)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = not tf32
    yield settings()
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = tf32


@pytest.mark.parametrize("dtype", ["float32", "tf32"])
def test_settings_are_the_machines_inside_and_what_they_were_after(
    dtype: str, machine: Machine, unusual: Settings
) -> None:
    tf32 = dtype == "tf32"
    machine = dataclasses.replace(machine, threads=2, dtype=dtype)
    inside = []

    def fail() -> None:
        with compute_settings(machine):
            inside.append(settings())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert inside == [(2, "high" if tf32 else "highest", tf32)]
    assert settings() == unusual


def test_a_fit_leaves_settings_as_they_were(machine: Machine, unusual: Settings) -> None:
    stack = Stack((CELL,), threads=2)
    (result,) = engine.fit(stack, machine)
    assert result.environment.threads == 2
    assert settings() == unusual


def test_tuning_leaves_settings_as_they_were(
    machine: Machine, unusual: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tuning.tune([CELL], machine, [1, 2], None).threads in (1, 2)
    assert settings() == unusual
