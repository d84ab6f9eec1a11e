"""CUDA graphs: a training step captured once and replayed without the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[..., None]
# torch's notes on CUDA graphs warm up with three as well.
WARMUP_STEPS = 3  # plain steps before one is captured


class GraphedStep:
    """A step for batches of one shape, captured at the fourth of them and replayed from then on.

    `step` takes tensors, returns nothing and must not wait for the device. Batches of another
    shape, and all batches where the step cannot be captured, are stepped through as usual.

    graph       None before the capture and where it failed
    capturable  whether it has not failed
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.n_taken = 0
        self.inputs: tuple[Tensor, ...] = ()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.capturable = True

    def __call__(self, *inputs: Tensor) -> None:
        """Take the step."""
        # The memory that a graph will read: the first batch decides which shapes are captured.
        if self.n_taken == 0:
            self.inputs = tuple(tensor.clone() for tensor in inputs)
        fits = self._fits(inputs)
        if self.n_taken < WARMUP_STEPS or not fits:
            if fits:
                self.n_taken += 1
            self._run_on_side_stream(inputs)
            return
        if self.graph is None and self.capturable:
            self.graph = self._capture()
            self.capturable = self.graph is not None
        if self.graph is None:
            self.step(*inputs)
            return
        # A graph reads the memory that it was captured with: new batches are copied there.
        for captured, batch in zip(self.inputs, inputs, strict=True):
            captured.copy_(batch)
        self.graph.replay()

    def _fits(self, inputs: Sequence[Tensor]) -> bool:
        """Whether these inputs have the shapes of the captured ones."""
        shapes = [tensor.shape for tensor in inputs]
        return shapes == [tensor.shape for tensor in self.inputs]

    def _run_on_side_stream(self, inputs: Sequence[Tensor]) -> None:
        """Take a plain step on a side stream: CUDA graph capture requires its warm-up there."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self.step(*inputs)
        torch.cuda.current_stream().wait_stream(stream)

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        """The graph of a step; None where it cannot be captured."""
        graph = torch.cuda.CUDAGraph()
        try:
            # Nothing is computed while it is captured: the caller replays
            # this very step afterwards.
            with torch.cuda.graph(graph):
                self.step(*self.inputs)
        # The step waits for the device, as .item() does, or asks for what no graph can hold.
        except RuntimeError:
            return None
        return graph
