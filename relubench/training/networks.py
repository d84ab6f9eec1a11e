"""The networks of a stack's cells, called as one.

One network is called directly; several are one vectorised pass over stacked parameters (vmap).
Every tensor that goes in or comes out has the cells in its first dimension.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp
from torch.utils import _pytree as pytree

from relubench.errors import out_of_memory
from relubench.models.attention import Reader
from relubench.models.layers import (
    ACTIVATION_OBSERVER,
    Act,
    Dropout,
    Noisy,
    activations,
    drawing_after,
    drawing_by,
    inputs_first,
    noisy,
)
from relubench.neurons.formulas import (
    Pull,
    Pullback,
    autograd_vjp,
    is_relu,
    with_derivatives,
)
from relubench.plan import Cell
from relubench.training.uncompiled import leave_compiler_out

leave_compiler_out()

Call = Callable[[Tensor], Tensor]
Keys = Sequence[Tensor]  # two for each layer that draws, the cells in their first dimension
# Outputs; by layer values and derivatives, None of relu: it is 1 where its value is not 0.
Observed = tuple[Tensor, list[tuple[Tensor, Tensor | None]]]
T = TypeVar("T")

OWN_PACKAGES = {"torch", "relubench"}  # whose modules keep nothing between calls
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# As in bmm_out_or_baddbmm_ of ATen's LinearAlgebra.cpp, which compares with this very number.
BATCHED = 400  # multiplications from which torch gives a batched product to the BLAS library
PROBING = Lock()  # the filters of warnings are those of all threads
SLOW = "There is a performance drop"  # how torch says that an op has no batching rule


class CannotStack(Exception):
    """These networks have no vectorised pass: an op without a rule, padded batch normalisation.

    parts  which of their cells may have one; empty: none with another
    """

    def __init__(self, why: str, parts: Sequence[Sequence[Cell]] = ()) -> None:
        super().__init__(why)
        self.parts = parts


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a network that is called layer by layer.

    names  its parameters: its own name of each, and the network's
    noisy  the places of its noisy modules among the network's
    """

    module: nn.Module
    names: Mapping[str, str]
    noisy: Sequence[int]


class Networks:
    """Networks of one architecture.

    parameters  by name, each (cells, …) where there are several networks
    bf16        compute in bfloat16; the parameters themselves stay as they are (autocast would
                not do: a vectorised pass heeds it in some ops only)
    seed        of what code that is not relubench's may draw in evaluation from torch's global
                generator; None: nothing draws from it
    foreign     whether such code takes part
    layers      to be called one by one; empty: the networks are called as a whole
    places      what noise follows from, by shape: kept from pass to pass
    """

    def __init__(
        self,
        modules: Sequence[nn.Module],
        bf16: bool = False,
        seed: int | None = None,
        foreign: bool = False,
    ) -> None:
        self.modules = list(modules)
        self.bf16 = bf16
        self.seed = seed
        network = self.modules[0]
        self.stacked = len(self.modules) > 1
        self.foreign = foreign or not _is_own(network)
        self.layers: list[Layer] = []
        self.noisy = noisy(network)
        self.least_weights = _least_weights(network)
        self.places: dict[tuple[int, ...], Tensor] = {}
        self.parameters: dict[str, Tensor] = dict(network.named_parameters())
        self.buffers: dict[str, Tensor] = dict(network.named_buffers())
        if self.stacked:
            self.parameters = _stacked([dict(module.named_parameters()) for module in self.modules])
            self.buffers = _stacked([dict(module.named_buffers()) for module in self.modules])
        self.normalising = _normalising(network)

    def __call__(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """(cells, batch, …) to (cells, batch, classes).

        keys  (cells, noisy layers, 2): what noise follows from in this pass
        """
        by_layer: Keys = ()
        if keys is not None and self.noisy:
            # (cells, layers, 2) to a list of (cells,): two keys for each
            # layer in turn, as Keys says.
            by_layer = keys.flatten(1).unbind(1)
        parameters, x = self._cast(x)
        if self.layers:
            outputs = self._layered(self.layers, parameters, x, by_layer)
        elif self._as_stack_of_one(x):
            stack_of_one = {name: value.unsqueeze(0) for name, value in parameters.items()}
            layers = list(self._leaves(self.modules[0]))
            outputs = self._layered(layers, stack_of_one, x, by_layer)
        else:
            outputs = self._map(_forward, parameters, x, by_layer)
        return outputs.float() if self.bf16 else outputs

    def _cast(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Parameters and inputs in the type that is computed in."""
        if not self.bf16:
            return self.parameters, x
        parameters = {}
        for name, value in self.parameters.items():
            parameters[name] = value if name in self.normalising else value.bfloat16()
        return (
            parameters,
            x.bfloat16() if x.is_floating_point() else x,
        )  # tokens are numbers of rows

    # --- layer by layer

    def _as_stack_of_one(self, x: Tensor) -> bool:
        """Whether one network alone is called as a stack of one, layer by layer.

        Of a few examples torch computes a batched product of small matrices in another way than a
        single one, to other last bits; a cell would notice its company.
        """
        if self.stacked or not self.least_weights or x.device.type != "cpu":
            return False
        examples = x.shape[1]
        return examples == 1 or examples * self.least_weights < BATCHED

    def _layered(
        self,
        layers: Sequence[Layer],
        parameters: Mapping[str, Tensor],
        x: Tensor,
        keys: Keys,
    ) -> Tensor:
        """Call all networks, layer by layer."""
        for layer in layers:
            own = {name: parameters[full] for name, full in layer.names.items()}
            own_keys: list[Tensor] = []
            if keys:
                for place in layer.noisy:
                    own_keys += keys[2 * place : 2 * place + 2]
            x = self._side_by_side(layer.module, own, x, own_keys)
        return x

    def _side_by_side(
        self,
        layer: nn.Module,
        parameters: Mapping[str, Tensor],
        x: Tensor,
        keys: Keys,
    ) -> Tensor:
        """Call one layer of all networks: with vmap, or without its overhead where that is as good.

        It is as good where no number of a cell can reach another cell:
        """
        # - a dense layer with bias on rows is one batched product, to the bits of vmap's;
        if type(layer) is nn.Linear and x.ndim == 3 and len(parameters) == 2:
            return torch.baddbmm(parameters["bias"].unsqueeze(1), x, parameters["weight"].mT)
        # - what has no parameters and draws nothing treats each example by itself, if relubench or
        #   torch wrote it: a user's own activation may take means over what it believes one batch;
        treats_examples_alike = isinstance(layer, nn.Flatten | nn.Identity)
        elementwise = False
        if isinstance(layer, Act):
            entry = layer.activation.entry
            treats_examples_alike = not entry.sha256
            elementwise = entry.elementwise
        outputs: Tensor
        if keys or parameters or not treats_examples_alike:
            outputs = torch.vmap(partial(self._called, layer))(parameters, keys, x)
        # - an elementwise activation needs not even know which dimension holds the examples.
        elif elementwise:
            outputs = layer(x)
        else:
            outputs = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return outputs

    def _called(
        self, layer: nn.Module, parameters: Mapping[str, Tensor], keys: Keys, x: Tensor
    ) -> Tensor:
        """Call a module with these parameters in the place of its own, and with these keys."""
        with self._drawing(keys, noisy(layer)):
            outputs: Tensor = functional_call(layer, dict(parameters), (x,))
        return outputs

    def _drawing(self, keys: Keys, layers: Sequence[Noisy]) -> AbstractContextManager[None]:
        return drawing_by(layers, keys, self.places) if keys else nullcontext()

    def _leaves(self, module: nn.Module, path: str = "") -> Iterator[Layer]:
        """The layers of the network; `path` goes before the names of their parameters."""
        # By type: a subclass, or any other module, may call its children in a way of its own.
        if type(module) is nn.Sequential:
            for name, child in module.named_children():
                yield from self._leaves(child, f"{path}{name}.")
            return
        names = {}
        for name, _ in module.named_parameters():
            if path + name in self.parameters:
                names[name] = path + name
        places = [self.noisy.index(layer) for layer in noisy(module)]
        yield Layer(module, names, places)

    # --- as a whole

    def observe(self, x: Tensor) -> Observed:
        """The outputs, and for every Act its values and derivatives, (cells, batch, units, …)."""
        # torch.func.vjp goes under vmap; alone, autograd's has rules for more ops.
        pullback: Pullback = _functional_vjp if self.stacked else autograd_vjp
        acts = [act for _, act in activations(self.modules[0])]
        # Looked for out here: under vmap nothing can be differentiated by the way.
        rectified = {act for act in acts if is_relu(act.activation)}
        look = partial(_observe, self.modules[0], pullback=pullback, rectified=rectified)
        outputs, seen = self._map(look, *self._cast(x))
        pairs = [(found[0], found[1] if len(found) > 1 else None) for found in seen]
        return outputs.float() if self.bf16 else outputs, pairs

    def kept(self, x: Tensor) -> Tensor | None:
        """(cells, examples, places) bool: where inputs are no padding; None: nothing is padded."""
        network = self.modules[0]
        return network.kept(x) if isinstance(network, Reader) else None

    def _map(
        self,
        function: Callable[[Call, Tensor], T],
        parameters: Mapping[str, Tensor],
        x: Tensor,
        keys: Keys = (),
    ) -> T:
        """function(network, inputs) of every network, the results stacked."""
        network = self.modules[0]

        def one(
            parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], keys: Keys, x: Tensor
        ) -> T:
            tensors = dict(parameters), dict(buffers)
            with self._drawing(keys, self.noisy):
                return function(lambda x: functional_call(network, tensors, (x,)), x)

        if self.stacked:
            try:
                stacked: T = torch.vmap(one)(parameters, self.buffers, list(keys), x)
                return stacked
            except RuntimeError as error:
                if "randomness" in str(error):  # of torch's global generator
                    raise CannotStack(str(error)) from error
                raise
        if self.bf16:  # the network's own parameters are not those that are computed with
            result = one(parameters, {}, keys, x[0])
        else:
            with self._drawing(keys, self.noisy):
                result = function(network, x[0])
        # One network's results get the cells' dimension too, so that callers never ask how many.
        unsqueezed: T = pytree.tree_map(lambda tensor: tensor.unsqueeze(0), result)
        return unsqueezed

    @property
    def reentrant(self) -> bool:
        """Whether threads may call it side by side: one network, whose modules keep nothing."""
        own = self._own_modules and not _has_user_activation(self.modules[0])
        return own and not self.stacked and not self.bf16

    @property
    def _own_modules(self) -> bool:
        """Whether all modules are torch's or relubench's."""
        return _is_own(self.modules[0])

    def train(self, learning: bool) -> None:
        """Switch to training or to evaluation."""
        self.modules[0].train(learning)

    # --- can they be stacked

    def probe(self, x: Tensor) -> None:
        """Raise CannotStack where inputs such as `x` find no vectorised pass, or a slow one.

        Where a pass layer by layer gives the same, it is taken from here on. The statistics of
        batch normalisation stay as they were. Raises what is no matter of stacking: that memory
        has run out, and faults of relubench's own.
        """
        self.layers = []
        kept = {name: buffer.clone() for name, buffer in self.buffers.items()}
        with self._refusing():
            self._try(x)
        for parameter in self.parameters.values():
            parameter.grad = None
        for name, buffer in self.buffers.items():
            buffer.copy_(kept[name])
        # Layer by layer nobody would update the statistics of batch normalisation.
        if not self.buffers:
            self._choose_layered(x)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Raise CannotStack for what says that there is no vectorised pass."""
        try:
            yield
        except CannotStack:
            raise
        except Exception as error:
            # Halving a stack is the remedy where memory ends, not training its cells alone.
            if out_of_memory(error):
                raise
            # A user's own code may raise anything under vmap; alone it shows whether it is wrong.
            if self.foreign or _is_about_vmap(error):
                raise CannotStack(str(error)) from error
            raise

    def _try(self, x: Tensor) -> None:
        """Take a step and an evaluation with a vectorised pass."""
        if self._replaces_buffers(x):
            raise CannotStack("it puts other tensors in the place of its buffers")
        scope = drawing_after(0, x.device)
        with PROBING, scope as drew, warnings.catch_warnings():
            warnings.filterwarnings("error", message=SLOW)
            # Any odd keys do: nothing of this step is kept.
            keys = x.new_ones(len(x), len(self.noisy), 2, dtype=torch.int32)
            # One step of learning, one look of a counter: all that a training will ask of vmap.
            self(x, keys).sum().backward()
            self.train(False)  # no noise
            with torch.no_grad():
                self.observe(x)
            if drew():
                raise CannotStack("it draws from torch's global generator")

    def _choose_layered(self, x: Tensor) -> None:
        """Go layer by layer from here on if that gives what vmap does.

        A network may call its modules in another order than it lists them, or more than once:
        nothing but a comparison tells.
        """
        with torch.no_grad():
            vectorised = self._map(_forward, self.parameters, x)
            layers = list(self._leaves(self.modules[0]))
            layered = self._layered(layers, self.parameters, x, ())
        # Not to the bit: both ways may sum in another order. Another order of layers is far off.
        if torch.allclose(layered, vectorised, rtol=1e-4, atol=1e-5, equal_nan=True):
            self.layers = layers

    def _replaces_buffers(self, x: Tensor) -> bool:
        """Whether a training pass assigns buffers: a vectorised pass would lose what it assigns."""
        network = self.modules[0]
        if not self.buffers or self._own_modules:
            return False
        # By module, since buffers() would follow the new tensor and not the one that was replaced.
        homes = []
        for module in network.modules():
            for name, buffer in module._buffers.items():
                homes.append((module, name, buffer))
        before = {id(buffer): buffer.clone() for _, _, buffer in homes if buffer is not None}
        network.train(True)
        with drawing_after(0, x.device), torch.no_grad():
            network(x[0])
        replaced = any(module._buffers[name] is not buffer for module, name, buffer in homes)
        for module, name, buffer in homes:
            module._buffers[name] = buffer
            if buffer is not None:
                buffer.copy_(before[id(buffer)])
        return replaced

    # --- their tensors

    def first(self, count: int) -> Networks:
        """The first networks of a stack, in the same memory."""
        # Shallow: modules, keys' places and settings are shared with the whole stack.
        networks = copy(self)
        networks.modules = self.modules[:count]
        networks.parameters = {}
        for name, tensor in self.parameters.items():
            # A leaf of its own: its gradient has the first cells alone.
            part = tensor.detach()[:count]
            networks.parameters[name] = part.requires_grad_(tensor.requires_grad)
        networks.buffers = {name: buffer[:count] for name, buffer in self.buffers.items()}
        return networks

    def some(self, numbers: Sequence[int]) -> Networks:
        """Some networks of a stack, with copies of their tensors: to look at, not to train."""
        networks = copy(self)
        networks.modules = [self.modules[number] for number in numbers]
        chosen = list(numbers)
        networks.parameters = {
            name: tensor.detach()[chosen] for name, tensor in self.parameters.items()
        }
        networks.buffers = {name: buffer[chosen] for name, buffer in self.buffers.items()}
        return networks

    def write_back(self) -> None:
        """Write what a stack has learned to the single networks."""
        if not self.stacked:
            return
        with torch.no_grad():
            for number, module in enumerate(self.modules):
                for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                    tensor.copy_(self.tensors[name][number])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name; one network may have put others in their place."""
        buffers = self.buffers if self.stacked else dict(self.modules[0].named_buffers())
        return self.parameters | buffers


def _forward(call: Call, x: Tensor) -> Tensor:
    return call(x)


def _is_own(network: nn.Module) -> bool:
    """Whether all modules of a network are torch's or relubench's."""
    packages = {type(module).__module__.split(".")[0] for module in network.modules()}
    return packages <= OWN_PACKAGES


def _has_user_activation(network: nn.Module) -> bool:
    acts = [module for module in network.modules() if isinstance(module, Act)]
    return any(act.activation.entry.sha256 for act in acts)


def _is_about_vmap(error: Exception) -> bool:
    """Whether torch says that vmap cannot do an op, or only slowly."""
    # torch writes "Batching rule not implemented" and "the batching rule for".
    words = str(error)
    if isinstance(error, Warning):
        return SLOW in words
    return isinstance(error, RuntimeError) and ("vmap" in words or "atching rule" in words)


def _normalising(network: nn.Module) -> set[str]:
    """The names of the scales and shifts of batch normalisation, never rounded to bfloat16."""
    names: set[str] = set()
    for path, module in network.named_modules():
        if isinstance(module, NORMS):
            names.update(f"{path}.{name}" for name, _ in module.named_parameters())
    return names


def _least_weights(network: nn.Module) -> int:
    """The fewest weights of a layer of a network that has dense layers only; else 0."""
    fewest = 0
    for module in network.modules():
        if isinstance(module, nn.Linear):
            weights = module.weight.numel()
            fewest = min(fewest, weights) if fewest else weights
        elif isinstance(module, Act):
            if module.activation.entry.sha256 or any(True for _ in module.parameters()):
                return 0
        elif not (
            type(module) is nn.Sequential
            or isinstance(module, nn.ParameterDict | Dropout | nn.Flatten)
        ):
            return 0
    return fewest


def _stacked(tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """By name, with the networks in the first dimension.

    torch.func.stack_module_state wants one class of all, and every traced network has its own.
    """
    stacked = {}
    for name, tensor in tensors[0].items():
        together = torch.stack([by_name[name].detach() for by_name in tensors])
        if tensor.ndim == 2 and not tensor.is_contiguous():
            together = inputs_first(together)  # as each lies alone
        stacked[name] = together.requires_grad_(tensor.requires_grad)
    return stacked


# --- values and derivatives -----------------------------------------------------------------------


def _observe(
    network: nn.Module, call: Call, x: Tensor, pullback: Pullback, rectified: Collection[Act]
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """A network's outputs, and values and derivatives of each activation that is counted.

    rectified  of these the values alone
    """
    seen: dict[Act, tuple[Tensor, ...]] = {}

    def look(act: Act, x: Tensor) -> Tensor:
        seen[act] = (act.activate(x),) if act in rectified else with_derivatives(act, x, pullback)
        return seen[act][0]

    # A context variable, not hooks on the modules: threads that share the network look each for
    # themselves.
    token = ACTIVATION_OBSERVER.set(look)
    try:
        outputs = call(x)
        return outputs, [seen[act] for _, act in activations(network) if act.counted]
    finally:
        ACTIVATION_OBSERVER.reset(token)


def _functional_vjp(function: Call, x: Tensor) -> tuple[Tensor, Pull]:
    value, pull = vjp(function, x)[:2]
    return value, pull
