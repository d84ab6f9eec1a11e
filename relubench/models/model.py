"""What a model is: a function that builds a network, and its facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from relubench import libraries
from relubench.catalog import Catalog, Deferred, Entry
from relubench.errors import BadValue
from relubench.own_code import Own

if TYPE_CHECKING:
    from torch import nn

    from relubench.models import own, vision
else:
    own, vision = Deferred("relubench.models.own"), Deferred("relubench.models.vision")


@dataclass(frozen=True)
class Model(Entry):
    """One architecture.

    paper       where it was published
    year        when
    widths      its parameters that say how wide hidden layers are
    activation  its own, used where none is chosen
    code        what its source is known by: the digest of a user's own, a library's version
    any_layout  whether it takes images whose channels lie last in memory
    """

    paper: str = ""
    year: int | None = None
    widths: tuple[str, ...] = ()
    activation: str = "relu"
    code: str = ""
    any_layout: bool = True

    def check(self) -> None:
        """Refuse a name that nothing stands for, where that cannot be read off the name."""

    def loaded(self, shape: Sequence[int], outputs: int, settings: Mapping[str, Any]) -> str:
        """A digest of the weights that its code brings along; "" where all are drawn."""
        return ""


@dataclass(frozen=True)
class Borrowed(Model):
    """A network of torchvision, which is not imported before it is checked or built."""

    def check(self) -> None:
        """Raise UnknownName, or DataError without torchvision."""
        vision.check(self.name)


def _own(name: str, code: Own) -> Model:
    entry: Model = own.model(name, code)
    return entry


@lru_cache
def _of_torchvision(name: str) -> Model:
    def build(*given: Any, **more: Any) -> nn.Module:
        network: nn.Module = vision.network(f"torchvision.{name}", *given, **more)
        return network

    version = libraries.version("torchvision")
    return Borrowed(
        f"torchvision.{name}", build, paper="torchvision", code=f"torchvision {version}"
    )


MODELS: Catalog[Model] = Catalog(
    "model",
    Model,
    own=_own,
    libraries={"torchvision": _of_torchvision},
    beside="Also any classification network of torchvision, such as torchvision.resnet18, and your "
    "own: ./file.py:NAME or package.module:NAME.",
)


def check_dropout(model: str, share: float) -> None:
    """Refuse a share of dropped units that cannot be one."""
    if not 0 <= share < 1:
        raise BadValue(f"{model}: dropout must be at least 0 and below 1, got {share:g}")


def check_widths(model: str, name: str, widths: tuple[int, ...], count: int | None = None) -> None:
    """Refuse widths below 1, or not as many as the model has layers for."""
    if count and len(widths) != count:
        raise BadValue(f"{model}: {name} must be {count} widths, got {len(widths)}")
    if min(widths) < 1:
        raise BadValue(f"{model}: every width in {name} must be at least 1, got {min(widths)}")
