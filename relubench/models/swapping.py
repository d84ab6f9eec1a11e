"""Another's network with its activations swapped, which otherwise runs as it is written.

The network is looked at once (`analysed`): which of its calls are activations, where their units
are, in training and in evaluation. From then on it runs as it is, and each of those calls is
answered by an Act of its own (`Swapped`), so that a module called twice is two layers of units.
With its own activations put back it must give what it gave; else it is refused.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.errors import BadValue
from relubench.layers import WEIGHTED, Act, Dropout, Ordered, drawing_from, pieces
from relubench.models import axes, calls, recognition
from relubench.models.calls import Record, Shown, Value, asks, in_mode, recorded, spelt
from relubench.models.recognition import Formula
from relubench.own_code import OwnCodeError, brief

DROPPED = {"dropout": 0, "dropout1d": 2, "dropout2d": 2, "dropout3d": 2, "dropped": 1}
DROPPING = {"StochasticDepth": "p", "DropPath": "drop_prob"}  # modules that zero whole examples
FEW, MANY = 2, 3  # examples in the passes that are looked at
MODES = (True, False)  # training, evaluation
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
    held    the call that made what it takes and the place there, where that is no argument of the
            call itself: -1 is the examples' call
    taken   else which of the call's tensors it takes
    into    which of them is changed in place, where that is seen
    share, whole  of a dropout
    own     what the network has there itself
    """

    site: int | None = None
    held: tuple[int, int] | None = None
    taken: int = 0
    into: int | None = None
    share: float = 0.0
    whole: int = 0
    own: Formula | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Mode:
    """A network's calls in training or in evaluation, and what is done at some of them.

    kept  what later steps take, by the number of the call that makes it: its place among the
          results, or below 0 among the arguments, and whether it must be copied
    """

    functions: Sequence[Any]
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
    shown: Mapping[str, Any]
    order: Sequence[str | int]
    unused: Sequence[str]
    staying: Sequence[tuple[str, str]]

    @property
    def notes(self) -> list[str]:
        """What stays, a line for each reason."""
        reasons: dict[str, Counter[str]] = {}
        for what, reason in self.staying:
            reasons.setdefault(reason, Counter())[what.split(" in ")[0]] += 1
        return [
            f"{', '.join(f'{n} x {what}' if n > 1 else what for what, n in of.items())} "
            f"({reason})"
            for reason, of in reasons.items()
        ]


class Swapped(Ordered):
    """A network in which an Act answers every call of an activation.

    network   the network itself, with its own parameters
    acts      one for each site; none where it has its own activations
    drops     dropouts that draw from the cell's noise, by the number of their call
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
        for training, mode in analysis.modes.items():
            for number, step in mode.steps.items():
                if step.site is None:
                    self.drops[f"{training}{number}"] = Dropout(step.share, step.whole)

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

    def own_state(self) -> dict[str, Any]:
        """The state dict under the network's own names; learned activations come under theirs."""
        return {key.removeprefix("network."): value for key, value in self.state_dict().items()}


class Swap(TorchFunctionMode):
    """One forward pass in which steps take the place of calls."""

    def __init__(self, network: Swapped, x: Tensor) -> None:
        super().__init__()
        self.network, self.training = network, network.training
        self.mode = network.analysis.modes[network.training]
        self.examples, self.number = x.shape[0], 0
        self.held = {(-1, 0): x}
        self.log: list[list[Tensor]] | None = None

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the function, or take the step in its place."""
        kwargs = kwargs or {}
        if asks(function):
            return function(*args, **kwargs)
        number = self.number
        self.number += 1
        functions = self.mode.functions
        if number >= len(functions) or functions[number] != function:
            known = spelt(functions[number]) if number < len(functions) else "the end"
            self._refuse(number, f"{spelt(function)} instead of {known}")
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
        raise OwnCodeError(
            f"{self.network.name}: its calls are not the same in every pass (call {number + 1} "
            f"was {what}), so that its activations cannot be swapped: write a factory "
            "(input_shape, classes, activation)"
        )

    def _keep(self, number: int, result: Any, args: Any, kwargs: Any) -> None:
        made, given = calls.tensors(result), calls.tensors((args, kwargs))
        for place, copied in self.mode.kept[number].items():
            tensor = made[place] if place >= 0 else given[-place - 1]
            self.held[number, place] = tensor.clone() if copied else tensor

    def _take(self, step: Step, number: int, args: Any, kwargs: Any) -> Any:
        given = calls.tensors((args, kwargs))
        x = given[step.taken] if step.held is None else self.held[step.held]
        if step.into is None:
            return self._value(step, number, x)
        return given[step.into].copy_(self._value(step, number, x.clone()))

    def _value(self, step: Step, number: int, x: Tensor) -> Tensor:
        if step.site is None:
            drop: Tensor = self.network.drops[f"{self.training}{number}"](x)
            return drop
        site = self.network.sites[step.site]
        function = self.network.acts[step.site] if len(self.network.acts) else step.own
        assert function is not None
        if isinstance(function, Formula):
            function = function.at
        return arranged(function, x, site, self.examples)


def arranged(function: Own, x: Tensor, site: Site, examples: int) -> Tensor:
    """A function of (examples, units, …) on a tensor that has its units and examples elsewhere."""
    units = site.axes or ()
    if units == (1,) and site.batch == 0 and site.each == 1:
        return function(x)
    shape = x.shape
    moved = x.movedim((site.batch, *units), tuple(range(len(units) + 1)))
    order = moved.shape
    if len(units) > 1:
        moved = moved.flatten(1, len(units))
    if site.each > 1:  # several positions of one example, side by side
        moved = moved.unflatten(0, (examples, -1)).movedim(1, -1)
    value = function(moved)
    if site.each > 1:
        value = value.movedim(-1, 1).flatten(0, 1)
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
    if not -ndim <= unit_axis < ndim or unit_axis % ndim == site.batch:
        raise BadValue(f"--unit-axis {unit_axis}: {site.place} in {name} takes {size}")
    return replace(site, axes=(unit_axis % ndim,))


def swapped(
    name: str,
    network: nn.Module,
    shape: Sequence[int],
    activation: Choice[Activation],
    analysis: Analysis | None = None,
    unit_axis: int | None = None,
) -> Swapped:
    """The network for examples of `shape` with every activation an Act, its dropout ours.

    Weights are the network's own. Raises BadValue where activations cannot be told from the rest.
    """
    if pieces(activation) != 1 or activation.entry.outputs != 1:
        raise BadValue(
            f"{activation} does not give one output per pre-activation, and the layers of {name} "
            "have one width for both: use one of the listed models (relubench list models)"
        )
    analysis = analysis or analysed(name, network, shape)
    fit(network, analysis)
    for path in analysis.unused:
        _set_aside(network, path)
    return Swapped(name, network, analysis, activation, unit_axis)


def fit(network: nn.Module, analysis: Analysis) -> None:
    """Let the modules that hide what they do be seen."""
    for path, call in analysis.shown.items():
        _show(network, path, call)


def _show(network: nn.Module, path: str, call: Any) -> None:
    parent, _, name = path.rpartition(".")
    home = network.get_submodule(parent)
    if not isinstance(getattr(home, name), Shown):
        setattr(home, name, Shown(getattr(home, name), call))


def _set_aside(network: nn.Module, path: str) -> None:
    """A parameter that nothing takes any more learns nothing, and is none."""
    parent, _, name = path.rpartition(".")
    home = network.get_submodule(parent)
    value = home.get_parameter(name).detach()
    del home._parameters[name]
    home.register_buffer(name, value, persistent=False)


# --- looking at a network -------------------------------------------------------------------------


def analysed(name: str, network: nn.Module, shape: Sequence[int]) -> Analysis:
    """What is to be known for a swap; raises BadValue where the network cannot be looked at.

    The network stays as it is, but for modules that are made to be seen.
    """
    original = _copied(name, network)
    shown = _dropping(network)
    _run(name, network, shape)
    first, unseen = _first_record(name, network, shape)
    shown |= unseen
    records = {(True, FEW): first}
    for mode, count in ((True, MANY), (False, FEW), (False, MANY)):
        records[mode, count] = _recorded(name, network, shape, mode, count)
    for mode in MODES:
        _check_alike(name, records[mode, FEW], records[mode, MANY])
        _check_outputs(name, records[mode, FEW])
    found = {which: recognition.recognised(record) for which, record in records.items()}
    for mode in MODES:
        for call, reason in found[mode, FEW].hidden:
            raise BadValue(f"{name}: the activation {call} cannot be swapped: {reason}")
    if not any(found[mode, FEW].formulas for mode in MODES):
        raise BadValue(
            f"{name} has no activation that could be swapped: no call between its layers is "
            "elementwise and not linear"
        )
    analysis = _joined(network, records, found, shown)
    check(name, original, network, analysis, shape, found)
    return _forgetting(analysis)


def _forgetting(analysis: Analysis) -> Analysis:
    """Without the tensors of the passes that were looked at."""
    modes = {
        mode: replace(it, steps={n: replace(step, own=None) for n, step in it.steps.items()})
        for mode, it in analysis.modes.items()
    }
    return replace(analysis, modes=modes)


def _copied(name: str, network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:
        raise BadValue(f"{name} cannot be copied, to see that it stays the same: {brief(error)}") from error


def _dropping(network: nn.Module) -> dict[str, Any]:
    """Make the modules that drop whole examples be seen."""
    paths = {
        path: calls.dropped
        for path, module in network.named_modules()
        if path
        and getattr(module, DROPPING.get(type(module).__name__, ""), None)
        and getattr(module, "mode", "row") == "row"
        and getattr(module, "scale_by_keep", True)
    }
    for path, call in paths.items():
        _show(network, path, call)
    return dict(paths)


def _first_record(
    name: str, network: nn.Module, shape: Sequence[int]
) -> tuple[Record, dict[str, Any]]:
    """A training pass, in which no call is out of sight, and the modules that are shown for that.

    They are those whose forward is an elementwise function that torch hides.
    """
    record = _recorded(name, network, shape, True, FEW)
    shown: dict[str, Any] = {
        run.path: calls.shown
        for run in record.runs
        if run.unseen and run.path and _own_elementwise(run)
    }
    for path, call in shown.items():
        _show(network, path, call)
    if shown:
        record = _recorded(name, network, shape, True, FEW)
    if record.unseen:
        raise BadValue(
            f"{name} calls something that torch does not show (TorchScript, an operator of one's "
            f"own; what it gives goes to {record.unseen}), so that its activations cannot be "
            "swapped: write it with torch's functions, or write a factory (input_shape, classes, "
            "activation)"
        )
    return record, shown


@torch.no_grad()
def _own_elementwise(run: calls.Run) -> bool:
    """Whether each number that a module gives depends on one number that it takes, and bends."""
    if run.input is None or run.output is None or run.input.shape != run.output.shape:
        return False
    x, module = run.input.tensor.detach(), run.module
    with drawing_from(torch.Generator().manual_seed(0)):
        value = module(x.clone())
        half = (torch.arange(x.numel()) % 2 == 0).view(x.shape)
        moved = module(torch.where(half, x, x + 1))
        again = module(x.clone())
        at = [module(torch.full_like(x, point)) for point in (-2.0, 0.0, 2.0)]
    apart = torch.allclose(moved[half], value[half]) and torch.equal(again, value)
    return apart and bool((at[0] - 2 * at[1] + at[2]).abs().max() > 1e-6)


def _run(name: str, network: nn.Module, shape: Sequence[int]) -> None:
    """Run it once in each mode, for what is made only then; refuse a network that cannot."""
    try:
        for mode in MODES:
            with in_mode(network, mode), drawing_from(None):
                network(_examples(shape, FEW))
    except Exception as error:
        size = "x".join(map(str, shape))
        raise BadValue(f"{name} cannot take examples of {size}: {brief(error)}") from error


def _examples(shape: Sequence[int], count: int) -> Tensor:
    """Normal numbers, turned round from one count to the next: a sum has another sign there."""
    stream = torch.Generator().manual_seed(0)
    return (-1) ** count * torch.randn(count, *shape, generator=stream)


def _recorded(
    name: str, network: nn.Module, shape: Sequence[int], mode: bool, count: int
) -> Record:
    """Its calls for so many examples, as gradients are taken."""
    x = _examples(shape, count).requires_grad_()
    try:
        with in_mode(network, mode), drawing_from(None), torch.enable_grad():
            return recorded(network, x.clone())
    except Exception as error:
        size = "x".join(map(str, shape))
        raise BadValue(f"{name} cannot take {count} examples of {size}: {brief(error)}") from error


def _check_alike(name: str, few: Record, many: Record) -> None:
    """Refuse a network whose calls depend on its examples."""
    pairs = zip(few.functions, many.functions, strict=False)
    where = next((n for n, (a, b) in enumerate(pairs) if a != b), None)
    if where is None and len(few.functions) != len(many.functions):
        where = min(len(few.functions), len(many.functions)) - 1
    if where is not None:
        raise BadValue(
            f"{name}: what it calls depends on its examples (call {where + 1}, "
            f"{spelt(few.functions[where])}), so that its activations cannot be swapped: write a "
            "factory (input_shape, classes, activation)"
        )


def _check_outputs(name: str, record: Record) -> None:
    """Refuse a network with more than one output."""
    if isinstance(record.outputs, Tensor):
        return
    count = len(record.results)
    if count < 2:
        raise BadValue(f"{name} gives {type(record.outputs).__name__}, and not a tensor of scores")
    raise BadValue(
        f"{name} gives {count} outputs while training, as networks with an auxiliary head do: a "
        "second classifier whose loss is added while training only. relubench trains one "
        "classifier: build it without (in torchvision aux_logits=False)"
    )


def _joined(
    network: nn.Module,
    records: Mapping[tuple[bool, int], Record],
    found: Mapping[tuple[bool, int], recognition.Found],
    shown: Mapping[str, Any],
) -> Analysis:
    """One numbering of the sites for both modes: the n-th at a place is the same in both."""
    numbers: dict[tuple[str, int], int] = {}
    sites: list[Site] = []
    modes = {}
    positions: dict[int, float] = {}
    for mode in (False, True):
        few, many = records[mode, FEW], records[mode, MANY]
        known: dict[Value, axes.Axes | None] = {}
        seen: Counter[str] = Counter()
        steps: dict[int, Step] = {}
        for formula in found[mode, FEW].formulas:
            place = formula.place
            seen[place] += 1
            key = (place, seen[place])
            if key not in numbers:
                numbers[key] = len(sites)
                called = f"{place}_{seen[place]}" if seen[place] > 1 else place
                sites.append(_site(called, formula, few, many, known, counted=not mode))
                positions[numbers[key]] = formula.call.number
            steps[formula.call.number] = _step(numbers[key], formula)
        steps |= _drops(few)
        modes[mode] = Mode(few.functions, steps, _kept(steps))
    return Analysis(
        sites=sites,
        modes=modes,
        shown=shown,
        order=_order(network, records[False, FEW], positions),
        unused=_unused(network, records, found),
        staying=list(dict.fromkeys(found[False, FEW].staying + found[True, FEW].staying)),
    )


def _site(
    place: str,
    formula: Formula,
    few: Record,
    many: Record,
    known: dict[Value, axes.Axes | None],
    counted: bool,
) -> Site:
    start = formula.start
    other = _counterpart(start, many)
    batch = axes.batch_axis(start.shape, other.shape)
    axis = 0 if batch is None else batch
    return Site(
        place=place,
        sizes=start.shape,
        axes=_unit_axes(formula, few, known, axis),
        batch=axis,
        each=max(1, start.shape[axis] // FEW),
        counted=counted,
    )


def _counterpart(value: Value, record: Record) -> Value:
    """The same value in another record of the same calls."""
    if value.call is None:
        return record.examples
    call = next(c for c in record.calls if c.number == value.call.number)
    return call.outputs[value.place]


def _unit_axes(
    formula: Formula, record: Record, known: dict[Value, axes.Axes | None], batch: int
) -> axes.Axes | None:
    """Where the units are: what the layer before says, the one after, or what is left."""
    start, end = formula.start, formula.end
    before = tuple(axis for axis in axes.feature_axes(start, known) or () if axis != batch)
    if len(before) == 1:
        return before
    after = axes.weighed_later(record, end, batch)
    if after is not None:
        return (after,)
    left = [axis for axis in range(start.tensor.ndim) if axis != batch]
    return before or (tuple(left) if len(left) == 1 else None)


def _step(site: int, formula: Formula) -> Step:
    """How the site is answered: at the call that ends the formula."""
    call, start = formula.call, formula.start
    into = call.inputs.index(call.written) if call.effect and call.written else None
    if start in call.inputs:
        return Step(site=site, taken=call.inputs.index(start), into=into, own=formula)
    return Step(site=site, held=_made_at(start), into=into, own=formula)


def _made_at(value: Value) -> tuple[int, int]:
    """The call that makes a value, and which of its results, or below 0 its arguments, it is."""
    if value.call is None:
        return -1, 0
    written = [n for n, taken in enumerate(value.call.inputs) if taken.tensor is value.tensor]
    return value.call.number, -written[0] - 1 if written else value.place


def _drops(record: Record) -> dict[int, Step]:
    """The dropouts that are switched on."""
    steps = {}
    for call in record.calls:
        if call.name not in DROPPED or not call.inputs or not call.inputs[0].reached:
            continue
        args, kwargs = call.arguments
        if call.name == "dropped":
            module = args[0]
            share, on = getattr(module, DROPPING[type(module).__name__]), module.training
        else:
            share = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
            on = kwargs.get("training", args[2] if len(args) > 2 else True)
        if on and share:
            into = 0 if call.effect else None
            whole = DROPPED[call.name]
            steps[call.number] = Step(into=into, share=float(share), whole=whole)
    return steps


def _kept(steps: Mapping[int, Step]) -> dict[int, dict[int, bool]]:
    """What later steps take, and whether it is written to before."""
    kept: dict[int, dict[int, bool]] = {}
    for step in steps.values():
        if step.held and step.held[0] >= 0 and step.own:
            number, place = step.held
            written = any(value.call and value.call.written for value in step.own.inside)
            kept.setdefault(number, {})[place] = written
    return kept


def _order(
    network: nn.Module, record: Record, positions: Mapping[int, float]
) -> list[str | int]:
    """Layers with weights and sites as they are called; a layer not called by itself, with its
    parent."""
    began = {}
    for run in record.runs:
        number = next((c.number for c in record.calls[run.first :] if c.number >= 0), 0)
        began.setdefault(run.path, number)
    places: list[tuple[float, str | int]] = []
    for path, module in network.named_modules():
        if isinstance(module, WEIGHTED):
            parent = path
            while parent not in began:
                parent = parent.rpartition(".")[0]
            places.append((began[parent] - 0.5, path))
    places += [(position, number) for number, position in positions.items()]
    return [what for _, what in sorted(places, key=lambda place: place[0])]


def _unused(
    network: nn.Module,
    records: Mapping[tuple[bool, int], Record],
    found: Mapping[tuple[bool, int], recognition.Found],
) -> list[str]:
    """Parameters that only the activations take that are swapped."""
    taken: set[int] = set()
    inside: set[int] = set()
    for mode in MODES:
        own = {v.call for f in found[mode, FEW].formulas for v in f.inside}
        for call in records[mode, FEW].calls:
            if call.number >= 0:
                (inside if call in own else taken).update(id(v.tensor) for v in call.inputs)
        for formula in found[mode, FEW].formulas:
            if formula.call.name == "shown":
                module = formula.call.arguments[0][0]
                inside.update(id(parameter) for parameter in module.parameters())
    return [
        path
        for path, parameter in network.named_parameters()
        if id(parameter) in inside - taken
    ]


# --- the same with its own activations ------------------------------------------------------------


def check(
    name: str,
    original: nn.Module,
    network: nn.Module,
    analysis: Analysis,
    shape: Sequence[int],
    found: Mapping[tuple[bool, int], recognition.Found],
) -> None:
    """Refuse a swap that changes more than activations: with its own put back, all is the same.

    That is the outputs and what is kept in buffers, in training and in evaluation, with dropout
    drawn alike.
    """
    for mode, count in ((True, FEW), (False, MANY)):
        x = _examples(shape, count)
        own = {formula.call.number: formula for formula in found[mode, count].formulas}
        back = Swapped(name, network, _own(analysis, mode, own))
        before, after = _passed(original, mode, x), _passed(back, mode, x)
        if len(before) != len(after) or not all(map(_same, before, after)):
            when = "training" if mode else "evaluation"
            raise BadValue(
                f"{name}: with its own activations put back it does not give the same in {when}; "
                f"the first call that differs is {_first_other(original, back, mode, x)}"
            )


def _own(analysis: Analysis, mode: bool, own: Mapping[int, Formula]) -> Analysis:
    """With its own activations in one mode, and its own dropout."""
    steps = analysis.modes[mode].steps
    back = {number: replace(steps[number], own=formula) for number, formula in own.items()}
    return replace(analysis, modes={mode: replace(analysis.modes[mode], steps=back)})


def _passed(network: nn.Module, mode: bool, x: Tensor) -> list[Tensor]:
    """What a pass gives, and what it leaves in buffers; it is drawn alike for all."""
    stream = torch.Generator().manual_seed(0)
    with in_mode(network, mode), drawing_from(stream), torch.no_grad():
        outputs = network(x.clone())
        return [outputs, *(buffer.clone() for buffer in network.buffers())]


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point():
        return torch.equal(one, other)
    scale = float(one.abs().nan_to_num().max()) if one.numel() else 1.0
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5 * scale, equal_nan=True)


def _first_other(original: nn.Module, back: Swapped, mode: bool, x: Tensor) -> str:
    """The first call whose result differs, by its number, name and module."""
    fit(original, back.analysis)
    none = {m: replace(it, steps={}, kept={}) for m, it in back.analysis.modes.items()}
    plain = Swapped(back.name, original, replace(back.analysis, modes=none))
    logs: list[list[list[Tensor]]] = []
    for network in (plain, back):
        logs.append([])
        with in_mode(network, mode), drawing_from(torch.Generator().manual_seed(0)):
            with torch.no_grad(), Swap(network, x) as swap:
                swap.log = logs[-1]
                network.network(x.clone())
    for number, results in enumerate(zip(*logs, strict=False)):
        if not all(map(_same, *results)):
            return f"call {number + 1}, {spelt(back.analysis.modes[mode].functions[number])}"
    return "none of torch's: what it keeps between calls differs"
