"""What an export is, and what it gets of a run."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args

from relubench.catalog import Catalog, Deferred, Entry
from relubench.errors import BadValue

if TYPE_CHECKING:
    from relubench import rows
else:
    rows = Deferred("relubench.rows")

SCORES = (
    *("accuracy", "precision", "recall", "f1", "macro_precision", "macro_recall", "macro_f1"),
    *("rmse", "mae", "r2", "perplexity", "bits_per_character", "token_accuracy"),
    *("tokens_per_second", "loss", "silent", "train_accuracy", "train_r2", "train_loss"),
)
TIMES = ("seconds", "epochs_until", "seconds_until")
# Scalars that are no setting either: how a run ended, and what it is called.
NO_SETTING = {"failed", "key", "quick"}
SCALARS = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Export(Entry[None]):
    """One form; a function of runs and a folder.

    requires  what must be installed: modules
    install  what pip installs for it
    """

    requires: tuple[str, ...] = ()
    install: str = ""

    def check(self) -> None:
        """Refuse a form whose library is not there."""
        for module in self.requires:
            if importlib.util.find_spec(module) is None:
                raise BadValue(f"--to {self.name} needs {module}: pip install '{self.install}'")


@dataclass(frozen=True)
class ExportedRun:
    """One finished run.

    row       as train prints it
    task      what it was trained on: the set-up without the activation
    finished  when, as a ledger writes it
    curve     an entry per epoch
    """

    row: rows.RunRow
    task: str
    finished: str
    curve: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        """A name that can be a folder's: activation, seed and the beginning of the key."""
        # Slashes and colons of a user's own activation are none of a folder's name.
        plain = re.sub(r"[^\w.=-]+", "_", self.row.activation)
        return f"{plain}-seed{self.row.seed}-{self.row.key[:8]}"

    @property
    def time(self) -> float:
        """When it was finished, in Unix seconds."""
        return datetime.fromisoformat(self.finished).astimezone(UTC).timestamp()

    @property
    def metrics(self) -> dict[str, float]:
        """Its figures that are defined."""
        record: dict[str, Any] = self.row.record()
        figures = {name: record[name] for name in metric_keys()}
        return {name: float(value) for name, value in figures.items() if _is_number(value)}

    @property
    def settings(self) -> dict[str, Any]:
        """What was chosen and where it ran; what is not set is left out."""
        chosen = {key: self.row.get(key) for key in setting_keys()}
        return {key: value for key, value in chosen.items() if value is not None}


@lru_cache
def setting_keys() -> tuple[str, ...]:
    """The keys of a row under which one value stands that was chosen: no figure, no list."""
    left_out = NO_SETTING.union(metric_keys())
    types = rows.RunRow.types()
    return tuple(key for key in types if key not in left_out and _is_scalar(types[key]))


def _is_scalar(declared: object) -> bool:
    return set(get_args(declared) or (declared,)) <= set(SCALARS)


@lru_cache
def metric_keys() -> tuple[str, ...]:
    """The keys of a row that are figures of a run."""
    return (*SCORES, *rows.HiddenUnits.declared_keys(), *TIMES)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


EXPORTS: Catalog[Export] = Catalog("export", Export)
