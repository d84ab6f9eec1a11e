"""Activations that are not relubench's: a user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relubench.activations.activation import ACTIVATIONS, Activation
from relubench.catalog import Deferred
from relubench.user_code import UserCode

if TYPE_CHECKING:
    from relubench.activations import user_defined
else:
    user_defined = Deferred("relubench.activations.user_defined")


def _user_defined(name: str, code: UserCode) -> Activation:
    entry: Activation = user_defined.activation(name, code)
    return entry


ACTIVATIONS.provide(own=_user_defined)
