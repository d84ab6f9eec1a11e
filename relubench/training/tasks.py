"""Tasks: other data for the same network, one after the other.

A task is a function of a training set, a test set and of which task of its sequence it is; it
gives both as the network is to meet them. What it draws follows from the cell's seed, so that
every activation meets the same tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from relubench import seeds
from relubench.catalog import Catalog, Choice, Deferred, Entry
from relubench.errors import BadValue
from relubench.plan import Cell

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Deferred("torch")


@dataclass(frozen=True, eq=False)
class Material:
    """What a task is made from, and what it becomes.

    x_train, x_test  inputs (examples, …); a test set that a task cannot have is empty
    y_train, y_test  classes (examples,)
    classes          how many there are
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: int

    def labelled(self, y: Tensor) -> Material:
        """With other labels, of which nothing is to be known for a test set."""
        nothing = replace(self, x_test=self.x_test[:0], y_test=self.y_test[:0])
        return replace(nothing, y_train=y.to(self.y_train.device))


@dataclass(frozen=True)
class Place:
    """Which task of a cell's sequence it is.

    number  from 0
    """

    cell: Cell
    number: int

    def stream(self, number: int | None = None, what: str = "task") -> torch.Generator:
        """What this task draws from, or another of the sequence; -1: what is drawn for all."""
        return seeds.stream(self.cell, f"{what} {self.number if number is None else number}")


@dataclass(frozen=True)
class Task(Entry["Material"]):
    """A kind of task.

    target  of which data it is: of "classes", of "regression", or of "any"
    cuts    whether it takes a part of the examples, of which others may have another number
    """

    target: str = "classes"
    cuts: bool = False


TASKS: Catalog[Task] = Catalog("task", Task)


@TASKS.add()
def random_labels(material: Material, place: Place) -> Material:
    """Every example gets a label that is drawn evenly: there is nothing to learn but by heart"""
    n = len(material.y_train)
    return material.labelled(torch.randint(material.classes, (n,), generator=place.stream()))


@TASKS.add()
def shuffled_labels(material: Material, place: Place) -> Material:
    """The labels are dealt anew among the examples"""
    order = torch.randperm(len(material.y_train), generator=place.stream())
    return material.labelled(material.y_train[order.to(material.y_train.device)])


@TASKS.add(target="any")
def permuted_inputs(material: Material, place: Place) -> Material:
    """All inputs are put in another order, the same for every example"""
    n = material.x_train[0].numel()
    order = torch.randperm(n, generator=place.stream()).to(material.x_train.device)

    def permuted(x: Tensor) -> Tensor:
        return x.flatten(1)[:, order].view_as(x)

    return replace(material, x_train=permuted(material.x_train), x_test=permuted(material.x_test))


@TASKS.add(cuts=True)
def split_classes(material: Material, place: Place, *, per: int = 5) -> Material:
    """The examples of `per` classes, in the data's order, of the next ones in the next task

    After the last of them it begins again. All tasks have as many examples.
    """
    groups = torch.arange(material.classes // per * per).split(per)
    sizes = [int(_of(material.y_train, group).sum()) for group in groups]
    chosen = groups[place.number % len(groups)]
    train, test = _of(material.y_train, chosen), _of(material.y_test, chosen)
    # A network's steps in an epoch do not change from task to task.
    rows = train.nonzero().squeeze(1)[: min(sizes)]
    return replace(
        material,
        x_train=material.x_train[rows],
        y_train=material.y_train[rows],
        x_test=material.x_test[test],
        y_test=material.y_test[test],
    )


def _of(y: Tensor, classes: Tensor) -> Tensor:
    return torch.isin(y, classes.to(y.device))


@TASKS.add()
def drift(material: Material, place: Place, *, share: float = 0.1) -> Material:
    """A fraction of the labels is drawn anew from task to task; the first has the true ones"""
    y = material.y_train.cpu().clone()
    for number in range(1, place.number + 1):
        stream = place.stream(number)
        changed = torch.randperm(len(y), generator=stream)[: round(share * len(y))]
        y[changed] = torch.randint(material.classes, (len(changed),), generator=stream)
    return material.labelled(y)


@TASKS.add(target="regression")
def slow_bits(
    material: Material, place: Place, *, slow: int = 15, units: int = 100, beta: float = 0.7
) -> Material:
    """Random bits; the first `slow` stay as they are in a task, one of them flips before the next

    Bits take the place of the data's inputs, and what a fixed random network of `units` threshold
    units makes of them that of its targets (Dohare et al., Nature 632, 2024).
    """
    n, features = material.x_train.shape
    fixed = place.stream(-1)
    weights = _signs((units, features), fixed)
    outer = _signs((units,), fixed)
    bits = torch.randint(2, (n, features), generator=place.stream(what="bits")).double()
    bits[:, :slow] = torch.randint(2, (slow,), generator=fixed).double()
    for number in range(1, place.number + 1):
        flipped = int(torch.randint(slow, (), generator=place.stream(number)))
        bits[:, flipped] = 1 - bits[:, flipped]
    thresholds = beta * features - (weights < 0).sum(dim=1)
    y = (bits @ weights.T > thresholds).double() @ outer
    return replace(
        material,
        x_train=bits.to(material.x_train),
        y_train=y.to(material.y_train),
        x_test=material.x_test[:0],
        y_test=material.y_test[:0],
    )


def _signs(shape: Sequence[int], stream: torch.Generator) -> Tensor:
    """-1 or 1, drawn evenly."""
    return 2 * torch.randint(2, tuple(shape), generator=stream).double() - 1


def check(cell: Cell, classes: int, shape: Sequence[int]) -> None:
    """Refuse a task, or parameters, that this data cannot have; numbers have no classes."""
    if not cell.task:
        return
    task = TASKS.choose(cell.task)
    has = "classes" if classes else "regression"
    if task.entry.target not in ("any", has):
        others = [name for name, entry in TASKS.items() if entry.target in ("any", has)]
        what = "classes" if classes else "numbers, not classes"
        raise BadValue(
            f"--task {cell.task}: {cell.dataset} has {what}: {', '.join(others)} would do"
        )
    slow = task.parameters.get("slow")
    if slow is not None and (len(shape) != 1 or not 1 <= slow <= shape[0]):
        raise BadValue(
            f"--task {cell.task}: slow must be from 1 to the inputs of {cell.dataset}, and those "
            f"are {' x '.join(map(str, shape))}"
        )
    per, share = task.parameters.get("per"), task.parameters.get("share")
    if per is not None and not 1 <= per <= classes // 2:
        raise BadValue(
            f"--task {cell.task}: {cell.dataset} has {classes} classes, so that per must be from 1 "
            f"to {classes // 2}"
        )
    if share is not None and not 0 <= share <= 1:
        raise BadValue(f"--task {cell.task}: share must be from 0 to 1")


def made(cell: Cell, number: int, material: Material) -> Material:
    """A task of the cell's sequence."""
    task: Choice[Task] = TASKS.choose(cell.task or "")
    made: Material = task(material, Place(cell, number))
    return made
