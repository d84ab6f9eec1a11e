"""A network is looked at and left as it was found: mode, buffers, gradients, random state."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from relubench.user_imports import DRAWING


@contextmanager
def as_found(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients, uncompiled; whatever happens, all is put back.

    Weights are not copied, since nothing here writes to them.
    """
    modes = [(module, module.training) for module in network.modules()]
    kept = [buffer.clone() for buffer in network.buffers()]
    owners = _buffers(network)
    try:
        with _random_state(), torch.no_grad(), _uncompiled():
            _evaluate(network)
            yield
    finally:
        for module, training in modes:
            module.training = training
        _put_back(owners, kept)


def _evaluate(network: nn.Module) -> None:
    for module in network.modules():
        # Not network.eval(): it calls `train`, which classes override to freeze normalisation.
        module.training = False


def _buffers(network: nn.Module) -> list[tuple[nn.Module, str, Tensor]]:
    seen: dict[int, tuple[nn.Module, str, Tensor]] = {}
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            # A buffer that two modules share is put back once, in the order of network.buffers().
            seen.setdefault(id(buffer), (module, name, buffer))
    return list(seen.values())


@torch.no_grad()
def _put_back(owners: list[tuple[nn.Module, str, Tensor]], kept: list[Tensor]) -> None:
    """Write what buffers held to those that hold something else by now."""
    for (module, name, buffer), before in zip(owners, kept, strict=True):
        # Only where it changed: a write counts as one for autograd, even of the same numbers.
        if not torch.equal(buffer, before):
            buffer.copy_(before)
        if getattr(module, name) is not buffer:
            setattr(module, name, buffer)


def _uncompiled() -> AbstractContextManager[None]:
    """What torch.compile has made runs as it was written; its compiler is not loaded for that."""
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def _random_state() -> Iterator[None]:
    """What is drawn here leaves no trace in the generators of torch, numpy and Python."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with DRAWING, torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
