"""Training steps recorded once and replayed: their kernels alone, without modules and autograd.

On a CPU most of a small network's step is spent between its kernels.
"""

from __future__ import annotations

import itertools
import types
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

Step = Callable[..., None]
PLAIN = 10  # steps that are taken as they are: a recording costs as much as it saves in about 20
LARGE = 2**28  # bytes of a step's tensors; with more, its kernels take nearly all of its time
NUMBERS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}  # an op reads them


class Recorded:
    """`step`, recorded at the `plain`-th batch of a shape, and replayed from then on.

    `step` takes tensors and returns nothing. What it does to them must follow from their shapes,
    not from numbers in them nor from what Python keeps from step to step. Where it reads numbers,
    or is too large to gain by it, it is taken as it is.
    """

    def __init__(self, step: Step, plain: int = PLAIN) -> None:
        self.step, self.plain, self.taken = step, plain, Counter[Any]()
        self.replays: dict[Any, Step] = {}

    def __call__(self, *inputs: Tensor) -> None:
        """Take the step."""
        shapes = tuple((tensor.shape, tensor.stride()) for tensor in inputs)
        if shapes in self.replays:
            with torch.no_grad():
                self.replays[shapes](*inputs)
            return
        self.taken[shapes] += 1
        if self.taken[shapes] != self.plain:
            self.step(*inputs)
            return
        with Recorder(inputs) as recorder:
            self.step(*inputs)
        if not recorder.lost:
            self.replays[shapes] = recorder.replay()


class Recorder(TorchDispatchMode):
    """Writes what is done with tensors down, as the source of a function of the inputs.

    Tensors that were there before are constants of it, whose memory it may change.

    lost  whether it cannot be replayed
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lost = False
        self.lines: list[tuple[str, list[str]]] = []  # and the variables in it
        self.names = WeakTensorKeyDictionary()
        self.number = itertools.count()
        self.made: set[int] = set()  # addresses of memory
        self.bytes = 0
        self.constants: dict[str, Any] = {}
        self.inputs = [self._variable(tensor) for tensor in inputs]

    def __torch_dispatch__(
        self, op: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Do it, and write it down."""
        kwargs = kwargs or {}
        if self.lost or op.namespace == "profiler":
            return op(*args, **kwargs)
        before = [x for x in pytree.tree_leaves([args, kwargs]) if isinstance(x, Tensor)]
        variables = [self.names[tensor] for tensor in before if tensor in self.names]
        function, result = _called(op, args, kwargs)
        if op.is_view and not variables:
            return result  # of a constant, and so one itself
        if op is torch.ops.aten.detach.default:
            self.names[result] = variables[0]
            return result
        written = [self._written(x) for x in args]
        written += [f"{name}={self._written(x)}" for name, x in kwargs.items()]
        results = [
            "_" if not isinstance(x, Tensor) or any(x is y for y in before) else self._variable(x)
            for x in (result if isinstance(result, list | tuple) else [result])
        ]
        target = f"[{', '.join(results)}]" if isinstance(result, list | tuple) else results[0]
        line = f"{target} = {self._constant(function)}({', '.join(written)})"
        self.lines.append((line, [*variables, *results]))
        self.lost |= not NUMBERS.isdisjoint(op.tags) or self.bytes > LARGE
        return result

    def _variable(self, tensor: Tensor) -> str:
        memory = tensor.untyped_storage()
        self.bytes += memory.nbytes() if memory.data_ptr() not in self.made else 0
        self.made.add(memory.data_ptr())
        name = self.names[tensor] = f"v{next(self.number)}"
        return name

    def _constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def _written(self, value: Any) -> str:
        """The source of an argument."""
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self._written, value))}]"
        if not isinstance(value, Tensor):
            return self._constant(value)
        if value in self.names:
            return str(self.names[value])
        memory = value.untyped_storage()
        self.lost |= bool(memory.nbytes()) and memory.data_ptr() in self.made  # made out of sight
        return self._constant(value.detach())

    def replay(self) -> Step:
        """The function of the inputs that does all of it again."""
        lines, later = [], {"_"}
        for line, variables in reversed(self.lines):
            done = sorted(set(variables) - later)
            later |= set(variables)
            lines.append(f"    {line}" + (f"; del {', '.join(done)}" if done else ""))
        source = "\n".join([f"def replay({', '.join(self.inputs)}):", *reversed(lines)])
        exec(source, self.constants)
        replay: Step = self.constants.pop("replay")  # no cycle: its tensors go when it does
        return replay


def _called(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """What does the op with these arguments, and its result.

    That is torch's own function or method of its name, which is called in half the time; not every
    op has one, or one that takes the same arguments.
    """
    name = op.overloadpacket.__name__
    for function in (getattr(torch, name, None), getattr(Tensor, name, None)):
        if isinstance(function, types.BuiltinFunctionType | types.MethodDescriptorType):
            try:
                result = function(*args, **kwargs)
                return function, result if op._schema.returns else None
            except TypeError:
                continue
    return op, op(*args, **kwargs)
