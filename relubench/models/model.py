"""What a model is: a function that builds a network, and its facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Entry, Parameters
from relubench.errors import BadValue

if TYPE_CHECKING:
    from torch import nn  # noqa: F401  named in a string


@dataclass(frozen=True)
class Model(Entry["nn.Module"]):
    """One architecture.

    paper       where it was published
    year        when
    widths      its parameters that say how wide hidden layers are
    filled      what those of them stand for that are 0
    init        the scheme of its weights with every activation, where none is asked for; "": the
                activation's own
    takes       what its examples are: "numbers", "tokens" that go on, or "sentences" of tokens
    activation  its own, used where none is chosen
    code        what its source is known by: the digest of a user's own, a library's version
    dense       whether it is made of dense layers alone
    any_layout  whether it takes images whose channels lie last in memory
    """

    paper: str = ""
    year: int | None = None
    widths: tuple[str, ...] = ()
    activation: str = "relu"
    code: str = ""
    dense: bool = False
    any_layout: bool = True
    filled: Callable[[Parameters], dict[str, int]] | None = None
    init: str = ""
    takes: str = "numbers"

    def check(self) -> None:
        """Refuse a name that nothing stands for, where that cannot be read off the name."""

    def loaded(self, shape: Sequence[int], outputs: int, settings: Parameters) -> str:
        """A digest of the weights that its code brings along; "" where all are drawn."""
        return ""


MODELS: Catalog[Model] = Catalog("model", Model)


def check_dropout(model: str, dropout: float) -> None:
    """Refuse a fraction of dropped units that cannot be one."""
    if not 0 <= dropout < 1:
        raise BadValue(f"{model}: dropout must be at least 0 and below 1, got {dropout:g}")


def check_widths(model: str, name: str, widths: tuple[int, ...], count: int | None = None) -> None:
    """Refuse widths below 1, or not as many as the model has layers for."""
    if count and len(widths) != count:
        raise BadValue(f"{model}: {name} must be {count} widths, got {len(widths)}")
    if min(widths) < 1:
        raise BadValue(f"{model}: every width in {name} must be at least 1, got {min(widths)}")
