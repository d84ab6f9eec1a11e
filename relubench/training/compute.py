"""Process-wide settings of torch for a computation: set here, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from relubench.plan import Machine


@contextmanager
def compute_settings(machine: Machine) -> Iterator[None]:
    """Compute on the machine's CPU threads and in its precision until the end of the block."""
    # What is found is put back: fit is called from tests and notebooks, too.
    threads = torch.get_num_threads()
    precision = torch.get_float32_matmul_precision()
    cudnn_tf32 = torch.backends.cudnn.allow_tf32
    # All of them, since torch's defaults disagree: cuDNN has TF32 on, products of matrices off.
    tf32 = machine.dtype == "tf32"
    try:
        _set(machine.threads, "high" if tf32 else "highest", tf32)
        yield
    finally:
        _set(threads, precision, cudnn_tf32)


def _set(threads: int, precision: str, cudnn_tf32: bool) -> None:
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = cudnn_tf32
