"""doctor: whether this machine has what relubench needs, and what to do where it has not."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs

from relubench import execution, libraries
from relubench.catalog import Deferred
from relubench.commands.assembly import open_ledger
from relubench.commands.request import Outcome
from relubench.errors import RelubenchError
from relubench.execution.progress import nothing
from relubench.rows import CheckRow
from relubench.table import Column, Table

torch = Deferred("torch")
LITTLE = 2 * 10**9  # bytes of free disk below which a warning is due
TONES = {"ok": "good", "warning": "warning", "problem": "bad"}
NVIDIA = ("/dev/nvidiactl", "/proc/driver/nvidia")
CUDA_BUILD = "install a build with CUDA: https://pytorch.org/get-started/locally"


def doctor(ledger: Path, data_dir: Path | None = None) -> Outcome:
    """A row for each thing that is looked at; exit code 2 where one is a problem."""
    data = data_dir or execution.machines.data_dir()
    rows = [
        _row("python", _python),
        _row("torch", _torch),
        _row("torchvision", _torchvision),
        _row("device", _device),
        _row("threads", _threads),
        _row("data folder", lambda: _folder(data, "--data-dir FOLDER or RELUBENCH_DATA")),
        _row("cache", lambda: _folder(_cache(), "XDG_CACHE_HOME")),
        _row("ledger", lambda: _ledger(ledger)),
        _row("disk", lambda: _disk(_existing(ledger))),
    ]
    columns: list[Column[CheckRow]] = [
        Column("what", lambda row: row.what, left=True),
        Column("status", lambda row: row.status, left=True, tone=lambda row: TONES[row.status]),
        Column("found", lambda row: row.found, left=True, wrap=True),
        Column("what to do", lambda row: row.remedy, left=True, wrap=True),
    ]
    worst = {row.status for row in rows}
    bad = [row.what for row in rows if row.status != "ok"]
    title = f"not as it should be: {', '.join(bad)}" if bad else "all is as it should be"
    return Outcome([Table(rows, columns, title, stacks=True)], 2 if "problem" in worst else 0)


def versions() -> Iterator[str]:
    """What `--version --verbose` adds: the libraries and the device that train."""
    for what, look in (("python", _python), ("torch", _torch), ("torchvision", _torchvision)):
        yield f"{what} {_row(what, look).found}"
    yield f"device {_row('device', _device).found}"


def _row(what: str, look: Callable[[], CheckRow]) -> CheckRow:
    """What was found; a check that fails is a problem and stops no other."""
    try:
        return look()
    except RelubenchError as error:
        # Our errors say what is wrong, and after a colon what to do.
        found, _, remedy = str(error).partition(": ")
        return CheckRow(what=what, status="problem", found=found, remedy=remedy)
    except Exception as error:  # a library that does not load may raise anything
        found = f"{type(error).__name__}: {error}"
        return CheckRow(what=what, status="problem", found=found, remedy=f"reinstall {what}")


def _python() -> CheckRow:
    return CheckRow(what="python", status="ok", found=f"{platform.python_version()}")


def _torch() -> CheckRow:
    """Its version, from the library itself, which must load."""
    return CheckRow(what="torch", status="ok", found=str(torch.__version__))


def _torchvision() -> CheckRow:
    version = libraries.version("torchvision")
    if not version:
        return CheckRow(
            what="torchvision",
            status="warning",
            found="not installed: no image datasets, none of its networks",
            remedy="pip install torchvision, from where torch is from",
        )
    libraries.torchvision("torchvision")
    return CheckRow(what="torchvision", status="ok", found=f"{version}, loads beside torch")


def _device() -> CheckRow:
    name = execution.machines.device("auto", _silent())
    if name.startswith("cuda"):
        return CheckRow(what="device", status="ok", found=f"{name}: {torch.cuda.get_device_name()}")
    if name == "cpu" and any(map(os.path.exists, NVIDIA)):
        found = "cpu, although an NVIDIA driver is there"
        return CheckRow(what="device", status="warning", found=found, remedy=CUDA_BUILD)
    return CheckRow(what="device", status="ok", found=f"{name} ({platform.machine()})")


def _silent() -> execution.progress.Console:
    return execution.progress.Console(nothing, nothing, lambda finished, outlook: iter(finished))


def _threads() -> CheckRow:
    threads = execution.machines.threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{threads} of {cores} cores"
    # OMP_NUM_THREADS may ask for more than a container has: threads then wait for each other.
    if cores and threads > cores:
        remedy = f"OMP_NUM_THREADS={cores}, or --threads {cores}"
        return CheckRow(what="threads", status="warning", found=found, remedy=remedy)
    return CheckRow(what="threads", status="ok", found=found)


def _cache() -> Path:
    return Path(platformdirs.user_cache_dir("relubench"))


def _folder(path: Path, setting: str) -> CheckRow:
    """Whether files can be made in a folder, or the folder itself can."""
    what = "cache" if setting.startswith("XDG") else "data folder"
    existing = _existing(path)
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        remedy = f"name another: {setting}"
        return CheckRow(
            what=what, status="problem", found=f"{path}: cannot be written", remedy=remedy
        )
    note = "" if path.exists() else ", made when it is needed"
    return CheckRow(what=what, status="ok", found=f"{path}{note}")


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _ledger(path: Path) -> CheckRow:
    if not path.exists():
        row = _folder(path.parent, "--ledger FILE or RELUBENCH_LEDGER")
        found = f"{path}: none yet" if row.status == "ok" else row.found
        return CheckRow(what="ledger", status=row.status, found=found, remedy=row.remedy)
    ledger = open_ledger(path, existing=True, reading=True)
    unread, count = ledger.unreadable_rows(), ledger.count()
    ledger.close()
    if unread:
        found = f"{path}: {len(unread)} of {count} rows cannot be read"
        remedy = "relubench ledger check names them, ledger rm drops them"
        return CheckRow(what="ledger", status="warning", found=found, remedy=remedy)
    if not os.access(path, os.W_OK):
        found = f"{path}: {count} runs, cannot be written"
        return CheckRow(
            what="ledger", status="problem", found=found, remedy="chmod u+w, or another --ledger"
        )
    return CheckRow(what="ledger", status="ok", found=f"{path}: {count} runs")


def _disk(path: Path) -> CheckRow:
    free = shutil.disk_usage(path).free
    found = f"{free / 10**9:.1f} GB free"
    if free < LITTLE:
        remedy = "make room: datasets take up to 1 GB, states of unfinished runs as much as weights"
        return CheckRow(what="disk", status="warning", found=found, remedy=remedy)
    return CheckRow(what="disk", status="ok", found=found)
