"""A cell's examples: which rows train and test, as tensors on the device, of one cell or many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from relubench import datasets, seeds
from relubench.datasets import folds, preprocessing
from relubench.plan import Cell, Machine, Preparation
from relubench.training import tasks
from relubench.training.splits import held_out, split

Pair = tuple[Tensor, Tensor]  # inputs and targets


@dataclass(frozen=True)
class Scale:
    """The mean and the standard deviation of the training set's numbers; of classes 0 and 1."""

    mean: float = 0.0
    deviation: float = 1.0


@dataclass(frozen=True, eq=False)
class Tensors:
    """One split on the device: inputs (examples, …), and classes or numbers (examples,).

    Numbers are less the mean of the training set's, divided by their standard deviation.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    x_held: Tensor  # what every epoch is scored on; empty: nothing
    y_held: Tensor
    scale: Scale = Scale()
    drawn: int = 0  # windows of an epoch, at random places of the training text
    letters: float = math.nan  # characters of a token
    classes: int = 0


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples of several cells end to end, each distinct part once.

    x, y   (examples, …) and (examples,)
    first  where each cell's examples begin
    sizes  how many each cell has
    """

    x: Tensor
    y: Tensor
    first: list[int]
    sizes: list[int]

    @classmethod
    def of(cls, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Examples:
        """Join the cells' inputs and targets; cells with the very same tensors share them.

        "The very same" is by identity, `id`: to compare numbers would take longer than a short
        training. That cells with equal rows have the same tensors hangs on two things elsewhere:
        `tensors` below keeps the last two row sets (lru_cache), and the plan has the seeds inside
        the folds, so that at most two row sets are met in turn. With another order, or a smaller
        cache, the figures stay and the memory multiplies by the cells of a stack.
        """
        # Of both: in a sequence of tasks cells may have the same inputs with other classes.
        same = [(id(x), id(y)) for x, y in zip(xs, ys, strict=True)]
        parts: dict[tuple[int, int], Pair] = {}
        first: dict[tuple[int, int], int] = {}
        end = 0
        for key, x, y in zip(same, xs, ys, strict=True):
            if key not in parts:
                parts[key] = x, y
                first[key] = end
                end += len(x)
        return cls(
            x=_joined([x for x, _ in parts.values()]),
            y=_joined([y for _, y in parts.values()]),
            first=[first[key] for key in same],
            sizes=[len(x) for x in xs],
        )

    @property
    def inputs(self) -> list[Tensor]:
        """Each cell's, (examples, …)."""
        spans = zip(self.first, self.sizes, strict=True)
        return [self.x[first : first + size] for first, size in spans]

    def order(self, size: int, stream: torch.Generator) -> Tensor:
        """(size,): the order of an epoch's examples, drawn."""
        return torch.randperm(size, generator=stream)

    def rows(self, orders: Sequence[Tensor]) -> Tensor:
        """(cells, most examples): the rows of `x` for each cell's order; a short one is padded."""
        first = torch.tensor(self.first).unsqueeze(1)
        # Padding is the cell's first row: one that exists, and whose loss `weights` takes out.
        padded = nn.utils.rnn.pad_sequence(list(orders), batch_first=True)
        return padded + first

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets at `rows` (cells, batch), each (cells, batch, …)."""
        flat = rows.contiguous().view(-1)  # index_select is faster than an index of two dimensions
        x, y = self.x.index_select(0, flat), self.y.index_select(0, flat)
        return x.unflatten(0, rows.shape), y.unflatten(0, rows.shape)

    def weights(self) -> Tensor | None:
        """(cells, most examples): 1 for an example, 0 for padding; None where nothing is padded."""
        if len(set(self.sizes)) == 1:
            return None
        # Numbers, not a mask: an example's loss times 0 has a gradient of 0.
        sizes = torch.tensor(self.sizes, device=self.x.device).unsqueeze(1)
        columns = torch.arange(max(self.sizes), device=self.x.device)
        return (columns < sizes).to(self.x.dtype)


@dataclass(frozen=True, eq=False)
class Windows(Examples):
    """Windows of a text at any place; of several cells the same text.

    x        (tokens,): the text
    y        the same: what follows is a place further on
    sizes    windows of an epoch
    context  tokens of a window
    """

    context: int = 0

    @classmethod
    def of_text(cls, data: Sequence[Tensors]) -> Windows:
        """The training text of cells, which lies in windows beside each other."""
        x, y = data[0].x_train, data[0].y_train
        text = torch.cat((x.flatten(), y.flatten()[-1:]))
        count = len(data)
        return cls(
            x=text,
            y=text,
            first=[0] * count,
            sizes=[part.drawn for part in data],
            context=x.shape[1],
        )

    def order(self, size: int, stream: torch.Generator) -> Tensor:
        """Where the windows of an epoch begin: drawn, each anew."""
        return torch.randint(len(self.x) - self.context, (size,), generator=stream)

    def at(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens, and those that follow, each (cells, batch, context)."""
        places = torch.arange(self.context, device=rows.device)
        flat = (rows.unsqueeze(-1) + places).flatten()
        shape = (*rows.shape, self.context)
        x, y = (self.x.index_select(0, flat + ahead).view(shape) for ahead in (0, 1))
        return x, y


@dataclass(frozen=True, eq=False)
class Part:
    """Examples to learn from for the recipe's epochs.

    held_out  examples to score after each epoch
    test      examples to score at its end, where it is a task
    """

    examples: Examples
    held_out: Examples | None = None
    test: Examples | None = None


def parts(data: Mapping[Cell, Tensors]) -> Iterator[Part]:
    """Yield what the networks of some cells learn from, one part after the other.

    Usually one, the training set; where weights are carried from fold to fold, it is cut in folds
    after all preparation, as it was published. In a sequence of tasks each is a part.
    """
    first, split = next(iter(data)), next(iter(data)).split
    if first.tasks:
        yield from (_task(data, number) for number in range(first.tasks))
        return
    if not split.carried:
        # What every epoch is scored on: a trial's validation part, or what --validation holds back.
        held_out = None
        if split.validation:
            held_out = _of([(tensors.x_test, tensors.y_test) for tensors in data.values()])
        elif next(iter(data)).validation:
            held_out = _of([(tensors.x_held, tensors.y_held) for tensors in data.values()])
        training = _of([(tensors.x_train, tensors.y_train) for tensors in data.values()])
        if next(iter(data.values())).drawn:
            training = Windows.of_text(list(data.values()))
        yield Part(training, held_out)
        return
    for fold in range(split.folds or 0):
        cuts = [_cut(cell, tensors, fold) for cell, tensors in data.items()]
        yield Part(_of([learned for learned, _ in cuts]), _of([held for _, held in cuts]))


def _task(data: Mapping[Cell, Tensors], number: int) -> Part:
    """One task of the cells' sequences, from 0."""
    made = [of_task(cell, tensors, number) for cell, tensors in data.items()]
    training = _of([(task.x_train, task.y_train) for task in made])
    return Part(training, test=_of([(task.x_test, task.y_test) for task in made]))


def of_task(cell: Cell, data: Tensors, number: int) -> Tensors:
    """A cell's split as a task of its sequence has it."""
    material = tasks.Material(data.x_train, data.y_train, data.x_test, data.y_test, data.classes)
    made = tasks.made(cell, number, material)
    own = tasks.TASKS.choose(cell.task or "").entry.target == "regression"
    return replace(
        data,
        scale=Scale() if own else data.scale,  # of targets that are the task's own
        x_train=made.x_train,
        y_train=made.y_train,
        x_test=made.x_test,
        y_test=made.y_test,
    )


def task_sizes(cell: Cell, data: Tensors) -> list[tuple[int, int]]:
    """Examples of the training and test sets of a cell's tasks, where each takes some of them."""
    if not cell.task or not tasks.TASKS.choose(cell.task).entry.cuts:
        return []
    made = [of_task(cell, data, number) for number in range(cell.parts)]
    return [(len(task.y_train), len(task.y_test)) for task in made]


def _cut(cell: Cell, data: Tensors, fold: int) -> tuple[Pair, Pair]:
    """Inputs and classes of a fold of the training set: what is learned, what is held out."""
    y = data.y_train.cpu().numpy()  # classes: of numbers nothing is carried
    rows = folds.stratified(y, cell.split.folds or 0, fold, seeds.folds(cell))
    learned, held_out = (torch.as_tensor(part, device=data.y_train.device) for part in rows)
    return (
        (data.x_train[learned], data.y_train[learned]),
        (data.x_train[held_out], data.y_train[held_out]),
    )


def _of(pairs: Sequence[Pair]) -> Examples:
    return Examples.of([x for x, _ in pairs], [y for _, y in pairs])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    return torch.cat(list(parts))


def tensors(cell: Cell, machine: Machine) -> Tensors:
    """Prepare the cell's data on the machine's device; cells with the same rows get the same."""
    dataset = datasets.load(cell.dataset, machine.data_dir)
    train, test = split(cell, dataset)
    # As bytes, which a cache can hash. The digest is in the key too: a file may
    # change its name's data.
    rows = train.tobytes(), test.tobytes(), held_out(cell, dataset).tobytes()
    return _tensors(cell.dataset, dataset.digest, rows, cell.preparation, machine)


# Small, since it keeps whole datasets, and large enough for the plan's order: see Examples.of.
@lru_cache(maxsize=2)
def _tensors(
    name: str,
    digest: str,
    rows: tuple[bytes, bytes, bytes],
    preparation: Preparation,
    machine: Machine,
) -> Tensors:
    dataset = datasets.load(name, machine.data_dir)
    if dataset.task == "language":
        return _texts(dataset, rows, machine)
    train, test, held = (np.frombuffer(part, dtype=np.int64) for part in rows)
    if dataset.tokens:
        preparation = replace(preparation, standardise=False)
    x_train, x_test = preprocessing.prepare(dataset.x, train, test, preparation, dataset.encode)
    # Empty, but with the shape and the type of the others.
    x_held = x_test[:0]
    if len(held):
        _, x_held = preprocessing.prepare(dataset.x, train, held, preparation, dataset.encode)
    dtype = getattr(torch, machine.storage)

    def inputs(x: preprocessing.Inputs) -> Tensor:
        kind = torch.int64 if dataset.tokens else dtype
        return torch.as_tensor(x, dtype=kind, device=machine.device)

    scale = Scale() if dataset.task == "classes" else _scale(dataset.y[train])

    def targets(part: folds.Rows) -> Tensor:
        if dataset.task == "classes":
            return torch.as_tensor(dataset.y[part], device=machine.device)
        numbers = (dataset.y[part] - scale.mean) / scale.deviation
        return torch.as_tensor(numbers, dtype=dtype, device=machine.device)

    return Tensors(
        *(inputs(x_train), targets(train)),
        *(inputs(x_test), targets(test)),
        *(inputs(x_held), targets(held)),
        scale=scale,
        classes=len(dataset.classes),
    )


def _texts(dataset: datasets.Dataset, rows: tuple[bytes, ...], machine: Machine) -> Tensors:
    """Tokens as they are, nothing prepared."""

    def tokens(part: bytes) -> Pair:
        numbers = np.frombuffer(part, dtype=np.int64)
        x, y = (torch.as_tensor(each[numbers]) for each in (dataset.x, dataset.y))
        return x.to(machine.device), y.to(machine.device)

    train, test, held = map(tokens, rows)
    return Tensors(*train, *test, *held, drawn=dataset.drawn, letters=dataset.letters)


def _scale(numbers: NDArray[np.float64]) -> Scale:
    mean, deviation = preprocessing.moments(numbers[:, np.newaxis])
    return Scale(mean.item(), deviation.item())
