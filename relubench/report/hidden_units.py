"""Hidden units and classes by activation: means and sums over its runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from relubench import stats
from relubench.grouping import grouped
from relubench.report.naming import by_activation
from relubench.results import COUNTS, LayerCount, RunResult, total
from relubench.rows import ClassifiedRow, LayerMeanRow, SetupRow


def layer_means(results: Sequence[RunResult]) -> list[LayerMeanRow]:
    """A row per set-up, activation and layer, then their total: mean shares over its runs."""
    rows: list[LayerMeanRow] = []
    for setup, runs in by_activation(results).items():
        counts: list[LayerCount] = []
        for run in runs:
            if run.layers and not run.failed:
                # The total as one more layer, last.
                counts += [*run.layers, total(run.layers)]
        by_layer = grouped(counts, lambda count: count.layer)
        rows += [_layer_mean(setup, layer, same) for layer, same in by_layer.items()]
    return rows


def _shares(counts: Sequence[LayerCount], name: str) -> list[float]:
    return [getattr(count, name) / count.units for count in counts]


def _layer_mean(setup: SetupRow, layer: str, counts: Sequence[LayerCount]) -> LayerMeanRow:
    figures = {name: _shares(counts, name) for name in COUNTS}
    figures["sparsity"] = [count.sparsity for count in counts]
    means: dict[str, Any] = {}
    for name, shares in figures.items():
        means[name], means[f"{name}_sd"] = stats.mean_sd(shares)
    return LayerMeanRow(**vars(setup), layer=layer, units=counts[0].units, n=len(counts), **means)


def classified(results: Sequence[RunResult]) -> list[ClassifiedRow]:
    """A row per set-up and activation with a confusion matrix, summed over its runs."""
    rows = []
    for setup, runs in by_activation(results).items():
        matrices = [run.confusion for run in runs if run.confusion and not run.failed]
        # Of data that have changed between runs the classes may be others: such cannot be summed.
        if matrices and len({len(matrix) for matrix in matrices}) == 1:
            counts = np.sum([np.array(matrix) for matrix in matrices], axis=0)
            rows.append(ClassifiedRow(**vars(setup), n=len(matrices), confusion=counts.tolist()))
    return rows
