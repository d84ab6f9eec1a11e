"""doctor: what is as it should be, what is not, and what to do about it."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from relubench import commands, libraries
from relubench.cli import main
from relubench.errors import DataError
from relubench.rows import CheckRow

Usage = namedtuple("Usage", "total used free")


def found(tmp_path: Path) -> dict[str, CheckRow]:
    outcome = commands.doctor(tmp_path / "ledger.db", tmp_path / "data")
    return {row.what: row for row in outcome.tables[0].rows}


def test_a_sound_machine_has_nothing_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = found(tmp_path)
    names = ["python", "torch", "torchvision", "device", "threads"]
    assert list(rows) == [*names, "data folder", "cache", "ledger", "disk"]
    assert {rows[what].status for what in ("python", "torch", "data folder", "ledger")} == {"ok"}
    assert "made when it is needed" in rows["data folder"].found
    assert main(["doctor", "--json", "--ledger", str(tmp_path / "ledger.db")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [set(row) for row in printed] == [{"what", "status", "found", "remedy"}] * len(rows)


def test_a_torchvision_of_another_build_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(module: str) -> None:
        raise DataError("the two builds differ: reinstall both")

    monkeypatch.setattr(libraries, "torchvision", broken)
    monkeypatch.setattr(libraries, "version", lambda name: "0.1")
    row = found(tmp_path)["torchvision"]
    assert (row.status, row.remedy) == ("problem", "reinstall both")
    assert commands.doctor(tmp_path / "ledger.db", tmp_path).exit_code == 2


def test_a_full_disk_and_a_file_for_a_folder_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 9, 1))
    (tmp_path / "data").write_text("no folder")
    rows = found(tmp_path)
    assert rows["disk"].status == "warning"
    assert rows["data folder"].status == "problem"
    assert "RELUBENCH_DATA" in rows["data folder"].remedy


def test_a_ledger_that_is_none_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("no database")
    assert found(tmp_path)["ledger"].status == "problem"


def test_the_version_names_torch_and_device_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version", "--verbose"]) == 0
    heads = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert heads == ["relubench", "python", "torch", "torchvision", "device"]
