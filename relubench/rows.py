"""The kinds of rows: what machine formats print, key by key, with the meaning of each key.

A row's fields are its keys, in the order in which they are printed. Keys that several kinds of rows
have stand in a part of their own; dataclasses take the fields of the *last* base first, so that the
bases of a row are to be read from right to left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Literal

from relubench.results import DEFINITIONS
from relubench.table import Row, Worded
from relubench.wording import counted

Number = float | None  # None: not defined
SetupValue = str | int | float | bool | None
Interval = tuple[Number, Number]  # None: without end
SuggestWord = Literal["suggested", "may be best", "not best", "diverged", "undefined"]
StopWord = Literal["decided", "last look", "budget"]

# What tells set-ups apart, in which activations are compared.
RECIPE = (
    *("optimizer", "lr", "rates", "schedule", "warmup", "epochs", "steps", "batch_size"),
    *("weight_decay", "clip_norm", "label_smoothing", "augment", "revive", "report"),
)
SETUP = (
    *("dataset", "model", "head", "chosen_init", "match_parameters", *RECIPE),
    *("standardise", "pca", "limit", "perturb", "until", "fresh_weights", "unit_axis"),
    *("validation", "one_holdout", "task", "tasks"),
)
SETUP_VALUES = attrgetter(*SETUP)


# --- parts of rows --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SetupRow(Row):
    """What names a set-up and an activation in it."""

    dataset: Annotated[str, "the data"]
    model: Annotated[str, "the network"]
    activation: Annotated[str, "the activation of its hidden layers"]
    head: Annotated[str, "output layer and loss"]
    init: Annotated[str, "scheme of the initial weights"]
    chosen_init: Annotated[str | None, "the same, where it was chosen for all activations"]
    match_parameters: Annotated[bool, "whether widths were chosen to match relu's parameters"]
    optimizer: Annotated[str, "how the weights are found"]
    lr: Annotated[Number, "learning rate; null where each run chooses its own"]
    rates: Annotated[str | None, "the learning rates that a run may choose from"]
    epochs: Annotated[int | None, "passes over the training set; null where steps are counted"]
    batch_size: Annotated[int, "examples in a step"]
    weight_decay: Annotated[float, "strength of weight decay"]
    augment: Annotated[str | None, "augmentations of the training set"]
    standardise: Annotated[bool, "whether inputs are standardised"]
    pca: Annotated[int | None, "principal components that are kept"]
    limit: Annotated[int | None, "examples that the training set is limited to"]
    perturb: Annotated[str | None, "perturbations of the test set that are scored too"]
    until: Annotated[str | None, "target of training, such as train_error=0.25"]
    fresh_weights: Annotated[bool, "whether weights that user code loads are drawn anew"]
    unit_axis: Annotated[int | None, "axis of the hidden units in a user's network"]
    validation: Annotated[
        str | None, "what each epoch is scored on: a fraction of the training set, or test"
    ] = None
    one_holdout: Annotated[bool, "whether one hold-out was drawn for all seeds"] = False
    schedule: Annotated[str | None, "how the rate changes from step to step"] = None
    warmup: Annotated[str | None, "steps in which the rate rises, or a fraction of all"] = None
    clip_norm: Annotated[Number, "largest norm of a network's gradient"] = None
    label_smoothing: Annotated[float, "share of a label that goes to all classes alike"] = 0.0
    steps: Annotated[int | None, "steps of training, where epochs are not counted"] = None
    revive: Annotated[str | None, "what lets hidden units begin anew between epochs"] = None
    report: Annotated[
        str | None, "best: figures are those of the epoch with the lowest held-out loss"
    ] = None
    task: Annotated[str | None, "what one network learns in turn"] = None
    tasks: Annotated[int | None, "how many tasks that are"] = None

    @property
    def setup(self) -> tuple[object, ...]:
        """The values that tell set-ups apart."""
        values: tuple[object, ...] = SETUP_VALUES(self)
        return values


@dataclass(frozen=True, kw_only=True)
class HiddenUnits(Row):
    """Fractions of hidden units, and moments of their outputs."""

    dead: Annotated[Number, DEFINITIONS["dead"]] = None
    inactive: Annotated[Number, DEFINITIONS["inactive"]] = None
    rare: Annotated[Number, DEFINITIONS["rare"]] = None
    dormant: Annotated[Number, DEFINITIONS["dormant"]] = None
    saturated: Annotated[Number, DEFINITIONS["saturated"]] = None
    sparsity: Annotated[Number, DEFINITIONS["sparsity"]] = None
    mean_activation: Annotated[Number, DEFINITIONS["mean_activation"]] = None
    sd_activation: Annotated[Number, DEFINITIONS["sd_activation"]] = None


@dataclass(frozen=True, kw_only=True)
class Surroundings(Row):
    """What else decides a number."""

    relubench: Annotated[str, "version of relubench"]
    torch: Annotated[str, "version of torch"]
    device: Annotated[str, "torch device"]
    threads: Annotated[int, "CPU threads"]
    dtype: Annotated[str, "float type"]
    stack: Annotated[int, "runs that were trained in one pass"]


# --- train, cv ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _RunNames(SetupRow):
    seed: Annotated[int, "seed of split, initial weights and batches"]
    folds: Annotated[int | None, "folds of a partition; null: one hold-out"]
    fold: Annotated[int | None, "the fold that tests"]
    repeat: Annotated[int, "the partition"]
    n_train: Annotated[int, "training examples"]
    n_test: Annotated[int, "test examples"]
    parameters: Annotated[int, "learned numbers of the network"]


@dataclass(frozen=True, kw_only=True)
class _RunScores(Row):
    accuracy: Annotated[Number, "fraction of the test set that is classified rightly"]
    precision: Annotated[Number, "mean precision of the classes, weighted by support"]
    recall: Annotated[Number, "mean recall of the classes, weighted by support"]
    f1: Annotated[Number, "mean F1 of the classes, weighted by support"]
    macro_precision: Annotated[Number, "plain mean precision of the classes"]
    macro_recall: Annotated[Number, "plain mean recall of the classes"]
    macro_f1: Annotated[Number, "plain mean F1 of the classes"]
    rmse: Annotated[Number, "root mean squared error of numbers, in the target's unit"]
    mae: Annotated[Number, "mean absolute error of numbers, in the target's unit"]
    r2: Annotated[Number, "R² of numbers: 1 - squared errors / squared deviations"]
    perplexity: Annotated[Number, "of a text: exp of its mean loss"]
    bits_per_character: Annotated[Number, "of a text: its mean loss in bits, by character"]
    token_accuracy: Annotated[Number, "of a text: fraction of tokens that were the likeliest"]
    tokens_per_second: Annotated[Number, "of a text: tokens that were learned from, by second"]
    loss: Annotated[Number, "mean loss of the test set: in nats, or of standardised numbers"]
    silent: Annotated[Number, "fraction of test examples to which the head gives all classes a 0"]
    train_accuracy: Annotated[Number, "accuracy on the training set"]
    train_r2: Annotated[Number, "R² on the training set"]
    train_loss: Annotated[Number, "loss on the training set"]
    perturbed: Annotated[Mapping[str, Number], "accuracy by perturbation of the test set"]


@dataclass(frozen=True, kw_only=True)
class SequenceScores(Row):
    """How a network learned its tasks; of several runs, means."""

    online_accuracy: Annotated[Number, "mean over tasks of the accuracy as the passes saw it"] = (
        None
    )
    task_accuracy: Annotated[
        Number, "mean over tasks of the training accuracy at each one's end"
    ] = None
    first_task_accuracy: Annotated[Number, "accuracy on the first task at the end of the last"] = (
        None
    )
    online_slope: Annotated[Number, "change of the accuracy as the passes saw it, per task"] = None
    online_loss: Annotated[Number, "mean over tasks of the loss as the passes saw it"] = None
    loss_slope: Annotated[Number, "change of the loss as the passes saw it, per task"] = None
    mean_weight: Annotated[Number, "mean of all weights after the last task"] = None


@dataclass(frozen=True, kw_only=True)
class _RunTime(Row):
    seconds: Annotated[float, "seconds of training"]
    epochs_until: Annotated[int | None, "epochs until the target was reached"]
    seconds_until: Annotated[Number, "seconds until the target was reached"]


@dataclass(frozen=True, kw_only=True)
class HistoryRow(Row):
    """An entry of `history`: the units of one layer after one epoch, on the probe set."""

    epoch: Annotated[int, "epochs that were learned before; 0: as it began"]
    layer: Annotated[str, "the layer"]
    units: Annotated[int, "its hidden units"]
    examples: Annotated[int, "examples of the probe set"]
    dead: Annotated[float, DEFINITIONS["dead"]]
    inactive: Annotated[float, DEFINITIONS["inactive"]]
    rare: Annotated[float, DEFINITIONS["rare"]]
    dormant: Annotated[float, DEFINITIONS["dormant"]]
    saturated: Annotated[float, DEFINITIONS["saturated"]]
    sparsity: Annotated[float, DEFINITIONS["sparsity"]]
    mean_activation: Annotated[Number, DEFINITIONS["mean_activation"]]
    died: Annotated[list[int], "units that are dead and were not at the count before, by number"]
    revived: Annotated[list[int], "units that were dead at the count before and are not"]
    reset: Annotated[int, "units that --revive drew anew after it"]


@dataclass(frozen=True, kw_only=True)
class _RunEnd(Row):
    key: Annotated[str, "name of the trained cell"]
    quick: Annotated[bool, "whether this is a smoke run"]
    failed: Annotated[str | None, "why the run diverged or was lost"]
    confusion: Annotated[list[list[int]] | None, "counts: true classes down, predicted across"]
    classes: Annotated[list[str] | None, "names of the classes, in the confusion matrix's order"]
    curve: Annotated[list[dict[str, Number]], "loss and accuracy by epoch, as the pass saw them"]
    history: Annotated[
        list[HistoryRow] | None, "hidden units by epoch and layer, where they were tracked"
    ] = None
    by_task: Annotated[list[dict[str, Number]] | None, "scores, units and weights by task"] = None


@dataclass(frozen=True, kw_only=True)
class RunRow(
    _RunEnd, Surroundings, _RunTime, HiddenUnits, SequenceScores, _RunScores, _RunNames
):  # fmt: skip
    """train, cv, ledger export: one trained cell."""


@dataclass(frozen=True, kw_only=True)
class LedgerRunRow(RunRow):
    """ledger show KEY: one trained cell whole, in one of its contexts."""

    finished: Annotated[str, "when it was finished, UTC"]
    context: Annotated[dict[str, object], "what else decides its numbers"]
    layers: Annotated[list[dict[str, object]], "counts of hidden units by layer"]


@dataclass(frozen=True, kw_only=True)
class FoldRow(SetupRow):
    """cv's second table: one activation over the folds of a set-up."""

    folds: Annotated[int, "folds that were finished"]
    means: Annotated[Mapping[str, Number], "mean over folds by score"]
    spreads: Annotated[Mapping[str, Number], "standard deviation over folds by score"]


@dataclass(frozen=True, kw_only=True)
class ConfusionRow(Row):
    """train --confusion: how often a class was taken for each."""

    true: Annotated[str, "the class"]
    predicted: Annotated[Mapping[str, int], "counts by predicted class"]


@dataclass(frozen=True, kw_only=True)
class EpochRow(Row):
    """train --curve: one pass over the training set."""

    epoch: Annotated[int, "its number, from 1"]
    loss: Annotated[Number, "mean loss as the pass saw it"]
    accuracy: Annotated[Number, "accuracy as the pass saw it"]
    held_out: Annotated[Number, "accuracy on a validation set or fold"]
    held_out_loss: Annotated[Number, "mean loss there, in nats"]


@dataclass(frozen=True, kw_only=True)
class ProtocolRow(SetupRow):
    """cv --protocol published: fresh weights in every fold beside carried ones."""

    metric: Annotated[str, "cv_accuracy or accuracy"]
    fresh: Annotated[Number, "mean with fresh weights"]
    fresh_sd: Annotated[Number, "its standard deviation"]
    carried: Annotated[Number, "mean with weights carried from fold to fold"]
    carried_sd: Annotated[Number, "its standard deviation"]
    difference: Annotated[Number, "carried - fresh"]
    published: Annotated[Number, "the published figure"]


# --- compare --------------------------------------------------------------------------------------


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


# --- suggest --------------------------------------------------------------------------------------


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


# --- deadcount ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _LayerNames(SetupRow):
    seed: Annotated[int, "seed of split, initial weights and batches"]
    layer: Annotated[str, "the layer; total: all hidden layers"]
    units: Annotated[int | None, "its hidden units"]
    born_dead: Annotated[Number, DEFINITIONS["born_dead"]]


@dataclass(frozen=True, kw_only=True)
class _LayerRun(Row):
    examples: Annotated[int | None, "examples on which was counted"]
    definition: Annotated[str, "what each count means"]
    accuracy: Annotated[Number, "fraction of the test set that is classified rightly"]
    parameters: Annotated[int, "learned numbers of the network"]
    seconds: Annotated[float, "seconds of training"]


@dataclass(frozen=True, kw_only=True)
class _LayerEnd(Row):
    key: Annotated[str, "name of the trained cell"]
    quick: Annotated[bool, "whether this is a smoke run"]
    failed: Annotated[str | None, "why the run diverged or was lost"]


@dataclass(frozen=True, kw_only=True)
class LayerRow(_LayerEnd, Surroundings, _LayerRun, HiddenUnits, _LayerNames):
    """deadcount: one layer of a run, or all of its hidden layers."""


@dataclass(frozen=True, kw_only=True)
class DeadByRateRow(SetupRow):
    """deadcount, second table: dead units of one activation by learning rate."""

    born_dead: Annotated[Number, "mean fraction that is dead before any training"]
    dead: Annotated[Mapping[float, Number], "mean fraction by learning rate"]


@dataclass(frozen=True, kw_only=True)
class LifeRow(SetupRow):
    """deadcount --history: what became of a layer's units, a mean over the runs that finished."""

    layer: Annotated[str, "the layer; total: all hidden layers"]
    units: Annotated[int, "its hidden units"]
    n: Annotated[int, "runs that finished and were tracked"]
    born_dead: Annotated[float, "fraction that is dead before any training"]
    died: Annotated[float, "fraction that was alive then and dead at some later count"]
    revived: Annotated[float, "fraction that was dead at some count and is alive at the last"]
    ever_revived: Annotated[
        Number, "of the units that were ever dead, the fraction that was alive at a later count"
    ]
    reset: Annotated[float, "times that --revive drew a unit anew"]
    dead: Annotated[float, "fraction that is dead at the last count"]
    counted_after: Annotated[list[int], "the epochs after which was counted"]
    dead_by_epoch: Annotated[list[float], "fraction that is dead at each"]
    examples: Annotated[int, "examples of the probe set"]


@dataclass(frozen=True, kw_only=True)
class SurvivalRow(SetupRow):
    """deadcount --history, second table: how many hidden units have never been dead so far."""

    n: Annotated[int, "runs that were tracked; one that diverged counts until then"]
    units: Annotated[int, "hidden units of a run"]
    counted_after: Annotated[list[int], "the epochs after which was counted"]
    survived: Annotated[list[Number], "fraction of units that was dead at no count up to each"]
    survived_low: Annotated[list[Number], "lower end of its 95 % interval"]
    survived_high: Annotated[list[Number], "upper end of its 95 % interval"]
    interval: Annotated[str, "over runs, or over the units of a single run"]


# --- page, pictures -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LearningRow(SetupRow):
    """A learning curve: one epoch of one activation in one set-up, over its runs that finished."""

    epoch: Annotated[int, "its number, from 1"]
    n: Annotated[int, "runs that finished"]
    seconds: Annotated[float, "mean seconds of training until its end"]
    loss: Annotated[Number, "mean loss as the passes saw it"]
    loss_sd: Annotated[Number, "its standard deviation over runs"]
    accuracy: Annotated[Number, "mean accuracy as the passes saw it"]
    accuracy_sd: Annotated[Number, "its standard deviation over runs"]
    held_out: Annotated[Number, "mean accuracy on a validation set or fold"]
    held_out_sd: Annotated[Number, "its standard deviation over runs"]
    held_out_loss: Annotated[Number, "mean loss there"]
    held_out_loss_sd: Annotated[Number, "its standard deviation over runs"]


@dataclass(frozen=True, kw_only=True)
class MemoryRow(SetupRow):
    """What training keeps in memory with one activation in one set-up."""

    kept_bytes: Annotated[
        float, "bytes of an example that the backward pass needs, without the weights"
    ]


@dataclass(frozen=True, kw_only=True)
class TaskRow(SetupRow):
    """One task of a sequence: means over the runs of one activation in one set-up."""

    number: Annotated[int, "the task, from 1"]
    n: Annotated[int, "runs that finished"]
    online_accuracy: Annotated[Number, "mean over its epochs, as the passes saw it"]
    online_accuracy_sd: Annotated[Number, "its standard deviation over runs"]
    online_loss: Annotated[Number, "mean loss over its epochs, as the passes saw it"]
    online_loss_sd: Annotated[Number, "its standard deviation over runs"]
    accuracy: Annotated[Number, "on its training set, at its end"]
    accuracy_sd: Annotated[Number, "its standard deviation over runs"]
    held_out: Annotated[Number, "accuracy on its test set, at its end"]
    dead: Annotated[Number, DEFINITIONS["dead"]]
    dead_sd: Annotated[Number, "its standard deviation over runs"]
    dormant: Annotated[Number, DEFINITIONS["dormant"]]
    effective_rank: Annotated[
        Number, "exp of the entropy of the last hidden layer's singular values"
    ]
    weight_norm: Annotated[Number, "root of the sum of all squared weights"]
    mean_weight: Annotated[Number, "mean of all weights"]


@dataclass(frozen=True, kw_only=True)
class LayerMeanRow(SetupRow):
    """Hidden units of one layer: means over the runs of one activation in one set-up."""

    layer: Annotated[str, "the layer; total: all hidden layers"]
    units: Annotated[int, "its hidden units"]
    n: Annotated[int, "runs that finished"]
    dead: Annotated[float, DEFINITIONS["dead"]]
    inactive: Annotated[float, DEFINITIONS["inactive"]]
    rare: Annotated[float, DEFINITIONS["rare"]]
    dormant: Annotated[float, DEFINITIONS["dormant"]]
    saturated: Annotated[float, DEFINITIONS["saturated"]]
    sparsity: Annotated[float, DEFINITIONS["sparsity"]]
    dead_sd: Annotated[Number, "standard deviation over runs of the dead fraction"]
    inactive_sd: Annotated[Number, "the same of the inactive fraction"]
    rare_sd: Annotated[Number, "the same of the rare fraction"]
    dormant_sd: Annotated[Number, "the same of the dormant fraction"]
    saturated_sd: Annotated[Number, "the same of the saturated fraction"]
    sparsity_sd: Annotated[Number, "the same of the sparsity"]


@dataclass(frozen=True, kw_only=True)
class ClassifiedRow(SetupRow):
    """Confusion of one activation in one set-up, summed over its runs."""

    n: Annotated[int, "runs that finished"]
    confusion: Annotated[list[list[int]], "counts: true classes down, predicted across"]


@dataclass(frozen=True, kw_only=True)
class EnvironmentRow(Surroundings):
    """Runs with the same surroundings."""

    runs: Annotated[int, "runs"]


# --- any network ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _CallNames(Row):
    model: Annotated[str, "the network"]
    weights: Annotated[
        str | None, "the file of its weights; null: as it begins, or as it was given"
    ]
    data: Annotated[str, "what was counted on"]
    split: Annotated[str, "the part of it: train or test"]
    layer: Annotated[str, "where an activation is called; total: all calls"]
    function: Annotated[str | None, "the activation that is called there"]
    unit: Annotated[str | None, "what a unit is: neuron, channel, feature or position"]
    units: Annotated[int, "its units"]
    can_die: Annotated[bool, "whether its derivative is 0 over some stretch"]


@dataclass(frozen=True, kw_only=True)
class _CallFigures(HiddenUnits):
    constant: Annotated[Number, "the same output on every example"] = None
    always_on: Annotated[Number, "the same derivative, not 0, on every example"] = None
    grama: Annotated[Number, "mean |dL/d pre-activation| at most 0.025 of its layer's mean"] = None
    near_zero: Annotated[Number, "fraction of outputs of at most 0.05"] = None
    effective_rank: Annotated[Number, "exp of the entropy of the outputs' singular values"] = None


@dataclass(frozen=True, kw_only=True)
class _CallCertainty(Row):
    examples: Annotated[int, "examples on which was counted"]
    active_below: Annotated[
        Number, "fraction of examples that a unit which was never active stays below, at 95 %"
    ] = None
    proven_dead: Annotated[
        Number, "fraction that interval bounds prove dead for every input in the data's box"
    ] = None
    dead_test: Annotated[Number, "fraction that is dead on the test set"] = None
    inactive_test: Annotated[Number, "fraction that is inactive on the test set"] = None
    dead_in_training_only: Annotated[
        Number, "fraction that is dead on the training set and alive on the test set"
    ] = None
    examples_test: Annotated[int | None, "examples of the test set"] = None
    dead_before: Annotated[Number, "fraction that is dead with the baseline's weights"] = None
    newly_dead: Annotated[Number, "fraction that is dead and was not with the baseline's"] = None
    revived: Annotated[Number, "fraction that was dead with the baseline's and is not"] = None


@dataclass(frozen=True, kw_only=True)
class _CallEnd(Row):
    gate: Annotated[Literal["pass", "fail"] | None, "what --fail-above and --margin say"] = None
    definition: Annotated[str, "what each count means"]


@dataclass(frozen=True, kw_only=True)
class CallRow(_CallEnd, _CallCertainty, _CallFigures, _CallNames):
    """deadcount of any network: one call of an activation, or all of them."""


@dataclass(frozen=True, kw_only=True)
class _WatchedCall(Row):
    step: Annotated[int, "steps of training that were taken before"]
    layer: Annotated[str, "where an activation is called; total: all calls"]
    function: Annotated[str | None, "the activation that is called there"]
    units: Annotated[int, "its units"]


@dataclass(frozen=True, kw_only=True)
class WatchRow(HiddenUnits, _WatchedCall):
    """relubench.watch: one call of an activation at one step of a training."""

    newly_dead: Annotated[Number, "fraction that is dead and was not at the probe before"] = None
    revived: Annotated[Number, "fraction that was dead at the probe before and is not"] = None


def weighed(rows: Sequence[CallRow] | Sequence[WatchRow], key: str) -> Number:
    """The mean of a figure over the units of the calls that define it."""
    defined = [(row.get(key), row.units) for row in rows if row.get(key) is not None]
    units = sum(count for _, count in defined)
    return sum(value * count for value, count in defined) / units if units else None


@dataclass(frozen=True, kw_only=True)
class AblationRow(Row):
    """deadcount --ablate: what the network does without some of its units."""

    removed: Annotated[str, "the units that give 0: dead, inactive or rare"]
    units: Annotated[int, "how many"]
    metric: Annotated[str, "what is measured: accuracy or loss"]
    before: Annotated[Number, "the metric of the whole network"]
    after: Annotated[Number, "the metric without those units"]
    difference: Annotated[Number, "after - before"]
    identical: Annotated[bool, "whether all outputs stay the same to the bit"]
    examples: Annotated[int, "examples on which was measured"]


@dataclass(frozen=True, kw_only=True)
class PruningRow(Row):
    """deadcount --prune: one layer that became narrower."""

    layer: Annotated[str, "the layer whose outputs are fewer; total: the network"]
    width: Annotated[int | None, "its outputs before"]
    new_width: Annotated[int | None, "its outputs now"]
    parameters: Annotated[int, "learned numbers before"]
    new_parameters: Annotated[int, "learned numbers now"]
    milliseconds: Annotated[Number, "a forward pass of a batch before, median"] = None
    new_milliseconds: Annotated[Number, "the same now"] = None


# --- ledger, dry run ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LedgerRow(SetupRow):
    """ledger show: the finished runs of one activation in one set-up."""

    accuracy: Annotated[Number, "mean accuracy of the runs that did not fail"]
    accuracy_sd: Annotated[Number, "its standard deviation"]
    r2: Annotated[Number, "of numbers: mean R² of the runs that did not fail"]
    r2_sd: Annotated[Number, "its standard deviation"]
    runs: Annotated[int, "finished runs"]
    failed: Annotated[int, "those that diverged"]
    finished: Annotated[str, "when the last was finished, UTC"]

    @classmethod
    def declared_keys(cls) -> list[str]:
        """The activation first; without the scheme of initial weights that follows from it."""
        keys = super().declared_keys()
        return ["activation", *(key for key in keys if key not in ("activation", "init"))]


@dataclass(frozen=True, kw_only=True)
class FormsRow(Row):
    """ledger small-predicts-large: activations in the quick and in the full form of a benchmark."""

    benchmark: Annotated[str, "the benchmark"]
    metric: Annotated[str, "what is compared"]
    activations: Annotated[int, "activations that both forms have"]
    quick_order: Annotated[list[str], "they in the quick form, the best mean rank first"]
    full_order: Annotated[list[str], "they in the full form"]
    quick_runs: Annotated[int, "finished runs of the quick form"]
    full_runs: Annotated[int, "finished runs of the full form"]
    missing: Annotated[int, "runs of both forms that are not finished"]
    correlation: Annotated[Number, "Spearman's rank correlation of the two orders"]
    correlation_low: Annotated[Number, "lower end of its 95 % interval"]
    correlation_high: Annotated[Number, "upper end of its 95 % interval"]


@dataclass(frozen=True, kw_only=True)
class UnreadRow(Row):
    """ledger check: a row of the file that cannot be read."""

    row: Annotated[str, "its name"]
    why: Annotated[str, "why it cannot be read"]


@dataclass(frozen=True, kw_only=True)
class LayerCountRow(Row):
    """ledger show KEY: counts of one layer."""

    layer: Annotated[str, "the layer"]
    units: Annotated[int, "its hidden units"]
    dead: Annotated[int, DEFINITIONS["dead"]]
    inactive: Annotated[int, DEFINITIONS["inactive"]]
    rare: Annotated[int, DEFINITIONS["rare"]]
    dormant: Annotated[int, DEFINITIONS["dormant"]]
    saturated: Annotated[int, DEFINITIONS["saturated"]]


@dataclass(frozen=True, kw_only=True)
class PlanRow(SetupRow):
    """--dry-run: what is to be trained of one set-up and activation."""

    weights: Annotated[str, "fresh, or carried from fold to fold"]
    runs: Annotated[int, "runs in all"]
    finished: Annotated[int, "those in the ledger"]
    stacks: Annotated[int, "passes that are left"]
    stack: Annotated[int, "runs in one pass"]
    threads: Annotated[int, "CPU threads"]
    seconds_left: Annotated[Number, "estimated seconds"]


# --- cost, show -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CostRow(Row):
    """cost: one activation at one size; `_low` and `_high` are quartiles over rounds."""

    activation: Annotated[str, "the activation"]
    elements: Annotated[int, "outputs"]
    forward_ns: Annotated[float, "nanoseconds per element of evaluation, median"]
    forward_ns_low: Annotated[float, "its lower quartile"]
    forward_ns_high: Annotated[float, "its upper quartile"]
    forward_backward_ns: Annotated[float, "nanoseconds per element of training, median"]
    forward_backward_ns_low: Annotated[float, "its lower quartile"]
    forward_backward_ns_high: Annotated[float, "its upper quartile"]
    saved_bytes: Annotated[float, "bytes per element kept for the backward pass"]
    relative: Annotated[float, "forward and backward beside the reference's, median"]
    relative_low: Annotated[float, "its lower quartile"]
    relative_high: Annotated[float, "its upper quartile"]
    forward_relative: Annotated[float, "forward beside the reference's, median"]
    forward_relative_low: Annotated[float, "its lower quartile"]
    forward_relative_high: Annotated[float, "its upper quartile"]
    reference: Annotated[str, "the activation that others are compared with"]
    copy_ns: Annotated[float, "nanoseconds per element of Tensor.clone"]
    share_of_copy: Annotated[float, "forward beside Tensor.clone"]
    device: Annotated[str, "torch device"]
    threads: Annotated[int, "CPU threads"]
    dtype: Annotated[str, "float type"]
    torch: Annotated[str, "version of torch"]
    rounds: Annotated[int, "interleaved rounds"]
    quick: Annotated[bool, "whether this is a smoke run"]


@dataclass(frozen=True, kw_only=True)
class CostRatioRow(Row):
    """One activation by itself beside another, at one size; means over rounds."""

    activation: Annotated[str, "the activation"]
    beside: Annotated[str, "the activation that it is beside"]
    elements: Annotated[int, "outputs"]
    n: Annotated[int, "interleaved rounds"]
    relative: Annotated[Number, "ratio of the time of forward and backward"]
    relative_sd: Annotated[Number, "its standard deviation over rounds"]
    forward_relative: Annotated[Number, "ratio of the time of forward"]
    forward_relative_sd: Annotated[Number, "its standard deviation over rounds"]
    saved_relative: Annotated[Number, "ratio of the bytes that are kept for the backward pass"]
    saved_relative_sd: Annotated[Number, "0: it is the same in every round"]


@dataclass(frozen=True, kw_only=True)
class ActivationProfileRow(Row):
    """show activation: facts, figures and curve; what is not finite is null."""

    name: Annotated[str, "the activation"]
    family: Annotated[str, "its family"]
    formula: Annotated[str, "its formula"]
    remarks: Annotated[str, "what else is to be known"]
    paper: Annotated[str, "where it was published"]
    year: Annotated[int | None, "when"]
    parameters: Annotated[Mapping[str, object], "its parameters"]
    learned: Annotated[Sequence[str], "those that are learned"]
    kinks: Annotated[Mapping[float, float], "derivative at each kink"]
    noisy: Annotated[bool, "whether it draws noise in training"]
    pieces: Annotated[int, "pre-activations that it takes per hidden unit"]
    outputs: Annotated[int, "outputs that it gives per hidden unit"]
    init: Annotated[str, "scheme of the initial weights before it"]
    init_std: Annotated[str, "their standard deviation"]
    mean: Annotated[float, "mean of f(z), z standard normal"]
    second_moment: Annotated[float, "mean of f(z)², z standard normal"]
    gain: Annotated[Number, "1/√(mean of f(z)²), which keeps the second moment of its layer at 1"]
    growth: Annotated[Number, "growth of a small deviation from that in a layer"]
    steady: Annotated[bool, "whether deviations stay small through several layers"]
    low: Annotated[Number, "least value; null: no bound"]
    high: Annotated[Number, "largest value; null: no bound"]
    can_die: Annotated[bool, "whether its derivative is 0 somewhere"]
    flat: Annotated[Sequence[Interval], "where its derivative is exactly 0"]
    faint: Annotated[Sequence[Interval], "where it is almost 0"]
    x: Annotated[Sequence[float], "points of its curve"]
    value: Annotated[Sequence[Number], "values there, in evaluation mode"]
    slope: Annotated[Sequence[Number], "derivatives there"]


# --- doctor ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CheckRow(Row):
    """doctor: one thing that was looked at."""

    what: Annotated[str, "what was looked at"]
    status: Annotated[Literal["ok", "warning", "problem"], "whether it is as it should be"]
    found: Annotated[str, "what is there"]
    remedy: Annotated[str, "what to do"] = ""
