"""Heads: output layers, from a network's outputs to log-probabilities.

A head turns outputs (…, classes) into log-probabilities of the same shape. Its loss is their
negative log-likelihood, its decision the largest of them.

On a CPU the classes go first: over few numbers side by side torch's kernels take twenty times as
long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Choice, Deferred, Entry

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")

FLOOR = 1e-7  # the clip of Keras 2.1.5, which ran the published DL-ReLU experiments


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a step learns from outputs.

    losses     (cells, batch)
    hits       (cells, batch) bool: the decision is the true class
    gradients  (cells, batch, classes): of each example's loss
    """

    losses: Tensor
    hits: Tensor
    gradients: Tensor


def softmax_lesson(outputs: Tensor, y: Tensor, smoothing: float = 0.0) -> Lesson:
    """The lesson of outputs (cells, batch, classes) and classes (cells, batch), by formula.

    The gradient of -ln p of the true class is p, less 1 at the true class.
    """
    by_class, true = _classes_first(outputs.detach()), y.unsqueeze(0)
    log_p = torch.log_softmax(by_class, dim=0)  # (classes, cells, batch)
    of_true = log_p.gather(0, true)
    # p - 1 as expm1(ln p): where p is near 1 the difference would lose its digits.
    gradients = log_p.exp().scatter_(0, true, of_true.expm1())
    losses = -of_true.squeeze(0)
    if smoothing:
        gradients.sub_(smoothing / len(log_p))
        gradients.scatter_add_(0, true, torch.full_like(of_true, smoothing))
        losses = _smoothed(losses, log_p.mean(dim=0), smoothing)
    return Lesson(
        losses=losses,
        hits=_hits(log_p, y),
        gradients=gradients.movedim(0, -1),
    )


def _hits(log_p: Tensor, y: Tensor) -> Tensor:
    """Whether the first of the largest of (classes, cells, batch) is y.

    That is `log_p.argmax(dim=0) == y`, which takes ten times as long: a class counts what is left
    from it on, so that the first of several largest counts most, and with those before it all.
    """
    largest = torch.eq(log_p, log_p.amax(dim=0), out=torch.empty_like(log_p))
    left = largest.mul_(_countdown(len(log_p), log_p.dtype, log_p.device)).amax(dim=0)
    return left + y == len(log_p)


@cache
def _countdown(classes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.arange(classes, 0, -1, dtype=dtype, device=device).view(-1, 1, 1)


def _smoothed(losses: Tensor, log_p: Tensor, smoothing: float) -> Tensor:
    """Losses, a share of which goes to all classes alike; `log_p` is their mean."""
    return (1 - smoothing) * losses - smoothing * log_p


def lesson_of(head: Choice[Head], outputs: Tensor, y: Tensor, smoothing: float = 0.0) -> Lesson:
    """The lesson of outputs (cells, batch, classes) and classes (cells, batch).

    smoothing  the share of each label that goes to all classes alike (arXiv:1512.00567)
    """
    # By formula, or through autograd on the head alone: the network's own graph waits untouched.
    if head.entry.lesson:
        return head.entry.lesson(outputs, y, smoothing)
    outputs = outputs.detach().requires_grad_()
    log_p = head(outputs)
    losses = -log_p.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    if smoothing:
        losses = _smoothed(losses, log_p.mean(dim=-1), smoothing)
    (gradients,) = torch.autograd.grad(losses, outputs, torch.ones_like(losses))
    return Lesson(losses.detach(), log_p.detach().argmax(dim=-1) == y, gradients)


def _classes_first(outputs: Tensor) -> Tensor:
    return outputs.movedim(-1, 0).contiguous()


@dataclass(frozen=True)
class Head(Entry["Tensor"]):
    """One output meaning.

    paper   where it was published
    silent  whether it can give every class a 0
    bias    what the output layer's biases begin at
    lesson  its lesson by formula, where autograd would take longer
    """

    paper: str = ""
    silent: bool = False
    bias: float = 0.0
    lesson: Callable[[Tensor, Tensor, float], Lesson] | None = None


HEADS: Catalog[Head] = Catalog("head", Head)


@HEADS.add(lesson=softmax_lesson)
def softmax(outputs: Tensor) -> Tensor:
    """exp(o) / Σ exp(o): cross-entropy"""
    return torch.log_softmax(_classes_first(outputs), dim=0).movedim(0, -1)


@HEADS.add(
    paper="arXiv:1803.08375 (Agarap), as its published runs computed it", silent=True, bias=4.0
)
def relu(outputs: Tensor) -> Tensor:
    """max(0, o) / Σ max(0, o), clipped to [1e-7, 1 - 1e-7]: the DL-ReLU classifier

    Where every score is 0, every class gets 1e-7: a loss of 16.1 and a gradient of 0. A class whose
    score begins at 0 on its examples learns nothing from them, so biases begin at 4, more than the
    scores' standard deviation then; the published runs began at 0.
    """
    # Clipped after the division, as Keras did: an example without any score has a loss too.
    scores = torch.relu(outputs)
    total = scores.sum(dim=-1, keepdim=True)
    probabilities = scores / torch.where(
        total == 0, 1, total
    )  # a NaN stays one: that cell has diverged
    return probabilities.clip(FLOOR, 1 - FLOOR).log()
