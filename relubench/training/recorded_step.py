"""Training steps recorded once and replayed: their kernels alone, without modules and autograd.

On a CPU most of a small network's step is spent between its kernels, in Python modules, autograd
and torch's dispatcher. A recorder writes down which kernels a step calls, and the replay calls them
again: the same kernels on the same memory in the same order, and so the same bits. Up to KEPT bytes
of results go to memory that is kept from step to step: none is asked for, and views of it are taken
but once.

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
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

aten = torch.ops.aten
Step = Callable[..., None]
Shapes = tuple[tuple[torch.Size, tuple[int, ...]], ...]  # and strides, of every input

# A recording costs as much as it saves in about 20 steps: short trainings go without.
WARMUP_STEPS = 10
LONG, WARMUP_STEPS_OF_LONG = 50, 2  # steps of a training that is known to be worth it
LARGE = 2**28  # bytes of a step's tensors; with more, its kernels take nearly all of its time
KEPT = 2**23  # bytes of results that are kept: beyond, they would not be in a CPU's cache any more
NUMBERS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}  # an op reads them


def _overloads(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Overloads of aten whose arguments torch's own function, or method, of their name takes as they
# are: it is called in half an op's time. An op that is not here is called as it is.
FUNCTIONS = _overloads(
    """
    _foreach_add_.Scalar _fused_adam_.default _fused_adam_.tensor_lr _fused_adamw_.default
    _fused_adamw_.tensor_lr _fused_sgd_.default _fused_sgd_.tensor_lr
    _log_softmax.default _log_softmax_backward_data.default _softmax.default
    _scaled_dot_product_flash_attention_for_cpu.default _softmax_backward_data.default abs.default
    arange.start_step bitwise_not.default embedding.default masked_fill.Scalar
    native_layer_norm.default pow.Scalar squeeze.default t.default tril.default
    add.Scalar add.Tensor addcmul.default amax.default arange.default argmax.default atan.default
    baddbmm.default bitwise_or.Scalar bitwise_right_shift.Tensor
    bitwise_right_shift.Tensor_Scalar bmm.default cat.default celu.default clamp.default
    clone.default constant_pad_nd.default convolution.default cos.default cumsum.default
    detach.default div.Scalar div.Tensor empty.memory_format empty_like.default eq.Scalar eq.Tensor
    eq.Tensor_out erf.default
    erfinv.default exp.default expm1.default flip.default gather.default ge.Scalar ge.Tensor
    gt.Scalar hardshrink.default index_select.default le.Scalar le.Tensor log.default
    log1p.default logical_and.default lt.Scalar lt.Tensor mean.dim mul.Scalar mul.Tensor
    max.dim
    native_batch_norm.default neg.default ones.default ones_like.default permute.default
    pow.Tensor_Scalar pow.Tensor_Tensor promote_types.default reciprocal.default relu.default
    rsqrt.default rsub.Scalar scalar_tensor.default scatter_add.default select.int sgn.default
    sigmoid.default sin.default sqrt.default sqrt_.default squeeze.dim squeeze.dims stack.default
    sub.Scalar sub.Tensor sum.default sum.dim_IntList tanh.default threshold.default transpose.int
    addmm.default lerp.Scalar mm.default unbind.int unsqueeze.default where.self zeros.default
    """
)
METHODS = _overloads(
    """
    add_.Tensor addcdiv_.default addcmul_.default bitwise_xor_.Tensor copy_.default
    div_.Tensor expand.default lerp_.Scalar logical_and_.default mul_.Tensor
    new_empty_strided.default new_zeros.default scatter_.src unfold.default view.default
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
        # With strides: the recorded kernels are for one layout of memory.
        shapes = tuple((tensor.shape, tensor.stride()) for tensor in inputs)
        if shapes in self.replays:
            with torch.no_grad():
                self.replays[shapes](*inputs)
            return
        self.n_taken[shapes] += 1
        # Not <: what could not be recorded at its turn is never tried again.
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
    kept        the constant whose memory a tensor has, which every replay writes anew
    made        addresses of the memory of all variables and results, whose bytes are counted
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.replayable = True
        self.lines: list[tuple[str, list[str]]] = []
        # Weak: a tensor that the step has let go of must not be kept alive by its record.
        self.names = WeakTensorKeyDictionary()
        self.kept = WeakTensorKeyDictionary()
        self.number = itertools.count()
        self.made: set[int] = set()
        self.bytes = 0
        self.constants: dict[str, Any] = {}
        self.slots: list[Slot] = []
        self.kept_bytes = 0
        self.inputs = [self._target(tensor, ()) for tensor in inputs]

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
        # record_function reaches the dispatcher as an op, though it computes nothing.
        if not self.replayable or op.namespace == "profiler":
            return op(*args, **kwargs)
        result = callable_of(op)(*args, **kwargs)
        if not op._schema.returns:
            result = None  # torch's function may hand its argument back
        tensors = _tensors([*args, *kwargs.values()])
        variables = [self.names[tensor] for tensor in tensors if tensor in self.names]
        # _unsafe_view shares memory like any view, though its schema does not say so.
        if (op.is_view or op is aten._unsafe_view.default) and not variables:
            self._view_constant(tensors[0], _as_list(result))
        elif op is aten.detach.default:
            self.names[result] = variables[0]  # the same memory: one variable
        else:
            self._write(op, self._arguments(args, kwargs), result, tensors)
        if not NUMBERS.isdisjoint(op.tags) or self.bytes > LARGE:
            self.replayable = False
        return result

    def _write(
        self, op: OpOverload, source: str, result: object, arguments: Sequence[Tensor]
    ) -> None:
        """Write a call down, with its arguments' source."""
        variables = [self.names[tensor] for tensor in arguments if tensor in self.names]
        writer, results = writer_of(op), _as_list(result)
        # Results that memory is kept for are written there; the others get a variable.
        if writer and self._affords(results, arguments):
            kept = [self._into_kept(each) for each in results]
            self.lines.append((writer.line(self._constant, source, kept), variables))
            return
        targets = [self._target(each, arguments) for each in results]
        target = f"[{', '.join(targets)}]" if isinstance(result, list | tuple) else targets[0]
        line = f"{target} = {self._constant(callable_of(op))}({source})"
        self.lines.append((line, [*variables, *targets]))

    def _view_constant(self, of: Tensor, views: Sequence[Tensor]) -> None:
        """A view of a constant is a constant; what it shows of kept memory is not there yet."""
        if of in self.kept:
            memory = self.constants[self.kept[of]].untyped_storage()
            for view in views:
                self.kept[view] = self._constant(_as_in(view, memory))

    def _affords(self, results: Sequence[object], arguments: Sequence[Tensor]) -> bool:
        """Whether results are tensors of their own that there is room to keep."""
        if self.kept_bytes > KEPT:
            return False
        return all(isinstance(each, Tensor) and not _is_among(each, arguments) for each in results)

    def _into_kept(self, result: Tensor) -> str:
        """The constant that a result is written to."""
        self._count(result.untyped_storage())
        memory = self._room(result.untyped_storage())
        name = self.kept[result] = self._constant(_as_in(result, memory))
        return name

    def _room(self, memory: torch.UntypedStorage) -> torch.UntypedStorage:
        """As much memory that nothing is in any more, as far as the step has come."""
        # Expired: nobody in the recorded step holds what was in it, so that a
        # replay may write over it.
        for slot in self.slots:
            if slot.memory.nbytes() == memory.nbytes() and slot.holder.expired():
                slot.holder = StorageWeakRef(memory)
                return slot.memory
        self.kept_bytes += memory.nbytes()
        self.slots.append(Slot(torch.UntypedStorage(memory.nbytes()), StorageWeakRef(memory)))
        return self.slots[-1].memory

    def _target(self, result: object, arguments: Sequence[Tensor]) -> str:
        """The variable that a result is assigned to; `_` where it is none, or an argument."""
        if not isinstance(result, Tensor) or _is_among(result, arguments):
            return "_"
        self._count(result.untyped_storage())
        name = self.names[result] = f"v{next(self.number)}"
        return name

    def _count(self, memory: torch.UntypedStorage) -> None:
        if memory.data_ptr() not in self.made:
            self.bytes += memory.nbytes()
        self.made.add(memory.data_ptr())

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
        if value in self.kept:
            return str(self.kept[value])
        memory = value.untyped_storage()
        if memory.nbytes() and memory.data_ptr() in self.made:
            self.replayable = False  # no constant: it was made in this step, out of sight
        return self._constant(value.detach())

    def replay(self) -> Step:
        """Compile the recorded calls to a function of the inputs."""
        body: list[str] = []
        # `_` stands for results that nobody reads, and is never deleted.
        used_later = {"_"}
        # From the end, so that each variable is deleted after its last use, as in a plain step.
        for line, variables in reversed(self.lines):
            done = sorted(set(variables) - used_later)
            used_later.update(variables)
            deletion = f"; del {', '.join(done)}" if done else ""
            body.append(f"    {line}{deletion}")
        head = f"def replay({', '.join(self.inputs)}):"
        # The constants are the function's globals: a replay looks each up by name, and copies none.
        exec("\n".join([head, *reversed(body)]), self.constants)
        # Without a cycle from the function to itself, its tensors go when it does.
        replay: Step = self.constants.pop("replay")
        return replay


@cache
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


@dataclass
class Slot:
    """Memory of a replay, and what is in it where the step is recorded."""

    memory: torch.UntypedStorage
    holder: StorageWeakRef


def _as_in(tensor: Tensor, memory: torch.UntypedStorage) -> Tensor:
    """A tensor like another, in other memory."""
    return tensor.new_empty(0).set_(memory, tensor.storage_offset(), tensor.shape, tensor.stride())


@dataclass(frozen=True)
class Writer:
    """A callable that writes an op's results to given memory, and what it calls that memory."""

    function: Callable[..., object]
    names: Sequence[str]

    def line(self, constant: Callable[[object], str], source: str, results: Sequence[str]) -> str:
        """The source of the call."""
        if isinstance(self.function, OpOverload):
            given = ", ".join(map("{}={}".format, self.names, results))
        else:
            given = f"out={results[0]}" if len(results) == 1 else f"out=({', '.join(results)})"
        return f"_ = {constant(self.function)}({source}, {given})"


def _copied(x: Tensor, *, memory_format: object = None, out: Tensor) -> None:
    out.copy_(x)


def _rectified(x: Tensor, *, out: Tensor) -> None:
    torch.clamp_min(x, 0, out=out)  # all that torch.relu does


def _subtracted(x: Tensor, other: complex, alpha: complex = 1, *, out: Tensor) -> None:
    torch.sub(torch.scalar_tensor(other, dtype=out.dtype), x, alpha=alpha, out=out)


def _made(*_: object, out: Tensor, **__: object) -> None:
    """Nothing: numbers of new memory are nobody's."""


OWN_WRITERS: Mapping[OpOverload, Callable[..., object]] = {
    aten.clone.default: _copied,
    aten.relu.default: _rectified,
    aten.rsub.Scalar: _subtracted,
    aten.empty.memory_format: _made,
    aten.empty_like.default: _made,
    aten.new_empty_strided.default: _made,
}


@cache
def writer_of(op: OpOverload) -> Writer | None:
    """The writer that takes the same arguments as an op, where there is one that copies nothing."""
    if op in OWN_WRITERS:
        return Writer(OWN_WRITERS[op], ("out",))
    # An overload of the same op that takes the same and writes to `out` besides. Those with the
    # tag `generated` compute as usual and then copy, which saves nothing.
    taken = _signature(op, False)
    for overload in op.overloadpacket.overloads():
        variant = getattr(op.overloadpacket, overload)
        names = [name for name, _ in _signature(variant, True)]
        if (
            names
            and _signature(variant, False) == taken
            and torch.Tag.generated not in variant.tags
        ):
            function = callable_of(op)
            # torch's function calls what it writes to `out`; one of another name is the op's alone.
            own = function is op or names == ["grad_input"]
            return Writer(variant if own else function, names)
    return None


def _signature(op: OpOverload, written: bool) -> list[tuple[str, str]]:
    """Names and types of an op's arguments: of those that it writes, or of the others."""
    arguments = op._schema.arguments
    return [(each.name, str(each.type)) for each in arguments if each.is_out == written]


def _tensors(values: Sequence[object]) -> list[Tensor]:
    """The tensors among values and lists of them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _is_among(tensor: Tensor, tensors: Sequence[Tensor]) -> bool:
    return any(tensor is other for other in tensors)


def _as_list(result: Any) -> Sequence[Any]:
    return result if isinstance(result, list | tuple) else [result]
