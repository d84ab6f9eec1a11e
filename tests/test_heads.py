"""Heads against torch's own cross-entropy and the published formula in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from relubench.training.heads import HEADS, lesson_of

CLASSES = [name for name, head in HEADS.items() if head.task == "classes"]
NUMBERS = [name for name, head in HEADS.items() if head.task == "regression"]

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


@pytest.mark.parametrize("head", CLASSES)
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


@pytest.mark.parametrize("head", CLASSES)
def test_an_output_that_is_not_a_number_stays_one(head: str) -> None:
    assert HEADS.choose(head)(torch.tensor([float("nan"), 1.0])).isnan().all()


@pytest.mark.parametrize("classes", [2, 10, 300])
@pytest.mark.parametrize("head", CLASSES)
def test_a_lesson_is_what_autograd_says_in_float64(head: str, classes: int) -> None:
    """To float32's last bits: a gradient is a probability, at most 1, and less than 3 bits off."""
    draws = torch.Generator().manual_seed(classes)
    outputs = 4 * torch.randn(3, 17, classes, generator=draws)
    y = torch.randint(classes, (3, 17), generator=draws)
    lesson = lesson_of(HEADS.choose(head), outputs, y)
    exact = outputs.double().requires_grad_()
    losses = loss(head, exact, y)
    losses.sum().backward()
    assert exact.grad is not None
    assert_close(lesson.losses.double(), losses.detach(), rtol=1e-6, atol=1e-6)
    assert_close(lesson.gradients.double(), exact.grad, rtol=1e-6, atol=4 * 2.0**-24)
    assert lesson.hits is not None
    assert torch.equal(lesson.hits, HEADS.choose(head)(outputs).argmax(-1) == y)


@pytest.mark.parametrize("head", CLASSES)
def test_of_several_largest_outputs_the_first_decides(head: str) -> None:
    """As argmax has it: the outputs of a network that begins dead are all alike."""
    outputs = torch.tensor([[2.0, 2.0, 2.0], [1.0, 2.0, 2.0]]).repeat_interleave(3, 0).unsqueeze(0)
    hits = lesson_of(HEADS.choose(head), outputs, torch.tensor([[0, 1, 2, 0, 1, 2]])).hits
    assert hits is not None
    assert hits.tolist() == [[True, False, False, False, True, False]]


def test_an_output_that_is_not_a_number_is_no_hit() -> None:
    outputs = torch.full((1, 1, 3), float("nan"))
    lesson = lesson_of(HEADS.choose("softmax"), outputs, torch.tensor([[0]]))
    assert lesson.hits is not None
    assert not lesson.hits.any()
    assert lesson.losses.isnan().all()
    assert lesson.gradients.isnan().all()


def of_torch(head: str, said: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if head == "mse":
        return F.mse_loss(said, y, reduction="none")
    return F.huber_loss(said, y, reduction="none", delta=float(head.partition("=")[2] or 1))


@pytest.mark.parametrize("head", [*NUMBERS, "huber:delta=0.3", "huber:delta=4"])
def test_a_head_of_numbers_is_torchs_loss_with_its_gradient(head: str) -> None:
    outputs = 3 * OUTPUTS[..., :1]
    y = OUTPUTS[..., 1]
    exact = outputs.clone().requires_grad_()
    losses = of_torch(head, exact.squeeze(-1), y)
    losses.sum().backward()
    lesson = lesson_of(HEADS.choose(head), outputs, y)
    assert lesson.hits is None
    assert_close(lesson.losses, losses.detach())
    assert_close(lesson.gradients, exact.grad)


@pytest.mark.parametrize("head", NUMBERS)
def test_an_estimate_that_is_not_a_number_stays_one(head: str) -> None:
    lesson = lesson_of(HEADS.choose(head), torch.full((1, 1, 1), float("nan")), torch.zeros(1, 1))
    assert lesson.losses.isnan().all()
    assert lesson.gradients.isnan().all()
