"""Models that are not relubench's: a user's own, and torchvision's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from relubench import libraries
from relubench.catalog import Deferred
from relubench.models.model import MODELS, Model
from relubench.user_code import UserCode

if TYPE_CHECKING:
    from torch import nn

    from relubench.models import user_defined, vision
else:
    user_defined = Deferred("relubench.models.user_defined")
    vision = Deferred("relubench.models.vision")


@dataclass(frozen=True)
class Borrowed(Model):
    """A network of torchvision, which is not imported before it is checked or built."""

    def check(self) -> None:
        """Raise UnknownName, or DataError without torchvision."""
        vision.check(self.name)


def _user_defined(name: str, code: UserCode) -> Model:
    entry: Model = user_defined.model(name, code)
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


MODELS.provide(
    own=_user_defined,
    libraries={"torchvision": _of_torchvision},
    beside="Also any classification network of torchvision, such as torchvision.resnet18, and your "
    "own: ./file.py:NAME or package.module:NAME.",
)
