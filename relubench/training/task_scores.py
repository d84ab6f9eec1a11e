"""What a network has of a task once it has learned it: scores, hidden units, weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from relubench.catalog import Choice
from relubench.metrics import METRICS
from relubench.metrics.regression import Estimate
from relubench.models import layers
from relubench.neurons.statistics import Counter, RankedCounter
from relubench.results import Epoch, TaskResult, total
from relubench.training.examples import Examples, Part
from relubench.training.heads import Head
from relubench.training.networks import Networks
from relubench.training.parameter_groups import matrices
from relubench.training.prediction import predict


def ended(
    networks: Networks, head: Choice[Head], part: Part, curves: Sequence[Sequence[Epoch]]
) -> list[TaskResult]:
    """What each network has of the task that it has just learned.

    curves  of each network, the epochs of this task alone
    """
    counters = _counters(networks, part.examples)
    accuracies = accuracy(networks, head, part.examples, counters)
    held_out: Sequence[float | None] = [None] * len(curves)
    if part.test and min(part.test.sizes):
        held_out = accuracy(networks, head, part.test)
    weights = _weights(networks)
    by_layer = [counter.counts() for counter in counters]
    ranks = counters[-1].effective_ranks() if counters else [None] * len(curves)
    found = []
    for number, curve in enumerate(curves):
        units = total([counts[number] for counts in by_layer]) if by_layer else None
        found.append(
            TaskResult(
                online_accuracy=_mean([epoch.accuracy for epoch in curve]),
                online_loss=_mean([epoch.loss for epoch in curve]),
                accuracy=accuracies[number],
                held_out=held_out[number],
                dead=units.dead / units.units if units else None,
                dormant=units.dormant / units.units if units else None,
                effective_rank=ranks[number],
                **{name: _defined(figures[number]) for name, figures in weights.items()},
            )
        )
    return found


def accuracy(
    networks: Networks, head: Choice[Head], examples: Examples, counters: Sequence[Counter] = ()
) -> Sequence[float | None]:
    """The accuracy of each network on its examples; numbers have none."""
    prediction = predict(networks, head, examples, counters)
    if isinstance(prediction, Estimate):
        return [None] * len(examples.sizes)
    figures: list[float] = METRICS["accuracy"].function(prediction).tolist()
    return figures


def _counters(networks: Networks, examples: Examples) -> list[RankedCounter]:
    """A counter for every activation; the last of them knows the rank of its layer's outputs."""
    acts = [(name, act) for name, act in layers.activations(networks.modules[0]) if act.counted]
    counters = []
    for place, (layer, act) in enumerate(acts, 1):
        ranked = place == len(acts)
        cells = len(examples.sizes)
        counters.append(RankedCounter(layer, cells, act.units, examples.x.device, ranked))
    return counters


def _weights(networks: Networks) -> Mapping[str, list[float]]:
    """The norm and the mean of each network's weights, without biases."""
    squares: list[Tensor] = []
    sums: list[Tensor] = []
    count = 0
    for name in matrices(networks.modules[0]):
        weights = networks.parameters[name].detach().double()
        rows = weights.flatten(1) if networks.stacked else weights.reshape(1, -1)
        squares.append(rows.square().sum(dim=1))
        sums.append(rows.sum(dim=1))
        count += rows.shape[1]
    return {
        "weight_norm": torch.stack(squares).sum(dim=0).sqrt().tolist(),
        "mean_weight": (torch.stack(sums).sum(dim=0) / count).tolist(),
    }


def _mean(figures: Sequence[float | None]) -> float | None:
    defined = [figure for figure in figures if figure is not None]
    return fmean(defined) if len(defined) == len(figures) and figures else None


def _defined(figure: float) -> float | None:
    return figure if math.isfinite(figure) else None


def of_sequence(tasks: Sequence[TaskResult], first: float | None) -> dict[str, float | None]:
    """The scores of a whole sequence.

    first  accuracy on the first task at the end of the last
    """
    online = [task.online_accuracy for task in tasks]
    losses = [task.online_loss for task in tasks]
    return {
        "online_accuracy": _mean(online),
        "task_accuracy": _mean([task.accuracy for task in tasks]),
        "first_task_accuracy": first,
        "online_slope": _slope(online),
        "online_loss": _mean(losses),
        "loss_slope": _slope(losses),
        "mean_weight": tasks[-1].mean_weight if tasks else None,
    }


def _slope(figures: Sequence[float | None]) -> float | None:
    """Of the straight line that fits best, by task; None of one task."""
    if len(figures) < 2 or None in figures:
        return None
    y = torch.tensor(figures, dtype=torch.float64)
    x = torch.arange(len(figures), dtype=torch.float64)
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())
