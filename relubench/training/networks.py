"""The networks of a stack's cells, called as one.

One network is called as it is; several are one vectorised pass over stacked parameters (vmap).
Every tensor that goes in or comes out has the cells in its first dimension.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from functools import partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp
from torch.utils import _pytree as pytree

from relubench.models.layers import (
    LOOK,
    Act,
    Dropout,
    Noisy,
    activations,
    drawing_after,
    drawing_by,
    noisy,
)
from relubench.plan import Cell

# A layer, its parameters by its own name and the network's, and which of the noisy it holds.
Layer = tuple[nn.Module, dict[str, str], list[int]]
Keys = Sequence[Tensor]  # two for each layer that draws, the cells in their first dimension
Pulled = Callable[[Callable[[Tensor], Tensor], Tensor], Any]  # as torch.func.vjp


class CannotStack(Exception):
    """These networks have no vectorised pass: an op without a rule, padded batch normalisation.

    parts  which of their cells may have one; empty: none with another
    """

    def __init__(self, why: str, parts: Sequence[Sequence[Cell]] = ()) -> None:
        super().__init__(why)
        self.parts = parts


KNOWN = {"torch", "relubench"}  # where modules come from that keep nothing between calls
BATCHED = 400  # multiplications from which torch gives a batched product to the BLAS library
PROBING = Lock()  # warnings' filters are those of all threads
SLOW = "There is a performance drop"  # how torch says that an op has no batching rule


class Networks:
    """Networks of one architecture.

    parameters  by name, each (cells, …) where there are several networks
    bf16        compute in bfloat16; the parameters themselves stay as they are (autocast would
                not do: a vectorised pass heeds it in some ops only)
    seed        of what code that is not relubench's may draw in evaluation from torch's global
                generator; None: nothing draws from it
    """

    def __init__(
        self, modules: Sequence[nn.Module], bf16: bool = False, seed: int | None = None
    ) -> None:
        self.modules, self.bf16, self.seed = list(modules), bf16, seed
        self.stacked = len(self.modules) > 1
        self.layers: list[Layer] = []
        self.noisy = noisy(self.modules[0])
        self.dense = _least(self.modules[0])
        self.places: dict[tuple[int, ...], Tensor] = {}
        self.parameters: dict[str, Any] = dict(self.modules[0].named_parameters())
        self.buffers = dict(self.modules[0].named_buffers())
        if self.stacked:
            self.parameters = _stacked([dict(module.named_parameters()) for module in modules])
            self.buffers = _stacked([dict(module.named_buffers()) for module in modules])
        self.normalising = {  # statistics, scale and shift are never rounded to bfloat16
            f"{path}.{name}"
            for path, module in self.modules[0].named_modules()
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d)
            for name, _ in module.named_parameters()
        }

    def __call__(self, x: Tensor, keys: Tensor | None = None) -> Tensor:
        """(cells, batch, …) to (cells, batch, classes).

        keys  (cells, noisy layers, 2): what noise follows from in this pass
        """
        apart = () if keys is None or not self.noisy else keys.flatten(1).unbind(1)
        parameters, x = self._cast(x)
        if self.layers:
            outputs = self._layered(parameters, x, apart)
        elif self._as_stacked(x):
            first = {name: value.unsqueeze(0) for name, value in parameters.items()}
            outputs = self._layered(first, x, apart, list(self._leaves(self.modules[0])))
        else:
            outputs = self._map(lambda call, x: call(x), parameters, x, apart)
        return outputs.float() if self.bf16 else outputs

    def _cast(self, x: Tensor) -> tuple[dict[str, Any], Tensor]:
        """Parameters and inputs as they are computed with."""
        if not self.bf16:
            return self.parameters, x
        parameters = {
            name: value if name in self.normalising else value.bfloat16()
            for name, value in self.parameters.items()
        }
        return parameters, x.bfloat16()

    def _as_stacked(self, x: Tensor) -> bool:
        """Whether one network alone is called as a stack of one, layer by layer.

        Of a few examples torch computes a batched product of small matrices in another way than a
        single one, to other last bits; a cell would notice its company.
        """
        if self.stacked or not self.dense or x.device.type != "cpu":
            return False
        return x.shape[1] == 1 or x.shape[1] * self.dense < BATCHED

    def _layered(
        self,
        parameters: Mapping[str, Tensor],
        x: Tensor,
        keys: Keys,
        layers: Sequence[Layer] = (),
    ) -> Tensor:
        """All networks, layer by layer."""
        for layer, names, drawing in layers or self.layers:
            own = {own: parameters[name] for own, name in names.items()}
            its = [keys[2 * number + which] for number in drawing if keys for which in (0, 1)]
            x = self._side_by_side(layer, own, x, its)
        return x

    def _side_by_side(
        self, layer: nn.Module, own: Mapping[str, Tensor], x: Tensor, keys: Keys
    ) -> Tensor:
        """One layer of all networks: with vmap, or without its overhead where that is as good.

        Dense layers are one batched product; a layer without weights takes the examples of all
        cells as one batch, and where every number goes its own way, as they come.
        """
        if type(layer) is nn.Linear and x.ndim == 3 and len(own) == 2:
            return torch.baddbmm(own["bias"].unsqueeze(1), x, own["weight"].mT)
        entry = layer.activation.entry if isinstance(layer, Act) and not own else None
        catalogued = entry is not None and not entry.sha256
        outputs: Tensor
        if keys or not (catalogued or (isinstance(layer, nn.Flatten | nn.Identity) and not own)):
            outputs = torch.vmap(partial(self._called, layer))(own, keys, x)
        elif entry and entry.elementwise:
            outputs = layer(x)
        else:
            outputs = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return outputs

    def _called(self, layer: nn.Module, own: Any, keys: Keys, x: Tensor) -> Any:
        """A module with other tensors than its own and with these keys."""
        with self._drawing(keys, noisy(layer)):
            return functional_call(layer, own, (x,))

    def _drawing(self, keys: Keys, layers: Sequence[Noisy]) -> AbstractContextManager[None]:
        return drawing_by(layers, keys, self.places) if keys else nullcontext()

    def _leaves(self, module: nn.Module, path: str = "") -> Iterator[Layer]:
        """The layers of the network; `path` goes before the names of their parameters."""
        if type(module) is nn.Sequential:
            for name, child in module.named_children():
                yield from self._leaves(child, f"{path}{name}.")
        else:
            names = {name: path + name for name, _ in module.named_parameters()}
            names = {own: name for own, name in names.items() if name in self.parameters}
            yield module, names, [self.noisy.index(each) for each in noisy(module)]

    def observe(self, x: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """The outputs, and for every Act its values and slopes, (cells, batch, units, …)."""
        look = partial(_observe, self.modules[0], pulled=vjp if self.stacked else _pulled)
        outputs, seen = self._map(look, *self._cast(x))
        return outputs.float() if self.bf16 else outputs, seen

    @property
    def reentrant(self) -> bool:
        """Whether threads may call it side by side: one network, whose modules keep nothing."""
        modules = list(self.modules[0].modules())
        own = any(isinstance(each, Act) and each.activation.entry.sha256 for each in modules)
        return self._known and not own and not self.stacked and not self.bf16

    @property
    def _known(self) -> bool:
        """Whether all modules are torch's or relubench's, which keep nothing between calls."""
        kinds = {type(module).__module__.split(".")[0] for module in self.modules[0].modules()}
        return kinds <= KNOWN

    def _map(
        self,
        function: Callable[[Callable[[Tensor], Tensor], Tensor], Any],
        parameters: Mapping[str, Tensor],
        x: Tensor,
        keys: Keys = (),
    ) -> Any:
        """function(network, inputs) of every network, the results stacked."""
        network = self.modules[0]

        def one(parameters: Any, buffers: Any, keys: Keys, x: Tensor) -> Any:
            with self._drawing(keys, self.noisy):
                return function(lambda x: functional_call(network, (parameters, buffers), (x,)), x)

        if self.stacked:
            try:
                return torch.vmap(one)(parameters, self.buffers, list(keys), x)
            except RuntimeError as error:
                if "randomness" in str(error):  # of torch's global generator
                    raise CannotStack(str(error)) from error
                raise
        if self.bf16:
            alone = one(parameters, {}, keys, x[0])
        else:
            with self._drawing(keys, self.noisy):
                alone = function(network, x[0])
        return pytree.tree_map(lambda tensor: tensor.unsqueeze(0), alone)

    def train(self, learning: bool) -> None:
        """Switch to training or to evaluation."""
        self.modules[0].train(learning)

    def probe(self, x: Tensor) -> None:
        """Raise CannotStack where inputs such as `x` find no vectorised pass, or a slow one.

        Where a pass layer by layer gives the same, it is taken from here on. The statistics of
        batch normalisation stay as they were.
        """
        self.layers = []
        kept = {name: buffer.clone() for name, buffer in self.buffers.items()}
        try:
            if self._replaces_buffers(x):
                raise CannotStack("it puts other tensors in the place of its buffers")
            scope = drawing_after(0, x.device)
            with PROBING, scope as drew, warnings.catch_warnings():
                warnings.filterwarnings("error", message=SLOW)
                keys = x.new_ones(len(x), len(self.noisy), 2, dtype=torch.int32)
                self(x, keys).sum().backward()
                self.train(False)  # no noise
                with torch.no_grad():
                    self.observe(x)
                if drew():
                    raise CannotStack("it draws from torch's global generator")
        except Exception as error:  # a user's own unit may raise any; alone it shows if it is wrong
            raise CannotStack(str(error)) from error
        for parameter in self.parameters.values():
            parameter.grad = None
        for name, buffer in self.buffers.items():
            buffer.copy_(kept[name])
        if self.buffers:
            return
        with torch.no_grad():
            vectorised = self._map(lambda call, x: call(x), self.parameters, x)
            self.layers = list(self._leaves(self.modules[0]))
            layered = self._layered(self.parameters, x, ())
            if not torch.allclose(layered, vectorised, rtol=1e-4, atol=1e-5, equal_nan=True):
                self.layers = []

    def _replaces_buffers(self, x: Tensor) -> bool:
        """Whether a training pass assigns buffers: a vectorised pass would lose what it assigns."""
        network = self.modules[0]
        if not self.buffers or self._known:
            return False
        homes = [(m, name, b) for m in network.modules() for name, b in m._buffers.items()]
        before = {id(b): b.clone() for _, _, b in homes if b is not None}
        network.train(True)
        with drawing_after(0, x.device), torch.no_grad():
            network(x[0])
        replaced = any(module._buffers[name] is not buffer for module, name, buffer in homes)
        for module, name, buffer in homes:
            module._buffers[name] = buffer
            if buffer is not None:
                buffer.copy_(before[id(buffer)])
        return replaced

    def first(self, count: int) -> Networks:
        """The first networks of a stack, in the same memory."""
        networks = copy(self)
        networks.modules = self.modules[:count]
        networks.parameters = {
            name: tensor.detach()[:count].requires_grad_(tensor.requires_grad)
            for name, tensor in self.parameters.items()
        }
        networks.buffers = {name: buffer[:count] for name, buffer in self.buffers.items()}
        return networks

    def settle(self) -> None:
        """Write what was learned back into the single networks."""
        if self.stacked:
            with torch.no_grad():
                for number, module in enumerate(self.modules):
                    learned = [*module.named_parameters(), *module.named_buffers()]
                    for name, tensor in learned:
                        tensor.copy_(self.tensors[name][number])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers by name; one network may have put others in their place."""
        buffers = self.buffers if self.stacked else dict(self.modules[0].named_buffers())
        return self.parameters | buffers


def _least(network: nn.Module) -> int:
    """The fewest weights of a layer of a network that has dense layers only; else 0."""
    modules = [each for each in network.modules() if type(each) is not nn.Sequential]
    acts = [each for each in modules if isinstance(each, Act)]
    known = nn.Linear | Act | nn.ParameterDict | Dropout | nn.Flatten
    plain = all(isinstance(each, known) for each in modules)
    if not plain or any(True for act in acts for _ in act.parameters()):
        return 0
    if any(act.activation.entry.sha256 for act in acts):
        return 0
    return min((each.weight.numel() for each in modules if isinstance(each, nn.Linear)), default=0)


def _stacked(tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """By name, with the networks in the first dimension.

    torch.func.stack_module_state wants one class of all, and every traced network has its own.
    """
    return {
        name: torch.stack([each[name].detach() for each in tensors]).requires_grad_(
            tensor.requires_grad
        )
        for name, tensor in tensors[0].items()
    }


def _observe(
    network: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor, pulled: Pulled
) -> Any:
    seen: dict[Act, tuple[Tensor, Tensor]] = {}

    def look(act: Act, x: Tensor) -> Tensor:
        seen[act] = with_slopes(act, x, pulled)
        return seen[act][0]

    token = LOOK.set(look)
    try:
        outputs = call(x)
        return outputs, [seen[act] for _, act in activations(network) if act.counted]
    finally:
        LOOK.reset(token)


def _pulled(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Any]:
    """As torch.func.vjp, but for all that autograd can do."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(x)
    return value.detach(), lambda chosen: torch.autograd.grad(value, x, chosen, retain_graph=True)


def slopes(act: Act, x: Tensor) -> Tensor:
    """|f'(x)| by automatic differentiation: what back-propagation would multiply by at `x`."""
    return with_slopes(act, x, _pulled)[1].abs()


def with_slopes(act: Act, x: Tensor, pulled: Pulled) -> tuple[Tensor, Tensor]:
    """f(x), and f'(x) by automatic differentiation, both (examples, units, …).

    The slope of an output over several pre-activations is the steepest, without its sign; where a
    unit takes other examples or positions in too, that of its sum over them.
    """
    value, pull = pulled(act.activate, x)
    entry = act.activation.entry
    if entry.elementwise:
        return value, pull(value.new_ones(()).expand(value.shape))[0]
    apart = 1 if entry.mixes else act.units // entry.outputs  # outputs that share no pre-activation
    steepest = []
    for first in range(0, act.units, apart):
        chosen = torch.zeros_like(value)
        chosen[:, first : first + apart] = 1
        steepest.append(pull(chosen)[0].abs().unflatten(1, (-1, apart)).amax(dim=1))
    return value, torch.cat(steepest, dim=1)
