"""Rows of suggest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from relubench.results import DEFINITIONS
from relubench.rows.setups import Number, Surroundings
from relubench.table import Row

SuggestWord = Literal["suggested", "may be best", "not best", "diverged", "undefined"]
StopWord = Literal["decided", "last look", "budget"]


@dataclass(frozen=True, kw_only=True)
class _SuggestNames(Row):
    dataset: Annotated[str, "the data"]
    activation: Annotated[str, "the activation"]
    networks: Annotated[list[str], "the networks that a mean is taken over"]
    seeds: Annotated[list[int], "seeds of the runs"]
    runs: Annotated[int, "its runs, in all networks"]
    diverged: Annotated[int, "those that diverged or were lost"]


@dataclass(frozen=True, kw_only=True)
class _SuggestMeans(Row):
    metric: Annotated[str, "what is compared"]
    mean: Annotated[Number, "its mean over networks and seeds"]
    mean_sd: Annotated[Number, "its standard deviation over seeds, the networks averaged first"]
    by_network: Annotated[Mapping[str, Number], "its mean in each network"]
    largest_class: Annotated[Number, "accuracy of always naming the largest class; null of numbers"]
    p_learned: Annotated[
        Number, "one-sided, of doing no better than that (of numbers: than their mean), corrected"
    ]


@dataclass(frozen=True, kw_only=True)
class _SuggestClaim(Row):
    verdict: Annotated[SuggestWord, "suggested, may be best, not best, diverged or undefined"]
    p_best: Annotated[Number, "of being the best, corrected over the others"] = None
    gives_away: Annotated[
        Number, "it is worse than the best by at most so much, whichever is chosen; null: no limit"
    ] = None
    p_margin: Annotated[Number, "of being worse than the best by the margin or more, corrected"] = (
        None
    )
    margin: Annotated[Number, "within which two means are alike"] = None
    reference: Annotated[str, "the activation that others are compared with"]
    difference: Annotated[Number, "mean paired difference to the reference"] = None
    difference_low: Annotated[
        Number, "lower end of its interval, which holds together with those of the others"
    ] = None
    difference_high: Annotated[Number, "upper end of that interval"] = None
    p: Annotated[Number, "two-sided, of no difference, corrected over activations"] = None


@dataclass(frozen=True, kw_only=True)
class _SuggestCost(Row):
    seconds: Annotated[Number, "mean over networks of the median seconds of a run"]
    seconds_ratio: Annotated[Number, "the same divided by the reference's"]
    dead: Annotated[Number, DEFINITIONS["dead"]]
    chosen_lr: Annotated[Mapping[str, list[float]], "learning rates that runs chose, by network"]


@dataclass(frozen=True, kw_only=True)
class _SuggestEnd(Row):
    n_train: Annotated[int, "training examples of a run"]
    n_test: Annotated[int, "test examples of a run"]
    design: Annotated[str, "what is repeated: paired seeds or drawn hold-outs"]
    ratio: Annotated[Number, "n_test / n_train where repetitions share examples"]
    alpha: Annotated[float, "error rate at this look"]
    alpha_in_all: Annotated[float, "error rate over all looks"]
    look: Annotated[int, "look at which the study stopped"]
    looks: Annotated[list[int], "seeds at each declared look"]
    stopped: Annotated[StopWord, "why it stopped: decided, last look or budget"]
    quick: Annotated[bool, "whether this is a smoke run"]


@dataclass(frozen=True, kw_only=True)
class SuggestRow(
    _SuggestEnd, Surroundings, _SuggestCost, _SuggestClaim, _SuggestMeans, _SuggestNames
):
    """suggest: one activation over all networks, beside the best of all."""

    @property
    def best(self) -> bool:
        """Whether it may be the best."""
        return self.p_best is not None and self.p_best >= self.alpha

    @property
    def near(self) -> bool:
        """Whether it is shown to be worse than the best by less than the margin."""
        return self.p_margin is not None and self.p_margin < self.alpha

    @property
    def learned(self) -> bool:
        """Whether it is shown to do better than to name the largest class always."""
        return self.p_learned is None or self.p_learned < self.alpha
