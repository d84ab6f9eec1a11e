"""Configurations, baselines and tuning caches that are damaged in every way.

The first two: a line, and never a gate that passes; the last is measured anew.

Tables, ledgers, unfinished trainings and data files are damaged where they are tested.
"""

from __future__ import annotations

import json
import math
import os
import random
import signal
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from relubench.baselines import record
from relubench.cli import main
from relubench.execution import step_timing, tuning

COUNT = 100  # of each kind of file
LINES = 3  # that a refusal may have
SECONDS = 60  # after which a command hangs
FEW = ["-d", "iris", "-m", "ffnn:hidden=4", "--threads", "1", "--stack", "1"]
FEW += ["--no-ledger", "--quiet"]
CONFIG = """\
[benchmark.small]
description = "A small one"
minutes = 0.5
dataset = ["iris", "wine"]
model = "ffnn:hidden=8x4"
activation = ["relu", "gelu", "leaky_relu:negative_slope=0.1"]
reference = "relu"
optimizer = "adam"
lr = [0.01, 0.001]
epochs = 2
batch_size = 32
weight_decay = 0.0001
limit = 90
seeds = 2
metric = "accuracy"
margin = {accuracy = "0.5%", seconds = "20%"}
until = "train_error=25%"
precision = "float32"
checkpoint = 30.0
quick = {seeds = 1, epochs = 1}

[[benchmark.small.published]]
activation = "relu"
source = "A paper"
confirmed = true
figures = [{lr = 0.01, value = 0.9, sd = 0.01, runs = 3}, {lr = 0.001, value = 0.8}]

[benchmark.other]
pca = 2
folds = 3
standardise = false
"""
STRANGE: list[Any] = [
    *(0, -1, 1, 2**31, 10**20, -(10**20), 1e308, -0.0, 5e-324, math.nan, math.inf, -math.inf),
    *("", " ", "x", "relu", "\x1b[2J", "\x00", "\u202e", "::error::x", "a\nb", "x" * 5000, "1e9"),
    *(True, False, [], {}, [[]], [0], ["relu", 3], {"a": {"b": [1]}}, [{}], "é" * 99, ",", "a=b"),
]


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """What takes longer is ended, as a bug."""

    def end(number: int, frame: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def nested(depth: int) -> list[Any]:
    """A list in a list in a list."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def places(found: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Where every key and every item of a document stands."""
    for key, value in found.items() if isinstance(found, dict) else enumerate(found):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, *path, key)


def altered(document: Any, draw: random.Random) -> Any:
    """A value deleted, doubled, put under another key, or another one in its place."""
    *path, last = draw.choice([*places(document)])
    within = document
    for key in path:
        within = within[key]
    kind, value = draw.randrange(4), within[last]
    if kind == 0:
        del within[last]
    elif kind == 1:
        other = draw.choice([str(last) + "x", "", "lr", "\x07", "seeds", "benchmark"])
        within.update({other: value}) if isinstance(within, dict) else within.append(value)
    elif kind == 2:
        within[last] = draw.choice(
            [str(value), [value], {"x": value}, nested(draw.choice([9, 99]))]
        )
    else:
        within[last] = draw.choice(STRANGE)
    return document


def scrambled(data: bytes, draw: random.Random) -> bytes:
    """Bytes flipped, cut out, doubled, put in; or the end cut off."""
    found = bytearray(data)
    for _ in range(draw.choice([1, 1, 2])):
        at, size = draw.randrange(len(found)), draw.choice([1, 4, 30])
        kind = draw.randrange(5)
        if kind == 0:
            found[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del found[at : at + size]
        elif kind == 2:
            found[at:at] = found[at : at + size]
        elif kind == 3:
            found[at:at] = draw.choice(
                [b"\x00", b"\x1b", b"\xff\xfe", b"\r", b"[" * 3000, b"9" * 5000]
            )
        else:
            del found[max(1, at) :]
    return bytes(found)


def binary(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(5000))


REPLACED: list[Callable[[Path], Any]] = [
    lambda path: path.write_bytes(b""),
    binary,
    Path.mkdir,
    os.mkfifo,
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to("/dev/zero"),
    lambda path: path.write_bytes(b"[" * 10**5),
    lambda path: path.write_bytes(b"\xef\xbb\xbf"),
]


def toml(value: Any) -> str:
    """A value as TOML has it, tables inline."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(str(k))} = {toml(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


def tables(document: dict[str, Any]) -> str:
    """A whole document of TOML, a line for each key."""
    return "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in document.items())


def damaged_config(path: Path, number: int, draw: random.Random) -> None:
    if number < len(REPLACED):
        REPLACED[number](path)
    elif number % 3:
        path.write_text(tables(altered(tomllib.loads(CONFIG), draw)), encoding="utf-8")
    else:
        path.write_bytes(scrambled(CONFIG.encode(), draw))


def answered(
    arguments: list[str], case: Any, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[str]]:
    """The exit code, and what a refusal says: a few lines that can be read."""
    capsys.readouterr()
    with limited(SECONDS):
        code = main(arguments)
    said = capsys.readouterr().err.splitlines()
    assert len(said) <= LINES, (case, said)
    assert all(line.isprintable() for line in said), (case, said)
    return code, said


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "compare"])
def test_a_damaged_configuration_is_a_few_lines_or_trains(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_testsuite_property: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    own = ["--epochs", "1", "--seeds", "2", "--limit", "60"]
    codes, whole = Counter[int](), Path("whole.toml")
    whole.write_text(CONFIG, encoding="utf-8")
    assert answered([command, "small", "--config", str(whole), *own, *FEW], 0, capsys) == (0, [])
    for number in range(COUNT):
        path = Path(f"{number}.toml")
        damaged_config(path, number, random.Random(f"{command} {number}"))
        code, said = answered([command, "small", "--config", str(path), *own, *FEW], path, capsys)
        assert code in (0, 2), (number, said)
        assert bool(said) == (code == 2), (number, said)
        codes[code] += 1
    record_testsuite_property(f"exit codes of configurations, {command}", str(dict(codes)))


SMALL = ["compare", *FEW, "-a", "relu,gelu", "--lr", "0.01", "--epochs", "8", "--seeds", "6"]


def damaged_baseline(path: Path, saved: str, number: int, draw: random.Random) -> bool:
    """Whether it was sealed again, by somebody who makes the digest fit."""
    sealed = number % 3 == 2
    if number < len(REPLACED):
        REPLACED[number](path)
        return False
    if number % 3 == 0:
        path.write_bytes(scrambled(saved.encode(), draw))
        return False
    found = json.loads(saved)
    for _ in range(draw.choice([1, 1, 3])):
        found = altered(found, draw)
    if sealed:
        found["sha256"] = record.digest(found)
    path.write_text(json.dumps(found), encoding="utf-8")
    return sealed


def content(path: Path) -> Any:
    """What a file of JSON says, exactly."""
    return json.dumps(json.loads(path.read_text(encoding="utf-8")), sort_keys=True)


@pytest.mark.slow
def test_no_gate_passes_for_a_damaged_baseline(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_testsuite_property: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = Path("base.json")
    assert answered([*SMALL, "--save-baseline", "base.json"], 0, capsys) == (0, [])
    assert answered([*SMALL, "--baseline", "base.json"], 0, capsys) == (0, [])
    codes = Counter[str]()
    for number in range(COUNT):
        path, draw = Path(f"{number}.json"), random.Random(number)
        sealed = damaged_baseline(path, whole.read_text(encoding="utf-8"), number, draw)
        code, said = answered([*SMALL, "--baseline", str(path)], number, capsys)
        assert code in (0, 2, 3, 4), (number, said)
        assert code != 0 or sealed or content(path) == content(whole), number
        assert bool(said) == (code != 0), (number, said)
        codes[f"{code}{' sealed' if sealed else ''}"] += 1
    record_testsuite_property("exit codes of baselines", str(dict(codes)))


TUNED = ["train", "-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "16", "--batch-size", "32"]
TUNED += ["--seeds", "8", "--threads", "1", "--no-ledger", "--quiet"]  # enough steps to measure


def damaged_cache(path: Path, whole: str, number: int, draw: random.Random) -> None:
    if number < len(REPLACED):
        REPLACED[number](path)
    elif number % 2:
        path.write_bytes(scrambled(whole.encode(), draw))
    else:
        path.write_text(json.dumps(altered(json.loads(whole), draw)), encoding="utf-8")


def seconds_in(path: Path) -> dict[str, Any]:
    """What a cache says, whether or not it can be; {} for what is no such file."""
    if not path.is_file() or path.is_symlink():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


@pytest.mark.slow
def test_a_damaged_tuning_cache_is_measured_anew(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    record_testsuite_property: Any,
) -> None:
    monkeypatch.chdir(tmp_path)
    measured: list[int] = []
    measure = step_timing.measure

    def noted(cell: Any, shape: Any, batch: int, arrangement: Any, machine: Any) -> float:
        measured.append(arrangement.width)
        return measure(cell, shape, batch, arrangement, machine)

    monkeypatch.setattr("relubench.execution.tuning.step_timing.measure", noted)
    monkeypatch.setattr(tuning, "SHARE", 1e9)  # measured, whatever it costs
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "whole"))
    assert answered(TUNED, "whole", capsys) == (0, [])
    assert measured == [1, 8]
    whole = (tmp_path / "whole" / "relubench" / "tuning.json").read_text(encoding="utf-8")
    keys = dict(zip(measured, json.loads(whole), strict=True))
    anew = Counter[int]()
    for number in range(COUNT):
        path = tmp_path / str(number) / "relubench" / "tuning.json"
        path.parent.mkdir(parents=True)
        damaged_cache(path, whole, number, random.Random(number))
        before = seconds_in(path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / str(number)))
        measured.clear()
        assert answered(TUNED, number, capsys) == (0, []), number
        for width, key in keys.items():
            assert is_time(before.get(key)) == (width not in measured), (number, before)
            assert path.is_dir() or is_time(seconds_in(path)[key]), number
        anew[len(measured)] += 1
    assert anew[2] > 0
    record_testsuite_property("tuning caches by how many of 2 were measured anew", str(dict(anew)))


def is_time(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0
