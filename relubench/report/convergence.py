"""How soon training comes to a target, beside the reference; the rates that runs chose; and which
training had not come to its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relubench import stats
from relubench.grouping import grouped, joined
from relubench.metrics.measures import UNTIL
from relubench.report.columns import figure_of, head
from relubench.report.evidence import Repetition, repetition
from relubench.report.figures import UNDEFINED, all_or_none, mean_of
from relubench.report.naming import by_activation, length
from relubench.results import RunResult, Target
from relubench.rows import CompareRow, TimeToTarget
from relubench.table import Column
from relubench.wording import counted

# A loss that falls by so much from a tenth of the epochs to the next falls about like t^-0.2: as
# many epochs again would take an eighth off it.
FALLING = 0.02
LEARNED = 0.99  # accuracy in training from which on a loss falls for ever and little else changes
NAMED = 4  # activations in a list


def time_to_target(runs: Sequence[RunResult], reference: Sequence[RunResult]) -> TimeToTarget:
    """Mean epochs and seconds until the target, and their ratios to the reference's by repetition.

    Undefined where a run does not come so far; `reached` is how many do.
    """
    cell = runs[0].cell
    reached = sum(run.epochs_until is not None for run in runs)
    epochs = _Figure.of(runs, reference, lambda run: run.epochs_until)
    seconds = _Figure.of(runs, reference, lambda run: run.seconds_until)
    return TimeToTarget(
        chosen_lr=sorted({run.lr for run in runs}) if cell.recipe.rates else None,
        reached=None if cell.until is None else reached,
        epochs_until=epochs.mean,
        epochs_until_ratio=epochs.ratio,
        epochs_until_ratio_sd=epochs.ratio_sd,
        seconds_until=seconds.mean,
        seconds_until_ratio=seconds.ratio,
        seconds_until_ratio_sd=seconds.ratio_sd,
    )


@dataclass(frozen=True)
class _Figure:
    """The mean of a figure, and its ratio to the reference's, repetition by repetition."""

    mean: float | None
    ratio: float | None
    ratio_sd: float | None

    @classmethod
    def of(
        cls,
        runs: Sequence[RunResult],
        reference: Sequence[RunResult],
        show: Callable[[RunResult], float | None],
    ) -> _Figure:
        own, theirs = by_repetition(runs, show), by_repetition(reference, show)
        # By repetition, then the mean: a pair shares its split and its batches.
        ratios = [ratio(figure, theirs.get(repetition)) for repetition, figure in own.items()]
        return cls(mean_of(list(own.values())), *stats.mean_sd(all_or_none(ratios)))


def ratio(figure: float | None, reference: float | None) -> float | None:
    """A figure beside another; None where one is not defined, or the other 0."""
    return None if figure is None or not reference else figure / reference


def by_repetition(
    runs: Sequence[RunResult], show: Callable[[RunResult], float | None]
) -> dict[Repetition, float | None]:
    """A figure of each repetition; the seeds of a split are averaged."""
    repetitions = grouped(runs, lambda run: repetition(run.cell))
    return {key: mean_of(list(map(show, same))) for key, same in repetitions.items()}


def columns(rows: Sequence[CompareRow], reference: str, measured: str) -> list[Column[CompareRow]]:
    """Columns for --until and --best-lr."""
    columns: list[Column[CompareRow]] = []
    if any(row.chosen_lr for row in rows):
        columns.append(Column("best lr", _rates, key="chosen_lr"))
    if any(row.until for row in rows):
        for name in UNTIL:
            if name != measured:
                columns.append(Column(head(name), figure_of(name), key=name))
            ratio = f"{name}_ratio"
            columns.append(Column(f"× {reference}", figure_of(ratio), key=ratio))
    return columns


def shortfalls(rows: Sequence[CompareRow]) -> list[str]:
    """Which runs did not come so far."""
    sentences = []
    for row in rows:
        if row.reached is not None and (short := row.runs - row.reached):
            sentences.append(
                f"{row.activation}: {short} of {counted(row.runs, 'run')} did not come so "
                f"far in {length(row)}, so no mean is defined."
            )
    return sentences


def meanings(rows: Sequence[CompareRow]) -> list[str]:
    """What the columns mean."""
    sentences = []
    if target := next((row.until for row in rows if row.until), None):
        sentences.append(f"until: passes over the training set until {_meaning(target)}.")
    if any(row.chosen_lr for row in rows):
        sentences.append(
            "best lr: of the rates above, each run's own: the highest accuracy (of numbers: the "
            "least loss) on a tenth of its training set, averaged over the epochs of runs that "
            "learned from the rest."
        )
    return sentences


def _meaning(target: str) -> str:
    aim = Target.parse(target)
    size = f"{100 * aim.limit:g} %" if aim.name == "train_error" else f"{aim.limit:g}"
    return f"its {aim.name.removeprefix('train_')}, as the pass itself saw it, is at most {size}"


def _rates(row: CompareRow) -> str:
    return ", ".join(f"{rate:g}" for rate in row.chosen_lr or ()) or UNDEFINED


def majority(results: Sequence[RunResult]) -> list[str]:
    """Of which data no trained network does better than to name the largest class always."""
    notes, several = [], len({result.cell.dataset for result in results}) > 1
    for dataset, same in grouped(results, lambda result: result.cell.dataset).items():
        done = [run for run in same if run.curve and run.confusion and run.n_test]
        # Nothing is said where some run is missing: it might have done better.
        if not done or len(done) < len(same):
            continue
        # Rows of a confusion matrix are true classes: the largest is what
        # naming it always would score.
        largest = min(max(map(sum, run.confusion or ())) / run.n_test for run in done)
        if max(run.scores["accuracy"] or 0.0 for run in done) > largest:
            continue
        learned = max(run.scores["train_accuracy"] or 0.0 for run in done) > largest
        of = f" of {dataset}" if several else ""
        notes.append(
            f"To name the largest class{of} always has {100 * largest:.1f} % accuracy, and nothing "
            f"here has more{'' if learned else ', not even in training: it has not converged'}."
        )
    return notes


def falling(results: Sequence[RunResult]) -> list[str]:
    """Whose training loss still fell at the end, in one line; FALLING and LEARNED say from when."""
    # 1. Whose loss still falls, and by how much.
    groups = by_activation(results)
    falls = {}
    for row, runs in groups.items():
        fall = _fall(runs)
        if fall is not None:
            falls[row] = fall
    if not falls:
        return []
    # 2. Who they are, and in how many set-ups.
    names = list(dict.fromkeys(row.activation for row in falls))
    others = f" and {counted(len(names) - NAMED, 'other')}" if len(names) > NAMED else ""
    setups, concerned = {row.setup for row in groups}, {row.setup for row in falls}
    part = f" in {len(concerned)} of {len(setups)} set-ups" if len(setups) > 1 else ""
    extremes = (min(falls.values()), max(falls.values()))
    ends = dict.fromkeys(f"{100 * fall:.0f}" for fall in extremes)
    trained = joined(groups[row] for row in falls)
    # 3. Over which epochs: in numbers where all runs have as many.
    last = {(len(run.curve), _tenth(run)) for run in trained if run.curve}
    epochs = "last tenth of the epochs"
    if len(last) == 1:
        ((whole, tenth),) = last
        epochs = f"last of {whole} epochs" if tenth == 1 else f"last {tenth} of {whole} epochs"
    longer = "--steps" if all(run.cell.recipe.steps for run in trained) else "--epochs"
    return [
        f"not converged: {', '.join(names[:NAMED])}{others}{part}: train loss still falls by "
        f"{' to '.join(ends)} % over the {epochs}; more {longer} would change these figures."
    ]


def _fall(runs: Sequence[RunResult]) -> float | None:
    """By which fraction the mean loss of the last tenth lies below that before; None: not by much.

    Nor is there one where runs have fewer than two epochs or carry weights from fold to fold.
    """
    done = [run for run in runs if _has_an_end(run)]
    last = joined(run.curve[-_tenth(run) :] for run in done)
    before = joined(run.curve[-2 * _tenth(run) : -_tenth(run)] for run in done)
    accuracy = mean_of([epoch.accuracy for epoch in last])
    loss = mean_of([epoch.loss for epoch in last])
    loss_before = mean_of([epoch.loss for epoch in before])
    if loss is None or not loss_before or (accuracy is not None and accuracy >= LEARNED):
        return None
    # Of means over runs: the last epochs of a single run rise and fall with its batches.
    fall = 1 - loss / loss_before
    return fall if fall >= FALLING else None


def _has_an_end(run: RunResult) -> bool:
    """Whether the last epochs of a run say where its training was going."""
    return len(run.curve) > 1 and not run.failed and run.cell.parts == 1


def _tenth(run: RunResult) -> int:
    """A tenth of its epochs, one at the least."""
    return max(1, len(run.curve) // 10)
