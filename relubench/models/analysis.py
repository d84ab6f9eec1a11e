"""What is to be known of another's network before its activations are swapped.

It is run a few times, in training and in evaluation, and its calls are looked at: which of them are
activations, where their units are, what stays. With its own activations put back it must give what
it gave; else it is refused, by the first call that differs.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import SequenceMatcher

import torch
from torch import Tensor, nn

from relubench.errors import BadValue
from relubench.models import axes, calls, recognition
from relubench.models.calls import (
    Call,
    Record,
    Shown,
    ShownCall,
    Value,
    in_mode,
    recorded,
    spelt,
)
from relubench.models.layers import drawing_from
from relubench.models.recognition import Formula
from relubench.models.swapping import Analysis, Mode, Site, Step, Swap, Swapped, copied, fit, show
from relubench.models.weights import WEIGHTED
from relubench.user_code import brief

# Dropouts by the name of the call, with what is zeroed at once: see layers.Dropout.
DROPPED = {"dropout": 0, "dropout1d": 2, "dropout2d": 2, "dropout3d": 2, "dropped": 1}
DROPPING = {"StochasticDepth": "p", "DropPath": "drop_prob"}  # modules that zero whole examples
MODES = (True, False)  # training, evaluation
FEW, MANY = 2, 3  # examples in the passes that are looked at, and in those that must be alike
HEAVY = 100_000_000  # parameters, from which on a pass takes longer than to follow its shapes
INSTEAD = "write it with torch's functions, or a factory (input_shape, classes, activation)"


def analysed(name: str, network: nn.Module, shape: Sequence[int]) -> Analysis:
    """What is to be known for a swap; raises BadValue where the network cannot be looked at.

    The network stays as it is, but for modules that are made to be seen.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what training says, it says then
        return _analysed(name, network, shape)


def _analysed(name: str, network: nn.Module, shape: Sequence[int]) -> Analysis:
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise BadValue(f"{name} holds TorchScript, which torch does not show: {INSTEAD}")
    # 1. What the network gives by itself, and a copy of it to ask again at the end.
    before = {True: _first_pass(name, network, shape)}  # lazy layers are made now
    original = copied(name, network, network.parameters())  # parameters are only read: shared
    # 2. Its calls, in both modes, and again for another number of examples.
    shown = _dropping(network)
    training, unseen = _first_record(name, network, shape)
    shown |= unseen
    evaluation, before[False] = _recorded(name, network, shape, False, FEW)
    records = {True: training, False: evaluation}
    others = {mode: _other(name, network, shape, mode) for mode in MODES}
    for mode in MODES:
        _check_alike(name, records[mode], others[mode])
        _check_outputs(name, records[mode])
    # 3. Which of them are activations, and whether each could be answered by another.
    recognised = {mode: recognition.recognised(records[mode]) for mode in MODES}
    for mode in MODES:
        for call, reason in recognised[mode].hidden:
            raise BadValue(f"{name}: the activation {call} cannot be swapped: {reason}")
        _check_drops(name, records[mode])
    if not any(recognised[mode].formulas for mode in MODES):
        raise BadValue(
            f"{name} has no activation that could be swapped: no call between its layers is "
            "elementwise and not linear"
        )
    # 4. One plan for both modes, tried at once: with its own activations all must be as it was.
    analysis = _joined(network, records, others, recognised, shown)
    check(name, original, network, analysis, shape, before)
    return _forgetting(analysis)


def _forgetting(analysis: Analysis) -> Analysis:
    """Without the tensors of the passes that were looked at."""
    modes = {}
    for mode, it in analysis.modes.items():
        steps = {number: replace(step, own=None) for number, step in it.steps.items()}
        modes[mode] = replace(it, steps=steps)
    return replace(analysis, modes=modes)


def _check_drops(name: str, record: Record) -> None:
    """Refuse a dropout that the backward pass would draw anew."""
    for call in record.calls:
        if call.name in DROPPED and (call.redone or (call.hidden and record.custom)):
            raise BadValue(
                f"{name}: {call} is done again in the backward pass, with other draws "
                "(torch.utils.checkpoint): switch that off"
            )


def _dropping(network: nn.Module) -> dict[str, ShownCall]:
    """Make the modules that drop whole examples be seen; with what is seen already."""
    seen = {path: module for path, module in network.named_modules() if isinstance(module, Shown)}
    inner = calls.inside_shown(network)
    paths: dict[str, ShownCall] = {}
    for path, module in network.named_modules():
        if path and module not in inner and _drops_examples(module):
            paths[path] = calls.dropped
    for path, call in paths.items():
        show(network, path, call)
    return paths | {path: module.call for path, module in seen.items()}


def _drops_examples(module: nn.Module) -> bool:
    """Whether a module drops whole examples and scales up those that stay."""
    fraction = getattr(module, DROPPING.get(type(module).__name__, ""), None)
    by_example = getattr(module, "mode", "row") == "row"
    return bool(fraction) and by_example and bool(getattr(module, "scale_by_keep", True))


def _first_record(
    name: str, network: nn.Module, shape: Sequence[int]
) -> tuple[Record, dict[str, ShownCall]]:
    """A training pass, in which no call is out of sight, and the modules that are shown for that.

    They are those whose forward is an elementwise function that torch hides.
    """
    record, _ = _recorded(name, network, shape, True, FEW)
    shown: dict[str, ShownCall] = {
        run.path: calls.shown
        for run in record.runs
        if run.unseen and run.path and _own_elementwise(run)
    }
    for path, call in shown.items():
        show(network, path, call)
    if shown:
        record, _ = _recorded(name, network, shape, True, FEW)
    if record.unseen:
        raise BadValue(
            f"{name} calls something that torch does not show (TorchScript, an operator of one's "
            f"own; what it gives goes to {record.unseen}), so that its activations cannot be "
            f"swapped: {INSTEAD}"
        )
    return record, shown


@torch.no_grad()
def _own_elementwise(run: calls.Run) -> bool:
    """Whether each number that a module gives depends on one number that it takes, and bends."""
    if run.input is None or run.output is None or run.input.shape != run.output.shape:
        return False
    # Half of the numbers are moved by 1: the other half must not notice.
    x, module = run.input.tensor.detach(), run.module
    with drawing_from(torch.Generator().manual_seed(0)):
        value = module(x.clone())
        half = (torch.arange(x.numel()) % 2 == 0).view(x.shape)
        moved = module(torch.where(half, x, x + 1))
        again = module(x.clone())
        below, middle, above = (module(torch.full_like(x, at)) for at in (-2.0, 0.0, 2.0))
    # Either numbers mix, or it draws: both are no elementwise function.
    if not torch.allclose(moved[half], value[half]) or not torch.equal(again, value):
        return False
    bend = below - 2 * middle + above  # 0 on a straight line
    return bool(bend.abs().max() > 1e-6)


def _first_pass(name: str, network: nn.Module, shape: Sequence[int]) -> list[Tensor]:
    """What it gives in training before anyone looks; refuse a network that cannot."""
    try:
        return _passed(network, True, _examples(shape, FEW))
    except (Exception, SystemExit) as error:
        size = "x".join(map(str, shape))
        raise BadValue(f"{name} cannot take examples of {size}: {brief(error)}") from error


def _examples(shape: Sequence[int], count: int) -> Tensor:
    """Normal numbers, turned round from one count to the next: a sum has another sign there."""
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(count, *shape, generator=stream)
    # The sign shows a network that branches on what it is given.
    return x if count == FEW else -x


def _recorded(
    name: str, network: nn.Module, shape: Sequence[int], mode: bool, count: int
) -> tuple[Record, list[Tensor]]:
    """Its calls for so many examples, as gradients are taken; and what `_passed` gives."""
    x = _examples(shape, count).requires_grad_()
    stream = torch.Generator().manual_seed(0)
    try:
        with in_mode(network, mode), drawing_from(stream), torch.enable_grad():
            record = recorded(network, x.clone())
            return record, [record.outputs, *(buffer.clone() for buffer in network.buffers())]
    except (Exception, SystemExit) as error:
        size = "x".join(map(str, shape))
        raise BadValue(f"{name} cannot take {count} examples of {size}: {brief(error)}") from error


def _other(name: str, network: nn.Module, shape: Sequence[int], mode: bool) -> Record:
    """Its calls for another number of examples; of a heavy network by their shapes alone."""
    # On "meta" shapes alone are computed; where that fails, the pass is paid for.
    if sum(parameter.numel() for parameter in network.parameters()) >= HEAVY:
        with suppress(Exception):  # that it reads a number, say
            return _outlined(name, network, shape, mode, MANY)
    return _recorded(name, network, shape, mode, MANY)[0]


def _outlined(
    name: str, network: nn.Module, shape: Sequence[int], mode: bool, count: int
) -> Record:
    """Its calls for so many examples where nothing is computed; it must not read a number."""
    outline = copied(name, network, network.parameters()).to("meta")
    with in_mode(outline, mode), drawing_from(None), torch.device("meta"), torch.enable_grad():
        return recorded(outline, torch.empty(count, *shape, requires_grad=True).clone())


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
    records: Mapping[bool, Record],
    others: Mapping[bool, Record],
    recognised: Mapping[bool, recognition.Recognised],
    shown: Mapping[str, ShownCall],
) -> Analysis:
    """One numbering of the sites for both modes: the n-th at a place is the same in both."""
    numbers: dict[int, int] = {}  # of sites by the call that ends them, in evaluation
    same = _aligned(records[True], records[False])
    places: Counter[str] = Counter()
    sites: list[Site] = []
    modes = {}
    positions: dict[int, float] = {}
    for mode in (False, True):
        record = records[mode]
        feature_axes: dict[Value, axes.Axes | None] = {}
        steps: dict[int, Step] = {}
        for formula in recognised[mode].formulas:
            number = formula.call.number
            # Below 0 for a site that training alone has: evaluation's numbers are from 0.
            key = same.get(number, -1 - number) if mode else number
            if key not in numbers:
                numbers[key] = len(sites)
                # conv1.relu called twice is conv1.relu and conv1.relu_2: two layers of units.
                places[formula.place] += 1
                again = places[formula.place]
                called = f"{formula.place}_{again}" if again > 1 else formula.place
                sites.append(_site(called, formula, mode, record, others[mode], feature_axes))
                positions[numbers[key]] = number
            steps[number] = _step(numbers[key], formula, record)
        if mode:  # one that drops in evaluation too, draws as its own code has it
            steps |= _drops(record)
        modes[mode] = Mode(record.functions, steps, _kept(steps))
    return Analysis(
        sites=sites,
        modes=modes,
        shown=shown,
        order=_order(network, records[False], positions),
        unused=_unused(network, records, recognised),
        staying=list(dict.fromkeys(recognised[False].staying + recognised[True].staying)),
    )


def _aligned(training: Record, evaluation: Record) -> dict[int, int]:
    """The calls of training that are calls of evaluation too, by their numbers.

    Those are the longest runs of the same functions in the same modules, on the same shapes.
    """

    def signature(call: Call) -> tuple[object, ...]:
        return (call.name, call.path, call.line, *(value.shape for value in call.outputs))

    one = [signature(call) for call in training.calls if call.number >= 0]
    other = [signature(call) for call in evaluation.calls if call.number >= 0]
    if one == other:
        return {number: number for number in range(len(one))}
    # autojunk would take calls that occur often, such as a convolution, for noise.
    blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    aligned: dict[int, int] = {}
    for one_begins, other_begins, size in blocks:
        for place in range(size):
            aligned[one_begins + place] = other_begins + place
    return aligned


def _site(
    place: str,
    formula: Formula,
    mode: bool,
    record: Record,
    other: Record,
    feature_axes: dict[Value, axes.Axes | None],
) -> Site:
    start = formula.start
    batch = axes.batch_axis(start.shape, _counterpart(start, other).shape)
    # No axis grew, or several did: the first one is where examples are as a rule.
    axis = 0 if batch is None else batch
    return Site(
        place=place,
        sizes=start.shape,
        axes=_unit_axes(formula, record, feature_axes, axis),
        batch=axis,
        each=max(1, start.shape[axis] // FEW),
        counted=not mode,
    )


def _counterpart(value: Value, record: Record) -> Value:
    """The same value in another record of the same calls."""
    if value.call is None:
        return record.examples
    call = next(c for c in record.calls if c.number == value.call.number)
    return call.outputs[value.place]


def _unit_axes(
    formula: Formula, record: Record, feature_axes: dict[Value, axes.Axes | None], batch: int
) -> axes.Axes | None:
    """Where the units are: what the layer before says, the one after, or what is left."""
    start, end = formula.start, formula.end
    before = tuple(axis for axis in axes.feature_axes(start, feature_axes) or () if axis != batch)
    if len(before) == 1:
        return before
    after = axes.weighed_later(record, end, batch)
    if after is not None:
        return (after,)
    left = [axis for axis in range(start.tensor.ndim) if axis != batch]
    if start is record.examples and len(left) == 3:
        return (1,)  # images as they come
    return before or (tuple(left) if len(left) == 1 else None)


def _step(site: int, formula: Formula, record: Record) -> Step:
    """How the site is answered: at the call that ends the formula."""
    call, start = formula.call, formula.start
    # In place, and looked at by another name: the Act must write to that memory, too.
    into = call.inputs.index(call.written) if call.effect and call.written else None
    step = Step(
        site=site,
        into=into,
        copied=_overwritten(start, call, record),
        copies=_overwritten(formula.end, call, record),
        own=formula,
    )
    if start in call.inputs:
        return replace(step, taken=call.inputs.index(start))
    return replace(step, source=_made_at(start))


def _overwritten(value: Value, call: Call, record: Record) -> bool:
    """Whether something is written to a value's memory after a call."""
    memory = value.tensor.untyped_storage()._cdata
    return any(
        later.written.tensor.untyped_storage()._cdata == memory
        for later in record.calls
        if later.number > call.number and later.written is not None
    )


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
            fraction, on = getattr(module, DROPPING[type(module).__name__]), module.training
        else:
            # By name or by position, else torch's defaults: p=0.5, training=True.
            fraction = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
            on = kwargs.get("training", args[2] if len(args) > 2 else True)
        if on and fraction:
            into = 0 if call.effect else None
            whole = DROPPED[call.name]
            steps[call.number] = Step(into=into, fraction=float(fraction), whole=whole)
    return steps


def _kept(steps: Mapping[int, Step]) -> dict[int, dict[int, bool]]:
    """What later steps take, and whether it is written to before."""
    kept: dict[int, dict[int, bool]] = {}
    for step in steps.values():
        if step.source and step.source[0] >= 0 and step.own:
            number, place = step.source
            written = any(value.call and value.call.written for value in step.own.inside)
            kept.setdefault(number, {})[place] = written
    return kept


def _order(network: nn.Module, record: Record, positions: Mapping[int, float]) -> list[str | int]:
    """Layers with weights and sites as they are called; a layer not called by itself, with its
    parent."""
    began: dict[str, int] = {}
    for run in record.runs:
        counted = (call.number for call in record.calls[run.first :] if call.number >= 0)
        began.setdefault(run.path, next(counted, 0))
    places: list[tuple[float, str | int]] = []
    layers = [path for path, module in network.named_modules() if isinstance(module, WEIGHTED)]
    homes = {path.rpartition(".")[0] for path in layers if path in began}
    for path in layers:
        parent = path
        while parent not in began:
            parent = parent.rpartition(".")[0]
        if parent == path or parent not in homes | {""}:  # else nothing calls it
            places.append((began[parent] - 0.5, path))  # before the site at its first call
    places += [(position, number) for number, position in positions.items()]
    return [what for _, what in sorted(places, key=lambda place: place[0])]


def _unused(
    network: nn.Module,
    records: Mapping[bool, Record],
    recognised: Mapping[bool, recognition.Recognised],
) -> list[str]:
    """Parameters that only the activations take that are swapped."""
    taken: set[int] = set()
    inside: set[int] = set()
    for mode in MODES:
        own: set[Call | None] = set()
        for formula in recognised[mode].formulas:
            own.update(value.call for value in formula.inside)
        for call in records[mode].calls:
            if call.number >= 0:
                # Whatever is taken outside of an activation as well is still in use.
                takers = inside if call in own else taken
                takers.update(id(value.tensor) for value in call.inputs)
        for formula in recognised[mode].formulas:
            if formula.call.name == "shown":
                module = formula.call.arguments[0][0]
                inside.update(id(parameter) for parameter in module.parameters())
    return [
        path for path, parameter in network.named_parameters() if id(parameter) in inside - taken
    ]


# --- the same with its own activations ------------------------------------------------------------


def check(
    name: str,
    original: nn.Module,
    network: nn.Module,
    analysis: Analysis,
    shape: Sequence[int],
    before: Mapping[bool, list[Tensor]],
) -> None:
    """Refuse a swap that changes more than activations: with its own put back, all is the same.

    That is the outputs and what is kept in buffers, in training and in evaluation, with dropout
    drawn alike. `before` is what the network gave before; where it made something for
    itself then, the original is asked again.
    """
    x = _examples(shape, FEW)
    for mode in MODES:
        back = Swapped(name, network, _own(analysis, mode))
        after = _passed(back, mode, x)
        if not _alike(before[mode], after) and not _alike(_passed(original, mode, x), after):
            when = "training" if mode else "evaluation"
            raise BadValue(
                f"{name}: with its own activations put back it does not give the same in {when}; "
                f"the first call that differs is {_first_other(original, back, mode, x)}"
            )


def _own(analysis: Analysis, mode: bool) -> Analysis:
    """With its own activations in one mode, and its own dropout."""
    it = analysis.modes[mode]
    back = {number: step for number, step in it.steps.items() if step.own}
    return replace(analysis, modes={mode: replace(it, steps=back)})


def _passed(network: nn.Module, mode: bool, x: Tensor) -> list[Tensor]:
    """What a pass gives, and what it leaves in buffers; it is drawn alike for all."""
    stream = torch.Generator().manual_seed(0)
    with in_mode(network, mode), drawing_from(stream), torch.no_grad():
        outputs = network(x.clone())
        return [outputs, *(buffer.clone() for buffer in network.buffers())]


def _alike(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    return len(before) == len(after) and all(map(_same, before, after))


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.is_floating_point():
        return torch.equal(one, other)
    # Nearly: arranged for an Act, a tensor lies otherwise in memory, and kernels may round so too.
    scale = float(one.abs().nan_to_num().max()) if one.numel() else 1.0
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5 * scale, equal_nan=True)


def _first_other(original: nn.Module, back: Swapped, mode: bool, x: Tensor) -> str:
    """The first call whose result differs, by its number, name and module."""
    # Both run under a Swap, which numbers their calls; the original's takes no step.
    fit(original, back.analysis)
    none = {m: replace(it, steps={}, kept={}) for m, it in back.analysis.modes.items()}
    plain = Swapped(back.name, original, replace(back.analysis, modes=none))
    logs: list[list[list[Tensor]]] = []
    for network in (plain, back):
        logs.append([])
        drawn, taken = drawing_from(torch.Generator().manual_seed(0)), x.clone()
        with in_mode(network, mode), drawn, torch.no_grad(), Swap(network, taken) as swap:
            swap.log = logs[-1]
            network.network(taken)
    for number, results in enumerate(zip(*logs, strict=False)):
        if not all(map(_same, *results)):
            return f"call {number + 1}, {spelt(back.analysis.modes[mode].functions[number])}"
    return "none of torch's: what it keeps between calls differs"
