"""What is known without loading: of torch, of this machine, of data whose files are the same."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from relubench import datasets, libraries
from relubench.datasets import remembered
from relubench.execution import machines


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets, "FIRST", {})
    datasets.load.cache_clear()
    return tmp_path / "cache" / "relubench"


def table(path: Path, rows: int = 12, old: bool = True) -> str:
    path.write_text(
        "a,b,y\n" + "".join(f"{n % 5},{n * n % 7},{'pq'[n % 2]}\n" for n in range(rows))
    )
    if old:
        long_ago = time.time() - 1000
        os.utime(path, (long_ago, long_ago))
    return f"csv:{path}:target=y"


def forget() -> None:
    """What a new process begins with."""
    datasets.FIRST.clear()
    datasets.load.cache_clear()


def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the data that are loaded from here on."""
    names: list[str] = []
    load = datasets.load

    def noted(name: str, folder: str) -> Any:
        names.append(name)
        return load(name, folder)

    monkeypatch.setattr(datasets, "load", noted)
    return names


def test_torchs_version_is_torchs() -> None:
    build = libraries.torch_build()
    assert build.version == torch.__version__
    assert build.cuda == (torch.version.cuda is not None or torch.version.hip is not None)


def test_threads_are_remembered_under_the_same_circumstances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert machines.remembered_threads() is None
    assert machines.threads() == torch.get_num_threads()
    assert machines.remembered_threads() == torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "63")
    assert machines.remembered_threads() is None


@pytest.mark.parametrize("wrong", [0, -1, 1025, 2.0, "2", None, True, [2]])
def test_threads_that_cannot_be_are_not_believed(wrong: object, fresh_cache: Path) -> None:
    machines.threads()
    memory = fresh_cache / "threads.json"
    (key,) = json.loads(memory.read_text())
    memory.write_text(json.dumps({key: wrong}))
    assert machines.remembered_threads() is None


def test_devices_are_torchs() -> None:
    said: list[str] = []
    console: Any = type("Told", (), {"note": staticmethod(said.append)})
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    if not (torch.backends.mps.is_available() or torch.xpu.is_available()):
        assert machines.device("auto", console) == expected


def test_what_is_known_of_data_is_what_was_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = table(tmp_path / "t.csv")
    dataset = datasets.load(name, "")
    forget()
    loaded = loads(monkeypatch)
    facts = datasets.facts(name, "")
    assert loaded == []
    assert facts == datasets.Facts(dataset.digest, (2,), 12, 0, ("p", "q"))


CHANGES: dict[str, Callable[[Path], object]] = {
    "another size": lambda path: path.write_text(path.read_text() + "1,2,p\n"),
    "another time": lambda path: os.utime(path, (1, 1)),
    "gone and back": lambda path: path.write_bytes(path.read_bytes()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_files_are_loaded_again(
    change: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = table(tmp_path / "t.csv")
    datasets.load(name, "")
    change(tmp_path / "t.csv")
    forget()
    loaded = loads(monkeypatch)
    facts = datasets.facts(name, "")
    assert loaded == [name]
    assert facts.digest == datasets.load(name, "").digest


def test_a_file_that_was_just_written_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = table(tmp_path / "t.csv", old=False)
    datasets.load(name, "")
    forget()
    loaded = loads(monkeypatch)
    datasets.facts(name, "")
    assert loaded == [name]


def test_a_folder_of_images_has_one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "i" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.full((4, 4, 3), 40 * number, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "i" / name / f"{number}.png")
    for path in (tmp_path / "i").rglob("*"):
        os.utime(path, (10**9, 10**9))
    os.utime(tmp_path / "i", (10**9, 10**9))
    name = f"folder:{tmp_path / 'i'}"
    before = datasets.load(name, "").digest
    forget()
    loaded = loads(monkeypatch)
    assert datasets.facts(name, "").digest == before
    assert loaded == []
    datasets.FIRST.clear()
    Image.fromarray(pixels).save(tmp_path / "i" / "dog" / "3.png")
    assert datasets.facts(name, "").digest != before


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no digest": lambda entry: entry["facts"].pop("digest"),
    "a short digest": lambda entry: entry["facts"].update(digest="abc"),
    "less than none": lambda entry: entry["facts"].update(n_train=-1),
    "no whole number": lambda entry: entry["facts"].update(n_test=0.5),
    "classes of numbers": lambda entry: entry["facts"].update(classes=[1, 2]),
    "no shape": lambda entry: entry["facts"].update(shape=None),
    "no files": lambda entry: entry.update(files={}),
    "files of nothing": lambda entry: entry.update(files=3),
    "a stamp of nothing": lambda entry: entry.update(files=dict.fromkeys(entry["files"])),
    "nothing": lambda entry: entry.clear(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_facts_are_not_believed(
    damage: Callable[[dict[str, Any]], object], tmp_path: Path, fresh_cache: Path
) -> None:
    name = table(tmp_path / "t.csv")
    datasets.load(name, "")
    entries = json.loads((fresh_cache / "data.json").read_text())
    for entry in entries.values():
        damage(entry)
    (fresh_cache / "data.json").write_text(json.dumps(entries))
    assert remembered.kept(name, "") is None


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 99999, '{"a": 1}'])
def test_a_file_that_holds_no_facts_is_not_believed(text: str, fresh_cache: Path) -> None:
    fresh_cache.mkdir(parents=True)
    (fresh_cache / "data.json").write_text(text)
    assert remembered.kept("csv:a.csv", "") is None
