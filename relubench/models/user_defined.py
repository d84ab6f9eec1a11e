"""A user's own model: a factory (input_shape, classes, activation), or a network to be swapped.

The attribute is given as many of these as it needs, in this order: a factory that needs all three
builds its activations with activation(units); of what needs fewer the activations are swapped.

What comes out the same whatever torch's generator says is no draw: weights that were loaded, a
ready network, a bias of -5. It stays as it is; only weights that the code draws are drawn anew.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import torch
from torch import Tensor, nn

from relubench.activations import ACTIVATIONS, Activation
from relubench.catalog import KINDS, Choice, Parameter, Parameters
from relubench.errors import RelubenchError, Terminated
from relubench.models.analysis import analysed
from relubench.models.layers import Act, drawing_from
from relubench.models.model import Model
from relubench.models.swapping import Analysis, copied, plain, swapped
from relubench.user_code import UserCode, UserCodeError, brief

GIVEN = "(input_shape, classes, activation)"
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Source:
    """What makes a user's network: name, function, how many arguments it needs, digest."""

    name: str
    make: Callable[..., object]
    count: int
    sha256: str


@dataclass(frozen=True, eq=False)
class Invariants:
    """What is the same in every network of a source.

    kept      the parameters that its code does not draw, by name
    digest    of those that are more than one number over and over, and of such buffers
    analysis  for the swap of its activations, where they are swapped
    """

    kept: frozenset[str]
    digest: str
    analysis: Analysis | None


@dataclass(frozen=True)
class UserModel(Model):
    """A user's own model; its parameters are the arguments that have a plain default."""

    settable: tuple[tuple[str, Parameter], ...] = ()
    source: Source | None = None

    def loaded(self, shape: Sequence[int], outputs: int, settings: Parameters) -> str:
        """A digest of the weights that its code brings along; "" where it draws them all."""
        assert self.source is not None
        return invariants(self.source, tuple(shape), outputs, tuple(settings.items())).digest

    @cached_property
    def parameters(self) -> Parameters:
        """Each with its default."""
        return dict(self.settable)


@lru_cache
def model(name: str, own: UserCode) -> UserModel:
    """The entry for a user's own model; raises UserCodeError if it cannot be one."""
    # What can be checked without running it: building waits for the data's shape.
    thing: Callable[..., object] = own.thing
    if isinstance(own.thing, nn.Module):
        thing = _giving(name, own.thing)
    elif not callable(thing):
        kind = type(thing).__name__
        raise UserCodeError(
            f"{name} is of type {kind}: a model is a factory {GIVEN}, or an nn.Module"
        )
    arguments = inspect.signature(thing).parameters.values()
    count = sum(p.kind in POSITIONAL and p.default is p.empty for p in arguments)
    if count > 3:
        raise UserCodeError(f"{name} needs {count} arguments: a model is given {GIVEN}")
    # What has a number, a bool or a text as its default can be set from the command line.
    plain = tuple((p.name, p.default) for p in arguments if type(p.default) in KINDS)
    source = Source(name, thing, count, own.sha256)
    build = partial(network, source)
    return UserModel(
        name, build, paper="own", code=own.sha256, any_layout=False, settable=plain, source=source
    )


def _giving(name: str, network: nn.Module) -> Callable[[], nn.Module]:
    # A copy, since `plain` takes apart what is compiled: the caller's own may go on being used.
    plain = getattr(network, "_orig_mod", network)
    return lambda: copied(name, plain)


def network(
    source: Source,
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    unit_axis: int | None = None,
    **settings: Parameter,
) -> nn.Module:
    """The network, which says by `kept_parameters` what of its weights is not to be drawn anew.

    Raises UserCodeError where the user's code does.
    """
    # First what is the same in every build, which is cached; then the build for this cell.
    facts = invariants(source, tuple(shape), outputs, tuple(settings.items()))
    made = _made(source, shape, outputs, activation, settings)
    kept = facts.kept
    if facts.analysis is not None:
        made = swapped(source.name, made, activation, facts.analysis, unit_axis)
        # Swapped stands around the network: its names get a part in front.
        kept = frozenset(f"network.{name}" for name in kept)
    made.kept_parameters = kept  # type: ignore[assignment]  # an attribute of ours
    return made


def _made(
    source: Source,
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    settings: Parameters,
) -> nn.Module:
    arguments = (tuple(shape), outputs, partial(Act, activation))[: source.count]
    try:
        made = source.make(*arguments, **settings)
    except (KeyboardInterrupt, Terminated, RelubenchError):
        raise
    # sys.exit() in a user's file, too, is a fault of the file and not the end of the command.
    except BaseException as error:
        raise UserCodeError(f"{source.name} cannot be built: {brief(error)}") from error
    if not isinstance(made, nn.Module):
        raise UserCodeError(f"{source.name} gives {type(made).__name__}: a model is an nn.Module")
    return copied(source.name, plain(made))  # its code may hand out the same modules every time


@lru_cache
def invariants(
    source: Source,
    shape: tuple[int, ...],
    outputs: int,
    settings: tuple[tuple[str, Parameter], ...],
) -> Invariants:
    """Build it twice from different draws, see what is the same, and look at its calls."""
    builds = []
    # Two different draws: what comes out equal was not drawn, and belongs to the user's code.
    for seed in (1, 2):
        with drawing_from(torch.Generator().manual_seed(seed)):
            relu = ACTIVATIONS.choose("relu")
            builds.append(_made(source, shape, outputs, relu, dict(settings)))
    one, two = (_tensors(build) for build in builds)
    same = {name for name, tensor in one.items() if name in two and _equal(tensor, two[name])}
    digest = hashlib.sha256()
    brought = sorted(name for name in same if one[name].unique().numel() > 1)
    for name in brought:
        digest.update(name.encode() + one[name].detach().cpu().numpy().tobytes())
    parameters = {name for name, _ in builds[0].named_parameters()}
    return Invariants(
        kept=frozenset(same & parameters),
        digest=digest.hexdigest()[:16] if brought else "",
        # A factory that takes the activation has placed it itself: nothing is left to swap.
        analysis=analysed(source.name, builds[0], shape) if source.count < 3 else None,
    )


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _equal(one: Tensor, other: Tensor) -> bool:
    # NaN is not equal to itself.
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
