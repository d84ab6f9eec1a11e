"""Files appear whole or not at all, through no planted link, and are read without trust."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from relubench import files
from relubench.cli import main
from relubench.errors import BadValue

DEVICES = Path("/dev/full")


def parts(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with files.replacing(path, "-o") as part:
        part.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    with suppress(ZeroDivisionError), files.replacing(path, "-o") as part:
        part.write_text("half")
        _ = 1 / 0
    assert path.read_text() == "new"
    with files.replacing(path, "-o") as part:
        part.unlink()
    assert path.read_text() == "new"
    assert parts(tmp_path) == []


def test_the_mode_is_the_users(tmp_path: Path) -> None:
    path, plain = tmp_path / "out", tmp_path / "plain"
    plain.write_text("")
    with files.replacing(path, "-o") as part:
        part.write_text("new")
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    with files.replacing(path, "-o") as part:
        part.write_text("newer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_nothing_is_written_through_a_planted_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever name the unfinished file has: even a guessed one is refused."""
    victim, path = tmp_path / "victim", tmp_path / "out.txt"
    victim.write_text("precious")
    (tmp_path / f".out.txt.{os.getpid()}.part").symlink_to(victim)  # where it once was
    with files.replacing(path, "-o") as part:
        part.write_text("new")
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)
    with files.replacing(path, "-o") as part:
        guessed = part
    guessed.symlink_to(victim)
    monkeypatch.setattr(files, "sweep", lambda folder: None)
    with pytest.raises(BadValue, match=r"-o .*out\.txt: cannot be written: File exists"):
        files.replacing(path, "-o").__enter__()
    assert victim.read_text() == "precious"
    assert path.read_text() == ""


def test_names_are_never_the_same(tmp_path: Path) -> None:
    seen = set()
    for _ in range(9):
        with files.replacing(tmp_path / "out", "-o") as part:
            seen.add(part.name)
    assert len(seen) == 9


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="makes another user's link")
def test_another_users_link_in_a_shared_folder_is_not_followed(tmp_path: Path) -> None:
    shared, mine = tmp_path / "shared", tmp_path / "mine"
    shared.mkdir()
    mine.write_text("precious")
    link = shared / "out.txt"
    link.symlink_to(mine)
    with files.replacing(link, "-o") as part:  # one's own is
        part.write_text("new")
    assert mine.read_text() == "new"
    assert link.is_symlink()
    shared.chmod(0o1777)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(BadValue, match="another user"), files.replacing(link, "-o"):
        pass
    assert mine.read_text() == "new"


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from relubench import files\n"
        "with files.replacing(Path(sys.argv[1]), '-o') as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "out"
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    (left,) = parts(tmp_path)
    others = [".out.0000-999999-0123456789abcdef.part", "my.part", f"{left}.txt"]
    for name in others:  # of another host, or nobody's business
        (tmp_path / name).write_text("")
    with files.replacing(path, "-o") as part:
        with files.replacing(tmp_path / "other", "-o"):
            pass
        part.write_text("new")  # what is being written is not
    names = {"out", "other", *others}
    assert {entry.name for entry in tmp_path.iterdir()} == names


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    with files.replacing(tmp_path / ("é" * 120), "-o") as part:
        part.write_text("new")
    assert (tmp_path / ("é" * 120)).read_text() == "new"


def test_devices_and_pipes_are_written_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "heads", "-o", "/dev/null"]) == 0
    assert main(["list", "heads", "-o", "/dev/null", "--format", "json"]) == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True) as reader:
        assert main(["list", "heads", "-o", str(pipe), "--format", "csv"]) == 0
        assert "softmax" in reader.communicate(timeout=60)[0]
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(not DEVICES.exists(), reason="there is no full disk here")
@pytest.mark.parametrize("flag", ["-o", "--save", "--save-baseline"])
def test_a_full_disk_names_the_file(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = "compare" if flag == "--save-baseline" else "train"
    arguments = ["-d", "iris", "-m", "ffnn:hidden=4", "-a", "relu", "--epochs", "1", "--quiet"]
    arguments += ["--seeds", "1"] if flag != "--save-baseline" else ["--seeds", "3"]
    assert main([command, *arguments, "--no-ledger", flag, "/dev/full"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line
    assert flag in line or "/dev/full" in line


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path), lambda path: None]
)
def test_only_regular_files_are_read(make: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "file"
    make(path)
    with pytest.raises((BadValue, OSError)), files.regular(path, 9):
        pass


def test_links_and_large_files_are_read_where_that_is_meant(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("12345")
    link.symlink_to(path)
    with files.regular(link, 5) as file:
        assert file.read() == b"12345"
    with pytest.raises(BadValue, match="more than 4 bytes"), files.regular(path, 4):
        pass
    with pytest.raises(BadValue, match="link"), files.regular(link, 5, follow=False):
        pass


# --- no memory -----------------------------------------------------------------------------------

NO_MEMORY = [
    MemoryError("Unable to allocate 9 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("datasets.load", 2),
        ("execution.checks.check_cell", 2),
        ("execution.tuning.step_timing.measure", 2),
        ("training.engine.build", 1),
        ("training.engine.tensors", 1),
    ],
)
def test_no_memory_is_one_line_or_a_lost_run(
    function: str,
    code: int,
    error: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def no_memory(*arguments: Any, **named: Any) -> Any:
        raise error

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(f"relubench.{function}", no_memory)
    monkeypatch.setattr("relubench.execution.tuning.SHARE", 1e9)  # measured, whatever it costs
    threads = [] if "tuning" in function else ["--threads", "1", "--stack", "1"]
    arguments = ["train", "-d", "wine", "-m", "ffnn:hidden=4", "--epochs", "1", "--quiet"]
    monkeypatch.setattr("relubench.execution.machines.threads", lambda: 2)
    assert main([*arguments, *threads, "--no-ledger"]) == code
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == (code == 2)
    assert "memory" in (out if code == 1 else err) or "too large" in err


@pytest.mark.skipif(not DEVICES.exists(), reason="there is no full disk here")
@pytest.mark.parametrize("more", [[], ["--jobs", "2"], ["--lr", "0.1,0.01", "--best-lr"]])
def test_a_full_disk_under_save_loses_no_table(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "2", "--format", "json"]
    arguments += ["--ledger", str(tmp_path / "ledger.db"), "--threads", "1", *more]
    assert main([*arguments, "--save", "/dev/full", "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert err == "relubench: --save /dev/full: cannot be written: No space left on device\n"
    assert main(arguments) == 0
    again = capsys.readouterr()
    assert "1 of 1 run taken" in again.err
    assert again.out == out
    assert DEVICES.exists()
