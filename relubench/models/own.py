"""A user's own model: a factory (input_shape, classes, activation), or a network to be swapped.

The attribute is given as many of these as it needs, in this order: a factory that needs all three
builds its units with activation(units); of what needs fewer the activations are swapped.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

from torch import nn

from relubench.activations import Activation
from relubench.catalog import KINDS, Choice
from relubench.errors import RelubenchError
from relubench.layers import Act
from relubench.models.model import Model
from relubench.models.swapping import swapped
from relubench.own_code import Own, OwnCodeError, brief

GIVEN = "(input_shape, classes, activation)"
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class OwnModel(Model):
    """A user's own model; its parameters are the arguments that have a plain default."""

    settable: tuple[tuple[str, Any], ...] = ()

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Each with its default."""
        return dict(self.settable)


@lru_cache
def model(name: str, own: Own) -> OwnModel:
    """The entry for a user's own model; raises OwnCodeError if it cannot be one."""
    thing: Callable[..., Any] = own.thing
    if isinstance(own.thing, nn.Module):
        thing = _copied(own.thing)
    elif not callable(thing):
        kind = type(thing).__name__
        raise OwnCodeError(
            f"{name} is of type {kind}: a model is a factory {GIVEN}, or an nn.Module"
        )
    arguments = inspect.signature(thing).parameters.values()
    count = sum(p.kind in POSITIONAL and p.default is p.empty for p in arguments)
    if count > 3:
        raise OwnCodeError(f"{name} needs {count} arguments: a model is given {GIVEN}")
    plain = tuple((p.name, p.default) for p in arguments if type(p.default) in KINDS)
    build = partial(network, name, thing, count)
    return OwnModel(name, build, paper="own", code=own.sha256, settable=plain)


def _copied(network: nn.Module) -> Callable[[], nn.Module]:
    return lambda: copy.deepcopy(network)


def network(
    name: str,
    make: Callable[..., Any],
    count: int,
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    **settings: Any,
) -> nn.Module:
    """The network; raises OwnCodeError where the user's code does."""
    given = (tuple(shape), outputs, partial(Act, activation))[:count]
    try:
        made = make(*given, **settings)
    except RelubenchError:
        raise
    except (Exception, SystemExit) as error:
        raise OwnCodeError(f"{name} cannot be built: {brief(error)}") from error
    if not isinstance(made, nn.Module):
        raise OwnCodeError(f"{name} gives {type(made).__name__}: a model is an nn.Module")
    return made if count == 3 else swapped(name, made, shape, activation)
