"""Rows of compare: an activation beside the reference, a published figure, a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from relubench.rows.runs import SequenceScores
from relubench.rows.setups import HiddenUnits, Number, SetupRow, SetupValue, Surroundings
from relubench.table import Row, Worded
from relubench.wording import counted


@dataclass(frozen=True, kw_only=True)
class _Repetitions(SetupRow):
    seeds: Annotated[list[int], "seeds of the runs"]
    folds: Annotated[int | None, "folds of a partition"]
    repeats: Annotated[int | None, "partitions"]
    n: Annotated[int, "finished runs"]


@dataclass(frozen=True, kw_only=True)
class _MeanScores(Row):
    accuracy: Annotated[Number, "mean accuracy"]
    accuracy_sd: Annotated[Number, "its standard deviation over seeds or folds"]
    precision: Annotated[Number, "mean of the runs' precision"]
    recall: Annotated[Number, "mean of the runs' recall"]
    f1: Annotated[Number, "mean of the runs' F1"]
    macro_precision: Annotated[Number, "mean of the runs' macro precision"]
    macro_recall: Annotated[Number, "mean of the runs' macro recall"]
    macro_f1: Annotated[Number, "mean of the runs' macro F1"]
    rmse: Annotated[Number, "mean of the runs' root mean squared errors"]
    mae: Annotated[Number, "mean of the runs' mean absolute errors"]
    r2: Annotated[Number, "mean R²"]
    perplexity: Annotated[Number, "of a text: mean perplexity"]
    bits_per_character: Annotated[Number, "of a text: mean bits per character"]
    token_accuracy: Annotated[Number, "of a text: mean fraction of tokens foretold"]
    tokens_per_second: Annotated[Number, "of a text: mean tokens learned from by second"]
    loss: Annotated[Number, "mean test loss"]
    silent: Annotated[Number, "mean fraction of silent test examples"]
    train_accuracy: Annotated[Number, "mean accuracy on the training set"]
    train_r2: Annotated[Number, "mean R² on the training set"]
    train_loss: Annotated[Number, "mean loss on the training set"]
    perturbed: Annotated[Mapping[str, Number], "mean accuracy by perturbation"]
    perturbed_sd: Annotated[Mapping[str, Number], "its standard deviation"]


@dataclass(frozen=True, kw_only=True)
class _MeanCost(Row):
    seconds: Annotated[Number, "median seconds of a run"]
    parameters: Annotated[int, "learned numbers of the network"]
    diverged: Annotated[int, "runs that diverged or were lost"]


@dataclass(frozen=True, kw_only=True)
class _Compared(Row):
    metric: Annotated[str, "what is compared"]
    mean: Annotated[Number, "its mean"]
    mean_sd: Annotated[Number, "its standard deviation"]


@dataclass(frozen=True, kw_only=True)
class TimeToTarget(Row):
    """How soon training comes to its target, beside the reference."""

    chosen_lr: Annotated[list[float] | None, "learning rates that the runs chose"]
    reached: Annotated[int | None, "runs that came to the target"]
    epochs_until: Annotated[Number, "mean epochs until the target"]
    epochs_until_ratio: Annotated[Number, "mean ratio to the reference's, by repetition"]
    epochs_until_ratio_sd: Annotated[Number, "its standard deviation"]
    seconds_until: Annotated[Number, "mean seconds until the target"]
    seconds_until_ratio: Annotated[Number, "mean ratio to the reference's, by repetition"]
    seconds_until_ratio_sd: Annotated[Number, "its standard deviation"]


@dataclass(frozen=True, kw_only=True)
class _Reference(Row):
    reference: Annotated[str, "the activation that others are compared with"]
    quick: Annotated[bool, "whether this is a smoke run"]


@dataclass(frozen=True, kw_only=True)
class Claim(Row):
    """What is said of an activation beside the reference."""

    pairs: Annotated[int, "seeds or folds that both have"]
    difference: Annotated[Number, "mean paired difference to the reference"] = None
    difference_low: Annotated[Number, "lower end of its 95 % interval"] = None
    difference_high: Annotated[Number, "upper end of its 95 % interval"] = None
    interval: Annotated[str | None, "how the interval was found"] = None
    p: Annotated[Number, "two-sided, corrected over the family"] = None
    p_unadjusted: Annotated[Number, "two-sided, of this comparison alone"] = None
    p_equivalent: Annotated[Number, "of two one-sided tests inside the margin, corrected"] = None
    margin: Annotated[Number, "within which two means are alike"] = None
    probability: Annotated[Number, "that the activation is better in a pair"] = None
    probability_low: Annotated[Number, "lower end of its interval"] = None
    probability_high: Annotated[Number, "upper end of its interval"] = None
    rope_limit: Annotated[Number, "half the region of practical equivalence"] = None
    rope_left: Annotated[Number, "posterior probability below the region"] = None
    rope: Annotated[Number, "posterior probability inside the region"] = None
    rope_right: Annotated[Number, "posterior probability above the region"] = None
    verdict: Annotated[str, "reference, better, worse, equivalent, undecided or diverged"]
    more_seeds: Annotated[int | None, "further seeds that would decide"] = None
    more_repeats: Annotated[int | None, "further partitions that would decide"] = None


@dataclass(frozen=True)
class Correction(Worded):
    """The family of comparisons that p is corrected over by Holm's method."""

    comparisons: int
    setups: int = 1
    together: bool = False  # all set-ups are one family

    @property
    def scope(self) -> str:
        """Over what, in a few words."""
        count = counted(self.comparisons, "comparison")
        if self.setups < 2:
            return f"over {count}"
        if self.together:
            return f"over all {count} of {self.setups} set-ups"
        return f"over the {count} of each set-up"

    def __str__(self) -> str:
        return f"Holm {self.scope}" if self.comparisons else "nothing compared"


@dataclass(frozen=True)
class Test(Worded):
    """A test and its correction."""

    __test__ = False  # pytest is not to collect it

    name: str
    correction: Correction

    def __str__(self) -> str:
        return f"{self.name}, {self.correction}"


@dataclass(frozen=True, kw_only=True)
class Procedure(Row):
    """How a set-up's activations were compared."""

    comparisons: Annotated[int, "comparisons that p is corrected over"]
    family: Annotated[str, "whose comparisons they are: setup or all"]
    design: Annotated[str, "what is repeated: paired seeds, drawn hold-outs or folds"]
    respected: Annotated[str | None, "what splits respect: classes, groups, classes and groups"]
    ratio: Annotated[Number, "n_test / n_train where repetitions share examples"]
    test: Annotated[Test, "the test and its correction"]
    alpha: Annotated[float, "error rate over the family"]
    look: Annotated[int | None, "look at which a growing comparison stopped"]


@dataclass(frozen=True, kw_only=True)
class AgainstRow(Row):
    """One activation beside another, seen from its side."""

    activation: Annotated[str, "the other"]
    difference: Annotated[Number, "mean paired difference to it"]
    difference_low: Annotated[Number, "lower end of its 95 % interval"]
    difference_high: Annotated[Number, "upper end of its 95 % interval"]
    p: Annotated[Number, "two-sided, corrected over the family"]
    verdict: Annotated[str, "better, worse, equivalent or undecided"]


@dataclass(frozen=True, kw_only=True)
class _Standing(Row):
    standing: Annotated[str | None, "best; not worse where no test tells it from the best"]
    against: Annotated[list[AgainstRow] | None, "every pair that the activation is in"]


@dataclass(frozen=True, kw_only=True)
class OverDatasets(Row):
    """An activation over the datasets of its set-up; null with one dataset."""

    mean_rank: Annotated[Number, "mean rank over datasets, 1 the best"] = None
    datasets_won: Annotated[int | None, "datasets on which it is better than the reference"] = None
    datasets_tied: Annotated[int | None, "datasets on which both are alike"] = None
    datasets_lost: Annotated[int | None, "datasets on which it is worse"] = None
    datasets_p: Annotated[Number, "exact Wilcoxon signed-rank over datasets (Holm)"] = None


@dataclass(frozen=True, kw_only=True)
class CompareRow(
    OverDatasets, _Standing, Procedure, Claim, _Reference, TimeToTarget, _Compared,
    Surroundings, _MeanCost, HiddenUnits, SequenceScores, _MeanScores, _Repetitions,
):  # fmt: skip
    """compare: one activation in one set-up, beside the reference."""

    @property
    def runs(self) -> int:
        """All runs behind the row, those that diverged with them."""
        return self.n + self.diverged


@dataclass(frozen=True, kw_only=True)
class PairRow(SetupRow):
    """compare --pairs all, second table: two activations of a set-up."""

    beside: Annotated[str, "the second activation"]
    difference: Annotated[Number, "mean paired difference, first - second"]
    difference_low: Annotated[Number, "lower end of its 95 % interval"]
    difference_high: Annotated[Number, "upper end of its 95 % interval"]
    p: Annotated[Number, "two-sided, corrected over the family"]
    verdict: Annotated[str, "better, worse, equivalent or undecided"]


@dataclass(frozen=True, kw_only=True)
class RankedPairRow(Row):
    """compare --pairs all, last tables: two activations over datasets."""

    activation: Annotated[str, "the first activation"]
    beside: Annotated[str, "the second"]
    won: Annotated[int, "datasets on which the first is better"]
    tied: Annotated[int, "datasets on which both are alike"]
    lost: Annotated[int, "datasets on which the first is worse"]
    p: Annotated[Number, "exact Wilcoxon signed-rank over datasets (Holm)"]


@dataclass(frozen=True)
class PublishedVerdict(Worded):
    """Whether a measured figure agrees with the published one; else why that cannot be said."""

    word: Literal["agrees", "differs", "cannot be compared"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


@dataclass(frozen=True, kw_only=True)
class _PublishedNames(Row):
    """What a published figure is about; null: of activations by themselves."""

    dataset: Annotated[str | None, "the data"]
    model: Annotated[str | None, "the network"]
    activation: Annotated[str, "the activation of its hidden layers"]
    head: Annotated[str | None, "output layer and loss"]
    lr: Annotated[Number, "learning rate"]
    beside: Annotated[str | None, "the activation that a ratio or a claim is beside"]
    metric: Annotated[str, "what was published"]


@dataclass(frozen=True, kw_only=True)
class _PublishedSource(Row):
    source: Annotated[str, "where it was published"]
    confirmed: Annotated[bool, "whether the source was read"]
    note: Annotated[str, "what else is to be known of it"]


@dataclass(frozen=True, kw_only=True)
class PublishedRow(_PublishedSource, _PublishedNames):
    """A published figure of a benchmark beside the measured one."""

    layer: Annotated[str | None, "the layer whose hidden units are counted"]
    number: Annotated[int | None, "the task of a sequence, from 1"]
    n: Annotated[int, "finished runs"]
    measured: Annotated[Number, "their mean"]
    measured_sd: Annotated[Number, "its standard deviation"]
    published: Annotated[Number, "the published mean"]
    published_sd: Annotated[Number, "its standard deviation"]
    difference: Annotated[Number, "measured - published"]
    margin: Annotated[Number, "half the 95 % prediction interval of the published mean"]
    verdict: Annotated[PublishedVerdict, "agrees, differs, or why neither can be said"]


@dataclass(frozen=True)
class ClaimVerdict(Worded):
    """Whether a comparison shows what was claimed; else why that cannot be said."""

    word: Literal["holds", "reversed", "alike", "undecided", "cannot be said"]
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


@dataclass(frozen=True, kw_only=True)
class ClaimedRow(_PublishedSource, _PublishedNames):
    """A direction that was claimed of a benchmark, beside what a comparison shows of it."""

    claimed: Annotated[Literal["higher", "lower"], "than with the activation that it is beside"]
    pairs: Annotated[int, "seeds or folds that both have"]
    difference: Annotated[Number, "mean paired difference"]
    difference_low: Annotated[Number, "lower end of its 95 % interval"]
    difference_high: Annotated[Number, "upper end of its 95 % interval"]
    p: Annotated[Number, "two-sided, corrected over the family"]
    verdict: Annotated[ClaimVerdict, "holds, reversed, alike, undecided, or why none can be said"]


@dataclass(frozen=True, kw_only=True)
class RatioRow(SetupRow):
    """One activation's runs beside another's in the same set-up, repetition by repetition."""

    beside: Annotated[str, "the activation that they are beside"]
    n: Annotated[int, "repetitions that both have"]
    seconds_ratio: Annotated[Number, "mean ratio of the seconds of training"]
    seconds_ratio_sd: Annotated[Number, "its standard deviation; null of runs of one pass"]


GateWord = Literal["pass", "fail", "undecided", "not compared", "incomplete"]


@dataclass(frozen=True, kw_only=True)
class GateRow(Row):
    """compare --baseline: what a gate says of one metric of one activation in one set-up."""

    setup: Annotated[dict[str, SetupValue], "the set-up, which the row of compare names"]
    gate: Annotated[GateWord, "what is said"] = "not compared"
    metric: Annotated[str, "what is compared"]
    n: Annotated[int, "seeds that are compared"] = 0
    baseline: Annotated[Number, "mean of the baseline, a diverged run at its worst"] = None
    value: Annotated[Number, "mean of this run, a diverged run at its worst"] = None
    difference: Annotated[Number, "value - baseline"] = None
    margin: Annotated[Number, "loss that is allowed, in the metric's measure"] = None
    p_pass: Annotated[Number, "one-sided, of having lost less than the margin"] = None
    p_fail: Annotated[Number, "one-sided, of having lost more, corrected over the gate"] = None
    reason: Annotated[str | None, "what the word alone does not say"] = None

    @classmethod
    def declared_keys(cls) -> list[str]:
        """Without the set-up: these rows stand in one that names it."""
        return [key for key in super().declared_keys() if key != "setup"]


@dataclass(frozen=True, kw_only=True)
class GatedCompareRow(CompareRow):
    """compare --baseline: a row of compare, and what the gate says of it."""

    gate: Annotated[GateWord | None, "the gravest word; null: no baseline yet"]
    gates: Annotated[list[GateRow], "the words of all metrics"]
