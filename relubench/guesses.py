"""What somebody meant whose name or parameter no catalogue has: the words of other tools."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from relubench.errors import suggestion

FILES = {"csv": "csv", "tsv": "csv", "txt": "csv", "parquet": "parquet", "npz": "npz"}
SEPARATED = re.compile(r"\s*[;|/+&]\s*|\s+")  # what joins names elsewhere
WIDTHS = ("layers", "widths", "sizes", "units", "hidden_sizes", "hidden_layer_sizes")


def name(kind: str, wrong: str, rest: Sequence[str]) -> str:
    """'did you mean …?' for what stands where a name should, or '' where nothing is known.

    rest  what stands after its colons
    """
    if kind == "model":
        return _model(wrong)
    return _dataset(wrong, rest) if kind == "dataset" else ""


def _model(wrong: str) -> str:
    if wrong.isdecimal():  # a comma has cut it off
        return f"widths are joined by x, as in hidden=64x{wrong}"
    if wrong.lower() in torchvision_models():
        return f"did you mean 'torchvision.{wrong.lower()}'?"
    return ""


@lru_cache
def torchvision_models() -> frozenset[str]:
    """The names of its networks, read from its files: its import takes seconds."""
    library = importlib.util.find_spec("torchvision")
    if library is None or library.origin is None:
        return frozenset()
    # A decorated function, as torchvision's own registry finds it.
    listed = re.compile(r"^@register_model\([^)]*\)\n(?:[@ )].*\n)*def (\w+)\(", re.MULTILINE)
    files = sorted((Path(library.origin).parent / "models").glob("*.py"))
    names: set[str] = set()
    for file in files:
        names.update(listed.findall(file.read_text(encoding="utf-8")))
    return frozenset(names)


def _dataset(wrong: str, rest: Sequence[str]) -> str:
    suffix = wrong.rpartition(".")[2].lower()
    target = "".join(f":{part if '=' in part else f'target={part}'}" for part in rest)
    if "." in wrong and suffix in FILES:
        return f"did you mean '{FILES[suffix]}:{wrong}{target}'?"
    return f"did you mean 'folder:{wrong}'?" if "/" in wrong else ""


def parameter(kind: str, entry: str, known: Mapping[str, object], pair: str) -> str:
    """What was meant by the parameter `pair` of an entry, which has no such key."""
    key, _, value = pair.partition("=")
    if "=" not in pair and "target" in known:
        return f"did you mean 'target={key}'?"
    if kind == "dataset" and pair.isdecimal():
        return f"did you mean '{entry}' with --limit {pair}?"
    if kind == "optimizer" and key in ("lr", "learning_rate"):
        return f"did you mean --lr {value or 'RATE'}?"
    if kind == "model" and key in WIDTHS and {"depth", "width"} <= set(known):
        return f"did you mean 'ffnn:hidden={value or '64x64'}'?"
    return suggestion(key, known) or f"known: {', '.join(known) or 'none'}"
