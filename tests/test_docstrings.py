"""python -OO, which drops docstrings: the texts of catalogues and help are still there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = ["train", "-d", "iris", "-m", "ffnn:hidden=4", "-a", "gelu", "--epochs", "1", "--no-ledger"]


def output(flags: list[str], arguments: list[str], folder: Path) -> str:
    command = [sys.executable, *flags, "-m", "relubench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments", [["list", "activations"], ["train", "--help"], [*TRAIN, "--columns", "loss"]]
)
def test_it_answers_as_without_the_flag(arguments: list[str], tmp_path: Path) -> None:
    assert output(["-OO"], arguments, tmp_path) == output([], arguments, tmp_path)
