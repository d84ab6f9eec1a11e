"""A cell's network: its architecture, and its initial weights."""

from __future__ import annotations

import torch
from torch import nn

from relubench import datasets, seeds
from relubench.activations import ACTIVATIONS
from relubench.datasets import Dataset
from relubench.errors import BadValue
from relubench.models import MODELS, layers, matching, undrawn, weights
from relubench.models.attention import Transformer
from relubench.plan import Cell, Machine
from relubench.training.heads import HEADS
from relubench.user_code import UserCodeError, brief

# Channels of a convolution. With fewer, gradients of images whose channels lie last write to memory
# that is not theirs and crash (torch 2.14.1 and 2.15.0, oneDNN on an Intel Xeon).
NARROW = 16


def build(cell: Cell, shape: tuple[int, ...], machine: Machine) -> nn.Module:
    """Build the cell's network with its initial weights, for examples of `shape`."""
    dataset = datasets.load(cell.dataset, machine.data_dir)
    return with_weights(skeleton(cell, shape, dataset), cell, machine)


def skeleton(cell: Cell, shape: tuple[int, ...], dataset: Dataset) -> nn.Module:
    """Build the cell's network without memory for its weights.

    Code that is not relubench's is run instead: its weights are as that code says, drawn from the
    cell's stream. Raises BadValue or UserCodeError where the network cannot be built.
    """
    activation = ACTIVATIONS.choose(cell.activation)
    outputs = dataset.outputs
    axis = {} if cell.unit_axis is None else {"unit_axis": cell.unit_axis}
    try:
        model = MODELS.choose(cell.model)
        if cell.match_parameters:
            model = matching.narrowed(cell.model, cell.activation, tuple(shape), outputs)
        # Code that is not relubench's may load weights, or draw them as it likes: it needs memory.
        device = torch.device("cpu") if model.entry.code else undrawn.weightless()
        with layers.drawing_from(seeds.stream(cell, "network")), device:
            network = model(shape, outputs, activation, **axis)
    except (RuntimeError, TypeError, MemoryError) as error:
        if MODELS.choose(cell.model).entry.code:
            raise UserCodeError(f"{cell.model} cannot be built: {brief(error)}") from error
        # What torch raises for sizes beyond its integers.
        raise BadValue(f"--model {cell.model} is too large to be built") from error
    return network


def with_weights(network: nn.Module, cell: Cell, machine: Machine) -> nn.Module:
    """Give a skeleton the cell's initial weights, on the machine's device."""
    model = MODELS.choose(cell.model).entry
    dtype = getattr(torch, machine.storage)
    # First the type, while there may be no memory yet to convert.
    network = network.to(dtype)
    if not model.code:
        # Memory comes with any numbers in it: norms are set here, all other layers by `initialise`.
        network = _with_memory(network, cell)
        weights.reset_norms(network)
    if cell.fresh:
        weights.redraw(network, seeds.stream(cell, "network"))
    weights.initialise(
        network,
        seeds.stream(cell, "weights"),
        output_bias=HEADS.choose(cell.head).entry.bias,
        init=cell.init or model.init or None,
    )
    if isinstance(network, Transformer):
        # By a stream of its own: activations that need more weights get the same embeddings.
        network.settle(seeds.stream(cell, "embeddings"), scaled=cell.init in (None, "gpt2"))
    # The type once more: initialising makes a user's own modules anew, in a type of their own.
    network = network.to(machine.device, dtype)
    if not model.code and machine.device == "cpu":
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.weight.data = layers.inputs_first(module.weight.data)
    if model.any_layout and layers.narrowest(network) >= NARROW:
        network = network.to(memory_format=torch.channels_last)  # faster convolutions
    return network


def _with_memory(network: nn.Module, cell: Cell) -> nn.Module:
    try:
        # As `to_empty` does, whose way to the strides of a tensor without memory imports sympy.
        network._apply(lambda x: torch.empty(x.shape, dtype=x.dtype, device="cpu"))
    except RuntimeError as error:
        count = layers.parameter_count(network)
        raise BadValue(f"--model {cell.model}: no memory for {count} parameters") from error
    return network
