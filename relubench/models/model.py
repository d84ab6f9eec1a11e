"""What a model is: a function that builds a network, and its facts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Deferred, Entry
from relubench.errors import BadValue
from relubench.own_code import Own

if TYPE_CHECKING:
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
    """

    paper: str = ""
    year: int | None = None
    widths: tuple[str, ...] = ()
    activation: str = "relu"
    code: str = ""


def _own(name: str, code: Own) -> Model:
    entry: Model = own.model(name, code)
    return entry


def _of_torchvision(name: str) -> Model:
    entry: Model = vision.model(name)
    return entry


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
