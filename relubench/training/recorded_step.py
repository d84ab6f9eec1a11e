"""Training steps recorded once and replayed: their kernels alone, without modules and autograd.

On a CPU most of a small network's step is spent between its kernels, in Python modules, autograd
and torch's dispatcher. A recorder writes down which kernels a step calls, and the replay calls them
again: the same kernels on the same memory in the same order, and so the same bits.

The contract. A step is recordable if what it does follows from the shapes of its inputs alone: not
from numbers in its tensors, and not from what Python keeps from step to step. It reads its inputs,
and changes tensors that were there before (weights, gradients, the optimizer's state, sums) in
place. Replays run under no_grad: what autograd did is among the recorded kernels.

Ways to fall back to plain steps, each without a trace in the numbers:

    what is met                                       where it is seen         then
    a shape of batch met fewer than `warmup_steps`    RecordedStep             plain until then
    an op that reads numbers (.item(), x[x > 0])      its tags, NUMBERS        plain for ever
    memory that was made out of torch's sight         Recorder._argument       plain for ever
      (through numpy, or by an op without dispatch)
    tensors of more than LARGE bytes                  Recorder                 plain for ever
    a user's own code, a library's model, a GPU       Learner.step_on          never recorded

Why not torch.compile, make_fx or TorchScript: torch.compile takes seconds to start, again for each
architecture and shape of batch, where whole trainings take seconds, and its fused kernels round
otherwise, so that a cell's last bits would depend on whether it was compiled. make_fx writes down
ops of the dispatcher, each of which takes twice the time of torch's own function of its name.
TorchScript traces the forward pass alone, without autograd and optimizer.
"""

from __future__ import annotations

import itertools
import types
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

Step = Callable[..., None]
Shapes = tuple[tuple[torch.Size, tuple[int, ...]], ...]  # and strides, of every input

# A recording costs as much as it saves in about 20 steps: short trainings go without.
WARMUP_STEPS = 10
LARGE = 2**28  # bytes of a step's tensors; with more, its kernels take nearly all of its time
NUMBERS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}  # an op reads them


def _overloads(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Overloads of aten whose arguments torch's own function, or method, of their name takes as they
# are: it is called in half an op's time. An op that is not here is called as it is.
FUNCTIONS = _overloads(
    """
    _foreach_add_.Scalar _fused_adam_.default _fused_adamw_.default _fused_sgd_.default
    _log_softmax.default _log_softmax_backward_data.default _softmax.default abs.default
    add.Scalar add.Tensor addcmul.default amax.default arange.default argmax.default atan.default
    baddbmm.default bitwise_or.Scalar bitwise_right_shift.Tensor
    bitwise_right_shift.Tensor_Scalar bmm.default cat.default celu.default clamp.default
    clone.default constant_pad_nd.default convolution.default cos.default cumsum.default
    detach.default div.Scalar div.Tensor empty.memory_format eq.Scalar eq.Tensor erf.default
    erfinv.default exp.default expm1.default flip.default gather.default ge.Scalar ge.Tensor
    gt.Scalar hardshrink.default index_select.default le.Scalar le.Tensor log.default
    log1p.default logical_and.default lt.Scalar lt.Tensor mean.dim mul.Scalar mul.Tensor
    native_batch_norm.default neg.default ones.default ones_like.default permute.default
    pow.Tensor_Scalar pow.Tensor_Tensor promote_types.default reciprocal.default relu.default
    rsqrt.default rsub.Scalar scalar_tensor.default scatter_add.default select.int sgn.default
    sigmoid.default sin.default sqrt.default sqrt_.default squeeze.dim squeeze.dims stack.default
    sub.Scalar sub.Tensor sum.default sum.dim_IntList tanh.default threshold.default transpose.int
    unbind.int unsqueeze.default where.self zeros.default
    """
)
METHODS = _overloads(
    """
    add_.Tensor addcdiv_.default addcmul_.default bitwise_xor_.Tensor copy_.default
    expand.default lerp_.Scalar logical_and_.default mul_.Tensor new_empty_strided.default
    new_zeros.default unfold.default view.default
    """
)


class RecordedStep:
    """A step that is recorded at the `warmup_steps`-th batch of a shape and replayed from then on.

    `step` takes tensors and returns nothing; the module's docstring says what makes it recordable.
    """

    def __init__(self, step: Step, warmup_steps: int = WARMUP_STEPS) -> None:
        self.step = step
        self.warmup_steps = warmup_steps
        self.n_taken = Counter[Shapes]()
        self.replays: dict[Shapes, Step] = {}

    def __call__(self, *inputs: Tensor) -> None:
        """Take the step."""
        shapes = tuple((tensor.shape, tensor.stride()) for tensor in inputs)
        if shapes in self.replays:
            with torch.no_grad():
                self.replays[shapes](*inputs)
            return
        self.n_taken[shapes] += 1
        if self.n_taken[shapes] != self.warmup_steps:
            self.step(*inputs)
            return
        with Recorder(inputs) as recorder:
            self.step(*inputs)
        if recorder.replayable:
            self.replays[shapes] = recorder.replay()


class Recorder(TorchDispatchMode):
    """Writes what is done with tensors down, as the source of a function of the inputs.

    Tensors that were there before are constants of that function, whose memory it may change.

    replayable  whether nothing was met that a replay could not repeat
    lines       source, and the variables in it
    names       the variable that holds a tensor
    made        addresses of the memory of all variables, whose bytes are counted
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.replayable = True
        self.lines: list[tuple[str, list[str]]] = []
        # Weak: a tensor that the step has let go of must not be kept alive by its record.
        self.names = WeakTensorKeyDictionary()
        self.number = itertools.count()
        self.made: set[int] = set()
        self.bytes = 0
        self.constants: dict[str, Any] = {}
        self.inputs = [self._variable(tensor) for tensor in inputs]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not marked for torch's compiler: the mark imports it, for 2 s, at the first call."""
        return False

    def __torch_dispatch__(
        self,
        op: OpOverload,
        types: object,
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Call the op, and write the call down."""
        kwargs = kwargs or {}
        if not self.replayable or op.namespace == "profiler":
            return op(*args, **kwargs)
        leaves = pytree.tree_leaves([args, kwargs])
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        variables = [self.names[tensor] for tensor in tensors if tensor in self.names]
        function = callable_of(op)
        result = function(*args, **kwargs)
        if not op._schema.returns:
            result = None  # torch's function may hand its argument back
        if op.is_view and not variables:
            return result  # a view of a constant is a constant
        if op is torch.ops.aten.detach.default:
            self.names[result] = variables[0]  # the same memory: one variable
            return result
        arguments = self._arguments(args, kwargs)
        targets = [self._target(value, tensors) for value in _as_list(result)]
        target = f"[{', '.join(targets)}]" if isinstance(result, list | tuple) else targets[0]
        line = f"{target} = {self._constant(function)}({arguments})"
        self.lines.append((line, [*variables, *targets]))
        if not NUMBERS.isdisjoint(op.tags) or self.bytes > LARGE:
            self.replayable = False
        return result

    def _target(self, result: object, arguments: Sequence[Tensor]) -> str:
        """The variable that a result is assigned to; `_` where it is none, or an argument."""
        if not isinstance(result, Tensor) or any(result is argument for argument in arguments):
            return "_"
        return self._variable(result)

    def _variable(self, tensor: Tensor) -> str:
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in self.made:
            self.bytes += memory.nbytes()
        self.made.add(memory.data_ptr())
        name = self.names[tensor] = f"v{next(self.number)}"
        return name

    def _constant(self, value: object) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def _arguments(self, args: Sequence[object], kwargs: Mapping[str, object]) -> str:
        """The source of the arguments of a call."""
        sources = [self._argument(value) for value in args]
        sources += [f"{name}={self._argument(value)}" for name, value in kwargs.items()]
        return ", ".join(sources)

    def _argument(self, value: object) -> str:
        """The source of one argument."""
        if isinstance(value, list | tuple):
            return f"[{', '.join(map(self._argument, value))}]"
        if not isinstance(value, Tensor):
            return self._constant(value)
        if value in self.names:
            return str(self.names[value])
        memory = value.untyped_storage()
        if memory.nbytes() and memory.data_ptr() in self.made:
            self.replayable = False  # no constant: it was made in this step, out of sight
        return self._constant(value.detach())

    def replay(self) -> Step:
        """Compile the recorded calls to a function of the inputs."""
        body: list[str] = []
        used_later = {"_"}
        # From the end, so that each variable is deleted after its last use, as in a plain step.
        for line, variables in reversed(self.lines):
            done = sorted(set(variables) - used_later)
            used_later.update(variables)
            deletion = f"; del {', '.join(done)}" if done else ""
            body.append(f"    {line}{deletion}")
        head = f"def replay({', '.join(self.inputs)}):"
        exec("\n".join([head, *reversed(body)]), self.constants)
        # Without a cycle from the function to itself, its tensors go when it does.
        replay: Step = self.constants.pop("replay")
        return replay


def callable_of(op: OpOverload) -> Callable[..., object]:
    """The fastest callable that takes the same arguments as an op: torch's function, or the op."""
    overload = str(op).removeprefix("aten.")
    name = overload.partition(".")[0]
    owner: object = None
    if op.namespace == "aten" and overload in FUNCTIONS:
        owner = torch
    elif op.namespace == "aten" and overload in METHODS:
        owner = Tensor
    function: object = getattr(owner, name, None)
    # Functions that torch wrote in Python, such as Tensor.unflatten, would dispatch to other ops.
    if isinstance(function, types.BuiltinFunctionType | types.MethodDescriptorType):
        return function
    return op


def _as_list(result: object) -> Sequence[object]:
    return result if isinstance(result, list | tuple) else [result]
