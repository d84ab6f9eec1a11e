"""What trained networks say of examples; neuron counters see every batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor

from relubench.metrics import Prediction
from relubench.models.layers import drawing_after
from relubench.neurons.statistics import Counter
from relubench.training.examples import Examples
from relubench.training.networks import Networks
from relubench.training.parallel import abreast, divided

EVALUATION_BATCH = 2048  # examples that a forward pass holds at once when nothing is learned
COUNTED = 2**20  # values of a layer that counters look at together: what a CPU's cache holds

Head = Callable[[Tensor], Tensor]
Batches = Sequence[Sequence[Tensor]]  # for every cell its examples


def predict(
    networks: Networks, head: Head, examples: Examples, counters: Sequence[Counter]
) -> Prediction:
    """What trained networks say of all examples, in evaluation mode; counters see every batch.

    Counts are many short sums, which threads do better side by side than together. What a user's
    own code draws all the same is the same in every call.
    """
    networks.train(False)
    if networks.seed is None:
        return _predict(networks, head, examples, counters, lambda: False)
    with drawing_after(networks.seed, examples.x.device) as drew:
        return _predict(networks, head, examples, counters, drew)


def _predict(
    networks: Networks,
    head: Head,
    examples: Examples,
    counters: Sequence[Counter],
    drew: Callable[[], bool],
) -> Prediction:
    n, size = examples.sizes[0], EVALUATION_BATCH // len(examples.sizes)
    x, y = (
        [part[first : first + n] for first in examples.first] for part in (examples.x, examples.y)
    )
    if counters:
        with torch.no_grad():
            _, seen = networks.observe(joined([part[:1] for part in x]))
        size = min(EVALUATION_BATCH, COUNTED // max(value.numel() for value, _ in seen))
    apart = counters and networks.reentrant and examples.x.device.type == "cpu" and not drew()
    least = math.ceil(n / max(1, size))  # batches
    threads = min(torch.get_num_threads(), least) if apart else 1
    alike = math.ceil(n / (math.ceil(least / threads) * threads))
    batches = list(zip(*(part.split(alike) for part in x), strict=True))
    shares = divided(batches, threads)
    tallies = [counters, *(deepcopy(counters) for _ in shares[1:])]
    look = partial(_look, networks, head)
    pairs = list(zip(shares, tallies, strict=True))
    found = abreast(lambda pair: look(*pair), pairs, len(pairs), threads=1)
    for others in tallies[1:]:
        for counter, other in zip(counters, others, strict=True):
            counter.add(other)
    return Prediction(torch.cat(found, dim=1).cpu(), torch.stack(y).cpu())


def _look(networks: Networks, head: Head, batches: Batches, counters: Sequence[Counter]) -> Tensor:
    """What the networks say of these batches, (cells, examples, classes)."""
    found = []
    with torch.no_grad():
        for parts in batches:
            if counters:
                outputs, seen = networks.observe(joined(parts))
                for counter, (value, slope) in zip(counters, seen, strict=True):
                    counter.see(value, slope)
            else:
                outputs = networks(joined(parts))
            found.append(head(outputs))
    return torch.cat(found, dim=1)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """A tensor per cell as one, the cells first; that of a single cell is not copied."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(list(parts))
