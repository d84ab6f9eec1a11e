"""Heads: output layers, from a network's outputs to what it says, and the loss of that.

Of classes a head turns outputs (…, classes) into log-probabilities of the same shape. Its loss is
their negative log-likelihood, its decision the largest of them.

Of numbers a network has one output, the number that it says, in standard deviations of the training
targets from their mean. A head turns errors, what is said less what is true, into losses.

On a CPU the classes go first: over few numbers side by side torch's kernels take twenty times as
long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Choice, Deferred, Entry
from relubench.datasets.dataset import Task

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
    hits       (cells, batch) bool: the decision is the true class, of a text the share of tokens
               that are right; None: there are no classes
    gradients  (cells, batch, …, outputs): of each example's loss
    """

    losses: Tensor
    hits: Tensor | None
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
    """The lesson of outputs (cells, batch, outputs) and classes or numbers (cells, batch).

    smoothing  the share of each label that goes to all classes alike (arXiv:1512.00567)
    """
    # By formula, or through autograd on the head alone: the network's own graph waits untouched.
    if head.entry.slope:
        errors = said(head, outputs.detach()) - y
        slopes = head.entry.slope(errors, **head.parameters)
        return Lesson(head(errors), None, slopes.unsqueeze(-1))
    if head.entry.lesson:
        return head.entry.lesson(outputs, y, smoothing)
    outputs = outputs.detach().requires_grad_()
    log_p = head(outputs)
    losses = -log_p.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    if smoothing:
        losses = _smoothed(losses, log_p.mean(dim=-1), smoothing)
    (gradients,) = torch.autograd.grad(losses, outputs, torch.ones_like(losses))
    return Lesson(losses.detach(), log_p.detach().argmax(dim=-1) == y, gradients)


def said(head: Choice[Head], outputs: Tensor) -> Tensor:
    """What a network says: log-probabilities (…, classes), or numbers (…)."""
    if head.entry.task == "regression":
        return outputs.squeeze(-1)
    return head(outputs)


def _classes_first(outputs: Tensor) -> Tensor:
    return outputs.movedim(-1, 0).contiguous()


@dataclass(frozen=True)
class Head(Entry["Tensor"]):
    """One output meaning.

    task    what it says: classes, or numbers (regression)
    paper   where it was published
    silent  whether it can give every class a 0
    bias    what the output layer's biases begin at
    lesson  its lesson by formula, where autograd would take longer
    slope   of numbers: the derivative of its loss by the error, with the head's parameters
    """

    task: Task = "classes"
    paper: str = ""
    silent: bool = False
    bias: float = 0.0
    lesson: Callable[[Tensor, Tensor, float], Lesson] | None = None
    slope: Callable[..., Tensor] | None = None


def token_lesson(outputs: Tensor, y: Tensor, smoothing: float = 0.0) -> Lesson:
    """The lesson of (cells, batch, context, tokens) and the tokens that follow, means over them."""
    batch, context = y.shape[1:]
    each = softmax_lesson(outputs.flatten(1, 2), y.flatten(1), smoothing)
    return Lesson(
        losses=each.losses.unflatten(1, (batch, context)).mean(dim=-1),
        hits=each.hits.unflatten(1, (batch, context)).to(outputs.dtype).mean(dim=-1)
        if each.hits is not None
        else None,
        gradients=each.gradients.unflatten(1, (batch, context)) / context,
    )


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


def _squared_slope(errors: Tensor) -> Tensor:
    return 2 * errors


def _huber_slope(errors: Tensor, *, delta: float) -> Tensor:
    return errors.clamp(-delta, delta)


@HEADS.add(task="regression", slope=_squared_slope)
def mse(errors: Tensor) -> Tensor:
    """e²: squared error of a number, e in standard deviations of the training targets"""
    return errors.square()


@HEADS.add(task="regression", slope=_huber_slope, paper="Huber 1964, Ann. Math. Statist. 35 (1)")
def huber(errors: Tensor, *, delta: float = 1.0) -> Tensor:
    """e²/2 up to |e| = delta, delta · (|e| - delta/2) beyond: outliers pull no more than delta"""
    bounded = errors.abs().clamp(max=delta)
    return bounded * (errors.abs() - bounded / 2)


@HEADS.add(task="language", lesson=token_lesson)
def next_token(outputs: Tensor) -> Tensor:
    """exp(o) / Σ exp(o) at every position of a text: cross-entropy of the token that follows"""
    return torch.log_softmax(outputs, dim=-1)
