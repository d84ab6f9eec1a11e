"""Drawings of runs as they are: learning curves, hidden units, confusion, activations, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from relubench.formats import plots
from relubench.formats.pictures import MOST
from relubench.formats.plots import COLOURS, DASHES, INK, MUTED, PAPER
from relubench.grouping import grouped, joined
from relubench.page.comparing import ROW, SPAN, rows_down
from relubench.page.drawing import (
    BOTTOM,
    RIGHT,
    TOP,
    WIDTH,
    Drawing,
    label_width,
    plain_ticks,
    short,
    tip,
    y_label,
)
from relubench.page.series import Look, legend, legend_height, looks
from relubench.page.study import Study
from relubench.report import listing
from relubench.report.figures import percent
from relubench.rows import ClassifiedRow, CostRow, LayerMeanRow, LearningRow, TaskRow
from relubench.table import Panel
from relubench.wording import counted

POINTS = 100  # of a curve: more than a drawing's pixels can show
SHADES = LinearSegmentedColormap.from_list("shades", ["#eef3f8", "#7fb1d8", "#0b3c6f"])
LEVELS = 16  # of shades in a confusion matrix
LIGHT_TEXT, DARK_TEXT = "#ffffff", "#14181c"
DARK = 0.55  # share from which on a shade takes light text
FEW_CLASSES = 12  # whose counts have room in a confusion matrix
CLASS_LETTERS = 12


# --- learning curves ------------------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """What of a learning curve is drawn: a figure by epochs, by seconds or by tasks.

    beside  the same figure in training, which is drawn thin beside one on held-out examples
    """

    figure: str
    by: str
    label: str
    scale: int = 1
    beside: str | None = None


VIEWS = (
    View("loss", "epoch", "training loss"),
    View("accuracy", "epoch", "training accuracy %", 100),
    View("held_out_loss", "epoch", "held-out loss (thin: training)", beside="loss"),
    View("held_out", "epoch", "held-out accuracy % (thin: training)", 100, "accuracy"),
    View("accuracy", "seconds", "training accuracy %", 100),
)


BY_TASK = (
    View("online_accuracy", "number", "online accuracy %", 100),
    View("online_loss", "number", "online loss"),
    View("dead", "number", "dead units %", 100),
)
ACROSS = {"seconds": "seconds of training", "number": "task"}


def tasks(study: Study) -> list[Drawing]:
    """Accuracy and dead units by task, with ± one standard deviation over runs."""
    drawings = []
    for rows in grouped(study.in_sequence, lambda row: row.setup).values():
        for view in BY_TASK:
            if _defined(rows, view):
                drawings.append(_curves(study, rows, view))
    return drawings


def curves(study: Study) -> list[Drawing]:
    """Learning curves by epoch and by second, with ± one standard deviation over runs."""
    drawings = []
    for rows in grouped(study.learning, lambda row: row.setup).values():
        if len({row.epoch for row in rows}) > 1:
            drawings += [_curves(study, rows, view) for view in VIEWS if _defined(rows, view)]
    return drawings


def _defined(rows: Sequence[LearningRow | TaskRow], view: View) -> bool:
    """Whether every row has it: numbers have no accuracy, and some runs hold nothing out."""
    return not any(row.get(view.figure) is None for row in rows)


def _curves(study: Study, rows: Sequence[LearningRow | TaskRow], view: View) -> Drawing:
    seen = looks(study.activations)
    by_activation = grouped(rows, lambda row: row.activation)
    runs = sorted({row.n for row in rows})
    count = "n\u00a0" + " to ".join(dict.fromkeys(str(n) for n in (runs[0], runs[-1])))
    named = view.label.partition(" (")[0].split(",")[0].removesuffix(" %")
    what = f"{named} by {ACROSS.get(view.by, view.by).split(' ')[0].removesuffix('s')}"
    last = "; ".join(_end(name, same, view) for name, same in by_activation.items())
    height = legend_height(list(by_activation), seen)
    return Drawing(
        " · ".join(part for part in (what, study.where(rows[0]), count) if part),
        f"{what}, at the end: {last}",
        lambda axes: _draw_curves(axes, by_activation, view, seen),
        height=230 + height,
        bottom=BOTTOM + height,
    )


def _end(name: str, rows: Sequence[LearningRow | TaskRow], view: View) -> str:
    last = rows[-1].get(view.figure)
    return f"{name} " + ("undefined" if last is None else f"{view.scale * last:.3g}")


def _draw_curves(
    axes: Axes,
    by_activation: Mapping[str, Sequence[LearningRow | TaskRow]],
    view: View,
    seen: dict[str, Look],
) -> None:
    shown = [view.figure] if view.beside is None else [view.figure, view.beside]
    drawn: list[float] = []
    for name in shown:
        drawn += (view.scale * row.get(name) for row in joined(by_activation.values()))
    logarithmic = view.figure.endswith("loss") and min(drawn) > 0 and max(drawn) > SPAN * min(drawn)
    # A spread may reach below 0, where neither losses nor shares can be, and above 100 %.
    share = view.scale == 100
    floor = min(drawn) / 1.5 if logarithmic else 0.0
    for name, rows in reversed([*by_activation.items()]):  # the reference on top
        look = seen[name]
        stride = max(1, len(rows) // POINTS)
        kept = rows[::stride]
        x = [row.get(view.by) for row in kept]
        y = np.array([view.scale * row.get(view.figure) for row in kept])
        spread = np.array([view.scale * (row.get(f"{view.figure}_sd") or 0) for row in kept])
        if look.named:
            low = np.maximum(y - spread, floor)
            high = np.minimum(y + spread, 100) if share else y + spread
            axes.fill_between(x, low, high, color=look.colour, alpha=0.12, linewidth=0)
        (line,) = axes.plot(x, y, label=name if look.named else None, **look.line)
        tip(line, f"{_end(name, rows, view)} at the end, n {rows[0].n}")
        if view.beside:
            in_training = [view.scale * row.get(view.beside) for row in kept]
            axes.plot(x, in_training, **{**look.line, "linewidth": 0.7, "alpha": 0.7})
    if logarithmic:
        axes.set_yscale("log")
        axes.set_ylim(floor, 1.5 * max(drawn))
        plain_ticks(axes.yaxis)
    if view.by != "seconds":
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlabel(ACROSS.get(view.by, view.by))
    y_label(axes, view.label)
    legend(axes, list(by_activation))


# --- hidden units ---------------------------------------------------------------------------------


def dead(study: Study) -> list[Drawing]:
    """Dead units by layer: a row per activation, a column per layer, and all of them."""
    drawings = []
    for rows in grouped(study.layers, lambda row: row.setup).values():
        by_layers = grouped(rows, lambda row: row.activation)
        columns = list(dict.fromkeys(row.layer for row in rows if row.layer != "total"))
        if len(columns) <= MOST_LAYERS:
            drawings.append(_dead(study, by_layers, [*columns, "total"]))
    return drawings


MOST_LAYERS = 30


def _dead(
    study: Study, by_activation: dict[str, list[LayerMeanRow]], layers: Sequence[str]
) -> Drawing:
    names = list(by_activation)
    first = by_activation[names[0]][0]
    totals = {name: rows[-1].dead for name, rows in by_activation.items()}
    said = ", ".join(f"{name} {100 * share:.1f} %" for name, share in totals.items())
    what = "dead units by layer, %"
    runs = max(row.n for row in chain.from_iterable(by_activation.values()))
    # Names that would run into each other, of 7 px a letter, stand upright and need room below.
    deep = label_width(layers) if sum(map(len, layers)) * 7 > 300 else 0
    return Drawing(
        " · ".join(part for part in (what, study.where(first), f"n\u00a0{runs}") if part),
        f"Dead units of all hidden layers: {said}",
        lambda axes: _draw_dead(axes, by_activation, layers, bool(deep)),
        height=BOTTOM + 12 + ROW * len(names) + deep,
        left=label_width(names),
        bottom=BOTTOM + deep,
    )


def _draw_dead(
    axes: Axes,
    by_activation: dict[str, list[LayerMeanRow]],
    layers: Sequence[str],
    upright: bool,
) -> None:
    for down, rows in enumerate(by_activation.values()):
        by_layer = {row.layer: row for row in rows}
        for across, layer in enumerate(layers):
            row = by_layer.get(layer)
            share = None if row is None else row.dead
            text = percentage(share)
            units = f", {row.units} units, n {row.n}" if row else ""
            cell(axes, across, down, share, text, f"{layer}: {text} % dead{units}", len(layers))
    axes.set_xticks(range(len(layers)), [short(layer) for layer in layers])
    axes.tick_params(axis="x", length=0, rotation=90 if upright else 0)
    axes.set_xlim(-0.5, len(layers) - 0.5)
    rows_down(axes, list(by_activation))
    axes.set_ylim(len(by_activation) - 0.5, -0.5)
    axes.spines["bottom"].set_visible(False)
    axes.set_xlabel("layer")


def percentage(share: float | None) -> str:
    """A share in per cent, for a cell of a heat map."""
    return percent(share, 0 if share in (0, 1) else 1)


def cell(
    axes: Axes, x: int, y: int, share: float | None, text: str, said: str, across: int
) -> None:
    """One cell of a heat map, `share` of the darkest; text where there is room for it."""
    shade = "none" if share is None else SHADES(share)
    (box,) = axes.fill([x - 0.5, x + 0.5, x + 0.5, x - 0.5], [y - 0.5, y - 0.5, y + 0.5, y + 0.5])
    box.set(facecolor=shade, edgecolor=PAPER, linewidth=1)
    tip(box, said)
    if across <= FEW_CLASSES:
        colour = MUTED if share is None else LIGHT_TEXT if share > DARK else DARK_TEXT
        axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=10)


# --- confusion ------------------------------------------------------------------------------------


def confusion(study: Study) -> list[Drawing]:
    """Confusion matrices, summed over runs: true classes down, predicted ones across."""
    return [_confusion(study, row) for row in study.classified]


def _confusion(study: Study, row: ClassifiedRow) -> Drawing:
    count = len(row.confusion)
    known = study.classes.get(row.dataset, ())
    names = list(known) if len(known) == count else [str(number) for number in range(count)]
    labels = [short(name, CLASS_LETTERS) for name in names]
    right = sum(counts[number] for number, counts in enumerate(row.confusion))
    whole = sum(map(sum, row.confusion))
    margin = label_width(labels) + 18
    what = f"{row.activation}: true and predicted classes"
    return Drawing(
        " · ".join(part for part in (what, study.where(row), f"n\u00a0{row.n}") if part),
        f"{what}: {right} of {whole} test examples rightly, {_worst(row.confusion, names)}",
        lambda axes: _draw_confusion(axes, row.confusion, labels),
        height=WIDTH - RIGHT + TOP,  # square cells
        left=margin,
        bottom=margin,
    )


def _worst(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """The mistake that is made most often."""
    mistakes = []
    for true, counts in enumerate(matrix):
        for predicted, count in enumerate(counts):
            if true != predicted:
                mistakes.append((count, names[true], names[predicted]))
    count, true_name, predicted_name = max(mistakes, key=lambda mistake: mistake[0])
    return f"most often {true_name} taken for {predicted_name}, {count} times"


def _shade(axes: Axes, matrix: Sequence[Sequence[int]]) -> None:
    """Shade each cell by its share of its row; cells of one shade are one path."""
    by_shade: dict[int, list[Path]] = {}
    for down, counts in enumerate(matrix):
        for across, count in enumerate(counts):
            shade = round(LEVELS * count / sum(counts)) if count else 0
            corners = [(across - 0.5, down - 0.5), (across + 0.5, down - 0.5)]
            # The last point only closes the path: matplotlib ignores where it lies.
            corners += [(across + 0.5, down + 0.5), (across - 0.5, down + 0.5), (0, 0)]
            by_shade.setdefault(shade, []).append(Path(corners, closed=True))
    for shade, cells in by_shade.items():
        patch = PathPatch(Path.make_compound_path(*cells))
        patch.set(facecolor=SHADES(shade / LEVELS), edgecolor=PAPER, linewidth=1)
        axes.add_patch(patch)


def _draw_confusion(axes: Axes, matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
    _shade(axes, matrix)
    for down, counts in enumerate(matrix if len(matrix) <= FEW_CLASSES else ()):
        for across, count in enumerate(counts):
            if count:
                colour = LIGHT_TEXT if count > DARK * sum(counts) else DARK_TEXT
                axes.text(
                    across, down, str(count), ha="center", va="center", color=colour, fontsize=10
                )
    step = max(1, len(labels) // 20)
    ticks = range(0, len(labels), step)
    axes.set_xticks(ticks, labels[::step], rotation=90)
    axes.set_yticks(ticks, labels[::step])
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")


# --- activations by themselves --------------------------------------------------------------------


def activations(study: Study) -> list[Drawing]:
    """Value and derivative of the activations that were used, in the colours of the study."""
    seen, drawings = looks(study.activations), []
    profiles = sorted(study.profiles, key=lambda row: study.activations.index(row.name))
    for at in range(0, len(profiles), MOST):
        picture = listing.activation_profiles(profiles[at : at + MOST]).picture
        panels = picture.panels if picture else ()
        drawings += [_activation_curves(panel, seen) for panel in panels]
    return drawings


def _activation_curves(panel: Panel, seen: Mapping[str, Look]) -> Drawing:
    names = [curve.name for curve in panel.curves]
    height = legend_height(names, looks(names))
    return Drawing(
        f"{panel.title} of {counted(len(names), 'activation')}",
        f"{panel.title} of {', '.join(names)}",
        lambda axes: _draw_activations(axes, panel, seen),
        height=240 + height,
        bottom=BOTTOM + height,
    )


def _draw_activations(axes: Axes, panel: Panel, seen: Mapping[str, Look]) -> None:
    dashed = {
        curve.name: {**seen[curve.name].line, "linestyle": DASHES[number % len(DASHES)]}
        for number, curve in enumerate(panel.curves)
    }
    plots.draw(panel, axes, dashed)
    axes.set_xlabel("pre-activation z")
    y_label(axes, panel.title)
    legend(axes, [curve.name for curve in panel.curves])


def cost(study: Study) -> list[Drawing]:
    """Time of an activation forward and backward beside the reference's, with quartiles."""
    by_size = grouped(study.costs, lambda row: row.elements)
    return [_cost(rows) for rows in by_size.values()]


def _cost(rows: Sequence[CostRow]) -> Drawing:
    first, names = rows[0], [row.activation for row in rows]
    said = ", ".join(f"{row.activation} {row.relative:.2f}" for row in rows)
    what = f"forward and backward beside {first.reference}, {first.elements:,} elements"
    return Drawing(
        f"{what} · {first.device}, {first.dtype} · n {counted(first.rounds, 'round')}",
        f"{what}: {said}",
        lambda axes: _draw_cost(axes, rows),
        height=BOTTOM + 12 + ROW * len(names),
        left=label_width(names),
        right=24,
    )


def _draw_cost(axes: Axes, rows: Sequence[CostRow]) -> None:
    axes.axvline(1, color=MUTED, linewidth=0.8)
    for number, row in enumerate(rows):
        colour = INK if row.activation == row.reference else COLOURS[0]
        axes.plot([row.relative_low, row.relative_high], [number] * 2, color=colour, linewidth=2)
        (point,) = axes.plot([row.relative], [number], "o", color=colour, markersize=6)
        tip(
            point,
            f"{row.activation}: {row.relative:.2f} times, {row.forward_backward_ns:.2f} ns per "
            f"element, {row.saved_bytes:.3g} bytes kept",
        )
    ratios = [row.relative_high for row in rows]
    if max(ratios) > SPAN:
        axes.set_xscale("log")
        plain_ticks(axes.xaxis)
    else:
        axes.set_xlim(left=0)
    rows_down(axes, [row.activation for row in rows])
    axes.set_xlabel(f"time, {rows[0].reference} = 1 (median, quartiles)")
