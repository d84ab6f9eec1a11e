"""Classification networks of torchvision, fitted to the data, with their activations swapped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from torch import nn

from relubench import libraries
from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.errors import BadValue, UnknownName
from relubench.models.analysis import analysed
from relubench.models.chain import image
from relubench.models.layers import drawing_from
from relubench.models.swapping import Analysis, swapped
from relubench.models.undrawn import sketch, undrawn_layers
from relubench.user_code import brief

PLAIN = {"aux_logits": False, "init_weights": False}  # no second output; weights are drawn anyway
SETTINGS = {"googlenet": PLAIN, "inception_v3": PLAIN}


def check(name: str) -> None:
    """Raise UnknownName where torchvision has no such network, DataError without torchvision."""
    networks = libraries.torchvision("torchvision.models")
    names = [f"torchvision.{short}" for short in networks.list_models(module=networks)]
    if name not in names:
        raise UnknownName("model", name, names)


def network(
    name: str,
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    unit_axis: int | None = None,
) -> nn.Module:
    """torchvision's network of this name, first layer and classifier fitted to the data."""
    made = _made(name, shape, outputs)
    analysis = _analysis(name, tuple(shape), outputs)
    return swapped(name, made, activation, analysis, unit_axis)


@lru_cache
def _analysis(name: str, shape: tuple[int, ...], outputs: int) -> Analysis:
    with drawing_from(None):
        made = _made(name, shape, outputs)
    # Undrawn weights are whatever memory held: first they get numbers that can be looked at.
    sketch(made)
    return analysed(name, made, shape)


def _made(name: str, shape: Sequence[int], outputs: int) -> nn.Module:
    """The network with layers whose weights are still to be drawn."""
    return plain(name, shape, outputs, undrawn_layers())


def plain(
    name: str,
    shape: Sequence[int],
    outputs: int,
    building: AbstractContextManager[None] | None = None,
) -> nn.Module:
    """torchvision's network with its own activations, fitted to the data.

    building  in which it is built
    """
    networks = libraries.torchvision("torchvision.models")
    taken, short = image(name, shape), name.removeprefix("torchvision.")
    settings: dict[str, Any] = dict(SETTINGS.get(short, {}))
    try:
        # Those that are built for one size of image must be told it.
        if short.startswith("vit_"):
            settings["image_size"] = _side(name, taken)
        if short.startswith("maxvit"):
            settings["input_size"] = taken[1:]
        with building or nullcontext():
            made: nn.Module = networks.get_model(
                short, weights=None, num_classes=outputs, **settings
            )
    except (ValueError, AssertionError) as error:
        size = "x".join(map(str, taken))
        raise BadValue(f"{name} cannot take images of {size}: {brief(error)}") from error
    _fit_channels(made, taken[0])
    if len(shape) == 1:
        made = nn.Sequential(OrderedDict(image=nn.Unflatten(1, taken), network=made))
    return made


def _side(name: str, taken: tuple[int, int, int]) -> int:
    if taken[1] != taken[2]:
        raise BadValue(f"{name} takes square images, got {taken[1]}x{taken[2]}")
    return taken[1]


def _fit_channels(made: nn.Module, channels: int) -> None:
    """Let the first convolution take so many channels; it is the first that is registered too."""
    modules = made.named_modules()
    path, first = next((path, one) for path, one in modules if isinstance(one, nn.Conv2d))
    if first.in_channels == channels:
        return
    parent, _, name = path.rpartition(".")
    fitted = nn.Conv2d(
        channels,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    setattr(made.get_submodule(parent), name, fitted)
