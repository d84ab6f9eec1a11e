"""CUDA graphs: a training step captured once and replayed without the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Step = Callable[..., None]
WARM_UP = 3  # steps that are taken as they are before one is captured


class Captured:
    """`step` for batches of one shape, captured at the fourth of them and replayed from then on.

    Batches of another shape, and all of them where the step cannot be captured, are taken as they
    are. `step` takes tensors, returns nothing and must not wait for the device.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.taken, self.inputs = 0, ()  # type: tuple[int, tuple[Tensor, ...]]
        self.graph: Any = None

    def __call__(self, *inputs: Tensor) -> None:
        """Take the step."""
        if self.taken == 0:
            self.inputs = tuple(tensor.clone() for tensor in inputs)
        alike = [tensor.shape for tensor in inputs] == [tensor.shape for tensor in self.inputs]
        if self.taken < WARM_UP or not alike:
            self.taken += alike
            self._aside(inputs)
            return
        if self.graph is None:
            self.graph = self._capture()
        if self.graph is False:
            self.step(*inputs)
            return
        for mine, given in zip(self.inputs, inputs, strict=True):
            mine.copy_(given)
        self.graph.replay()

    def _aside(self, inputs: Sequence[Tensor]) -> None:
        """Take the step as it is, on a stream of its own, as a capture demands of what precedes."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.step(*inputs)
        torch.cuda.current_stream().wait_stream(stream)

    def _capture(self) -> Any:
        """The graph of a step, or False where there can be none."""
        graph: Any = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.step(*self.inputs)
        except RuntimeError:
            return False
        return graph
