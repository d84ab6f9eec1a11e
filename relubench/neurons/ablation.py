"""What a network does without some of its units: their outputs are 0, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from relubench.errors import BadValue
from relubench.models.calls import tensors
from relubench.neurons.batches import Batch
from relubench.neurons.counting import check_fitting, loss_of, scores_of
from relubench.neurons.observe import Seeing, observed
from relubench.neurons.preserving import as_found
from relubench.neurons.sites import Plan
from relubench.rows import AblationRow

Masks = Mapping[str, Tensor]  # by layer: the units that are removed, (units,) bool


@dataclass
class _Scores:
    """Sums over batches of one way to run the network."""

    right: float = 0.0
    identical: bool = True


def ablate(
    network: nn.Module, plan: Plan, batches: Iterable[Batch], removed: Mapping[str, Masks]
) -> list[AblationRow]:
    """The accuracy (or loss) with and without units, and whether outputs stay the same to the bit.

    removed  by name, such as dead: the units that give 0, by layer
    Raises BadValue for TorchScript, whose calls cannot be answered by others.
    """
    if plan.scripted:
        raise BadValue(
            "--ablate: units inside TorchScript cannot be removed: give the network plain"
        )
    whole, scores = _Scores(), {name: _Scores() for name in removed}
    metric, count, examples = "", 0, 0
    with as_found(network):
        for batch in batches:
            outputs = network(*batch.args, **batch.kwargs)
            metric, weight = _metric(outputs, batch)
            count, examples = count + weight, examples + batch.size
            whole.right += _score(outputs, batch, metric)
            for name, masks in removed.items():
                without = _without(network, plan, batch, masks)
                scores[name].right += _score(without, batch, metric)
                # In one pass over the batches: whole and reduced networks see
                # the very same examples.
                scores[name].identical &= _same(outputs, without)
    rows = []
    for name, masks in removed.items():
        rows.append(_row(name, masks, metric, whole, scores[name], count, examples))
    return rows


def _row(
    name: str,
    masks: Masks,
    metric: str,
    whole: _Scores,
    scores: _Scores,
    count: int,
    examples: int,
) -> AblationRow:
    # None where there is no label, or each is one that is left out.
    before = whole.right / count if count else None
    after = scores.right / count if count else None
    return AblationRow(
        removed=name,
        units=sum(int(mask.sum()) for mask in masks.values()),
        metric=metric or "none: no labels",
        before=before,
        after=after,
        difference=None if after is None or before is None else after - before,
        identical=scores.identical,
        examples=examples,
    )


def _without(network: nn.Module, plan: Plan, batch: Batch, masks: Masks) -> Any:
    def look(seeing: Seeing) -> Tensor | None:
        mask = masks.get(seeing.site.place)
        return None if mask is None else zeroed(seeing, mask)

    with observed(network, plan, look) as call:
        return call(batch)


def zeroed(seeing: Seeing, mask: Tensor) -> Tensor:
    """The outputs of a site with 0 for the units of a mask."""
    value, axes = seeing.value, seeing.site.axes
    shape = [1] * value.ndim
    # 1 everywhere but at the units, so that the mask is broadcast over examples and positions.
    for axis in axes:
        shape[axis] = value.shape[axis]
    return value.masked_fill(mask.to(value.device).view(shape), 0.0)


def _metric(outputs: Any, batch: Batch) -> tuple[str, int]:
    """accuracy of classes, loss of numbers, nothing without labels; how many figures it sums."""
    if batch.labels is None:
        return "", 0
    if batch.labels.is_floating_point():
        return "loss", batch.size
    kept = batch.labels >= 0  # transformers leaves out what is labelled -100
    return "accuracy", int(kept.sum())


def _score(outputs: Any, batch: Batch, metric: str) -> float:
    labels = batch.labels
    if not metric or labels is None:
        return 0.0
    if metric == "loss":
        return float(loss_of(outputs, labels)) * batch.size
    scores = scores_of(outputs)
    check_fitting(scores, labels)
    said = scores.argmax(-1)
    return float(((said == labels) & (labels >= 0)).sum())


def _same(one: object, other: object) -> bool:
    pairs = zip(tensors(_plain(one)), tensors(_plain(other)), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def _plain(outputs: Any) -> Any:
    return dict(outputs) if isinstance(outputs, dict) else outputs
