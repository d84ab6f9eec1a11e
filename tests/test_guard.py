"""Whatever a user's own code does, exit codes are relubench's: never 0 or 3 for what went wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relubench.cli import main

SMALL = ["compare", "-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "2", "--seeds", "2"]
SMALL += ["--threads", "1", "--stack", "1", "--no-ledger", "--quiet"]
UNIT = """
import multiprocessing, os, signal, sys, typer, torch
from relubench.errors import RelubenchError
from pathlib import Path

class Fine(RelubenchError):
    exit_code = {code}

class Odd(BaseException):
    def __init__(self, one, two):
        super().__init__("odd")

def end():
    {end}

{at_import}

class Unit(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return x.tanh()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx, grad):
        if {backward} and Path("go").exists():
            end()
        (output,) = ctx.saved_tensors
        return grad * (1 - output**2)

def f(x):
    if {forward} or ({late} and Path("go").exists() and len(x) != 6):
        end()
    return Unit.apply(x)

def build(shape, classes, activation):
    if {build} and Path("go").exists():
        end()
    return torch.nn.Sequential(
        torch.nn.Linear(shape[0], 4), activation(4), torch.nn.Linear(4, classes)
    )
"""
PLACES = ("at_import", "forward", "late", "backward", "build")
RAISED = {
    "exit": "sys.exit({code})",
    "typer": "raise typer.Exit({code})",
    "ours": "raise Fine('well done')",
    "odd": "raise Odd(1, 2)",
    "bug": "[][0]",
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(end: str, place: str, code: int) -> None:
    """A unit and a model that end, in one place, in one way."""
    places: dict[str, object] = {each: each == place for each in PLACES}
    places["at_import"] = "end()" if place == "at_import" else ""
    end = end.format(code=code)
    Path("own.py").write_text(UNIT.format(end=end, code=code, **places), encoding="utf-8")


def arguments(place: str) -> list[str]:
    model = ["-m", "./own.py:build"] if place == "build" else []
    return [*SMALL, *model, "-a", "./own.py:f"]


def gated(place: str) -> list[str]:
    """A gate over this unit, whose baseline was made while it was good."""
    write("pass", place, 0)
    assert main([*arguments(place), "--save-baseline", "base.json"]) == 0
    return [*arguments(place), "--baseline", "base.json", "-o", "out.csv", "--junit", "j.xml"]


def nothing_passed() -> None:
    assert not Path("out.csv").exists()
    assert "testcase" not in (Path("j.xml").read_text() if Path("j.xml").exists() else "")
    assert not [path for path in Path().iterdir() if path.name.endswith(".part")]


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", RAISED)
def test_what_own_code_raises_never_passes_a_gate(
    way: str, place: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = gated(place)
    write(RAISED[way], place, code)
    Path("go").touch()
    capsys.readouterr()
    assert main(gate) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    nothing_passed()


@pytest.mark.parametrize("place", ["late", "backward"])
@pytest.mark.parametrize("way", ["exit", "odd", "bug"])
def test_nor_what_it_raises_in_a_worker(
    way: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = gated(place)
    write(RAISED[way], place, 0)
    Path("go").touch()
    assert main([*gate, "--jobs", "2"]) == 2
    says = "code of yours has failed" if place == "late" else "fails the check 'runs'"
    assert says in capsys.readouterr().err
    nothing_passed()


def relubench(words: list[str]) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "relubench", *words], **pipes)  # type: ignore[call-overload, no-any-return]


ENDS = {
    "import": ("os._exit(0)", "at_import", "os._exit(0)"),
    "check": ("os._exit(3)", "forward", "os._exit(3)"),
    "training": ("os._exit(0)", "late", "os._exit(0)"),
    "gradient": ("os._exit(3)", "backward", "os._exit(3)"),
    "building": ("os._exit(0)", "build", "os._exit(0)"),
    "another program": ("os.execv('/bin/true', ['true'])", "late", "os._exit(0)"),
    "a signal": ("os.kill(os.getpid(), 11)", "late", "signal 11"),
}
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a guard needs fork")


@LINUX
@pytest.mark.parametrize("case", ENDS)
def test_a_process_that_own_code_ends_is_2_and_nothing_is_written(case: str) -> None:
    end, place, says = ENDS[case]
    gate = gated(place)
    write(end, place, 0)
    Path("go").touch()
    process = relubench(gate)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    assert err == f"relubench: code of yours has ended the process: {says}{err.partition(says)[2]}"
    assert len(err.splitlines()) == 1
    nothing_passed()


def test_a_worker_that_own_code_ends_is_incomplete() -> None:
    gate = gated("late")
    write("multiprocessing.parent_process() and os._exit(0)", "late", 0)
    Path("go").touch()
    process = relubench([*gate, "--jobs", "2"])
    process.communicate(timeout=120)
    assert process.returncode == 4


LONG = ["train", "-d", "digits", "--epochs", "100000", "-a", "./own.py:f", "--verbose"]


@LINUX
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_signals_reach_the_child_and_end_it(number: int, code: int) -> None:
    write("pass", "late", 0)
    process = relubench(LONG)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("digits"):
        pass
    time.sleep(0.5)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)  # ends when the child has closed its pipes
    assert process.returncode == code
    assert number != signal.SIGINT or err.splitlines()[-1].startswith("relubench: interrupted")


@LINUX
def test_a_good_unit_prints_and_ends_as_before() -> None:
    write("pass", "late", 0)
    process = relubench([*arguments("late"), "--save-baseline", "base.json"])
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert "./own.py:f" in out
    process = relubench([*arguments("late"), "--baseline", "base.json"])
    assert process.communicate(timeout=120)[0].count("pass") >= 2
    assert process.returncode == 0
