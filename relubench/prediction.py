"""What trained networks say of examples; neuron counters see every batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from relubench.examples import Examples
from relubench.metrics import Prediction
from relubench.networks import Networks
from relubench.neurons import Counter

EVALUATION_BATCH = 2048  # examples that a forward pass holds at once when nothing is learned
COUNTED = 2**20  # values of a layer that counters look at together: what a CPU's cache holds


def predict(
    networks: Networks,
    head: Callable[[Tensor], Tensor],
    examples: Examples,
    counters: Sequence[Counter],
) -> Prediction:
    """What trained networks say of all examples, in evaluation mode; counters see every batch."""
    networks.train(False)
    n, size = examples.sizes[0], EVALUATION_BATCH // len(examples.sizes)
    x, y = (
        [part[first : first + n] for first in examples.first] for part in (examples.x, examples.y)
    )
    found = []
    with torch.no_grad():
        if counters:
            _, seen = networks.observe(joined([part[:1] for part in x]))
            size = min(EVALUATION_BATCH, COUNTED // max(value.numel() for value, _ in seen))
        for parts in zip(*(part.split(max(1, size)) for part in x), strict=True):
            if counters:
                outputs, seen = networks.observe(joined(parts))
                for counter, (value, slope) in zip(counters, seen, strict=True):
                    counter.see(value, slope)
            else:
                outputs = networks(joined(parts))
            found.append(head(outputs))
    return Prediction(torch.cat(found, dim=1).cpu(), torch.stack(y).cpu())


def joined(parts: Sequence[Tensor]) -> Tensor:
    """A tensor per cell as one, the cells first; that of a single cell is not copied."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(list(parts))
