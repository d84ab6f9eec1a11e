"""The machine that a command trains on: its device, threads and folders."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import torch

from relubench.errors import BadValue
from relubench.execution.progress import Console
from relubench.plan import Machine


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
    devices = []
    if torch.cuda.is_available():
        devices += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    if torch.xpu.is_available():
        devices.append("xpu")
    return [*devices, "cpu"]


def check_precision(machine: Machine) -> None:
    """Refuse a float type that the device does not have."""
    kind = machine.device.split(":")[0]
    if machine.dtype == "tf32" and kind != "cuda":
        raise BadValue(f"--precision tf32: only CUDA devices have it, and this is {kind}")
    if machine.dtype == "float64" and kind == "mps":
        raise BadValue("--precision float64: mps does not have it")


def threads() -> int:
    """CPU threads that torch would use."""
    return torch.get_num_threads()


def torch_version() -> str:
    """The torch that trains here."""
    return str(torch.__version__)


def data_dir() -> Path:
    """RELUBENCH_DATA, else a folder in the platform's user cache."""
    return Path(os.environ.get("RELUBENCH_DATA") or platformdirs.user_cache_dir("relubench"))
