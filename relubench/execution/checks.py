"""What is refused before anything is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from relubench import datasets
from relubench.activations import ACTIVATIONS
from relubench.datasets import Dataset
from relubench.errors import BadValue, RelubenchError, UnknownName
from relubench.models import MODELS, layers, weights
from relubench.models.chain import image
from relubench.models.swapping import Swapped
from relubench.noise import Noise
from relubench.plan import Cell, Machine
from relubench.training import perturbations
from relubench.training.augmentations import Augment
from relubench.training.building import build, skeleton
from relubench.training.examples import VALIDATION, split
from relubench.training.optimizers import OPTIMIZERS
from relubench.user_code import UserCodeError, brief
from relubench.wording import counted

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def check(cell: Cell, machine: Machine, strict: bool = False) -> list[str]:
    """Refuse a cell that cannot be trained: BadValue or DataError, before any training.

    strict  whether to refuse a network too of which something that is not linear would stay
    returns what a user should know of the network, a line each
    """
    dataset = datasets.load(cell.dataset, machine.data_dir)
    counts = np.bincount(dataset.y[: dataset.n_train])
    if cell.split.folds and cell.split.folds > counts.min():
        rarest = dataset.classes[int(counts.argmin())]
        fewest = int(counts.min())
        so = f"at most {fewest} folds" if fewest > 1 else "it cannot be divided into folds"
        raise BadValue(
            f"--folds {cell.split.folds}: class {rarest!r} of {cell.dataset} has only "
            f"{counted(fewest, 'example')}, so {so}"
        )
    if dataset.groups is not None:
        _check_groups(cell, len(np.unique(dataset.groups)))
    sizes = _sizes(cell, dataset)
    limit, pca = cell.preparation.limit, cell.preparation.pca
    if limit and limit < len(dataset.classes):
        raise BadValue(
            f"--limit {limit}: {cell.dataset} has {len(dataset.classes)} classes, so at least that"
        )
    if not min(sizes):
        raise BadValue(f"--best-lr: {cell.dataset} has too few examples to hold some of them out")
    most = min(*sizes, math.prod(dataset.shape))
    if pca and pca > most:
        raise BadValue(f"--pca {pca}: {cell.dataset} has at most {most} components here")
    _check_choices(cell)
    shape = (pca,) if pca else dataset.shape
    _check_views(cell, shape)
    foreign = MODELS.choose(cell.model).entry.code
    if cell.unit_axis is not None and not foreign:
        raise BadValue(
            f"--unit-axis {cell.unit_axis}: where the units of {cell.model} are is known"
        )
    network = skeleton(cell, shape, dataset)
    normed = any(isinstance(module, NORMS) for module in network.modules())
    size = cell.recipe.batch_size
    if cell.recipe.epochs and normed and any(count % size == 1 % size for count in sizes):
        _check_one_example(cell, shape, machine)
    unit = ACTIVATIONS.choose(cell.activation).entry
    with layers.drawing_after(0, torch.device(machine.device)):
        if foreign:
            _check_model(replace(cell, activation="elu"), shape, len(dataset.classes), machine)
        if unit.sha256 or (foreign and (unit.pieces, unit.outputs) != (1, 1)):
            _check_unit(cell, shape, machine)
    padded = [] if foreign else _padded(cell, shape, network)
    return _data_notes(cell, dataset) + padded + _notes(cell, network, strict)


def _padded(cell: Cell, shape: tuple[int, ...], network: nn.Module) -> list[str]:
    """That examples stand in a border of 0, since the model wants larger ones."""
    pad = next((each for each in network.modules() if isinstance(each, nn.ZeroPad2d)), None)
    if pad is None:
        return []
    _, height, width = image(cell.model, shape)
    left, right, above, below = pad.padding
    given = f"{height}x{width}" if len(shape) == 3 else f"{shape[0]} numbers as {height}x{width}"
    return [
        f"{cell.model}: examples of {given} get a border of 0, to be "
        f"{height + above + below}x{width + left + right}"
    ]


def _data_notes(cell: Cell, dataset: Dataset) -> list[str]:
    """How the examples were read, and which classes only one part of the first split has."""
    notes = [f"{cell.dataset}: {note}" for note in dataset.notes]
    train, test = (set(dataset.y[rows].tolist()) for rows in split(cell, dataset))
    for part, classes in (("training", train - test), ("test", test - train)):
        if classes:
            names = ", ".join(repr(dataset.classes[number]) for number in sorted(classes)[:5])
            more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
            notes.append(
                f"{cell.dataset}: class {names}{more} is only in the {part} part (seed {cell.seed})"
            )
    return notes


def _notes(cell: Cell, network: nn.Module, strict: bool) -> list[str]:
    """What stays of a foreign network while its activations change; its own weights."""
    notes, kept = [], weights.kept(network)
    stays = "; ".join(network.notes) if isinstance(network, Swapped) else ""
    if stays and strict:
        raise BadValue(f"--strict-swap: in {cell.model} would stay as they are: {stays}")
    if stays:
        notes.append(f"{cell.model}: stay as they are: {stays}")
    brought = [
        name
        for name, parameter in network.named_parameters()
        if name in kept and parameter.ndim > 1 and parameter.unique().numel() > 1
    ]
    if brought:
        count = counted(len(brought), "tensor")
        notes.append(
            f"{cell.model}: {count} of weights drawn anew (--fresh)"
            if cell.fresh
            else f"{cell.model}: {count} of weights as its code has them (--fresh draws them anew)"
        )
    return notes


def _sizes(cell: Cell, dataset: Dataset) -> set[int]:
    """How many examples the cell, or one of another fold, learns from at any time."""
    train, _ = split(cell, dataset)
    sizes, folds = {len(train)}, cell.split.folds
    if dataset.groups is not None:
        return _sizes_of_groups(cell, dataset)
    if folds:
        whole = len(train) if cell.split.carried else dataset.n_train
        sizes = {whole - whole // folds, whole - math.ceil(whole / folds)}
        sizes = {min(size, cell.preparation.limit or size) for size in sizes}
    if cell.recipe.rates:
        sizes |= {size - math.ceil(size * VALIDATION) for size in sizes}
    return sizes


def _sizes_of_groups(cell: Cell, dataset: Dataset) -> set[int]:
    """As _sizes, where folds are as large as groups make them."""
    folds = range(cell.split.folds or 0)
    splits = [replace(cell.split, fold=fold) for fold in folds] or [cell.split]
    if cell.recipe.rates:
        splits += [replace(each, validation=True) for each in splits]
    return {len(split(replace(cell, split=each), dataset)[0]) for each in splits}


def _check_groups(cell: Cell, count: int) -> None:
    """Refuse more parts than there are groups, and weights that are carried from fold to fold."""
    parts = cell.split.folds or 2
    if cell.split.carried:
        raise BadValue(
            f"{cell.dataset}: its groups cannot be kept apart where weights are carried from fold "
            "to fold"
        )
    if count < parts + bool(cell.recipe.rates):
        raise BadValue(
            f"{cell.dataset}: {count} groups are too few for {parts} parts, each with its own"
        )


def _check_one_example(cell: Cell, shape: tuple[int, ...], machine: Machine) -> None:
    """Refuse a last batch of one example where batch normalisation needs more."""
    network, x = build(cell, shape, machine), _examples(1, shape, machine)
    try:
        network(x)
    except ValueError as error:
        raise BadValue(
            f"--batch-size {cell.recipe.batch_size}: the last batch of an epoch holds one example, "
            f"of which batch normalisation in {cell.model} takes no variance: choose another"
        ) from error


def _check_model(cell: Cell, shape: tuple[int, ...], classes: int, machine: Machine) -> None:
    """Refuse a network of foreign code that cannot be trained; the cell's unit is never flat."""
    x = _examples(4, shape, machine)
    try:
        network = build(cell, shape, machine)
        outputs, calls = _trial(network, x)
    except RelubenchError:
        raise
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"{cell.model} fails the check 'runs': {brief(error)}") from error
    found, wanted = tuple(getattr(outputs, "shape", ())), (len(x), classes)
    often = (f"{act} is called {len(w)} times" for act, w in calls.items() if len(w) != 1)
    acts = dict(layers.activations(network))
    units = (
        f"{act} says {acts[act].units!r}, and there are {', '.join(map(str, widths))}"
        for act, widths in calls.items()
        if repr(widths) != repr([acts[act].units])
    )
    failed = {
        "gives a score per class": found != wanted and f"{found} instead of {wanted}",
        "uses its activation": not calls and "it has none",
        "calls each activation once": next(often, ""),
        "says how many units a layer has": next(units, ""),
        "is trained": not _reaches_first(network, outputs) and "no gradient in its first layer",
        "leaves its examples alone": not torch.equal(x, _examples(4, shape, machine))
        and "it writes to them",
        "scores each example by itself": found == wanted and _mixed(network, x),
    }
    for check, what in failed.items():
        if what:
            raise UserCodeError(f"{cell.model} fails the check '{check}': {what}")


def _trial(network: nn.Module, x: torch.Tensor) -> tuple[Any, dict[str, list[int]]]:
    """Outputs while training, and the width of each call of an Act."""
    calls: dict[str, list[int]] = {}
    for name, act in layers.activations(network):
        widths = calls[name] = []
        act.register_forward_hook(lambda act, inputs, value, w=widths: w.append(value.shape[1]))
    stream = torch.Generator().manual_seed(0)
    layers.draw_noise_from(network, stream, stream)
    return network(x), calls


def _reaches_first(network: nn.Module, outputs: Any) -> bool:
    """Whether the outputs' gradient reaches the first layer whose weights are to be learned."""
    called = network.order if isinstance(network, layers.Ordered) else network.modules()
    first = next(
        (
            parameter
            for module in called
            if isinstance(module, weights.WEIGHTED)
            for parameter in module.parameters()
            if parameter.requires_grad and parameter.ndim > 1
        ),
        None,
    )
    if first is None or not getattr(outputs, "requires_grad", False):
        return False
    outputs.square().sum().backward()
    return first.grad is not None


def _mixed(network: nn.Module, x: torch.Tensor) -> str:
    """How an example's scores in evaluation depend on the others; "" where they do not.

    Nothing tells where they are drawn in evaluation too.
    """
    network.eval()
    try:
        with torch.no_grad(), layers.drawing_after(0, x.device) as drew:
            alone, together = network(x[:1]), network(x)[:1]
            if drew():
                return ""
    except Exception as error:
        return brief(error)
    alike = alone.shape == together.shape
    if alike and torch.allclose(alone, together, rtol=0.01, atol=0.01, equal_nan=True):
        return ""
    return "they are others in another batch"


def _check_unit(cell: Cell, shape: tuple[int, ...], machine: Machine) -> None:
    """Refuse an activation that this network cannot use."""
    network, x = build(cell, shape, machine), _examples(2, shape, machine)
    try:
        network(x).sum().backward()
    except Exception as error:
        raise UserCodeError(f"{cell.activation} fails in {cell.model}: {brief(error)}") from error


def _examples(count: int, shape: tuple[int, ...], machine: Machine) -> torch.Tensor:
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(count, *shape, generator=stream, dtype=getattr(torch, machine.storage))
    return x.to(machine.device)


def _check_views(cell: Cell, shape: tuple[int, ...]) -> None:
    """Refuse augmentations and perturbations that these inputs or parameters do not allow."""
    augment, x = Augment([cell]), torch.zeros(1, 1, *shape)
    if augment.steps and len(shape) != 3:
        raise BadValue(
            f"--augment {cell.recipe.augment}: needs images, and examples of {cell.dataset} "
            f"{'after --pca ' if cell.preparation.pca else ''}are rows of {shape[0]} numbers"
        )
    augment(x, augment.draw([1]))
    for name in cell.perturbations:
        perturbations.perturbed(cell, name, x[0], x[0])


def _check_choices(cell: Cell) -> None:
    """Refuse parameters with which an optimizer or an activation cannot work."""
    optimizer, act = cell.recipe.optimizer, layers.Act(ACTIVATIONS.choose(cell.activation), 1)
    try:
        OPTIMIZERS.choose(optimizer)([nn.Parameter(torch.zeros(1))], 1e-3, cell.recipe.weight_decay)
    except ValueError as error:
        raise BadValue(f"--optimizer {optimizer}: {error}") from None
    x = torch.tensor([[-3.0], [-0.1], [0.0], [0.1], [3.0]]).repeat(1, act.pieces)
    try:
        act.reset_parameters()
        act.noise = Noise.of(torch.Generator().manual_seed(0))
        finite = bool(act(x).isfinite().all() and act.eval()(x).isfinite().all())
    except (BadValue, UnknownName) as error:
        raise BadValue(f"--activation {cell.activation}: {error}") from None
    except (RuntimeError, ZeroDivisionError, OverflowError):
        finite = False
    if not finite:
        raise BadValue(f"--activation {cell.activation}: not a finite number for x from -3 to 3")
