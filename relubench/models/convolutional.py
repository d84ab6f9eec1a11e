"""Networks of convolutions, each by its paper's table.

A flat input, such as principal components, is taken as a square image of one channel. All but `cnn`
give an image smaller than 32x32 a border of zeros.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from relubench.activations import Activation
from relubench.catalog import Choice, Deferred
from relubench.errors import BadValue
from relubench.models.chain import CIFAR, Chain, stage
from relubench.models.dense import DLRELU
from relubench.models.model import MODELS, check_dropout, check_widths

if TYPE_CHECKING:
    from torch import nn

    from relubench.models import layers
else:
    nn, layers = Deferred("torch.nn"), Deferred("relubench.models.layers")


@MODELS.add(paper=DLRELU, year=2018, widths=("filters", "dense"))
def cnn(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    filters: tuple[int, ...] = (32, 64),
    dense: int = 256,
    padding: int = 0,
    dropout: float = 0.25,
    dense_dropout: float = 0.5,
) -> nn.Module:
    """Per entry of `filters` two 3x3 convolutions, a 2x2 maximum and dropout; then a dense layer"""
    check_widths("cnn", "filters and dense", (*filters, dense))
    if padding not in (0, 1):
        raise BadValue(f"cnn: padding must be 0 or 1, got {padding}")
    check_dropout("cnn", dropout)
    check_dropout("cnn", dense_dropout)
    hint = "cnn:padding=1, fewer filters, larger images, or an ffnn"
    chain = Chain("cnn", shape, activation, hint)
    chain.image()
    for units in filters:
        chain.conv(units, 3, padding=padding)
        chain.conv(units, 3, padding=padding)
        chain.pool(nn.MaxPool2d, 2, 2, dropout=dropout)
    chain.dense(dense, dense_dropout)
    return chain.network(outputs)


@MODELS.add(
    paper="Proc. IEEE 86 (LeCun et al.)", year=1998, widths=("filters", "dense"), activation="tanh"
)
def lenet5(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    filters: tuple[int, ...] = (6, 16),
    dense: tuple[int, ...] = (120, 84),
) -> nn.Module:
    """Two 5x5 convolutions, each with a 2x2 mean, and two dense layers

    As it is taught today: each map of the second convolution sees all of the first, a mean learns
    nothing, and the output layer is linear.
    """
    check_widths("lenet5", "filters", filters, 2)
    check_widths("lenet5", "dense", dense, 2)
    chain = Chain("lenet5", shape, activation)
    chain.image(CIFAR)
    for units in filters:
        chain.conv(units, 5)
        chain.pool(nn.AvgPool2d, 2, 2)
    for units in dense:
        chain.dense(units)
    return chain.network(outputs)


@MODELS.add(
    paper="NIPS 2012 (Krizhevsky et al.), figure 1; layers ours", year=2012, widths=("filters",)
)
def krizhevsky4(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    filters: tuple[int, ...] = (32, 32, 64),
) -> nn.Module:
    """Three 5x5 convolutions, each with a 3x3 maximum of stride 2, and the output layer

    The paper gives no sizes for its four layers; these are cuda-convnet's for CIFAR-10, without
    its normalisation and with maxima for its means.
    """
    check_widths("krizhevsky4", "filters", filters, 3)
    chain = Chain("krizhevsky4", shape, activation)
    chain.image(CIFAR)
    for units in filters:
        chain.conv(units, 5, padding=2)
        chain.pool(nn.MaxPool2d, 3, 2, partly=True)
    return chain.network(outputs)


@MODELS.add(
    paper="NIPS 2012 (Krizhevsky et al.); layers of bearpaw/pytorch-classification",
    year=2012,
    widths=("filters",),
)
def alexnet(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    filters: tuple[int, ...] = (64, 192, 384, 256, 256),
) -> nn.Module:
    """Five convolutions with three 2x2 maxima, fitted to 32x32, and the output layer

    The paper's own size, for 224x224, is torchvision.alexnet.
    """
    check_widths("alexnet", "filters", filters, 5)
    chain = Chain("alexnet", shape, activation)
    chain.image(CIFAR)
    # 32x32 to 8x8 in one step; the three maxima leave 1x1.
    chain.conv(filters[0], 11, stride=4, padding=5)
    chain.pool(nn.MaxPool2d, 2, 2)
    chain.conv(filters[1], 5, padding=2)
    chain.pool(nn.MaxPool2d, 2, 2)
    for units in filters[2:]:
        chain.conv(units, 3, padding=1)
    chain.pool(nn.MaxPool2d, 2, 2)
    return chain.network(outputs)


@MODELS.add(
    paper="arXiv:1312.4400 (Lin et al.); layers as in arXiv:1505.00853 (Xu et al.), from memory",
    year=2013,
    widths=("filters",),
)
def nin(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    filters: tuple[int, ...] = (192, 160, 96, 192, 192, 192, 192, 192),
    dropout: float = 0.5,
) -> nn.Module:
    """Network in network: 5x5, 5x5 and 3x3 convolutions, 1x1 ones after each, means of the last

    The last 1x1 convolution is the output layer and has no activation.
    """
    check_widths("nin", "filters", filters, 8)
    check_dropout("nin", dropout)
    chain = Chain("nin", shape, activation)
    chain.image(CIFAR)
    for size, block, pooling in (
        (5, filters[:3], nn.MaxPool2d),
        (5, filters[3:6], nn.AvgPool2d),
        (3, filters[6:], None),
    ):
        chain.conv(block[0], size, padding=size // 2)
        for units in block[1:]:
            chain.conv(units, 1)
        if pooling:
            chain.pool(pooling, 3, 2, partly=True, dropout=dropout)
    chain.stages["output"] = nn.Conv2d(chain.shape[0], outputs, 1)
    chain.average()
    chain.flatten()
    return nn.Sequential(chain.stages)


# Convolutions per block, arXiv:1409.1556, table 1, columns A, B, D and E.
VGG = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


@MODELS.add(paper="arXiv:1409.1556 (Simonyan & Zisserman)", year=2014, widths=("filters", "dense"))
def vgg(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    depth: int = 16,
    batch_norm: bool = False,
    filters: tuple[int, ...] = (64, 128, 256, 512, 512),
    dense: tuple[int, ...] = (512, 512),
    dropout: float = 0.5,
) -> nn.Module:
    """Five blocks of 3x3 convolutions, each with a 2x2 maximum, two dense layers with dropout

    For images of 224x224 the paper has dense=4096x4096.
    """
    if depth not in VGG:
        raise BadValue(f"vgg: depth must be 11, 13, 16 or 19, got {depth}")
    check_widths("vgg", "filters", filters, 5)
    check_widths("vgg", "dense", dense, 2)
    check_dropout("vgg", dropout)
    chain = Chain("vgg", shape, activation)
    chain.image(CIFAR)
    for units, count in zip(filters, VGG[depth], strict=True):
        for _ in range(count):
            chain.conv(units, 3, padding=1, batch_norm=batch_norm)
        chain.pool(nn.MaxPool2d, 2, 2)
    for units in dense:
        chain.dense(units, dropout)
    return chain.network(outputs)


@MODELS.add(paper="arXiv:1512.03385 (He et al.)", year=2015, widths=("filters",))
def resnet18(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    filters: tuple[int, ...] = (64, 128, 256, 512),
) -> nn.Module:
    """Eight residual blocks of two 3x3 convolutions with batch normalisation, after a 3x3 stem

    The stem is that for CIFAR: 3x3 of stride 1, no maximum. A shortcut is a 1x1 convolution where
    the block changes the size or the number of channels.
    """
    check_widths("resnet18", "filters", filters, 4)
    chain = Chain("resnet18", shape, activation)
    chain.image(CIFAR)
    chain.conv(filters[0], 3, padding=1, batch_norm=True, bias=False)
    for number, units in enumerate(filters):
        # Each stage but the first halves the image in its first block.
        for stride in (2 if number else 1, 1):
            _residual(chain, units, stride)
    chain.average()
    return chain.network(outputs)


def _cifar_resnet(
    name: str,
    blocks: int,
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    filters: tuple[int, ...],
) -> nn.Module:
    """The network of 6 · blocks + 2 layers that He et al. have for CIFAR, its shortcuts without
    weights.
    """
    check_widths(name, "filters", filters, 3)
    chain = Chain(name, shape, activation)
    chain.image(CIFAR)
    chain.conv(filters[0], 3, padding=1, batch_norm=True, bias=False)
    for number, units in enumerate(filters):
        for block in range(blocks):
            _residual(chain, units, 2 if number and not block else 1, plain=True)
    chain.average()
    return chain.network(outputs)


def _of_depth(depth: int) -> None:
    """List the network of so many layers: 6n + 2."""
    blocks, name = (depth - 2) // 6, f"resnet{depth}"

    def network(
        shape: Sequence[int],
        outputs: int,
        activation: Choice[Activation],
        *,
        filters: tuple[int, ...] = (16, 32, 64),
    ) -> nn.Module:
        return _cifar_resnet(name, blocks, shape, outputs, activation, filters)

    network.__doc__ = f"""{3 * blocks} residual blocks of two 3x3 convolutions, as for CIFAR

    The first of section 4.2 of the paper: a 3x3 stem, three stages of {blocks} blocks, means of the
    last. A shortcut has no weights: where the channels grow it takes every other pixel and adds
    channels of 0 (option A).
    """
    network.__name__ = name
    add = MODELS.add(paper="arXiv:1512.03385 (He et al.)", year=2015, widths=("filters",))
    add(network)


for _depth in (20, 32, 44, 56):
    _of_depth(_depth)


@MODELS.add(paper="arXiv:1605.07146 (Zagoruyko & Komodakis)", year=2016, widths=("filters",))
def wide_resnet(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    depth: int = 16,
    widen: int = 4,
    filters: tuple[int, ...] = (16, 32, 64),
    dropout: float = 0.0,
) -> nn.Module:
    """Residual blocks whose activations come before their convolutions, `widen` times as wide

    depth = 6n + 4; WRN-28-10 is depth=28:widen=10. A shortcut is a 1x1 convolution where the block
    changes the size or the number of channels.
    """
    if depth < 10 or (depth - 4) % 6:
        raise BadValue(f"wide_resnet: depth must be 10, 16, 22, 28 and so on, got {depth}")
    if widen < 1:
        raise BadValue(f"wide_resnet: widen must be at least 1, got {widen}")
    check_widths("wide_resnet", "filters", filters, 3)
    check_dropout("wide_resnet", dropout)
    chain = Chain("wide_resnet", shape, activation)
    chain.image(CIFAR)
    taken, height, width = chain.shape
    # What a block leaves is pre-activations: as many as the activation after it takes.
    stem = filters[0] * layers.pieces(activation)
    chain.add("conv", nn.Conv2d(taken, stem, 3, padding=1, bias=False), (stem, height, width))
    for number, units in enumerate(filters):
        for block in range((depth - 4) // 6):
            _preactivated(chain, widen * units, 2 if number and not block else 1, dropout)
    act = layers.Act(activation, chain.shape[0] // layers.pieces(activation))
    last = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(chain.shape[0]), activation=act))
    chain.add("last", last, (act.units, *chain.shape[1:]))
    chain.average()
    return chain.network(outputs)


def _preactivated(chain: Chain, units: int, stride: int, dropout: float) -> None:
    """A block of two convolutions, each after batch normalisation and the activation."""
    channels, height, width = chain.shape
    pieces = layers.pieces(chain.activation)

    def before(channels: int) -> tuple[nn.Module, int]:
        act = layers.Act(chain.activation, channels // pieces)
        parts = OrderedDict(norm=nn.BatchNorm2d(channels), activation=act)
        return nn.Sequential(parts), act.units

    first, opened = before(channels)
    second, between = before(pieces * units)
    shortcut = None
    if stride != 1 or channels != pieces * units:
        shortcut = nn.Conv2d(opened, pieces * units, 1, stride, bias=False)
    block = layers.Preactivated(
        first,
        nn.Conv2d(opened, pieces * units, 3, stride, padding=1, bias=False),
        second,
        nn.Conv2d(between, pieces * units, 3, padding=1, bias=False),
        shortcut,
        layers.Dropout(dropout) if dropout else None,
    )
    size = ((height - 1) // stride + 1, (width - 1) // stride + 1)
    chain.add("block", block, (pieces * units, *size))


def _residual(chain: Chain, units: int, stride: int, plain: bool = False) -> None:
    """A block; `plain`: its shortcut has no weights, unless it would lose channels."""
    channels, height, width = chain.shape
    act = layers.Act(chain.activation, units)
    taken = act.pieces * units

    def convolution(channels: int, units: int, size: int, stride: int = 1) -> nn.Module:
        return nn.Conv2d(channels, units, size, stride, padding=size // 2, bias=False)

    first = stage(
        partial(convolution, channels, size=3, stride=stride),
        chain.activation,
        units,
        norm=nn.BatchNorm2d,
    )
    # Without an activation, which comes after the sum: as many outputs as it takes pieces.
    second = nn.Sequential(convolution(act.units, taken, 3), nn.BatchNorm2d(taken))
    shortcut: nn.Module = nn.Identity()
    if stride != 1 or channels != taken:
        projection = convolution(channels, taken, 1, stride)
        shortcut = nn.Sequential(projection, nn.BatchNorm2d(taken))
        if plain and channels <= taken:
            shortcut = layers.Widened(stride, taken - channels)
    # As a 3x3 convolution with a border of 1 leaves it, and the shortcut's 1x1 without one.
    sides = [(side - 1) // stride + 1 for side in (height, width)]
    block = layers.Residual(first, second, shortcut, act)
    chain.add("block", block, (act.units, *sides))
