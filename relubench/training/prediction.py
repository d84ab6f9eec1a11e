"""Predictions of trained networks; neuron counters see every batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor

from relubench.catalog import Choice
from relubench.metrics import Continuation, Estimate, Prediction
from relubench.models.layers import drawing_after
from relubench.neurons.statistics import Counter
from relubench.training.examples import Examples
from relubench.training.heads import Head, lesson_of, said
from relubench.training.networks import Networks
from relubench.training.parallel import divided, in_parallel

EVALUATION_BATCH = 2048  # examples that a forward pass holds at once when nothing is learned
COUNTED = 2**20  # values of a layer that counters look at together: what a CPU's cache holds

Batch = Sequence[Tensor]  # for every cell its examples


def predict(
    networks: Networks,
    head: Choice[Head],
    examples: Examples,
    counters: Sequence[Counter],
) -> Prediction | Estimate | Continuation:
    """Predict all examples in evaluation mode; counters see every batch.

    What a user's own code draws all the same is the same in every call.
    """
    networks.train(False)
    if networks.seed is None:
        return _predict(networks, head, examples, counters, lambda: False)
    with drawing_after(networks.seed, examples.x.device) as drew:
        return _predict(networks, head, examples, counters, drew)


def _predict(
    networks: Networks,
    head: Choice[Head],
    examples: Examples,
    counters: Sequence[Counter],
    drew: Callable[[], bool],
) -> Prediction | Estimate | Continuation:
    n = examples.sizes[0]  # every cell has as many: no padding would be scored
    # Views: cells that share their examples are not given copies of them.
    x = [examples.x[first : first + n] for first in examples.first]
    y = [examples.y[first : first + n] for first in examples.first]
    # Small enough that all cells together hold at most EVALUATION_BATCH examples at once.
    size = EVALUATION_BATCH // len(examples.sizes)
    if counters:
        size = min(EVALUATION_BATCH, COUNTED // _largest_layer(networks, x))
    n_batches = math.ceil(n / max(1, size))
    # Counts are many short sums, which threads do better side by side than together. Whether the
    # networks draw is known by now, since the largest layer was looked for in a forward pass.
    threads = 1
    if counters and networks.reentrant and examples.x.device.type == "cpu" and not drew():
        threads = min(torch.get_num_threads(), n_batches)
    rounds = math.ceil(n_batches / threads)
    size = math.ceil(n / (rounds * threads))  # as many batches for every thread
    parts = [of_cell.split(size) for of_cell in x]
    batches = list(zip(*parts, strict=True))
    true_parts = [of_cell.split(size) for of_cell in y]
    true_batches = list(zip(*true_parts, strict=True))
    by_thread = divided(list(zip(batches, true_batches, strict=True)), threads)
    together, true = _looked(networks, head, by_thread, counters), torch.stack(y).cpu()
    if head.entry.task == "language":
        losses, hits = together.unbind(-1)
        return Continuation(losses, hits)
    if head.entry.task == "regression":
        return Estimate(together, true, head(together - true))
    return Prediction(together, true)


def _looked(
    networks: Networks,
    head: Choice[Head],
    by_thread: Sequence[Sequence[tuple[Batch, Batch]]],
    counters: Sequence[Counter],
) -> Tensor:
    """What is said of all batches, those of each thread in parallel."""
    for counter in counters[1:]:
        counter.room = counters[0].room
    # Counters add in place: threads that shared one would lose counts.
    tallies = [counters, *(deepcopy(counters) for _ in by_thread[1:])]
    outputs = in_parallel(
        lambda work: _look(networks, head, *work),
        list(zip(by_thread, tallies, strict=True)),
        len(by_thread),
        threads=1,
    )
    # Then the other threads' counts are added to the first ones'.
    for tally in tallies[1:]:
        for counter, other in zip(counters, tally, strict=True):
            counter.add(other)
    return torch.cat(outputs, dim=1).cpu()


def _largest_layer(networks: Networks, x: Batch) -> int:
    """Values of the largest layer for one example of every cell."""
    with torch.no_grad():
        # One example tells the shapes; by its values nothing is counted.
        _, seen = networks.observe(joined([part[:1] for part in x]))
    return max(value.numel() for value, _ in seen)


def _look(
    networks: Networks,
    head: Choice[Head],
    batches: Sequence[tuple[Batch, Batch]],
    counters: Sequence[Counter],
) -> Tensor:
    """What is said of these batches: (cells, examples, classes), of numbers (cells, examples).

    Of a text (cells, examples, 2): the mean loss of its tokens, and the share that is right.
    """
    spoken = []
    with torch.no_grad():
        for batch, true in batches:
            if counters:
                x = joined(batch)
                outputs, seen = networks.observe(x)
                kept = networks.kept(x)
                for counter, (value, derivative) in zip(counters, seen, strict=True):
                    counter.see(value, derivative, kept)
            else:
                outputs = networks(joined(batch))
            if head.entry.task == "language":
                lesson = lesson_of(head, outputs, joined(true))
                assert lesson.hits is not None
                spoken.append(torch.stack((lesson.losses, lesson.hits), dim=-1))
            else:
                spoken.append(said(head, outputs))
    return torch.cat(spoken, dim=1)


def joined(parts: Batch) -> Tensor:
    """Join a tensor per cell to one, the cells first; that of a single cell is not copied."""
    if len(parts) == 1:
        return parts[0].unsqueeze(0)
    return torch.stack(list(parts))
