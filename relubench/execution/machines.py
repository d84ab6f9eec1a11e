"""The machine that a command trains on: its device, threads and folders.

What a ledger's rows are found by is learned without torch where that can be had for certain.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from relubench import files, libraries
from relubench.catalog import Deferred
from relubench.errors import BadValue
from relubench.execution.progress import Console
from relubench.plan import Machine
from relubench.user_cache import UserCache

if TYPE_CHECKING:
    import torch
else:
    torch = Deferred("torch")

# Where Linux shows an accelerator's driver: NVIDIA's, AMD's, Intel's, and Windows' below Linux.
DRIVERS = (
    *("/dev/nvidiactl", "/dev/nvidia0", "/proc/driver/nvidia"),
    *("/dev/kfd", "/dev/dri", "/dev/dxg"),
)
CACHE = UserCache("threads.json", most=10**5)
# A file's number beyond this is taken for damaged.
MOST_THREADS = 1024


def device(name: str, console: Console) -> str:
    """The torch device for `--device`; `auto` takes the first accelerator and says so."""
    devices = _devices()
    if name == "auto":
        console.note(f"device: {devices[0]}")
        return devices[0]
    if name not in devices:
        available = ", ".join(devices)
        raise BadValue(f"--device {name}: this machine has {available} (or --device auto)")
    return name


def _devices() -> list[str]:
    """Every device of this machine, accelerators first."""
    if not may_have_accelerator():
        return ["cpu"]
    devices = []
    if torch.cuda.is_available():
        devices += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    if torch.xpu.is_available():
        devices.append("xpu")
    return [*devices, "cpu"]


def may_have_accelerator() -> bool:
    """False where it is certain, without torch, that there is none."""
    if not sys.platform.startswith("linux"):
        return True
    build = libraries.torch_build()
    # A build for an accelerator without its driver, and a driver without such a build, find none.
    return (build.cuda or build.xpu) and any(map(os.path.exists, DRIVERS))


def check_precision(machine: Machine) -> None:
    """Refuse a float type that the device does not have."""
    kind = machine.device.split(":")[0]
    if machine.dtype == "tf32" and kind != "cuda":
        raise BadValue(f"--precision tf32: only CUDA devices have it, and this is {kind}")
    if machine.dtype == "float64" and kind == "mps":
        raise BadValue("--precision float64: mps does not have it")


def threads() -> int:
    """CPU threads that torch would use; remembered for when it is not to be imported."""
    count = int(torch.get_num_threads())
    if remembered_threads() != count:
        CACHE.keep(_circumstances(), count)
    return count


def remembered_threads() -> int | None:
    """What `threads` found under the same circumstances, without torch; None: not known."""
    # Checked as what a file says: bool is no count, and 0 threads would raise in torch.
    count = CACHE.entries().get(_circumstances())
    return count if type(count) is int and 1 <= count <= MOST_THREADS else None


def _circumstances() -> str:
    """What torch's number of threads follows from."""
    # Affinity first: taskset or a batch system may give a process fewer cores than there are.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = sorted(name for name in os.environ if name.startswith(("OMP_", "MKL_", "KMP_")))
    settings = [f"{name}={os.environ[name]}" for name in names]
    return json.dumps([files.HOST, libraries.torch_build().version, cores, *settings])


def torch_version() -> str:
    """The torch that trains here."""
    return libraries.torch_build().version


def data_dir() -> Path:
    """RELUBENCH_DATA, else a folder in the platform's user cache."""
    return Path(os.environ.get("RELUBENCH_DATA") or platformdirs.user_cache_dir("relubench"))
