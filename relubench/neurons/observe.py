"""What flows through a network's activations, while it runs as it is written.

Hooks tell which module runs, and a mode sees each call of a torch function; nothing of the network
is changed, and both are taken away again whatever happens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from relubench.models.calls import asks, spelt, tensors
from relubench.models.functions import NAMED
from relubench.models.layers import Act
from relubench.neurons.batches import Batch
from relubench.neurons.formulas import Function, Program, derivative_at, derivatives
from relubench.neurons.sites import Key, Passing, Plan, Repeated, Site, blaming

# Layers of torch's by what they call: nothing but that, whatever they are given.
LAYERS: dict[type[nn.Module], set[str]] = {
    nn.Linear: {"linear"},
    **{kind: {kind.__name__.lower(), "pad"} for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d)},
    **{kind: {"batch_norm", "add"} for kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)},
    nn.LayerNorm: {"layer_norm"},
    nn.GroupNorm: {"group_norm"},
    **{kind: {"dropout", "dropout2d"} for kind in (nn.Dropout, nn.Dropout2d)},
    nn.Identity: set(),
}
PART = 2**19  # outputs that are looked at together: 2 MiB of float32, with what is made of them


@dataclass(frozen=True, eq=False)
class Seeing:
    """One activation of one pass.

    x, value  its pre-activations and its outputs
    function  what makes one of the other
    splits    whether it makes every example's outputs of that example alone
    """

    site: Site
    x: Tensor
    value: Tensor
    function: Function
    act: Act | None = None
    splits: bool = False

    def parts(self) -> Iterator[Seeing]:
        """The same, a few examples at a time: what is made of them stays in a CPU's cache."""
        examples, size = len(self.value), self.value.numel()
        several = self.splits and self.x.shape == self.value.shape and size > PART
        if not several or self.x.device.type != "cpu":
            yield self
            return
        few = max(1, examples // (size // PART))
        for x, value in zip(self.x.split(few), self.value.split(few), strict=True):
            yield replace(self, x=x, value=value)

    @property
    def key(self) -> Any:
        """The same for activations that are the same function; None: that is not known."""
        if self.act is not None:
            return self.act if self.act.activation.entry.elementwise else None
        return self.function.key if isinstance(self.function, Repeated) else None

    def derivative(self) -> Tensor:
        """f'(x), of the outputs' shape: what back-propagation would multiply by, or its size."""
        if self.act is not None:
            return derivatives(self.act, self.x)
        return derivative_at(self.function, self.x)


Look = Callable[[Seeing], Tensor | None]  # what it gives takes the output's place


class Observer(TorchFunctionMode):
    """Sees every call of a torch function, and shows those of a plan's sites to `look`."""

    def __init__(self, plan: Plan, look: Look) -> None:
        super().__init__()
        self.plan, self.look = plan, look
        self.sites = {site.key: site for site in plan.sites}
        self.holds: dict[Key, list[Site]] = {}
        for site in plan.sites:
            if site.held:
                self.holds.setdefault(site.held[0], []).append(site)
        # Functions by name; "": it only asks for a fact, or is nothing that a site hangs on.
        self.names: dict[Any, str] = {}
        keys = [*self.sites, *self.holds]
        self.awaited = NAMED | {name for _, name, _ in keys}
        self.paths = {path for path, _, _ in keys}
        self.passing = Passing()
        self.begin()

    def begin(self) -> None:
        """Forget the last pass."""
        self.path, self.stack = "", list[str]()
        self.counts: Counter[tuple[str, str]] = Counter()
        self.held: dict[Site, Tensor] = {}
        self.below: list[Seeing] = []  # what TorchScript calls, where no gradient can be taken
        self.inside: list[Tensor] = []  # modules that are one activation; what they take
        self.paused = False

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call it, and look where it is a site."""
        kwargs = kwargs or {}
        # Inside of a module that is one activation nothing else is a site.
        if self.paused or self.inside:
            return function(*args, **kwargs)
        # Out of TorchScript again: gradients can be taken, so that what was put by is looked at.
        if self.below and not self.passing.below:
            self.flush()
        name = self.names.get(function)
        if name is None:
            name = "" if asks(function) else spelt(function)
            name = self.names[function] = name if name in self.awaited else ""
        if not name:
            return function(*args, **kwargs)
        count = self.counts[self.path, name]
        self.counts[self.path, name] = count + 1
        key = (self.path, name, count)
        # A named function that the first pass did not have may be called for other examples.
        if key in self.sites or (name in NAMED and key not in self.plan.seen):
            return self._at_site(key, function, args, kwargs)
        result = function(*args, **kwargs)
        if key in self.holds:
            self._hold(key, tensors(result), args, kwargs)
        return result

    def _hold(self, key: Key, made: list[Tensor], args: Any, kwargs: Any) -> None:
        for site in self.holds[key]:
            assert site.held is not None
            place = site.held[1]
            tensor = made[place] if place >= 0 else tensors((args, kwargs))[-place - 1]
            self.held[site] = tensor.clone() if site.writes else tensor

    def _at_site(self, key: Key, function: Any, args: Any, kwargs: Any) -> Any:
        given = _tensors(args, kwargs)
        site = self.sites.get(key)
        x = self._input(site, given)
        if x is None:
            return function(*args, **kwargs)
        result = function(*args, **kwargs)
        made = [result] if isinstance(result, Tensor) else tensors(result)
        if site is None:
            site = self.sites[key] = self.plan.further(key, made[0])
        value = made[site.made] if site.made >= 0 else given[-site.made - 1]
        if key in self.holds:
            self._hold(key, made, args, kwargs)
        own = site.program
        if own is None and not site.rectifies:
            own = Repeated(function, args, kwargs, site.taken, site.writes)
        beside = [tensor for place, tensor in enumerate(given) if place != site.taken]
        if isinstance(own, Program):
            beside = tensors([arguments for _, arguments in own.steps])
        splits = not any(_goes_with(tensor, x) for tensor in beside)
        instead = self._see(Seeing(site, x, value, own or torch.relu, splits=splits))
        if instead is None:
            return result
        # The network goes on with the tensor that was written to: the replacement must be in it.
        if site.writes or site.made < 0:
            with torch.no_grad():
                value.copy_(instead)
            return result
        return instead

    def _input(self, site: Site | None, given: list[Tensor]) -> Tensor | None:
        """What a call takes, as it is before; None where there is nothing to be seen."""
        if site is None:
            return given[0].clone() if given and given[0].is_floating_point() else None
        if site.held:
            return self.held.pop(site, None)
        x = given[site.taken]
        return x.clone() if site.writes and not site.rectifies else x

    def _see(self, seeing: Seeing) -> Tensor | None:
        if not self.passing.below:
            return self.look(seeing)
        self.below.append(Seeing(seeing.site, seeing.x, seeing.value.clone(), seeing.function))
        return None

    def flush(self) -> None:
        """Look at what TorchScript has called."""
        left, self.below = self.below, []
        for seeing in left:
            self.look(seeing)

    # --- hooks

    def hooked(self, path: str, module: nn.Module) -> bool:
        """Whether it must be known when a module runs: all but layers on which nothing hangs."""
        # TorchScript takes no hooks.
        if isinstance(module, torch.jit.ScriptModule):
            return False
        calls = _calls(module)
        others = module._forward_hooks or module._forward_pre_hooks
        if calls is None or others or path in self.paths or module in self.plan.modules:
            return True
        # Its calls are taken for those of the module around it: none of them may be counted there.
        return bool(self.awaited & calls)

    def enter(self, path: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A module's forward begins."""
        if self.paused:
            return
        self.stack.append(self.path)
        self.path = path
        if module in self.plan.modules:
            given = tensors((args, kwargs))
            self.inside.append(given[0].clone() if given else torch.empty(0))

    def leave(self, module: nn.Module, output: Any) -> Any:
        """A module's forward ends."""
        if self.paused:
            return None
        path, self.path = self.path, self.stack.pop()
        if module not in self.plan.modules:
            return None
        x = self.inside.pop()
        number = self.counts[path, ""]
        self.counts[path, ""] = number + 1
        site = self.sites.get((path, "", number))
        if self.inside or site is None or not isinstance(output, Tensor):
            return None
        # The derivative calls the module again: that call is ours, and no site.
        self.paused = True
        try:
            act = module if isinstance(module, Act) else None
            own = act.activate if act else module.forward
            alone = act is not None and act.activation.entry.elementwise
            return self.look(Seeing(site, x, output, own, act, alone))
        finally:
            self.paused = False


def _calls(module: nn.Module) -> set[str] | None:
    """What a module calls by itself, whatever it is given; None: that is not known."""
    if type(module).forward is nn.Sequential.forward:
        return set()
    return LAYERS.get(type(module))


def _goes_with(tensor: Tensor, x: Tensor) -> bool:
    """Whether a further tensor of a call has an entry for each example of `x`."""
    return tensor.ndim >= x.ndim and len(tensor) == len(x) > 1


def _tensors(args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors of a call, as `calls.tensors` has them, which takes longer."""
    leaves = [*args, *kwargs.values()]
    if any(isinstance(leaf, list | tuple | dict) for leaf in leaves):
        return tensors((args, kwargs))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


@contextmanager
def observed(network: nn.Module, plan: Plan, look: Look) -> Iterator[Callable[[Batch], Any]]:
    """A call of the network, for a batch, whose activations are shown to `look`."""
    observer = Observer(plan, look)

    def call(batch: Batch) -> Any:
        observer.begin()
        with ExitStack() as modes, blaming(network):
            modes.enter_context(observer)
            if plan.scripted:
                modes.enter_context(observer.passing)
            outputs = network(*batch.args, **batch.kwargs)
        observer.flush()
        return outputs

    with ExitStack() as hooks:
        for path, module in network.named_modules():
            if not observer.hooked(path, module):
                continue
            before = module.register_forward_pre_hook(
                lambda module, args, kwargs, path=path: observer.enter(path, module, args, kwargs),
                with_kwargs=True,
            )
            after = module.register_forward_hook(
                lambda module, args, out: observer.leave(module, out)
            )
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        yield call
