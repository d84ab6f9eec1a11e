"""As many parameters as with relu: narrower layers for an activation that takes more."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import torch

from relubench.activations import ACTIVATIONS
from relubench.catalog import Choice, Parameter
from relubench.errors import BadValue
from relubench.models import MODELS, Model, layers

TOLERANCE = 0.03  # of relu's count
STEPS = 4096  # of the scale between no width and all of it


def narrowed(model: str, activation: str, shape: tuple[int, ...], outputs: int) -> Choice[Model]:
    """The model with hidden layers so narrow that it has as many parameters as with relu.

    All widths shrink by one factor, then single ones by 1 where that is not near enough; a model
    within TOLERANCE stays as it is. Raises BadValue where no such network comes so near.
    """
    # A file of the user's may have been edited since the last call of a long process.
    code = (MODELS.choose(model).entry.code, ACTIVATIONS.choose(activation).entry.sha256)
    return _narrowed(model, activation, shape, outputs, code)


@lru_cache
def _narrowed(
    model: str, activation: str, shape: tuple[int, ...], outputs: int, code: tuple[str, str]
) -> Choice[Model]:
    """The same under the digests of the code of both."""

    def excess(choice: Choice[Model]) -> int:
        return _count(choice, activation, shape, outputs) - target

    best = MODELS.choose(model)
    target = _count(best, "relu", shape, outputs)
    if abs(excess(best)) <= TOLERANCE * target:
        return best
    # The count rises with the scale, so that the widest model that is not too large is bisected.
    scale = bisect_right(range(STEPS), 0, key=lambda scale: excess(_scaled(best, scale)))
    best = _scaled(best, max(0, scale - 1))
    while abs(excess(best)) > TOLERANCE * target:
        if not best.entry.widths:
            raise BadValue(f"--match-parameters: {model} has no widths that could be narrowed")
        # Greedily, one width by 1 at a time; when no neighbour is nearer, none is near enough.
        nearest = min(_neighbours(best), key=lambda choice: abs(excess(choice)), default=best)
        if abs(excess(nearest)) >= abs(excess(best)):
            raise BadValue(
                f"--match-parameters: {model} has {target} parameters with relu, and with "
                f"{activation} {target + excess(best)} at the nearest: give it wider layers"
            )
        best = nearest
    return best


def _count(model: Choice[Model], activation: str, shape: tuple[int, ...], outputs: int) -> int:
    # On "meta" nothing is drawn or allocated; another's code may not run there.
    with layers.drawing_from(None), torch.device("cpu" if model.entry.code else "meta"):
        return layers.parameter_count(model(shape, outputs, ACTIVATIONS.choose(activation)))


def _widths(model: Choice[Model]) -> dict[str, tuple[int, ...]]:
    """Its parameters that are widths; a single one as a tuple of one."""
    widths: dict[str, tuple[int, ...]] = {}
    for name in model.entry.widths:
        value = model.parameters[name]
        if not value and model.entry.filled:
            value = model.entry.filled(model.parameters)[name]
        widths[name] = value if isinstance(value, tuple) else (value,)
    return widths


def _with(model: Choice[Model], widths: Mapping[str, Sequence[int]]) -> Choice[Model]:
    narrower: dict[str, Parameter] = {
        name: tuple(value) if isinstance(model.parameters[name], tuple) else value[0]
        for name, value in widths.items()
    }
    return Choice(model.entry, {**model.parameters, **narrower})


def _scaled(model: Choice[Model], scale: int) -> Choice[Model]:
    """The model with `scale` of STEPS of every width, at least 1."""
    scaled = {}
    for name, widths in _widths(model).items():
        scaled[name] = [max(1, round(width * scale / STEPS)) for width in widths]
    return _with(model, scaled)


def _neighbours(model: Choice[Model]) -> Iterator[Choice[Model]]:
    """The models of which one width differs by 1."""
    for name, widths in _widths(model).items():
        for number, width in enumerate(widths):
            for other in (max(1, width - 1), width + 1):
                yield _with(model, {name: [*widths[:number], other, *widths[number + 1 :]]})
