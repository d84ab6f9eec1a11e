"""Which of a network's calls are activations, result by what they do.

A value is a function of another, element by element, where only elementwise functions lie between
them. Such a function is an activation where it is not linear, however it is spelt: x * sigmoid(x),
clamp(min=0) and relu6(x + 3) / 6 are one each. It stays as it is where it weighs channels or
positions (a gate), where it is the network's output, or where it only guards a division.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from relubench.models.axes import weighed_axis
from relubench.models.calls import Call, Record, Run, Value
from relubench.models.functions import (
    BENT,
    CURVED,
    ELEMENTWISE,
    GATHERING,
    JOINING,
    MIXING,
    MOVING,
    NAMED,
    NORMS,
    STAYING,
    STRAIGHT,
    WEIGHING,
)

# Where a formula is tried: FAR, where what levels off has done so in float32, and on NEAR points,
# even ones, so that second differences of a straight line are 0.
FAR, NEAR = 60.0, torch.linspace(-6, 6, 25).tolist()


@dataclass(eq=False)
class Formula:
    """A value as an elementwise function of another.

    start, end  the pre-activation and what becomes of it
    inside      the values between them, `end` among them
    run         the module whose forward is just this
    """

    start: Value
    end: Value
    inside: frozenset[Value]
    run: Run | None = None

    @property
    def call(self) -> Call:
        """The call that makes the value."""
        assert self.end.call is not None
        return self.end.call

    @cached_property
    def names(self) -> set[str]:
        """The functions in it."""
        return {value.call.name for value in self.inside if value.call}

    @property
    def title(self) -> str:
        """What to call it: its only named function, or the last one."""
        named = self.names & NAMED
        return named.pop() if len(named) == 1 else self.call.name

    @property
    def place(self) -> str:
        """Where it is called: its module, or the module and the function's name."""
        if self.run:
            return self.run.path
        return ".".join(filter(None, (self.call.path, self.title)))

    def at(self, x: Tensor) -> Tensor:
        """The function of `x`, of the shape of `start`: its calls are made again."""
        made: dict[Value, Tensor] = {self.start: x}
        # In the order of the calls, each on what the earlier ones made.
        for value in sorted(self.inside, key=_age):
            call = value.call
            assert call is not None
            if call.written is None:
                made[value] = call.repeated(lambda taken: made.get(taken, taken.tensor))
                continue
            # An in-place call writes to a copy: the recorded numbers are needed again.
            written = made.get(call.written, call.written.tensor).clone()
            call.repeated(partial(_written, call.written, written, made))
            made[value] = written
        return made[self.end]

    @torch.no_grad()
    def values(self, points: Sequence[float]) -> list[Tensor]:
        """The function at each of these points, for all elements."""
        start = self.start.tensor
        return [self.at(torch.full_like(start, point)) for point in points]

    @property
    def named(self) -> str:
        """The function of torch's that it is, if it is just that, with no number of its own."""
        name = self.call.name
        return name if len(self.inside) == 1 and name in NAMED else ""

    @cached_property
    def straight(self) -> bool:
        """Whether it is linear on the points that matter."""
        if self.named:
            return False
        # By trying: a clamp at 100, say, is linear where it matters.
        at = self.values(NEAR)
        spread = max(float(value.double().abs().max()) for value in at) or 1.0
        # Second differences on even points, against the size of the values:
        # float32 leaves 1e-7 or so.
        bends = (a - 2 * b + c for a, b, c in zip(at, at[1:], at[2:], strict=False))
        return max(float(bend.double().abs().max()) for bend in bends) < 1e-4 * spread

    @cached_property
    def opens(self) -> bool:
        """Whether it rises, or falls, between 0 and 1, as what weighs does."""
        if self.named not in {"", "hardtanh", "threshold"}:
            return self.named in {"sigmoid", "hardsigmoid"}
        low, high = (value.double() for value in self.values([-FAR, FAR]))
        # Either way round: 1 - sigmoid(x) opens as sigmoid(x) does.
        ends = (low, high) if float(low.mean()) < float(high.mean()) else (high, low)
        near_0 = bool(ends[0].abs().max() < 0.01)
        near_1 = bool((ends[1] - 1).abs().max() < 0.01)
        return near_0 and near_1


def _written(old: Value, new: Tensor, made: Mapping[Value, Tensor], taken: Value) -> Tensor:
    return new if taken is old else made.get(taken, taken.tensor)


@dataclass(eq=False)
class Recognised:
    """What a record holds.

    formulas  the activations, in the order of the calls
    staying   what else is not linear, with the reason why it stays
    hidden    calls of activations that cannot be swapped, with the reason
    others    the formulas of gates, and those of `hidden`
    """

    formulas: list[Formula]
    staying: list[tuple[str, str]]
    hidden: list[tuple[str, str]]
    others: list[Formula] = field(default_factory=list)


def recognised(record: Record) -> Recognised:
    """The activations of a recorded pass, and what stays."""
    elementwise = _Elementwise(record)
    result = Recognised([], [], [])
    # In the order of the calls: what is recognised early bounds what comes later.
    for end in elementwise.ends():
        for formula in elementwise.formulas(end):
            if formula.straight:
                continue
            reason = _staying(record, formula)
            hidden = _hidden(record, formula)
            if reason == "a gate":
                elementwise.gates.add(formula.call.line)
            if reason == "a gate" or (hidden and not reason):
                result.others.append(formula)
            if reason:
                result.staying.append((f"{formula.title} in {formula.place}", reason))
            elif hidden:
                result.hidden.append((str(formula.call), hidden))
            elif reason is None:
                # From here on it is a value of its own: what follows is no part of this activation.
                elementwise.roots[formula.end] = formula.end
                elementwise.linear[formula.end] = True
                result.formulas.append(formula)
    _join_gates(result, elementwise.gates)
    result.formulas.sort(key=lambda formula: formula.call.number)
    for call in record.calls:
        if call.name in STAYING and any(value.reached for value in call.inputs):
            result.staying.append((str(call), STAYING[call.name]))
    return result


def _join_gates(result: Recognised, lines: set[tuple[str, int]]) -> None:
    """What a line of code makes is a gate in every step, also in the first, of no state yet."""
    for formula in [f for f in result.formulas if f.opens and f.call.line in lines]:
        result.formulas.remove(formula)
        result.others.append(formula)
        result.staying.append((f"{formula.title} in {formula.place}", "a gate"))


class _Elementwise:
    """The elementwise functions of a record: what each value is a function of.

    roots   by value; one that is no elementwise function of a single value is its own root
    linear  whether it is a linear function of that
    """

    def __init__(self, record: Record) -> None:
        self.record = record
        self.roots: dict[Value, Value] = {}
        self.linear: dict[Value, bool] = {}
        self.gates: set[tuple[str, int]] = set()  # lines of code that make gates
        for call in record.calls:
            for value in call.outputs:
                if value.call is call:  # not an argument that is handed on
                    self._place(call, value)
        self.results = set(record.results)

    def _place(self, call: Call, value: Value) -> None:
        roots = {self.root(taken) for taken in call.inputs if taken.reached}
        single = len(call.outputs) == 1
        elementwise = single and (call.name in ELEMENTWISE or _acts_alone(call, value))
        if elementwise and len(roots) == 1 and _alike(call, value):
            (self.roots[value],) = roots
            self.linear[value] = self._straight(call)
        else:
            self.roots[value] = value
            self.linear[value] = True

    def _straight(self, call: Call) -> bool:
        reached = [value for value in call.inputs if value.reached]
        if not all(self.linear.get(value, True) for value in reached):
            return False
        return call.name in STRAIGHT and (call.name not in {"mul", "div"} or len(reached) == 1)

    def root(self, value: Value) -> Value:
        """What a value is a function of."""
        return self.roots.get(value, value)

    def ends(self) -> Iterator[Value]:
        """Values that are not linear in their root and are used by something else, in order."""
        for call in self.record.calls:
            for value in call.outputs:
                if self.linear.get(value, True) or not value.reached:
                    continue
                if not value.tensor.is_floating_point():
                    continue  # a mask: what it is for, is another call
                if value in self.results or call.effect or self._leaves_its_root(value):
                    yield value

    def _leaves_its_root(self, value: Value) -> bool:
        """Whether something is made of a value that is no function of its root alone."""
        root = self.root(value)
        for user in value.users:
            if any(self.root(made) is not root for made in user.outputs):
                return True
        return False

    def formulas(self, end: Value) -> Iterator[Formula]:
        """The activations that lie one after the other up to a value."""
        start, between = self._behind(end)
        if start is None:
            return
        runs = self._runs(start, end, between)
        while True:
            # relu(tanh(x)) is two activations: the first ends at the cut, the next begins there.
            cut = next(self._cuts(start, end, between), None)
            formula = self._core(start, cut or end, between)
            yield self._widened(formula, start, cut or end, between, runs)
            if cut is None:
                return
            between = {value for value in between if value not in _up_to(cut, start)}
            start = cut

    def _behind(self, end: Value) -> tuple[Value | None, set[Value]]:
        """The one value that `end` comes from, with all between; None for a sum of several."""
        # Backwards through all that is a function of the root, to the values by which it comes in.
        root = self.root(end)
        between: set[Value] = set()
        entries: set[Value] = set()
        left = [end]
        while left:
            value = left.pop()
            if value in between:
                continue
            between.add(value)
            for taken in value.call.inputs if value.call else ():
                if not taken.reached:
                    continue
                if taken is root or (self.root(taken) is taken):
                    entries.add(taken)
                else:
                    left.append(taken)
        if len(entries) == 1:
            return entries.pop(), between
        return None, between

    def _cuts(self, start: Value, end: Value, between: set[Value]) -> Iterator[Value]:
        """A named activation that all goes through, with another one behind it."""
        for value in sorted(between, key=_age):
            if value is end or not value.call or value.call.name not in NAMED:
                continue
            before = _up_to(value, start)
            after = between - before
            passed = (before | {start}) - {value}
            # Nothing behind it may take a value from before it: then it is not all that goes on.
            crossing = any(not passed.isdisjoint(_inputs(later)) for later in after)
            if not crossing and any(v.call and v.call.name in NAMED for v in after):
                yield value

    def _core(self, start: Value, end: Value, between: set[Value]) -> Formula:
        """Without the linear functions before and after it.

        Where a named function is all that is bent, it is the activation, whatever scales, moves
        and shortcuts lie around it: with relu for relu nothing changes then.
        """
        segment = _up_to(end, start)
        bent = [value for value in segment if not _straight(value.call)]
        if len(bent) == 1 and _named(bent[0]):
            return Formula(_inputs(bent[0])[0], bent[0], frozenset(bent))
        # From behind as long as the last call is linear, then from the front.
        while (before := _before(end)) and before is not start and not self._plain(before, start):
            end = before
        inside = _up_to(end, start)
        while (after := _after(start, inside)) and after is not end:
            start = after
            inside = _up_to(end, start)
        return Formula(start, end, frozenset(inside))

    def _plain(self, value: Value, start: Value) -> bool:
        """Whether nothing is bent on the way to a value."""
        return all(_straight(between.call) for between in _up_to(value, start))

    def _widened(
        self, core: Formula, start: Value, end: Value, between: set[Value], runs: Sequence[Run]
    ) -> Formula:
        """With the linear functions around it that belong to it.

        They do where a module's forward is just that. So do plain numbers where they make a gate
        of it, as in relu6(x + 3) / 6, turn its sign on both sides, or stand behind a formula that
        is written out. Those around a function that has a name are none of its business: relu(-x),
        relu(2 x) and relu(x) / 2 are relu.
        """
        wide = self._with_numbers(core, start, between)
        best = self._best(core, wide, between)
        segment, sure = _up_to(end, start), best if core.named else core
        for run in runs:
            if run.input is None or run.output not in segment:
                continue
            inside = _up_to(run.output, run.input)
            # The module holds all that is bent, and nothing from outside of the stretch.
            fits = sure.inside <= inside <= segment and sure.start in inside | {run.input}
            around = inside - sure.inside
            written_out = not core.named and all(_number(value) is not None for value in around)
            if fits and (not around or written_out):
                return Formula(run.input, run.output, frozenset(inside), run)
        return best

    def _best(self, core: Formula, wide: Formula, between: set[Value]) -> Formula:
        """The formula, or as much of the numbers around it as belongs to it."""
        opened = wide.opens and not core.opens
        if core.named:
            return wide if opened else core
        if len(core.inside) == 1 and not core.names & CURVED:
            turned = _sign(core.start, wide.start) < 0 and self._turned(core.end, between)
            return wide if wide.opens or turned else core
        curved = not core.names & (NAMED | BENT)
        first = wide.start if curved or opened else core.start
        return Formula(first, wide.end, frozenset(_up_to(wide.end, first)))

    def _with_numbers(self, core: Formula, start: Value, between: set[Value]) -> Formula:
        """The formula with the plain numbers before and behind it."""
        first, last = core.start, core.end
        while first is not start and first in between and _number(first) is not None:
            (first,) = _inputs(first)
        while True:
            users = [v for v in between if last in _inputs(v)]
            if len(last.users) != 1 or len(users) != 1 or _number(users[0]) is None:
                break
            last = users[0]
        return Formula(first, last, frozenset(_up_to(last, first)))

    def _turned(self, last: Value, between: set[Value]) -> bool:
        """Whether the sign is turned behind a value."""
        users = [v for v in between if last in _inputs(v)]
        return len(users) == 1 and (_number(users[0]) or 0) < 0

    def _runs(self, start: Value, end: Value, between: set[Value]) -> list[Run]:
        """Modules whose forward is an elementwise function within these, the outermost first."""
        passed = {start, *between}
        runs = [
            run
            for run in self.record.runs
            if run.path
            and run.input in passed
            and run.output in between
            and run.input is not run.output
            and self._closed(run)
        ]
        return sorted(runs, key=lambda run: run.last - run.first, reverse=True)

    def _closed(self, run: Run) -> bool:
        """Whether what comes out of a module depends on nothing but what goes in."""
        assert run.input is not None
        assert run.output is not None
        inside = _up_to(run.output, run.input)
        allowed = inside | {run.input}
        return all(allowed.issuperset(_inputs(value)) for value in inside)


def _staying(record: Record, formula: Formula) -> str | None:
    """Why an elementwise function stays as it is; "" where it is nothing to speak of."""
    if not formula.start.tensor.is_floating_point():
        return ""  # of a mask, or of numbers of rows: it has no derivative
    users = list(_uses(formula.end, set(record.results), set()))
    reached = [(call, value) for call, value in users if call is not None]
    if formula.call.effect and not reached:
        return None  # a part of a tensor that is used as a whole
    if _comes_out(formula, record):
        return "the network's output"
    divides = [call.name == "div" and call.inputs[-1:] == [value] for call, value in reached]
    if reached and all(divides):
        return ""
    if reached and all(call.name in {"softmax", "log_softmax"} for call, _ in reached):
        return "it bounds what a softmax takes"
    if formula.opens and _gates(formula.end, set()):
        return "a gate"
    bent = formula.names & (NAMED | BENT) or formula.run
    if not bent and not any(_weighted(call, value) for call, value in reached):
        return ""
    return None


def _gates(value: Value, seen: set[Value]) -> bool:
    """Whether something else is multiplied by a value, or by what sums and means make of it."""
    seen.add(value)
    for call in value.users:
        if _weighs(call, value):
            return True
        gathered = call.name in MOVING | GATHERING | STRAIGHT or "pool" in call.name
        divided = call.name == "div" and call.inputs[-1:] == [value]  # by the sum of gates
        if gathered and not divided and any(_gates(v, seen) for v in call.outputs if v not in seen):
            return True
    return False


def _comes_out(formula: Formula, record: Record) -> bool:
    """Whether it is what the network gives, moved about and scaled at most, and nothing else."""
    # Forwards: every way must end in the results, with nothing but moving and scaling on it.
    results, left, seen = set(record.results), [formula.end], {formula.end}
    while left:
        value = left.pop()
        if value in results:
            continue
        for call in value.users:
            alone = formula.opens or len({v for v in call.inputs if v.reached}) == 1
            if call.name not in MOVING | JOINING and not (_straight(call) and alone):
                return False
            left += [out for out in call.outputs if out not in seen]
            seen.update(call.outputs)
        if not value.users:
            return False
    return True


def prepares(formula: Formula, record: Record) -> bool:
    """Whether it is made of the examples with nothing that was learned."""
    # Backwards: every way must end in the examples, with no weights on it and no layer.
    left, seen = [formula.start], {formula.start}
    while left:
        value = left.pop()
        if value is record.examples or not value.reached:
            continue
        call = value.call
        if call is None or call.name not in MOVING | JOINING | ELEMENTWISE:
            return False
        if any(_learned(taken) for taken in call.inputs):
            return False
        left += [taken for taken in call.inputs if taken not in seen]
        seen.update(call.inputs)
    return True


def _learned(value: Value) -> bool:
    """Whether a value is weights, or made of them alone."""
    weights = isinstance(value.tensor, nn.Parameter)
    return weights or (value.tensor.requires_grad and not value.reached)


def _uses(
    value: Value, results: set[Value], seen: set[Value]
) -> Iterator[tuple[Call | None, Value]]:
    """What takes a value, wherever it is moved to; None for the network's output."""
    seen.add(value)
    if value in results or not value.users:
        yield None, value
    for call in value.users:
        moved = call.name in MOVING or (
            call.name in STRAIGHT and len({v for v in call.inputs if v.reached}) == 1
        )
        if not moved:
            yield call, value
            continue
        for out in call.outputs:
            if out not in seen:
                yield from _uses(out, results, seen)


def _weighs(call: Call, value: Value) -> bool:
    """Whether a call multiplies something else by a value."""
    # Weights of the network do not count: a layer is no gate.
    others = [taken for taken in call.inputs if taken.reached and taken is not value]
    return call.name in WEIGHING and bool(others)


def _weighted(call: Call, value: Value) -> bool:
    """Whether a call is a layer that weighs a value: with weights, or a normalisation."""
    return weighed_axis(call, value) is not None or call.name in NORMS


def _hidden(record: Record, formula: Formula) -> str:
    """Why an activation cannot be swapped, or ""."""
    if any(value.call and value.call.redone for value in formula.inside):
        return "torch.utils.checkpoint does it again in the backward pass: switch that off"
    if formula.call.hidden and record.custom:
        return "it is inside a torch.autograd.Function, whose gradient is its own"
    return ""


@torch.no_grad()
def _acts_alone(call: Call, value: Value) -> bool:
    """Whether a function that has no name here takes each number by itself: by trying it."""
    reached = [taken for taken in call.inputs if taken.reached]
    alike = len(reached) == 1 and reached[0].shape == value.shape and value is not reached[0]
    mixing = call.name in MIXING | MOVING | STAYING.keys() or call.name.startswith("conv")
    if not alike or mixing or call.written:
        return False
    x = reached[0].tensor.detach()
    # Where all has levelled off nothing changes anything: small numbers tell then.
    small = torch.linspace(-1, 1, x.numel(), device=x.device).view(x.shape).to(x.dtype)
    function = partial(_repeated, call)
    try:
        return all(
            acts_alone(function, at) for at in ((x, small) if x.is_floating_point() else (x,))
        )
    except Exception:  # whatever it is, it takes no other numbers
        return False


def acts_alone(function: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether every second number of `x` has nothing to do with the results between them."""
    half = (torch.arange(x.numel(), device=x.device) % 2 == 0).view(x.shape)
    # Copies: a function may write to what it takes.
    first, again, moved = (
        function(at) for at in (x.clone(), x.clone(), torch.where(half, x, x + 1))
    )
    # What is undefined at these numbers tells nothing.
    told = ~first.isnan()
    kept = half & told
    return torch.equal(first[told], again[told]) and torch.equal(first[kept], moved[kept])


def _repeated(call: Call, x: Tensor) -> Tensor:
    value: Tensor = call.repeated(partial(_in_place_of_reached, x))
    return value


def _in_place_of_reached(x: Tensor, taken: Value) -> Tensor:
    return x if taken.reached else taken.tensor


def _alike(call: Call, value: Value) -> bool:
    """Whether every example-dependent argument has the result's shape, and no other a larger."""
    if any(taken.reached and taken.shape != value.shape for taken in call.inputs):
        return False
    if call.name in {"setitem", "index_put"}:  # x[x < 0] = 0, and nothing that goes by places
        where = call.arguments[0][1]
        where = where[0] if isinstance(where, list | tuple) and len(where) == 1 else where
        return isinstance(where, Value) and where.reached and where.tensor.dtype == torch.bool
    return all(taken.tensor.ndim <= value.tensor.ndim for taken in call.inputs)


def _straight(call: Call | None) -> bool:
    """Whether a call is linear in what depends on the examples."""
    if call is None or call.name not in STRAIGHT:
        return False
    # x · y of two values that both depend on the examples is not linear in them.
    return call.name not in {"mul", "div", "addcmul"} or sum(v.reached for v in call.inputs) == 1


def _named(value: Value) -> bool:
    """Whether a named function of one value makes it, or a module that is shown as one."""
    named = value.call is not None and value.call.name in NAMED | {"shown"}
    return named and len(_inputs(value)) == 1


def _before(end: Value) -> Value | None:
    """The one value that a value is a linear function of, by its last call."""
    inputs = _inputs(end)
    straight = end.call is not None and end.call.name in STRAIGHT
    return inputs[0] if straight and len(inputs) == 1 else None


def _after(start: Value, inside: Iterable[Value]) -> Value | None:
    """The one value that is made of a value, if by a linear function."""
    users = [value for value in inside if start in _inputs(value)]
    return users[0] if len(users) == 1 and _before(users[0]) is start else None


def _number(value: Value) -> float | None:
    """1 or -1 where a value is made of another with plain numbers: by its sign; else None.

    A parameter or a buffer is no plain number: it is a weight of the network.
    """
    call = value.call
    if call is None or _before(value) is None:
        return None
    if any(not taken.reached and taken.tensor.numel() > 1 for taken in call.inputs):
        return None
    if any(isinstance(taken.tensor, torch.nn.Parameter) for taken in call.inputs):
        return None
    # rsub is a number less x: it turns the sign as neg does.
    if call.name in {"neg", "rsub"}:
        return -1.0
    # By the sign of the factor that does not depend on the examples.
    if call.name in {"mul", "div"}:
        args = [*call.arguments[0], *call.arguments[1].values()]
        plain = [arg for arg in args if not _reached(arg)]
        numbers = [arg.tensor.item() if isinstance(arg, Value) else arg for arg in plain]
        negative = any(isinstance(number, int | float) and number < 0 for number in numbers)
        return -1.0 if negative else 1.0
    return 1.0


def _sign(end: Value, start: Value) -> float:
    """The sign of the plain numbers between two values."""
    sign = 1.0
    while end is not start:
        sign *= _number(end) or 1.0
        (end,) = _inputs(end)
    return sign


def _reached(argument: object) -> bool:
    return isinstance(argument, Value) and argument.reached


def _inputs(value: Value) -> list[Value]:
    """The example-dependent values that a value is made of."""
    return [taken for taken in _inputs_of(value.call) if taken.reached] if value.call else []


def _inputs_of(call: Call | None) -> list[Value]:
    return call.inputs if call else []


def _up_to(end: Value, start: Value) -> set[Value]:
    """The values between `start`, which is left out, and `end`."""
    between: set[Value] = set()
    left = [end]
    while left:
        value = left.pop()
        if value is start or value in between:
            continue
        between.add(value)
        left += _inputs(value)
    return between


def _age(value: Value) -> int:
    return value.call.number if value.call else -1
