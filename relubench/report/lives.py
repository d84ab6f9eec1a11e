"""What became of hidden units over a training: histories as rows, and back; lives and survival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from relubench import stats
from relubench.grouping import grouped
from relubench.report.naming import by_activation
from relubench.results import COUNTS, LayerHistory, RunResult
from relubench.rows import HistoryRow, LifeRow, SetupRow, SurvivalRow

OVER_RUNS = "the interval is over runs (jackknife, t): units of one run are not independent"
OVER_UNITS = "the interval is over the units of one run, as if they were independent: too narrow"
PLAIN = ("sparsity", "mean_activation", "reset")


def history_rows(result: RunResult) -> list[HistoryRow]:
    """A row per count and layer; none where nobody counted."""
    rows = []
    for at in range(len(result.history[0].epochs) if result.history else 0):
        rows += [_row(layer, at) for layer in result.history]
    return rows


def _row(layer: LayerHistory, at: int) -> HistoryRow:
    """The count number `at` of a layer."""
    shares = {name: getattr(layer, name)[at] / layer.units for name in COUNTS}
    return HistoryRow(
        epoch=layer.epochs[at],
        layer=layer.layer,
        units=layer.units,
        examples=layer.examples,
        **shares,
        **{name: getattr(layer, name)[at] for name in PLAIN},
        died=list(layer.died[at]),
        revived=list(layer.revived[at]),
    )


def histories(records: Sequence[Mapping[str, Any]]) -> tuple[LayerHistory, ...]:
    """The histories that `history_rows` gave, from what machine formats print of them."""
    by_layer = grouped(records, lambda record: record["layer"])
    return tuple(map(_history, by_layer.values()))


def _history(records: Sequence[Mapping[str, Any]]) -> LayerHistory:
    units = records[0]["units"]
    by_epoch = {name: _figures(records, name) for name in (*COUNTS, *PLAIN)}
    for name in COUNTS:
        by_epoch[name] = tuple(round(share * units) for share in by_epoch[name])
    return LayerHistory(
        layer=records[0]["layer"],
        units=units,
        examples=records[0]["examples"],
        epochs=tuple(record["epoch"] for record in records),
        **by_epoch,
        died=tuple(map(tuple, _figures(records, "died"))),
        revived=tuple(map(tuple, _figures(records, "revived"))),
    )


def _figures(records: Sequence[Mapping[str, Any]], name: str) -> tuple[Any, ...]:
    return tuple(record[name] for record in records)


# --- means over runs ------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Life:
    """The units of one layer of a run, or of all.

    dead   (counts, units) bool
    reset  how many began anew
    """

    epochs: tuple[int, ...]
    dead: NDArray[np.bool_]
    reset: int

    @classmethod
    def of(cls, layers: Sequence[LayerHistory]) -> _Life:
        """The units of these layers together."""
        masks = np.concatenate([_dead(layer) for layer in layers], axis=1)
        return cls(layers[0].epochs, masks, sum(sum(layer.reset) for layer in layers))

    @property
    def ever(self) -> NDArray[np.bool_]:
        """Which were dead at some count."""
        ever: NDArray[np.bool_] = np.logical_or.reduce(self.dead)
        return ever

    @property
    def came_back(self) -> NDArray[np.bool_]:
        """Which were dead at one count and not at the next."""
        came_back: NDArray[np.bool_] = np.logical_or.reduce(self.dead[:-1] & ~self.dead[1:])
        return came_back

    @property
    def survival(self) -> stats.Lives:
        """When each died first, or until when it was seen."""
        first = np.array(self.epochs)[self.dead.argmax(axis=0)]
        ends = np.where(self.ever, first, self.epochs[-1]).astype(float)
        return stats.Lives(ends, self.ever)

    def shares(self, epochs: Sequence[int]) -> list[float]:
        """The share that was dead after each of these epochs."""
        share = dict(zip(self.epochs, self.dead.mean(axis=1).tolist(), strict=True))
        return [share[epoch] for epoch in epochs]


def _dead(layer: LayerHistory) -> NDArray[np.bool_]:
    """(counts, units) bool."""
    changes = np.zeros((len(layer.epochs), layer.units), dtype=bool)
    for at, units in enumerate(zip(layer.died, layer.revived, strict=True)):
        changes[at, [*units[0], *units[1]]] = True
    dead: NDArray[np.bool_] = np.logical_xor.accumulate(changes, axis=0)
    return dead


def life_rows(results: Sequence[RunResult]) -> list[LifeRow]:
    """A row per set-up, activation and layer, then their total; nothing where nobody counted."""
    rows: list[LifeRow] = []
    for setup, runs in by_activation(results).items():
        tracked = [run.history for run in runs if run.history and not run.failed]
        for layers in zip(*tracked, strict=True):
            lives = [_Life.of([layer]) for layer in layers]
            rows.append(_life_row(setup, layers[0].layer, layers[0].examples, lives))
        if tracked:
            whole = [_Life.of(history) for history in tracked]
            rows.append(_life_row(setup, "total", tracked[0][0].examples, whole))
    return rows


def _life_row(setup: SetupRow, layer: str, examples: int, lives: Sequence[_Life]) -> LifeRow:
    epochs = _common(lives)
    by_epoch = [life.shares(epochs) for life in lives]
    ever = sum(int(life.ever.sum()) for life in lives)
    back = sum(int((life.ever & life.came_back).sum()) for life in lives)
    return LifeRow(
        **vars(setup),
        layer=layer,
        units=lives[0].dead.shape[1],
        n=len(lives),
        born_dead=_mean([life.dead[0] for life in lives]),
        died=_mean([life.ever & ~life.dead[0] for life in lives]),
        revived=_mean([life.ever & ~life.dead[-1] for life in lives]),
        ever_revived=back / ever if ever else None,
        reset=fmean(life.reset / life.dead.shape[1] for life in lives),
        dead=_mean([life.dead[-1] for life in lives]),
        counted_after=epochs,
        dead_by_epoch=[fmean(shares) for shares in zip(*by_epoch, strict=True)],
        examples=examples,
    )


def _common(lives: Sequence[_Life]) -> list[int]:
    """The epochs after which every run was counted."""
    common = set(lives[0].epochs).intersection(*(life.epochs for life in lives))
    return sorted(common)


def _mean(masks: Sequence[NDArray[np.bool_]]) -> float:
    """The mean over runs of the share of units that are so."""
    return fmean(float(mask.mean()) for mask in masks)


def survival_rows(results: Sequence[RunResult]) -> list[SurvivalRow]:
    """A row per set-up and activation; a run that diverged counts until then."""
    rows = []
    for setup, runs in by_activation(results).items():
        lives = [_Life.of(run.history) for run in runs if run.history]
        if lives:
            rows.append(_survival_row(setup, lives))
    return rows


def _survival_row(setup: SetupRow, lives: Sequence[_Life]) -> SurvivalRow:
    epochs = max((life.epochs for life in lives), key=len)
    found = stats.surviving([life.survival for life in lives], epochs)
    return SurvivalRow(
        **vars(setup),
        n=len(lives),
        units=lives[0].dead.shape[1],
        counted_after=list(epochs),
        survived=[point.share for point in found],
        survived_low=[point.low for point in found],
        survived_high=[point.high for point in found],
        interval=OVER_RUNS if len(lives) > 1 else OVER_UNITS,
    )
