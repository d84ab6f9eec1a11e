"""What a network does with its examples: every call of a torch function, written down in order.

torch shows its functions to a mode (torch.overrides.TorchFunctionMode), so that the network runs as
it is written, with its own branches, loops and state; nothing is traced symbolically. A function
that torch cannot show (a torch.autograd.Function, TorchScript) is noticed by what it leaves.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary
from torch.utils import _pytree as pytree

# What asks for facts: how often that is done may differ between training and evaluation.
ASKING = {"__get__", "__len__", "__bool__", "__int__", "__float__", "__index__", "__repr__"}
ASKING |= {"__format__", "__hash__", "__contains__", "_set_grad_enabled", "size", "dim", "numel"}
ASKING |= {"stride", "is_floating_point", "is_complex", "is_contiguous", "element_size", "item"}
ASKING |= {"tolist", "data_ptr", "storage_offset", "get_device", "nelement", "ndimension"}
ASKING |= {"is_nonzero", "is_same_size", "equal", "allclose", "register_hook", "untyped_storage"}
ASKING |= {"__set__", "requires_grad_", "retain_grad", "device"}
OURS = {"torch", "relubench"}
VIEWS = {"T", "mT", "H", "mH", "real", "imag", "data"}  # attributes that are other tensors
# One spelling for each function: without _ around it, and these.
SPELT = {"iadd": "add", "radd": "add", "isub": "sub", "subtract": "sub", "imul": "mul"}
SPELT |= {"rmul": "mul", "multiply": "mul", "itruediv": "div", "truediv": "div", "divide": "div"}
SPELT |= {"true_divide": "div", "rtruediv": "rdiv", "rdiv": "rdiv", "ipow": "pow", "clip": "clamp"}
SPELT |= {"expit": "sigmoid", "special_expit": "sigmoid", "absolute": "abs", "negative": "neg"}
SPELT |= {"greater": "gt", "less": "lt", "greater_equal": "ge", "less_equal": "le"}
SPELT |= {"log_sigmoid": "logsigmoid", "special_erf": "erf", "arctan": "atan", "imatmul": "matmul"}
SPELT |= {"rmatmul": "matmul", "special_expm1": "expm1", "special_log1p": "log1p"}

TorchFunction = Callable[..., Any]  # functions, methods and operators: no narrower type fits all
Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # args and kwargs, nested as torch allows
ShownCall = Callable[[nn.Module, Tensor], Tensor]  # `shown` or `dropped`


@dataclass(eq=False)
class Value:
    """A tensor at one moment; once it is written to, it is another value.

    call     what made it; None for inputs, parameters, buffers and constants
    place    which of the call's tensors: its results come first, then what it wrote to
    reached  whether it depends on the examples
    """

    tensor: Tensor
    call: Call | None = None
    place: int = 0
    reached: bool = False
    users: list[Call] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor."""
        return tuple(self.tensor.shape)


@dataclass(eq=False)
class Call:
    """One call of a torch function.

    number     among those that are counted; -1 where the function only asks for a fact
    arguments  args and kwargs, with values in the place of tensors
    path       of the innermost module whose forward calls it
    written    the argument that the call changes in place
    effect     whether that change is seen by another name than the call's result
    hidden     whether autograd does not see it, inside a torch.autograd.Function or no_grad
    redone     whether it is done again in the backward pass (torch.utils.checkpoint)
    line       of code that calls it: file and number
    """

    number: int
    function: TorchFunction
    arguments: Arguments
    inputs: list[Value]
    path: str
    outputs: list[Value] = field(default_factory=list)
    written: Value | None = None
    effect: bool = False
    hidden: bool = False
    redone: bool = False
    line: tuple[str, int] = ("", 0)

    @property
    def name(self) -> str:
        """The function's name, one spelling for each."""
        return spelt(self.function)

    def __str__(self) -> str:
        return f"{self.name} in {self.path}" if self.path else self.name

    def repeated(self, put: Callable[[Value], Tensor]) -> Any:
        """The function's result with these tensors in the place of its values."""

        def tensor(leaf: object) -> object:
            return put(leaf) if isinstance(leaf, Value) else leaf

        args, kwargs = pytree.tree_map(tensor, self.arguments)
        return self.function(*args, **kwargs)


@dataclass(eq=False)
class Run:
    """A module's forward: its path, the value that went in and the one that came out.

    Only with one tensor each they are noted. `first` and `last` count the calls inside.
    """

    path: str
    module: nn.Module
    first: int
    last: int = 0
    input: Value | None = None
    output: Value | None = None
    unseen: bool = False  # what comes out was made by a function that torch does not show


@dataclass(eq=False)
class Record:
    """All calls of one forward pass."""

    examples: Value
    calls: list[Call]
    runs: list[Run]
    outputs: Any  # what a network gives is checked later
    results: list[Value]  # the tensors in `outputs`
    custom: bool  # whether a torch.autograd.Function, or what torch does not show, was called

    @property
    def unseen(self) -> str:
        """What takes a tensor that was made by a function that torch does not show; "" if none."""
        return self.taking_unseen(())

    def taking_unseen(self, known: Collection[Value | None]) -> str:
        """The same, but for these values, of which is known what made them."""

        def made_unseen(value: Value) -> bool:
            seen = value.call is not None or value is self.examples or value in known
            return not seen and value.tensor.grad_fn is not None

        taking = (str(call) for call in self.calls if any(map(made_unseen, call.inputs)))
        return next(taking, "the output" if any(map(made_unseen, self.results)) else "")

    @property
    def functions(self) -> list[TorchFunction]:
        """The functions that are counted, in order."""
        return [call.function for call in self.calls if call.number >= 0]


def spelt(function: TorchFunction) -> str:
    """The name of a torch function or operator, one spelling for each."""
    name = getattr(function, "__name__", "") or type(function).__name__
    if name == "__get__":
        name = getattr(getattr(function, "__self__", None), "__name__", name)
    name = name.split(".")[0].strip("_")
    return SPELT.get(name, name)


def asks(function: TorchFunction) -> bool:
    """Whether a function only asks for a fact, so that it is not counted."""
    name = getattr(function, "__name__", "")
    if name == "__get__":  # reads an attribute, whose descriptor it is bound to
        attribute = getattr(function, "__self__", None)
        return getattr(attribute, "__name__", "") not in VIEWS
    return name in ASKING


def tensors(tree: object) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


class Recorder(TorchFunctionMode):
    """Writes down what is called while it is active.

    A function that changes its argument returns it under another name here, so that it is seen
    whether the change is also looked at through the old one.
    """

    def __init__(self, examples: Tensor) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.stack: list[Run] = []
        self.runs: list[Run] = []
        self.values: dict[int, Value] = {}
        self.kept: list[Tensor] = []  # an address is not used again while we look
        self.owners: dict[int, list[Tensor]] = {}  # tensors by the memory that they lie in
        self.parents: dict[int, Tensor] = {}  # of a view
        self.changes: dict[int, list[tuple[Call, Tensor]]] = {}  # by memory: calls, new names
        self.counted, self.custom = 0, False
        # A call without gradients is hidden only where they were on at the beginning.
        self.graded = torch.is_grad_enabled()
        self.hooks = _saving()
        self.examples = self._name(examples, Value(examples, reached=True))

    def __torch_function__(
        self,
        function: TorchFunction,
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Call it, and write it down."""
        kwargs = kwargs or {}
        # torch counts the writes to a tensor: nothing else says what a function changes in place.
        before = [(tensor, tensor._version) for tensor in tensors((args, kwargs))]
        for tensor, _ in before:
            self._used(tensor)
        # Before the function runs: afterwards an argument may be another value.
        call = self._call(function, args, kwargs, [tensor for tensor, _ in before])
        result = function(*args, **kwargs)
        written = [tensor for tensor, version in before if tensor._version != version]
        results = tensors(result)
        # A question about a tensor leaves nothing to write down.
        if call.number < 0 and not results and not written:
            return result
        for value in dict.fromkeys(call.inputs):  # once each: x * x takes one value twice
            value.users.append(call)
        self.calls.append(call)
        if written:
            return self._write(call, result, results, written)
        self._results(call, results, [tensor for tensor, _ in before])
        return result

    def _call(
        self,
        function: TorchFunction,
        args: Sequence[object],
        kwargs: Mapping[str, object],
        before: Sequence[Tensor],
    ) -> Call:
        number = -1
        if not asks(function):
            number, self.counted = self.counted, self.counted + 1
        arguments = pytree.tree_map(
            lambda leaf: self.value(leaf) if isinstance(leaf, Tensor) else leaf, (args, kwargs)
        )
        call = Call(
            number=number,
            function=function,
            arguments=arguments,
            inputs=[self.value(tensor) for tensor in before],
            path=self.stack[-1].path if self.stack else "",
        )
        call.hidden = self.graded and not torch.is_grad_enabled()
        call.redone = _saving() != self.hooks
        call.line = _line()
        return call

    def value(self, tensor: Tensor) -> Value:
        """What this tensor is now."""
        value = self.values.get(id(tensor))
        return value or self._name(tensor, Value(tensor, reached=tensor.grad_fn is not None))

    def _name(self, tensor: Tensor, value: Value) -> Value:
        self.values[id(tensor)] = value
        self.kept.append(tensor)
        self.owners.setdefault(_memory(tensor), []).append(tensor)
        return value

    def _results(self, call: Call, results: Sequence[Tensor], before: Sequence[Tensor]) -> None:
        # zeros_like(x) takes a value that depends on the examples, and gives none.
        reached = any(value.reached for value in call.inputs) and not _blank(call)
        for tensor in results:
            if _is_among(tensor, before):
                call.outputs.append(self.value(tensor))
                continue
            value = Value(tensor, call, len(call.outputs), reached)
            call.outputs.append(self._name(tensor, value))
            owner = next((t for t in before if _memory(t) == _memory(tensor)), None)
            if owner is not None:
                self.parents[id(tensor)] = owner

    def _write(
        self, call: Call, result: object, results: Sequence[Tensor], written: Sequence[Tensor]
    ) -> object:
        """Give what was written to new values; return it under a new name, where it is returned."""
        reached = any(value.reached for value in call.inputs)
        fresh = [tensor for tensor in results if not _is_among(tensor, written)]
        self._results(call, fresh, [])
        call.written = self.value(written[0])
        for tensor in written:
            value = Value(tensor, call, len(call.outputs), reached)
            call.outputs.append(value)
            # Views see the write too: whatever lies in this memory is another value from here on.
            for other in self.owners[_memory(tensor)]:
                same = _geometry(other) == _geometry(tensor)
                self.values[id(other)] = value if same else Value(other, call, -1, reached)
        call.effect = True  # unless another name shows that nothing else looks at the change
        if not isinstance(result, Tensor) or result is not written[0]:
            return result
        if not torch.is_grad_enabled() or not result.requires_grad:
            return result
        call.effect = False
        # A view under a new name: whoever uses the old one from here on gives itself away.
        alias = result.view_as(result)
        self._name(alias, self.value(result))
        self.parents[id(alias)] = result
        self.changes.setdefault(_memory(result), []).append((call, alias))
        return alias

    def _used(self, tensor: Tensor) -> None:
        """Note where a change is seen through an old name, and what was made out of sight."""
        for call, alias in self.changes.get(_memory(tensor), ()):
            call.effect = call.effect or not self._derived(tensor, alias)
        self.custom |= self._unseen(tensor)

    def _unseen(self, tensor: Tensor) -> bool:
        """Whether a function made it that torch does not show, or shows the inside of only."""
        value = self.values.get(id(tensor))
        if value is None:  # it has a history, and no call of it was met
            return tensor.grad_fn is not None
        own_backward = isinstance(tensor.grad_fn, BackwardCFunction)
        # Its history is one node of its own, and the calls inside were made without gradients.
        return own_backward and value.call is not None and value.call.hidden

    def _derived(self, tensor: Tensor, alias: Tensor) -> bool:
        while tensor is not alias:
            if id(tensor) not in self.parents:
                return False
            tensor = self.parents[id(tensor)]
        return True

    def enter(self, path: str, module: nn.Module, args: object, kwargs: object) -> None:
        """A module's forward begins."""
        run = Run(path, module, len(self.calls))
        taken = tensors((args, kwargs))
        if len(taken) == 1:
            run.input = self.value(taken[0])
        self.stack.append(run)

    def leave(self, output: object) -> None:
        """A module's forward ends."""
        run = self.stack.pop()
        run.last = len(self.calls)
        made = tensors(output)
        run.unseen |= any(self._unseen(tensor) for tensor in made)
        if len(made) == 1 and made[0] is output:
            run.output = self.value(made[0])
        self.runs.append(run)

    def record(self, outputs: object) -> Record:
        """Everything, at the end."""
        made = tensors(outputs)
        for tensor in made:
            self._used(tensor)
        results = [self.value(tensor) for tensor in made]
        return Record(self.examples, self.calls, self.runs, outputs, results, self.custom)


def recorded(
    network: nn.Module,
    examples: Tensor,
    more: Sequence[Tensor] = (),
    run: Callable[[], Any] | None = None,
) -> Record:
    """Run the network on `examples` and write its calls down.

    more, run  further tensors that examples bring along, and how the network is called with all
    """
    with ExitStack() as hooks:
        recorder = Recorder(examples)
        for tensor in more:
            recorder._name(tensor, Value(tensor, reached=True))
        inner = inside_shown(network)
        for path, module in network.named_modules():
            # TorchScript takes no hooks.
            if module in inner or isinstance(module, torch.jit.ScriptModule):
                continue
            # `path=path`: a lambda that reads the loop's variable would see its last value.
            before = module.register_forward_pre_hook(
                lambda module, args, kwargs, path=path: recorder.enter(path, module, args, kwargs),
                with_kwargs=True,
            )
            after = module.register_forward_hook(lambda module, args, out: recorder.leave(out))
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        with recorder:
            outputs = run() if run else network(examples)
        return recorder.record(outputs)


def inside_shown(network: nn.Module) -> set[nn.Module]:
    """The modules of a network that lie inside of a Shown, and so out of sight."""
    inside: set[nn.Module] = set()
    for module in network.modules():
        if isinstance(module, Shown):
            inside.update(module.module.modules())
    return inside


def _is_among(tensor: Tensor, others: Iterable[Tensor]) -> bool:
    # By identity: `in` would compare the numbers.
    return any(tensor is other for other in others)


def _memory(tensor: Tensor) -> int:
    try:
        # The storage's address: views share it, whatever numbers they begin at.
        return int(tensor.untyped_storage()._cdata)
    except NotImplementedError:  # inside of a vmap of the network's own
        return id(tensor)


def _geometry(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.storage_offset()


def _line() -> tuple[str, int]:
    """The innermost line of code that is neither torch's nor relubench's."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in OURS:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _saving() -> object:
    """What torch.utils.checkpoint puts in the place of saving tensors."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False)


def _blank(call: Call) -> bool:
    """Whether the result has an argument's shape and none of its numbers."""
    return call.name.endswith("_like") or call.name.startswith("new_")


# --- what torch does not show ---------------------------------------------------------------------


def shown(module: nn.Module, x: Tensor) -> Tensor:
    """A module's forward as one call that a mode sees: an elementwise function."""
    return _as_one_call(shown, module, x)


def dropped(module: nn.Module, x: Tensor) -> Tensor:
    """A module's forward as one call that a mode sees: it zeroes whole examples."""
    return _as_one_call(dropped, module, x)


def _as_one_call(function: ShownCall, module: nn.Module, x: Tensor) -> Tensor:
    """What a module makes of `x`; a mode is told that `function` does it."""
    seen = has_torch_function_unary(x)
    value: Tensor = handle_torch_function(function, (x,), module, x) if seen else module(x)
    return value


class Shown(nn.Module):
    """A module whose forward is one call: `shown` or `dropped`."""

    def __init__(self, module: nn.Module, call: ShownCall) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, x: Tensor) -> Tensor:
        """As the module."""
        return self.call(self.module, x)


@contextmanager
def in_mode(network: nn.Module, training: bool) -> Iterator[None]:
    """The network while it trains, or evaluates; it leaves no trace in buffers and modes."""
    modes = {module: module.training for module in network.modules()}
    buffers: list[tuple[nn.Module, str, Tensor, Tensor]] = []
    for module in modes:
        for name, buffer in module.named_buffers(recurse=False):
            buffers.append((module, name, buffer, buffer.clone()))
    network.train(training)
    grad = partial(torch.set_grad_enabled, training)
    try:
        with grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        with torch.no_grad():
            for module, name, buffer, kept in buffers:
                # The tensor itself, too: a forward may have put another in its place.
                module._buffers[name] = buffer.copy_(kept)
