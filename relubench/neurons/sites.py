"""Where a network calls its activations: found once, in a pass over a few examples.

A site is a call, so that a module that is called twice is two. It is known again by its place among
the calls of one function in one module, which does not hang on what the network calls elsewhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from relubench.errors import BadValue, RelubenchError, Terminated, UnknownName
from relubench.models import axes, recognition
from relubench.models.calls import Call, Record, Run, Value, recorded, tensors
from relubench.models.functions import NAMED
from relubench.models.layers import Act
from relubench.models.recognition import Formula
from relubench.neurons.batches import Batch
from relubench.neurons.formulas import Function, Program, can_die, rectifies
from relubench.user_code import UserCodeError, brief

FEW = 2  # examples in the pass that is looked at
UNITS = ("channel", "position", "feature")
UnitKind = Literal["channel", "position", "feature", "neuron"]
Key = tuple[str, str, int]  # module, function, how many calls of it came before in this module
PLAIN = (bool, int, float, str, type(None))  # settings of a call
# Of torch's own, each of which is one call.
ACTIVATION_LAYERS = {
    kind
    for kind in vars(nn.modules.activation).values()
    if isinstance(kind, type) and issubclass(kind, nn.Module) and kind is not nn.MultiheadAttention
}
WRAPPERS = re.compile(r"(^|\.)(_orig_mod|module)(?=\.|$)")


@dataclass(frozen=True, eq=False)
class Site:
    """One call of an activation.

    place     its name, from the module that calls it; `_2` for the second call there
    function  what is called: relu
    key       the call that ends it, or the module whose forward it is
    held      the call that makes what it takes, and which of its tensors, where that is no argument
    taken     else which of the call's tensors it takes
    made      which tensor of the call it is; below 0 an argument, which was written to
    program   its calls, where there are several
    axes      those of its value that hold units, counted from the end
    unit      what a unit is
    dies      whether a unit can be dead by the formula
    rectifies whether it is relu, whose derivative its value tells
    writes    whether what it takes is written to
    module    whether it is a module's forward
    """

    place: str
    function: str
    key: Key
    axes: tuple[int, ...]
    unit: UnitKind
    held: tuple[Key, int] | None = None
    taken: int = 0
    made: int = 0
    program: Function | None = None
    dies: bool = True
    rectifies: bool = False
    writes: bool = False
    module: bool = False


@dataclass(frozen=True, eq=False)
class Plan:
    """The sites of a network, and what of it is not counted, with the reason.

    seen      the calls that were looked at, whatever was found
    modules   those that are one activation each, with their paths
    scripted  whether there is TorchScript, which shows its calls to a dispatch mode alone
    layers    paths of torch's own layers that are one activation
    """

    sites: Sequence[Site]
    notes: Sequence[str]
    seen: frozenset[Key]
    modules: Mapping[nn.Module, str]
    scripted: bool
    unit: str | None
    layers: Set[str] = frozenset()

    def further(self, key: Key, value: Tensor) -> Site:
        """A call that the first pass did not have, as a site."""
        alike = (site for site in self.sites if site.key[:2] == key[:2])
        known = next(alike, None)
        # Such a module is called by its own name, as in the first pass.
        parts = key[:1] if key[0] in self.layers else key[:2]
        place = unwrapped(".".join(filter(None, parts)))
        axes_ = known.axes if known else guessed_axes(value)
        where = _settled(place, value, axes_, self.unit)
        called = f"{place}_{key[2] + 1}" if key[2] else place
        return Site(called, key[1], key, *where, writes=True)


def find(
    network: nn.Module, batch: Batch, unit: str | None = None, named_modules: Sequence[str] = ()
) -> Plan:
    """The sites of a network in evaluation, which the caller has switched to.

    unit           what holds a unit in tensors of more than two axes; None: what the layers say
    named_modules  classes or paths of modules that are one activation each
    Raises BadValue where units cannot be told, UserCodeError where the network raises.
    """
    if unit is not None and unit not in UNITS:
        raise UnknownName("unit", unit, UNITS, listed=False)
    # Modules that are one activation each, then all other calls; what is left gets a note.
    wholes = _wholes(network, named_modules)
    looked = look_through(network, batch)
    record, found, keys = looked.record, looked.found, looked.keys
    ordered = [
        *_module_sites(record, wholes, unit),
        *_call_sites(record, found, keys, wholes, unit),
    ]
    # By the place of their first call, whichever way they were found.
    sites = [site for _, site in sorted(ordered, key=lambda pair: pair[0])]
    passed_by = [
        *_left_out(found),
        *_unseen(record, wholes),
        *_unfit(record, found, wholes),
    ]
    if not sites:
        left_out = [f"{what} ({why})" for what, why in dict(passed_by).items()]
        beside = f"; not counted: {', '.join(left_out)}" if left_out else ""
        raise BadValue(
            "no activation was seen: no call of the network is elementwise and not linear; name "
            f"the module that is one with --activation-module NAME{beside}"
        )
    notes = [f"{what}: not counted ({why})" for what, why in dict(passed_by).items()]
    notes += _of_no_example(record)
    notes += _mixing(record, wholes)
    notes += _of_experts(network, sites)
    seen = frozenset(key for call, key in keys.items() if _looked_through(call))
    layers = {path for path, module in network.named_modules() if type(module) in ACTIVATION_LAYERS}
    return Plan(_renamed(sites), notes, seen, wholes, looked.scripted, unit, layers)


@dataclass(frozen=True, eq=False)
class Looked:
    """A pass over a few examples: its calls, what of them are activations, and their keys."""

    record: Record
    found: recognition.Recognised
    keys: Mapping[Call, Key]
    scripted: bool

    def starts(self) -> dict[Key, Value]:
        """The pre-activations of every site, by its key."""
        starts = {
            self.keys[f.call]: f.start for f in all_formulas(self.found) if f.call in self.keys
        }
        counts: Counter[str] = Counter()
        for run in self.record.runs:
            # A module that is called twice is two sites, told apart by the number of the call.
            number, counts[run.path] = counts[run.path], counts[run.path] + 1
            if run.input is not None:
                starts[run.path, "", number] = run.input
        return starts

    def ends(self) -> dict[Key, Value]:
        """What every site gives, by its key."""
        return {self.keys[f.call]: f.end for f in all_formulas(self.found) if f.call in self.keys}


def look_through(network: nn.Module, batch: Batch) -> Looked:
    """Run a network over a few examples and see what it calls."""
    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in network.modules())
    record = _recorded(network, batch.first(FEW), scripted)
    return Looked(record, recognition.recognised(record), _keys(record), scripted)


def _left_out(found: recognition.Recognised) -> Iterator[tuple[str, str]]:
    for what, why in found.staying:
        if why != "a gate":
            yield what, why


def _unseen(record: Record, wholes: Mapping[nn.Module, str]) -> Iterator[tuple[str, str]]:
    """Calls that nobody sees, but for those in a module that is one activation anyway."""
    taking = record.taking_unseen([run.output for run in record.runs if run.module in wholes])
    if taking:
        yield f"what is called before {taking}", "torch.vmap or an autograd.Function hides it"


def _unfit(
    record: Record, found: recognition.Recognised, wholes: Mapping[nn.Module, str]
) -> Iterator[tuple[str, str]]:
    """Activations that are no units, or have another derivative than what they calculate."""
    for formula in all_formulas(found):
        why = _why_unfit(record, formula)
        if why and not _inside(formula.call.path, wholes):
            yield f"{formula.title} in {formula.place}", why


def _why_unfit(record: Record, formula: Formula) -> str:
    """Why a formula is not counted; "" where it is."""
    # Calls without gradients are a frozen part of the network, or the inside of such a function.
    if record.custom and formula.call.hidden:
        return "its autograd.Function has a backward of its own: name the module that calls it"
    if recognition.prepares(formula, record):
        return "it prepares the inputs: no layer comes before it"
    return ""


def _inside(path: str, wholes: Mapping[nn.Module, str]) -> bool:
    """Whether a call is made by a module that is one activation, or within it."""
    return any(path == whole or path.startswith(f"{whole}.") for whole in wholes.values())


def _of_no_example(record: Record) -> Iterator[str]:
    """Activations in what is made of weights and positions alone, as a bias of attention is."""
    # What torch does not show may hand the examples on.
    if record.unseen:
        return
    layered = (run for run in record.runs if type(run.module) in ACTIVATION_LAYERS)
    apart = [run.path for run in layered if run.input and not run.input.reached]
    if apart:
        more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
        yield f"{apart[0]}{more}: not counted (nothing of the examples goes in)"


def _looked_through(call: Call) -> bool:
    """Whether the record shows what a call makes: TorchScript's in-place calls hand on a tensor."""
    return call.name not in NAMED or any(value.call is call for value in call.outputs)


def all_formulas(found: recognition.Recognised) -> list[Formula]:
    """The activations, gates among them."""
    return [*found.formulas, *found.others]


# --- the pass that is looked at -------------------------------------------------------------------


class Passing(TorchDispatchMode):
    """Shows a function mode what TorchScript calls; `below` says that it is inside of one."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.below = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call it."""
        self.below += 1
        try:
            return function(*args, **(kwargs or {}))
        finally:
            self.below -= 1


def _recorded(network: nn.Module, batch: Batch, scripted: bool) -> Record:
    first, *more = batch.inputs
    below: AbstractContextManager[Any] = Passing() if scripted else nullcontext()
    # With gradients: a tensor's history tells what torch does not show. TorchScript is seen by a
    # dispatch mode, which needs none.
    with torch.set_grad_enabled(not scripted), below, blaming(network):
        return recorded(network, first, more, lambda: network(*batch.args, **batch.kwargs))


@contextmanager
def blaming(network: nn.Module) -> Iterator[None]:
    """Raise what a network raises in its forward as a UserCodeError, in one line."""
    try:
        yield
    except (RelubenchError, Terminated):
        raise
    except (Exception, SystemExit) as error:
        name = type(network).__name__
        raise UserCodeError(f"{name} raises in its forward: {brief(error)}") from error


def _keys(record: Record) -> dict[Call, Key]:
    """The calls by their place among the calls of one function in one module."""
    counts: Counter[tuple[str, str]] = Counter()
    keys = {}
    for call in record.calls:
        if call.number >= 0:
            keys[call] = (call.path, call.name, counts[call.path, call.name])
            counts[call.path, call.name] += 1
    return keys


# --- modules that are one activation --------------------------------------------------------------


def _wholes(network: nn.Module, names: Sequence[str]) -> dict[nn.Module, str]:
    """The modules whose forward is one activation: those of relubench, and those named."""
    modules = {
        module: path
        for path, module in network.named_modules()
        if isinstance(module, Act) or type(module).__name__ in names or path in names
    }
    known = {type(module).__name__ for module in modules} | set(modules.values())
    for name in names:
        if name not in known:
            classes = {type(module).__name__ for module in network.modules()}
            raise UnknownName("activation module", name, classes, listed=False)
    return modules


def _module_sites(
    record: Record, wholes: Mapping[nn.Module, str], unit: str | None
) -> Iterator[tuple[int, Site]]:
    counts: Counter[str] = Counter()
    for run in record.runs:
        if run.module not in wholes or run.output is None:
            continue
        number, counts[run.path] = counts[run.path], counts[run.path] + 1
        x = run.input.tensor if run.input else run.output.tensor
        # An Act says itself which layer it ends, and has its units in dimension 1.
        own = isinstance(run.module, Act)
        function: Function = run.module
        title, flat = type(run.module).__name__, False
        if isinstance(run.module, Act):
            title, function = str(run.module.activation), run.module.activate
            flat = run.module.activation.entry.can_die
        else:
            _check_shape(run)
        place = (str(run.module.place) if own else "") or run.path.removesuffix(".activation")
        axes_ = (1,) if own else _axes_of_run(run.input, run.output)
        site = Site(
            unwrapped(place) or title,
            title,
            (run.path, "", number),
            *_settled(place, run.output.tensor, axes_, unit),
            dies=flat or can_die(function, x.detach()),
            module=True,
        )
        yield run.first, site


def _check_shape(run: Run) -> None:
    if run.input is None or run.output is None or run.input.shape == run.output.shape:
        return
    taken, given = (" x ".join(map(str, each.shape[1:])) for each in (run.input, run.output))
    raise BadValue(
        f"{type(run.module).__name__} ({run.path or 'the network'}) takes {taken} numbers of an "
        f"example and gives {given}: --activation-module names a module that gives one for each"
    )


def _mixing(record: Record, wholes: Mapping[nn.Module, str]) -> Iterator[str]:
    """What to know of named modules whose outputs hang on more than one number each."""
    for module, path in wholes.items():
        runs = (run for run in record.runs if run.module is module and run.input)
        run = next(runs, None)
        if run and run.input and not isinstance(module, Act) and _mixes(module, run.input.tensor):
            yield (
                f"{path}: an output hangs on several pre-activations; its derivative is that of "
                "all outputs together"
            )


def _of_experts(network: nn.Module, sites: Sequence[Site]) -> Iterator[str]:
    """What to know of sites in modules whose own weights may hold a matrix for each expert.

    Which expert a row of such a call is of, and which comes first, nobody says.
    """
    by_path = dict(network.named_modules())
    places: dict[str, list[str]] = {}
    for site in sites:
        path = site.key[0]
        around = (by_path.get(path), by_path.get(path.rpartition(".")[0]))
        weights = next(filter(None, map(_weights_of_experts, around)), "")
        if weights:
            places.setdefault(weights, []).append(site.place)
    for weights, named in places.items():
        more = f" and {len(named) - 1} more" if len(named) > 1 else ""
        yield (
            f"{named[0]}{more}: {weights}; if these are experts, a unit here is that of all of "
            "them together"
        )


def _weights_of_experts(module: nn.Module | None) -> str:
    if module is None or type(module).__module__.startswith("torch.nn."):
        return ""
    for weight in module.parameters(recurse=False):
        if weight.ndim == 3 and len(weight) > 1:
            return f"{type(module).__name__} has weights of {' x '.join(map(str, weight.shape))}"
    return ""


@torch.no_grad()
def _mixes(module: nn.Module, x: Tensor) -> bool:
    """Whether an output hangs on more than one number of `x`."""
    try:
        return not recognition.acts_alone(module.forward, x.detach())
    except (RuntimeError, TypeError):  # it takes more than this
        return False


def _axes_of_run(start: Value | None, end: Value) -> tuple[int, ...] | None:
    known: dict[Value, axes.Axes | None] = {}
    before = axes.feature_axes(start, known) if start else None
    return before if before and len(before) == 1 else guessed_axes(end.tensor)


# --- calls ----------------------------------------------------------------------------------------


def _call_sites(
    record: Record,
    found: recognition.Recognised,
    keys: Mapping[Call, Key],
    wholes: Mapping[nn.Module, str],
    unit: str | None,
) -> Iterator[tuple[int, Site]]:
    known: dict[Value, axes.Axes | None] = {}
    for formula in sorted(all_formulas(found), key=lambda formula: formula.call.number):
        if _inside(formula.call.path, wholes) or _why_unfit(record, formula):
            continue
        if formula.call in keys and not _made_unseen(formula, keys):
            place = record.calls.index(formula.call)
            yield place, _site(formula, record, keys, known, unit)


def _made_unseen(formula: Formula, keys: Mapping[Call, Key]) -> bool:
    """Whether what it takes is made by no call that can be known again."""
    start = formula.start
    return start not in formula.call.inputs and (start.call is None or start.call not in keys)


def _site(
    formula: Formula,
    record: Record,
    keys: Mapping[Call, Key],
    known: dict[Value, axes.Axes | None],
    unit: str | None,
) -> Site:
    call, start, end = formula.call, formula.start, formula.end
    title = formula.title
    if formula.run and len(formula.inside) > 1:
        title = type(formula.run.module).__name__
    program = Program.of(formula)
    single = len(formula.inside) == 1
    site = Site(
        unwrapped(formula.place),
        title,
        keys[call],
        *_settled(formula.place, end.tensor, _unit_axes(formula, record, known), unit),
        made=_place(end, call),
        program=None if single else program,
        dies=can_die(program, start.tensor.detach()),
        rectifies=single and rectifies(program),
        writes=any(value.call is not None and value.call.written for value in formula.inside),
    )
    if start in call.inputs:
        return replace(site, taken=call.inputs.index(start))
    assert start.call is not None
    return replace(site, held=(keys[start.call], _place(start, start.call)))


def _place(value: Value, call: Call) -> int:
    """Which of a call's results a value is, or below 0 which argument that was written to."""
    written = [n for n, taken in enumerate(call.inputs) if taken.tensor is value.tensor]
    return -written[0] - 1 if written else value.place


def _unit_axes(
    formula: Formula, record: Record, known: dict[Value, axes.Axes | None]
) -> tuple[int, ...] | None:
    """Where the units are: what the layer before says, the one after, or what is left."""
    # Not axis 0, which is the examples'.
    before = tuple(axis for axis in axes.feature_axes(formula.start, known) or () if axis)
    if len(before) == 1:
        return before
    after = axes.weighed_later(record, formula.end, 0)
    if after is not None:
        return (after,)
    return before or guessed_axes(formula.end.tensor)


def guessed_axes(value: Tensor) -> tuple[int, ...] | None:
    """Where units are as a rule: (examples, units) and images; None for what can be either."""
    return (1,) if value.ndim in (2, 4, 5) else None


def _settled(
    place: str, value: Tensor, found: tuple[int, ...] | None, unit: str | None
) -> tuple[tuple[int, ...], UnitKind]:
    """The axes from the end, and what a unit is; raises BadValue where that cannot be known."""
    ndim = value.ndim
    # (examples, units): there is nothing to choose, whatever --unit says.
    if ndim == 2:
        return tuple(axis - ndim for axis in found or (1,)), "neuron"
    if unit == "position":
        return tuple(range(1 - ndim, 0)), "position"
    if unit == "channel":
        return (1 - ndim,), "channel"
    if unit == "feature":
        return (-1,), "feature"
    if found is None:
        size = " x ".join(map(str, value.shape[1:]))
        raise BadValue(
            f"which axis of {place} holds its units cannot be known (its output is examples x "
            f"{size}): say it with --unit channel (the axis after the examples), feature (the "
            "last one) or position (every number is one)"
        )
    kind: UnitKind = "feature" if found == (ndim - 1,) else "channel"
    # From the end: further batches may have another number of axes in front.
    return tuple(axis - ndim for axis in found), kind


def unwrapped(path: str) -> str:
    """A path without what wrappers put into it: DataParallel, torch.compile."""
    return WRAPPERS.sub("", path).strip(".")


def _renamed(sites: Iterable[Site]) -> list[Site]:
    """With `_2` behind the second site of a place."""
    counts: Counter[str] = Counter()
    renamed = []
    for site in sites:
        counts[site.place] += 1
        again = counts[site.place]
        renamed.append(replace(site, place=f"{site.place}_{again}") if again > 1 else site)
    return renamed


@dataclass(frozen=True, eq=False)
class Repeated:
    """A call as a function of one of its tensors, which it does not change.

    place   which of its tensors that is
    writes  whether the call may write to it
    """

    function: Any
    args: Any
    kwargs: Any
    place: int
    writes: bool = True

    def __call__(self, x: Tensor) -> Tensor:
        """What the call gives for `x`."""
        leaves, tree = pytree.tree_flatten((self.args, self.kwargs))
        where = [n for n, leaf in enumerate(leaves) if isinstance(leaf, Tensor)][self.place]
        leaves[where] = x.clone() if self.writes else x
        args, kwargs = pytree.tree_unflatten(leaves, tree)
        made = self.function(*args, **kwargs)
        first: Tensor = made if isinstance(made, Tensor) else tensors(made)[0]
        return first

    @property
    def key(self) -> Any:
        """The same for calls that are the same function of that tensor; None: others are in it."""
        first, *others = self.args or (None,)
        settings = [*others, *self.kwargs.values()]
        alone = isinstance(first, Tensor) and all(isinstance(each, PLAIN) for each in settings)
        if not alone or self.place:
            return None
        return self.function, tuple(settings), tuple(self.kwargs)
