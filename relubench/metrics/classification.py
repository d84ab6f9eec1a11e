"""Metrics of classes: a cell's predictions in, one number per cell out.

A figure that is not defined is NaN here and null or – in every table: the recall of a class without
examples, the precision of a class that is never predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Deferred, Entry

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")


@dataclass(frozen=True)
class Metric(Entry["Tensor"]):
    """One score: of what, which way is better ("higher" or "lower"), and its unit.

    task  "classes", "regression", or "any" of both
    """

    better: str
    unit: str = "fraction"
    task: str = "classes"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What stacked cells say of some examples.

    log_probabilities  (cells, examples, classes), the head's
    y                  (cells, examples) true classes
    """

    log_probabilities: Tensor
    y: Tensor

    @property
    def losses(self) -> Tensor:
        """(cells, examples): negative log-likelihood of the true class, in float64."""
        # float64: a mean in float32 over many examples loses digits that comparisons look at.
        log_p = self.log_probabilities.double()
        return -log_p.gather(-1, self.y.unsqueeze(-1)).squeeze(-1)

    @cached_property
    def confusion(self) -> Tensor:
        """(cells, true class, predicted class): counts, in float64."""
        cells, _, classes = self.log_probabilities.shape
        # A number for each pair of classes, so that one bincount makes a cell's whole matrix.
        pairs = self.y * classes + self.log_probabilities.argmax(dim=-1)
        counts = [torch.bincount(row, minlength=classes**2) for row in pairs]
        return torch.stack(counts).view(cells, classes, classes).double()

    @property
    def hits(self) -> Tensor:
        """(cells, classes): examples predicted rightly."""
        return self.confusion.diagonal(dim1=1, dim2=2)

    @property
    def support(self) -> Tensor:
        """(cells, classes): examples of each class."""
        return self.confusion.sum(dim=2)

    @property
    def precisions(self) -> Tensor:
        """(cells, classes): hits / predictions of the class."""
        return self.hits / self.confusion.sum(dim=1)

    @property
    def recalls(self) -> Tensor:
        """(cells, classes): hits / examples of the class."""
        return self.hits / self.support

    @property
    def f1s(self) -> Tensor:
        """(cells, classes): 2 · hits / (predictions + examples)."""
        return 2 * self.hits / (self.confusion.sum(dim=1) + self.support)

    def weighted(self, by_class: Tensor) -> Tensor:
        """(cells,): the mean over classes weighted by support; a class without any counts not."""
        # Chosen, not multiplied: a class without examples has NaN, and NaN times 0 is NaN.
        present = torch.where(self.support > 0, by_class * self.support, 0)
        return present.sum(dim=1) / self.support.sum(dim=1)


METRICS: Catalog[Metric] = Catalog(
    "metric",
    Metric,
    beside="compare --metric also takes train_accuracy, train_r2, train_loss, dead, inactive, "
    "rare, dormant, saturated, sparsity (higher counts as better), seconds, parameters, with "
    "--until epochs_until and seconds_until, with --tasks online_accuracy, online_slope, "
    "task_accuracy, first_task_accuracy, online_loss, loss_slope, mean_weight (higher, too).",
)


@METRICS.add(better="higher")
def accuracy(prediction: Prediction) -> Tensor:
    """Fraction of examples predicted rightly"""
    return prediction.hits.sum(dim=1) / prediction.support.sum(dim=1)


@METRICS.add(better="higher")
def precision(prediction: Prediction) -> Tensor:
    """Hits / predictions of a class, averaged over classes by support"""
    return prediction.weighted(prediction.precisions)


@METRICS.add(better="higher")
def recall(prediction: Prediction) -> Tensor:
    """Hits / examples of a class, averaged over classes by support"""
    return prediction.weighted(prediction.recalls)


@METRICS.add(better="higher")
def f1(prediction: Prediction) -> Tensor:
    """2 · hits / (predictions + examples) of a class, averaged over classes by support"""
    return prediction.weighted(prediction.f1s)


@METRICS.add(better="higher")
def macro_precision(prediction: Prediction) -> Tensor:
    """Hits / predictions of a class, plain mean over classes"""
    return prediction.precisions.mean(dim=1)


@METRICS.add(better="higher")
def macro_recall(prediction: Prediction) -> Tensor:
    """Hits / examples of a class, plain mean over classes"""
    return prediction.recalls.mean(dim=1)


@METRICS.add(better="higher")
def macro_f1(prediction: Prediction) -> Tensor:
    """2 · hits / (predictions + examples) of a class, plain mean over classes"""
    return prediction.f1s.mean(dim=1)


@METRICS.add(better="lower", unit="nats", task="any")
def loss(prediction: Prediction) -> Tensor:
    """Mean of the head's loss: negative log-likelihood of the true class; squared error and so on

    Of numbers it is that of standardised ones, and has no unit.
    """
    return prediction.losses.mean(dim=1)


@METRICS.add(better="lower")
def silent(prediction: Prediction) -> Tensor:
    """Fraction of examples whose scores are all 0: the head says nothing (relu head only)"""
    # Where the head says nothing every class gets the clip's 1e-7; else the sum is about 1.
    total = prediction.log_probabilities.exp().sum(dim=-1)
    return (total < 0.5).double().mean(dim=1)
