"""What is known of torch without its import; other libraries, or why they are not to be had."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from relubench.errors import DataError

TIMM, TRANSFORMERS = "timm:", "transformers:"
UNTRAINED = (TIMM, TRANSFORMERS)  # how names of networks begin that no training takes


@dataclass(frozen=True)
class TorchBuild:
    """The torch that is installed: its version, and the kinds of accelerator it was built for."""

    version: str
    cuda: bool
    xpu: bool


@lru_cache
def torch_build() -> TorchBuild:
    """Read from torch's version file: its import takes seconds, and a ledger needs none."""
    facts = {"__version__": "", "cuda": "None", "hip": "None", "xpu": "None"}
    library = importlib.util.find_spec("torch")
    if library is None or library.origin is None:
        raise DataError("this needs torch: pip install torch")
    text = Path(library.origin).with_name("version.py").read_text(encoding="utf-8")
    # As text: to import torch.version is to import torch.
    for name, value in re.findall(r"^(\w+)(?:: [^=]+)? = (.+)$", text, re.MULTILINE):
        facts[name] = value.strip("'\"")
    version = facts["__version__"] or importlib.metadata.version("torch")
    # AMD's builds have "hip", and their GPUs are torch's "cuda" devices.
    cuda = (facts["cuda"], facts["hip"]) != ("None", "None")
    return TorchBuild(version, cuda, facts["xpu"] != "None")


def torchvision(module: str) -> Any:
    """A module of torchvision; raises DataError where torchvision does not load."""
    if importlib.util.find_spec("torchvision") is None:
        raise DataError("this needs torchvision: pip install torchvision")
    try:
        return importlib.import_module(module)
    # A wheel built against another torch fails at import in any of these ways.
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        torch, vision = map(importlib.metadata.version, ("torch", "torchvision"))
        raise DataError(
            f"torchvision {vision} does not load beside torch {torch}: the two builds differ. "
            "Reinstall both from one place: pip install --force-reinstall torch torchvision"
        ) from error


def optional(module: str, library: str, remedy: str) -> Any:
    """A module of a library that is not needed otherwise; raises DataError without it."""
    if importlib.util.find_spec(library) is None:
        raise DataError(f"this needs {library}: {remedy}")
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        raise DataError(f"{library} does not load: {error}") from error


def version(library: str) -> str:
    """The version that is installed, without an import; "" where there is none."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
