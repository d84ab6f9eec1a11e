"""Networks built without drawing weights that are drawn anew, or without memory for them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from relubench.models.calls import TorchFunction
from relubench.models.weights import WEIGHTED


class _Undrawn(TorchFunctionMode):
    """What torch.nn.init is given, it leaves as it is."""

    def __torch_function__(
        self,
        function: TorchFunction,
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        named = kwargs or {}
        # torch.nn.init hands a mode its arguments by name; calls of a tensor's methods pass.
        if "tensor" in named and getattr(function, "__module__", "") == nn.init.__name__:
            return named["tensor"]
        return function(*args, **named)


class _UndrawnLayers(TorchFunctionMode):
    """The weights of dense and convolutional layers stay as memory had them; the rest is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: dict[int, Tensor] = {}

    def __torch_function__(
        self,
        function: TorchFunction,
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        named = kwargs or {}
        tensor = args[0] if args else named.get("tensor")
        name = getattr(function, "__name__", "")
        # Anything in place on such a weight: uniform_, copy_, trunc_normal_'s erfinv_ and so on.
        drawing = name.endswith("_") and not name.startswith("__") and id(tensor) in self.weights
        return tensor if drawing else function(*args, **named)

    def note(self, module: nn.Module, name: str, parameter: Tensor | None) -> None:
        """A parameter is registered: whether it is such a weight."""
        if isinstance(module, WEIGHTED) and name == "weight" and parameter is not None:
            # By id: where it is drawn there is a tensor, and neither module nor name.
            self.weights[id(parameter)] = parameter


@contextmanager
def undrawn_layers() -> Iterator[None]:
    """What is built here has layers whose weights are not drawn: `initialise` does that anyway."""
    mode = _UndrawnLayers()
    # Of all modules, in this process: it is removed as soon as the network is built.
    hook = nn.modules.module.register_module_parameter_registration_hook(mode.note)
    try:
        with mode:
            yield
    finally:
        hook.remove()


@torch.no_grad()
def sketch(network: nn.Module) -> None:
    """Give dense and convolutional layers weights that are good enough to look at, in no time."""
    # One more than a power of 2, so that rows of such a length differ.
    numbers = torch.randn(2**12 + 1, generator=torch.Generator().manual_seed(0))
    for module in network.modules():
        if isinstance(module, WEIGHTED):
            weight = module.get_parameter("weight")
            drawn = numbers * math.sqrt(1 / max(1, weight[0].numel()))
            flat = weight.view(-1)
            rows = flat.numel() // len(drawn)
            flat[: rows * len(drawn)].view(rows, len(drawn)).copy_(drawn)
            flat[rows * len(drawn) :].copy_(drawn[: flat.numel() - rows * len(drawn)])


@contextmanager
def weightless() -> Iterator[None]:
    """What is built here has no memory for its weights; to draw them all the same takes longest."""
    with torch.device("meta"), _Undrawn():
        yield
