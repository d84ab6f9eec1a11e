"""Augmentations against a loop over images, and the laws that they keep in training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from relubench import seeds
from relubench.cli import main
from relubench.plan import Cell, Machine, Preparation, Recipe, Split, Stack
from relubench.training import engine
from relubench.training.augmentations import AUGMENTATIONS, Augment
from relubench.training.examples import tensors

X = torch.randn(50, 2, 6, 5, generator=torch.Generator().manual_seed(0))
U = torch.rand(50, 2, generator=torch.Generator().manual_seed(1))
CELL = Cell(
    dataset="digits:images=true",
    model="ffnn:hidden=8",
    activation="gelu",
    recipe=Recipe(epochs=2, batch_size=64, lr=0.01, augment="flip,crop:padding=2"),
    preparation=Preparation(limit=300),
)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_keeps_shape_and_type_and_its_input(name: str) -> None:
    before = X.clone()
    for dtype in (torch.float32, torch.float64):
        after = AUGMENTATIONS.choose(name)(X.to(dtype), U)
        assert after.shape == X.shape
        assert after.dtype == dtype
    assert torch.equal(X, before)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_image_is_changed_by_its_own_draw_alone(name: str) -> None:
    together = AUGMENTATIONS.choose(name)(X, U)
    alone = [AUGMENTATIONS.choose(name)(x[None], u[None])[0] for x, u in zip(X, U, strict=True)]
    assert torch.equal(together, torch.stack(alone))


def test_flip_mirrors_one_image_in_two() -> None:
    flipped = AUGMENTATIONS.choose("flip")(X, U)
    for x, u, after in zip(X, U, flipped, strict=True):
        mirrored = torch.from_numpy(x.numpy()[:, :, ::-1].copy())
        assert torch.equal(after, mirrored if u[0] < 0.5 else x)
    draws = torch.rand(10_000, 2, generator=torch.Generator().manual_seed(2))
    ramp = torch.arange(3.0).expand(10_000, 1, 1, 3)
    share = (AUGMENTATIONS.choose("flip")(ramp, draws)[:, 0, 0, 0] == 2).double().mean()
    assert share == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("padding", [1, 2, 4])
def test_crop_is_a_window_of_the_padded_image(padding: int) -> None:
    cropped = AUGMENTATIONS.choose(f"crop:padding={padding}")(X, U)
    for x, u, after in zip(X, U, cropped, strict=True):
        padded = torch.zeros(2, 6 + 2 * padding, 5 + 2 * padding)
        padded[:, padding:-padding, padding:-padding] = x
        down, right = (int(number * (2 * padding + 1)) for number in u.tolist())
        assert torch.equal(after, padded[:, down : down + 6, right : right + 5])


def test_crop_reaches_every_corner_and_no_further() -> None:
    largest = 1 - 2**-24  # of float32
    corners = torch.tensor([[0, 0], [0, largest], [largest, 0], [largest, largest]])
    x = torch.ones(4, 1, 9, 9)
    left = AUGMENTATIONS.choose("crop")(x, corners)[:, 0]
    first = [part.nonzero().amin(dim=0).tolist() for part in left]
    assert first == [[4, 4], [4, 0], [0, 4], [0, 0]]


def test_a_cell_draws_alone_what_it_draws_in_company() -> None:
    cells = [dataclasses.replace(CELL, seed=seed) for seed in range(3)]
    together = Augment(cells).draw([30, 20, 25])
    for number, (cell, size) in enumerate(zip(cells, [30, 20, 25], strict=True)):
        alone = Augment([cell])
        (before,), (after,) = alone.draw([size]), alone.draw([size])
        assert torch.equal(together[number, :size], before)
        stream = seeds.stream(cell, "augment")
        assert torch.equal(before, torch.rand(size, 2, 2, generator=stream))
        assert not torch.equal(before, after)  # every epoch anew


def test_training_in_a_stack_is_training_alone(machine: Machine) -> None:
    """Law 3, with stacks of uneven parts."""
    machine = dataclasses.replace(machine, dtype="float64")
    cells = [dataclasses.replace(CELL, split=Split(folds=7, fold=fold)) for fold in (0, 1, 6)]
    cells = [dataclasses.replace(c, preparation=Preparation(limit=None)) for c in cells]
    together = engine.fit(Stack(tuple(cells)), machine)
    assert {result.environment.stack for result in together} == {3}
    assert len({result.n_train for result in together}) == 2
    for stacked, cell in zip(together, cells, strict=True):
        (alone,) = engine.fit(Stack((cell,)), machine)
        assert stacked.scores.keys() == alone.scores.keys()
        for name in ("accuracy", "loss", "train_loss"):
            assert stacked.scores[name] == pytest.approx(alone.scores[name], rel=1e-9)


def test_the_test_part_is_never_changed(machine: Machine) -> None:
    plain = dataclasses.replace(CELL, recipe=dataclasses.replace(CELL.recipe, augment=None))
    for part in ("x_train", "x_test"):  # what is evaluated, and what batches are taken from
        parts = [getattr(tensors(cell, machine), part) for cell in (CELL, plain)]
        assert_close(*parts, rtol=0, atol=0)
    first, second = (engine.fit(Stack((cell,)), machine)[0] for cell in (CELL, plain))
    assert first.scores != second.scores
    assert first.cell.key != second.cell.key


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-d", "iris", "--augment", "flip"], "needs images, and examples of iris are rows of 4"),
        (["-d", "digits:images=true", "--pca", "9", "--augment", "flip"], "after --pca"),
        (["-d", "digits:images=true", "--augment", "crop:padding=0"], "padding must be"),
        (["-d", "digits:images=true", "--augment", "crop:padding=9"], "8 is the most"),
        (["--augment", "flap"], "unknown augmentation 'flap': did you mean 'flip'?"),
    ],
)
def test_what_cannot_be_augmented_is_one_line(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *arguments, "--quiet"]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert len(err.splitlines()) == 1
