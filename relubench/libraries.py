"""torchvision, or a line that says why it is not to be had."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from typing import Any

from relubench.errors import DataError


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


def version(library: str) -> str:
    """The version that is installed, without an import; "" where there is none."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
