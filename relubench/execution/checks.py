"""Checks before training: data, network and recipe of a set-up fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from relubench.activations import ACTIVATIONS
from relubench.datasets import Dataset
from relubench.errors import BadValue, RelubenchError, UnknownName
from relubench.execution.data_checks import check_data
from relubench.models import MODELS, layers, weights
from relubench.models.chain import image
from relubench.models.swapping import Swapped
from relubench.noise import Noise
from relubench.plan import Cell, Machine
from relubench.training import perturbations, recycling, schedules, tasks
from relubench.training.augmentations import Augment
from relubench.training.building import skeleton, with_weights
from relubench.training.optimizers import OPTIMIZERS, TAKING_MATRICES
from relubench.training.parameter_groups import hidden_matrices
from relubench.user_code import UserCodeError, brief
from relubench.wording import counted

# Those that take statistics over a batch; layer and group norms need one example only.
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Trial:
    """The network of a set-up, built once for all checks.

    skeleton  without memory for its weights, but for code that is not relubench's
    brought   names of the weights that such code brings along
    """

    def __init__(
        self, cell: Cell, shape: tuple[int, ...], dataset: Dataset, machine: Machine
    ) -> None:
        self.cell = cell
        self.shape = shape
        self.machine = machine
        self.tokens = dataset.tokens
        self.skeleton = skeleton(cell, shape, dataset)
        self.brought = _brought(self.skeleton)  # now: `network` draws over them

    @cached_property
    def network(self) -> nn.Module:
        """The skeleton with its initial weights."""
        return with_weights(self.skeleton, self.cell, self.machine)

    def examples(self, count: int) -> torch.Tensor:
        """Noise in the shape of examples, the same in every call."""
        stream = torch.Generator().manual_seed(0)
        if self.tokens:
            tokens = torch.randint(self.tokens, (count, *self.shape), generator=stream)
            return tokens.to(self.machine.device)
        dtype = getattr(torch, self.machine.storage)
        x = torch.randn(count, *self.shape, generator=stream, dtype=dtype)
        return x.to(self.machine.device)


def check_cell(cell: Cell, machine: Machine, strict: bool = False) -> list[str]:
    """Refuse a cell that cannot be trained: BadValue or DataError, before any training.

    strict  refuse a network, too, that keeps a non-linearity which is not swapped
    returns notes for the user on the data and the network, a line each
    """
    # The cheap checks first: data, then names and their parameters, then the network.
    data = check_data(cell, machine.data_dir)
    dataset, shape = data.dataset, data.shape
    _check_choices(cell)
    _check_views(cell, shape)
    tasks.check(cell, len(dataset.classes), shape)
    foreign = MODELS.choose(cell.model).entry.code
    if cell.unit_axis is not None and not foreign:
        raise BadValue(
            f"--unit-axis {cell.unit_axis}: where the units of {cell.model} are is known"
        )
    trial = Trial(cell, shape, dataset, machine)
    _check_last_batch(trial, data.sizes)
    _check_matrices(trial)
    recycling.check(cell, trial.skeleton)
    activation = ACTIVATIONS.choose(cell.activation).entry
    # A user's code may draw from torch's global generator: it is put back as it was.
    with layers.drawing_after(0, torch.device(machine.device)):
        if foreign:
            _check_model(trial, dataset)
        # One number in, one out: such an activation fits wherever another's network has one.
        plain = (activation.pieces, activation.outputs) == (1, 1)
        if activation.sha256 or (foreign and not plain):
            _check_activation(trial)
    notes = [*data.notes]
    if not foreign:
        notes += _padded(cell, shape, trial.skeleton)
    return notes + _network_notes(trial, strict)


def _padded(cell: Cell, shape: tuple[int, ...], network: nn.Module) -> list[str]:
    """A note that examples stand in a border of 0, where the model wants larger ones."""
    pads = [module for module in network.modules() if isinstance(module, nn.ZeroPad2d)]
    if not pads:
        return []
    _, height, width = image(cell.model, shape)
    # In torch's order, the last dimension first.
    left, right, above, below = pads[0].padding
    size = f"{height}x{width}"
    if len(shape) != 3:
        size = f"{shape[0]} numbers as {size}"
    return [
        f"{cell.model}: examples of {size} get a border of 0, to be "
        f"{height + above + below}x{width + left + right}"
    ]


def _network_notes(trial: Trial, strict: bool) -> list[str]:
    """Notes on a foreign network: activations that are not swapped, its own weights."""
    notes = []
    cell, network = trial.cell, trial.skeleton
    stays = "; ".join(network.notes) if isinstance(network, Swapped) else ""
    if stays and strict:
        raise BadValue(f"--strict-swap: in {cell.model} would stay as they are: {stays}")
    if stays:
        notes.append(f"{cell.model}: stay as they are: {stays}")
    if trial.brought:
        tensors = counted(len(trial.brought), "tensor")
        so = "as its code has them (--fresh draws them anew)"
        if cell.fresh:
            so = "drawn anew (--fresh)"
        notes.append(f"{cell.model}: {tensors} of weights {so}")
    return notes


def _brought(network: nn.Module) -> list[str]:
    """The names of the weights that a network of another's code brings along."""
    kept = weights.kept(network)
    names = []
    for name, parameter in network.named_parameters():
        # Not biases nor scales, and nothing that is all 0 or 1: those are how
        # layers begin, not learned.
        if name in kept and parameter.ndim > 1 and parameter.unique().numel() > 1:
            names.append(name)
    return names


# --- the network ----------------------------------------------------------------------------------


def _check_last_batch(trial: Trial, sizes: set[int]) -> None:
    """Refuse a last batch of one example where batch normalisation needs more."""
    recipe = trial.cell.recipe
    normed = any(isinstance(module, NORMS) for module in trial.skeleton.modules())
    alone = any(_leaves_one(size, recipe.batch_size) for size in sizes)
    if not (recipe.trains and normed and alone):
        return
    network = trial.network
    try:
        network(trial.examples(1))
    except ValueError as error:
        raise BadValue(
            f"--batch-size {recipe.batch_size}: the last batch of an epoch holds one example, "
            f"of which batch normalisation in {trial.cell.model} takes no variance: choose another"
        ) from error


def _leaves_one(size: int, batch_size: int) -> bool:
    """Whether the last batch of an epoch, or each, holds one example."""
    return batch_size == 1 or size % batch_size == 1


def _check_model(trial: Trial, dataset: Dataset) -> None:
    """Refuse a network of foreign code that cannot be trained.

    The network is checked with elu, whose derivative is 0 nowhere: with another activation, no
    gradient in the first layer might be the activation's doing.
    """
    cell = trial.cell
    x = trial.examples(4)
    try:
        if cell.activation != "elu":
            with_elu = replace(cell, activation="elu")
            trial = Trial(with_elu, trial.shape, dataset, trial.machine)
        network = trial.network
        outputs, calls = _run(network, x)
    except RelubenchError:
        raise
    # Anything at all: this is a user's code, and its sys.exit() must not end the command.
    except (Exception, SystemExit) as error:
        raise UserCodeError(f"{cell.model} fails the check 'runs': {brief(error)}") from error
    shape = tuple(getattr(outputs, "shape", ()))
    expected = (len(x), dataset.outputs)
    right_shape = shape == expected
    trained = _reaches_first(network, outputs)
    untouched = torch.equal(x, trial.examples(4))  # by the gradient's pass, too
    # The first fault is told: later checks may fail for the same reason.
    faults = {
        "gives a score per class": "" if right_shape else f"{shape} instead of {expected}",
        "uses its activation": "" if calls else "it has none",
        "calls each activation once": _called_often(calls),
        "says how many units a layer has": _wrong_units(network, calls),
        "is trained": "" if trained else "no gradient in its first layer",
        "leaves its examples alone": "" if untouched else "it writes to them",
        "scores each example by itself": _mixed(network, x) if right_shape else "",
    }
    for check, fault in faults.items():
        if fault:
            raise UserCodeError(f"{cell.model} fails the check '{check}': {fault}")


def _called_often(calls: Mapping[str, list[int]]) -> str:
    """The first activation that is called more than once, or never."""
    for act, widths in calls.items():
        if len(widths) != 1:
            return f"{act} is called {len(widths)} times"
    return ""


def _wrong_units(network: nn.Module, calls: Mapping[str, list[int]]) -> str:
    """The first activation with another number of units than it says."""
    acts = dict(layers.activations(network))
    for act, widths in calls.items():
        units = acts[act].units
        if repr(widths) != repr([units]):  # 3.0 is no number of units
            return f"{act} says {units!r}, and there are {', '.join(map(str, widths))}"
    return ""


def _run(network: nn.Module, x: torch.Tensor) -> tuple[object, dict[str, list[int]]]:
    """Outputs while training, and the width of each call of an Act."""
    calls: dict[str, list[int]] = {}
    for name, act in layers.activations(network):
        widths = calls[name] = []
        # w=widths: a lambda sees the loop's last value otherwise.
        act.register_forward_hook(lambda act, inputs, value, w=widths: w.append(value.shape[1]))
    stream = torch.Generator().manual_seed(0)
    layers.draw_noise_from(network, stream, stream)
    return network(x), calls


def _reaches_first(network: nn.Module, outputs: Any) -> bool:
    """Whether the outputs' gradient reaches the first layer whose weights are to be learned."""
    first = _first_weights(network)
    if first is None or not getattr(outputs, "requires_grad", False):
        return False
    outputs.square().sum().backward()
    return first.grad is not None


def _first_weights(network: nn.Module) -> nn.Parameter | None:
    """The weights of the first layer that learns, in the order of calls where that is known."""
    modules = network.order if isinstance(network, layers.Ordered) else network.modules()
    for module in modules:
        if isinstance(module, weights.WEIGHTED):
            for parameter in module.parameters():
                if parameter.requires_grad and parameter.ndim > 1:
                    return parameter
    return None


def _mixed(network: nn.Module, x: torch.Tensor) -> str:
    """Reason why an example's scores depend on others in evaluation, or "".

    Nothing tells where they are drawn in evaluation too.
    """
    # In evaluation mode: while training, batch normalisation mixes examples, as it should.
    network.eval()
    try:
        with torch.no_grad(), layers.drawing_after(0, x.device) as drew:
            alone, together = network(x[:1]), network(x)[:1]
            if drew():
                return ""
    except Exception as error:
        return brief(error)
    # Far from exact: batches of other sizes round otherwise, and mixed examples are far off.
    alike = alone.shape == together.shape
    if alike and torch.allclose(alone, together, rtol=0.01, atol=0.01, equal_nan=True):
        return ""
    return "they are others in another batch"


def _check_activation(trial: Trial) -> None:
    """Refuse an activation that this network cannot use."""
    cell, network = trial.cell, trial.network
    try:
        network(trial.examples(2)).sum().backward()
    except Exception as error:
        raise UserCodeError(f"{cell.activation} fails in {cell.model}: {brief(error)}") from error


# --- the recipe -----------------------------------------------------------------------------------


def _check_views(cell: Cell, shape: tuple[int, ...]) -> None:
    """Refuse augmentations and perturbations that these inputs or parameters do not allow."""
    augment = Augment([cell])
    x = torch.zeros(1, 1, *shape)
    if augment.steps and len(shape) != 3:
        after = "after --pca " if cell.preparation.pca else ""
        raise BadValue(
            f"--augment {cell.recipe.augment}: needs images, and examples of {cell.dataset} "
            f"{after}are rows of {shape[0]} numbers"
        )
    # A black image goes through: an augmentation refuses its parameters when it is called.
    augment(x, augment.draw([1]))
    for name in cell.perturbations:
        perturbations.perturbed(cell, name, x[0], x[0])


def _check_matrices(trial: Trial) -> None:
    """Refuse an optimizer for hidden dense weights where a network has none."""
    name = OPTIMIZERS.choose(trial.cell.recipe.optimizer).entry.name
    if name in TAKING_MATRICES and not hidden_matrices(trial.skeleton):
        raise BadValue(
            f"--optimizer {name} is for dense weights between the first layer and the last, and "
            f"{trial.cell.model} has none: adamw would be all that steps it"
        )


def _check_choices(cell: Cell) -> None:
    """Refuse parameters with which an optimizer, a schedule or an activation cannot work."""
    schedules.check(cell.recipe)
    optimizer = cell.recipe.optimizer
    act = layers.Act(ACTIVATIONS.choose(cell.activation), 1)
    # torch refuses what it cannot use when an optimizer is made, on one number as on a network.
    parameters = [nn.Parameter(torch.zeros(1))]
    try:
        OPTIMIZERS.choose(optimizer)(parameters, 1e-3, cell.recipe.weight_decay)
    except ValueError as error:
        raise BadValue(f"--optimizer {optimizer}: {error}") from None
    # Both tails, both sides of 0 and 0 itself: where powers and logarithms fail, if they do.
    x = torch.tensor([[-3.0], [-0.1], [0.0], [0.1], [3.0]]).repeat(1, act.pieces)
    try:
        act.reset_parameters()
        act.noise = Noise.of(torch.Generator().manual_seed(0))
        # In training, where it may draw noise, and in evaluation, which may be another formula.
        finite = bool(act(x).isfinite().all() and act.eval()(x).isfinite().all())
    except (BadValue, UnknownName) as error:
        raise BadValue(f"--activation {cell.activation}: {error}") from None
    except (RuntimeError, ZeroDivisionError, OverflowError):
        finite = False
    if not finite:
        raise BadValue(f"--activation {cell.activation}: not a finite number for x from -3 to 3")
