"""Heads against torch's own cross-entropy and the published formula in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from relubench.training.heads import HEADS

OUTPUTS = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randint(4, (2, 50), generator=torch.Generator().manual_seed(1))


def loss(head: str, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    log_p = HEADS.choose(head)(outputs)
    losses: torch.Tensor = -log_p.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    return losses


def test_softmax_is_cross_entropy() -> None:
    expected = F.cross_entropy(OUTPUTS.flatten(0, 1), Y.flatten(), reduction="none")
    assert_close(loss("softmax", OUTPUTS, Y).flatten(), expected)


def test_relu_head_is_what_the_published_runs_computed() -> None:
    """Keras 2.1.5: scores / sum of scores, clipped to [1e-7, 1 - 1e-7], then -log."""
    speaking = OUTPUTS.abs()  # so that no example is silent
    scores = np.maximum(speaking.numpy(), 0)
    shares = np.clip(scores / scores.sum(axis=-1, keepdims=True), 1e-7, 1 - 1e-7)
    expected = -np.log(np.take_along_axis(shares, Y.numpy()[..., None], axis=-1))[..., 0]
    assert_close(loss("relu", speaking, Y), torch.from_numpy(expected))


@pytest.mark.parametrize("head", HEADS)
def test_the_decision_is_the_largest_output(head: str) -> None:
    positive = OUTPUTS.abs()
    assert torch.equal(HEADS.choose(head)(positive).argmax(-1), positive.argmax(-1))


def test_a_silent_example_has_a_finite_loss_and_no_gradient() -> None:
    outputs = torch.tensor([[-1.0, -2.0, 0.0], [1.0, 2.0, -3.0]], requires_grad=True)
    losses = loss("relu", outputs, torch.tensor([0, 1]))
    losses.sum().backward()
    assert losses[0].item() == pytest.approx(16.118, abs=1e-3)  # -ln(1e-7)
    assert outputs.grad is not None
    assert (outputs.grad[0] == 0).all()
    assert outputs.grad[1].isfinite().all()
    assert (outputs.grad[1] != 0).any()


@pytest.mark.parametrize("head", HEADS)
def test_an_output_that_is_not_a_number_stays_one(head: str) -> None:
    assert HEADS.choose(head)(torch.tensor([float("nan"), 1.0])).isnan().all()
