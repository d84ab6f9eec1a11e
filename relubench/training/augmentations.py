"""Augmentations: other views of the training images, drawn anew in every epoch.

An augmentation is a function (x, u) -> x: images (n, channels, height, width), and for each image
two numbers drawn evenly from 0 to 1. It changes every image in one vectorised step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relubench import seeds
from relubench.catalog import Catalog, Deferred, Entry
from relubench.errors import BadValue
from relubench.plan import Cell

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F
    from torch import Tensor
else:
    torch, F = Deferred("torch"), Deferred("torch.nn.functional")

AUGMENTATIONS: Catalog[Entry[Tensor]] = Catalog("augmentation", Entry)


@AUGMENTATIONS.add()
def flip(x: Tensor, u: Tensor) -> Tensor:
    """Mirrored left to right, one image in two"""
    images = torch.arange(len(x), device=x.device)
    # Every image and its mirror image, n apart: which of the two is taken is one index.
    both = torch.cat([x, x.flip(-1)])
    mirrored = u[:, 0] < 0.5
    return both.index_select(0, images + len(x) * mirrored)  # a mask takes longer


@AUGMENTATIONS.add()
def crop(x: Tensor, u: Tensor, *, padding: int = 4) -> Tensor:
    """Moved up to `padding` pixels each way; what comes in from outside is 0"""
    if padding < 1:
        raise BadValue(f"crop: padding must be at least 1, got {padding}")
    height, width = x.shape[2:]
    if padding > min(height, width):
        raise BadValue(
            f"crop: padding {padding} moves images of {height}x{width} out of sight: "
            f"{min(height, width)} is the most"
        )
    # Every image has a corner of its own: rows of the padded images are gathered by their place in
    # memory, in one call instead of one an image.
    padded = F.pad(x, [padding] * 4)
    most, stride = 2 * padding, width + 2 * padding
    down, right = (u * (most + 1)).long().clamp(max=most).unbind(dim=1)
    channels = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(x.shape[:2])
    corners = channels * padded[0, 0].numel() + (down * stride + right).unsqueeze(1)
    rows = corners.unsqueeze(2) + stride * torch.arange(height, device=x.device)
    windows = padded.flatten().unfold(0, width, 1)  # a view: every run of `width` numbers
    return windows.index_select(0, rows.flatten()).view(x.shape)


class Augment:
    """The augmentations of the cells' recipe; each cell draws from its own stream."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self.steps = [AUGMENTATIONS.choose(name) for name in cells[0].recipe.augmentations]
        self.streams = [seeds.stream(cell, "augment") for cell in cells]

    def draw(self, sizes: Sequence[int]) -> Tensor:
        """(cells, examples, steps, 2): the numbers of an epoch; a short cell is padded."""
        draws = [
            torch.rand(size, len(self.steps), 2, generator=stream)
            for size, stream in zip(sizes, self.streams, strict=True)
        ]
        return torch.nn.utils.rnn.pad_sequence(draws, batch_first=True)

    def __call__(self, x: Tensor, draws: Tensor) -> Tensor:
        """(cells, batch, channels, height, width) to the same shape; `draws` for this batch."""
        # Cells and batch as one dimension: an augmentation sees a plain batch of images.
        for number, step in enumerate(self.steps):
            u = draws[:, :, number].flatten(0, 1)
            x = step(x.flatten(0, 1), u).view_as(x)
        return x
