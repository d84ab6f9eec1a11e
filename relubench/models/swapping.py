"""Another's network with its activations swapped, which otherwise runs as it is written.

What its calls are was found out before (`analysis`). The network runs as it is, and each call of an
activation is answered by an Act of its own, so that a module called twice is two layers of units.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.errors import BadValue
from relubench.models import calls
from relubench.models.calls import Shown, ShownCall, TorchFunction, asks, spelt
from relubench.models.layers import Act, Dropout, Ordered, pieces
from relubench.models.recognition import Formula
from relubench.user_code import UserCodeError, brief

Own = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Site:
    """A layer of units: where an activation stands.

    place    its name, from the modules that it is called in
    sizes    of the activation's input, but for the examples
    axes     those that hold units; None where nothing says so
    batch    the axis of the examples, of which there may be `each` per example
    counted  whether it is there in evaluation
    """

    place: str
    sizes: tuple[int, ...]
    axes: tuple[int, ...] | None
    batch: int
    each: int = 1
    counted: bool = True


@dataclass(frozen=True)
class Step:
    """What is done in the place of one call, or with what it gives.

    site    which activation takes the call's place; None for a dropout
    source  the call that made what it takes and the place there, where that is no argument of the
            call itself: -1 is the examples' call
    taken   else which of the call's tensors it takes
    into    which of them is changed in place, where that is seen
    copied  whether what it takes is written to later, so that a gradient needs a copy
    copies  whether what it gives is
    fraction, whole  of a dropout
    own     what the network has there itself
    """

    site: int | None = None
    source: tuple[int, int] | None = None
    taken: int = 0
    into: int | None = None
    copied: bool = False
    copies: bool = False
    fraction: float = 0.0
    whole: int = 0
    own: Formula | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Mode:
    """A network's calls in training or in evaluation, and what is done at some of them.

    kept  what later steps take, by the number of the call that makes it: its place among the
          results, or below 0 among the arguments, and whether it must be copied
    """

    functions: Sequence[TorchFunction]
    steps: Mapping[int, Step]
    kept: Mapping[int, Mapping[int, bool]]


@dataclass(frozen=True)
class Analysis:
    """What is known of a network, whatever its weights.

    shown    modules whose forward is made one call, and how
    order    layers with weights by their path and sites by their number, as they are called
    unused   parameters that nothing but the swapped activations take
    staying  what is not linear and stays, with the reason
    """

    sites: Sequence[Site]
    modes: Mapping[bool, Mode]
    shown: Mapping[str, ShownCall]
    order: Sequence[str | int]
    unused: Sequence[str]
    staying: Sequence[tuple[str, str]]

    @property
    def notes(self) -> list[str]:
        """What stays, a line for each reason."""
        reasons: dict[str, Counter[str]] = {}
        for what, reason in self.staying:
            reasons.setdefault(reason, Counter())[what.split(" in ")[0]] += 1
        return [f"{_counts_text(counts)} ({reason})" for reason, counts in reasons.items()]


def _counts_text(counts: Mapping[str, int]) -> str:
    """'2 x sigmoid, softmax'."""
    return ", ".join(f"{n} x {what}" if n > 1 else what for what, n in counts.items())


class Swapped(Ordered):
    """A network in which an Act answers every call of an activation.

    network   the network itself, with its own parameters
    acts      one for each site; none where it has its own activations
    drops     dropouts of training that draw from the cell's noise, by the number of their call
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        analysis: Analysis,
        activation: Choice[Activation] | None = None,
        unit_axis: int | None = None,
    ) -> None:
        super().__init__()
        self.name, self.network, self.analysis = name, network, analysis
        self.sites = list(analysis.sites)
        self.acts = nn.ModuleList()
        self.drops = nn.ModuleDict()
        if activation is None:
            return
        self.sites = [placed(name, site, unit_axis) for site in analysis.sites]
        for site in self.sites:
            act = Act(activation, math.prod(site.sizes[axis] for axis in site.axes or ()))
            act.place, act.counted = site.place, site.counted
            self.acts.append(act)
        # Dropout of training alone draws from the cell; what drops in evaluation
        # too is left to its code.
        for number, step in analysis.modes[True].steps.items():
            if step.site is None:
                self.drops[str(number)] = Dropout(step.fraction, step.whole)

    def forward(self, x: Tensor) -> Tensor:
        """(examples, …) to what the network gives."""
        with Swap(self, x) as swap:
            outputs: Tensor = self.network(x)
        swap.check_end()
        return outputs

    @property
    def notes(self) -> list[str]:
        """What is not linear and stays, with the reason."""
        return self.analysis.notes

    @property
    def order(self) -> list[nn.Module]:
        """Layers with weights and activations, as they are called."""
        return [
            self.acts[place] if isinstance(place, int) else self.network.get_submodule(place)
            for place in self.analysis.order
        ]

    def own_state(self) -> dict[str, Tensor]:
        """The state dict under the network's own names; learned activations come under theirs."""
        return {key.removeprefix("network."): value for key, value in self.state_dict().items()}


class Swap(TorchFunctionMode):
    """One forward pass in which steps take the place of calls."""

    def __init__(self, network: Swapped, x: Tensor) -> None:
        super().__init__()
        self.network = network
        self.mode = network.analysis.modes[network.training]
        self.examples, self.number = x.shape[0], 0
        self.kept = {(-1, 0): x}
        self.log: list[list[Tensor]] | None = None

    def __torch_function__(
        self,
        function: TorchFunction,
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Call the function, or take the step in its place."""
        kwargs = kwargs or {}
        if asks(function):
            return function(*args, **kwargs)
        # Calls are known by their number alone: every pass must make the same ones in this order.
        number = self.number
        self.number += 1
        functions = self.mode.functions
        if number >= len(functions) or functions[number] != function:
            expected = spelt(functions[number]) if number < len(functions) else "the end"
            self._refuse(number, f"{spelt(function)} instead of {expected}")
        step = self.mode.steps.get(number)
        result = self._take(step, number, args, kwargs) if step else function(*args, **kwargs)
        if number in self.mode.kept:
            self._keep(number, result, args, kwargs)
        if self.log is not None:
            self.log.append([tensor.clone() for tensor in calls.tensors(result)])
        return result

    def check_end(self) -> None:
        """Refuse a pass that was shorter than the one that was looked at."""
        if self.number != len(self.mode.functions):
            self._refuse(self.number, "the end instead of more")

    def _refuse(self, number: int, what: str) -> None:
        raise UserCodeError(
            f"{self.network.name}: its calls are not the same in every pass (call {number + 1} "
            f"was {what}), so that its activations cannot be swapped: write a factory "
            "(input_shape, classes, activation)"
        )

    def _keep(self, number: int, result: object, args: object, kwargs: object) -> None:
        made, arguments = calls.tensors(result), calls.tensors((args, kwargs))
        for place, copied in self.mode.kept[number].items():
            # 0 is the first result, -1 the first argument.
            tensor = made[place] if place >= 0 else arguments[-place - 1]
            self.kept[number, place] = tensor.clone() if copied else tensor

    def _take(self, step: Step, number: int, args: object, kwargs: object) -> Tensor:
        arguments = calls.tensors((args, kwargs))
        x = arguments[step.taken] if step.source is None else self.kept[step.source]
        if step.into is None:
            value = self._value(step, number, x.clone() if step.copied else x)
            return value.clone() if step.copies else value
        # The network looks at the change by another name: it must happen in that very memory.
        return arguments[step.into].copy_(self._value(step, number, x.clone()))

    def _value(self, step: Step, number: int, x: Tensor) -> Tensor:
        if step.site is None:
            drop: Tensor = self.network.drops[str(number)](x)
            return drop
        site = self.network.sites[step.site]
        # Without Acts the network is checked: each site is answered by its own formula.
        own = None if len(self.network.acts) else step.own
        function: Own = own.at if own else self.network.acts[step.site]
        return arranged(function, x, site, self.examples)


def arranged(function: Own, x: Tensor, site: Site, examples: int) -> Tensor:
    """A function of (examples, units, …) on a tensor that has its units and examples elsewhere."""
    units = site.axes or ()
    # Already (examples, units, …): the usual case costs nothing.
    if units == (1,) and site.batch == 0 and site.each == 1:
        return function(x)
    shape = x.shape
    # To (examples, units, …): first the axes, then several unit axes as one, then positions last.
    moved = x.movedim((site.batch, *units), tuple(range(len(units) + 1)))
    order = moved.shape
    if len(units) > 1:
        moved = moved.flatten(1, len(units))
    if site.each > 1:  # several positions of one example, side by side
        moved = moved.unflatten(0, (examples, -1)).movedim(1, -1)
    value = function(moved)
    if site.each > 1:
        value = value.movedim(-1, 1).flatten(0, 1)
    # And back, in the opposite order.
    value = value.reshape(order).movedim(tuple(range(len(units) + 1)), (site.batch, *units))
    return value.reshape(shape)


def placed(name: str, site: Site, unit_axis: int | None) -> Site:
    """The site with its units where the user says, if nothing else does; raises BadValue."""
    if site.axes is not None:
        return site
    ndim = len(site.sizes)
    size = " x ".join("examples" if n == site.batch else str(s) for n, s in enumerate(site.sizes))
    if unit_axis is None:
        raise BadValue(
            f"{name}: which axis of {site.place} holds its units cannot be known (its input is "
            f"{size}): say it with --unit-axis"
        )
    # Counted from the end, too, as torch allows; the examples' axis holds no units.
    if not -ndim <= unit_axis < ndim or unit_axis % ndim == site.batch:
        raise BadValue(f"--unit-axis {unit_axis}: {site.place} in {name} takes {size}")
    return replace(site, axes=(unit_axis % ndim,))


def swapped(
    name: str,
    network: nn.Module,
    activation: Choice[Activation],
    analysis: Analysis,
    unit_axis: int | None = None,
) -> Swapped:
    """The network with every activation an Act and its dropout ours.

    Weights are the network's own. Raises BadValue where activations cannot be told from the rest.
    """
    if pieces(activation) != 1 or activation.entry.outputs != 1:
        raise BadValue(
            f"{activation} does not give one output per pre-activation, and the layers of {name} "
            "have one width for both: use one of the listed models (relubench list models)"
        )
    if unit_axis is not None and all(site.axes for site in analysis.sites):
        raise BadValue(f"--unit-axis {unit_axis}: where the units of {name} are is known")
    fit(network, analysis)
    # PReLU's slope, say: without its activation it would be counted among what is learned.
    for path in analysis.unused:
        _set_aside(network, path)
    return Swapped(name, network, analysis, activation, unit_axis)


def copied(name: str, network: nn.Module, same: Iterable[Tensor] = ()) -> nn.Module:
    """A network of its own, but for the tensors in `same`; raises BadValue where there is none.

    What a layer computes from its parameters and keeps (weight_norm, prune) is copied as numbers.
    """
    # deepcopy's memo: what is in it already is taken as it stands. A tensor with a history, which
    # torch refuses to copy, is detached.
    memo: dict[int, Tensor] = {}
    for module in network.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach()
    memo |= {id(tensor): tensor for tensor in same}
    try:
        return copy.deepcopy(network, memo)
    except Exception as error:
        raise BadValue(
            f"{name} cannot be copied, to see that it stays the same: {brief(error)}"
        ) from error


def plain(network: nn.Module) -> nn.Module:
    """The network as it was before torch.compile."""
    # What is compiled calls none of torch's functions by name, so that no mode would see a call.
    network = getattr(network, "_orig_mod", network)
    for module in list(network.modules()):
        module._compiled_call_impl = None  # of Module.compile
        for name, child in list(module.named_children()):
            if hasattr(child, "_orig_mod"):
                setattr(module, name, child._orig_mod)
    return network


def fit(network: nn.Module, analysis: Analysis) -> None:
    """Let the modules that hide what they do be seen."""
    for path, call in analysis.shown.items():
        show(network, path, call)


def show(network: nn.Module, path: str, call: ShownCall) -> None:
    """Let the forward of the module at `path` be one call."""
    parent, _, name = path.rpartition(".")
    home = network.get_submodule(parent)
    if not isinstance(getattr(home, name), Shown):
        setattr(home, name, Shown(getattr(home, name), call))


def _set_aside(network: nn.Module, path: str) -> None:
    """A parameter that nothing takes any more learns nothing, and is none."""
    # A buffer, since the network's own code may still read the attribute.
    parent, _, name = path.rpartition(".")
    home = network.get_submodule(parent)
    value = home.get_parameter(name).detach()
    del home._parameters[name]
    home.register_buffer(name, value, persistent=False)
