"""deadcount of any network: from Python, and what the shell's command is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from relubench.neurons.counting import Asked, count
from relubench.neurons.definitions import chosen
from relubench.report.call_table import About
from relubench.report.dead_count import DeadCount

if TYPE_CHECKING:
    from torch import Tensor, nn


def deadcount(
    model: nn.Module,
    batches: Iterable[Any] | Tensor,
    *,
    test: Iterable[Any] | None = None,
    definitions: Sequence[str] | None = None,
    unit: str | None = None,
    activation_modules: Sequence[str] = (),
    limit: int | None = None,
) -> DeadCount:
    """Count dead, inactive, rare, dormant and saturated units of any network.

    batches             tensors, (inputs, labels) or dicts of tensors; or one tensor of examples
    test                further batches, whose figures stand beside
    definitions         names as in `relubench list definitions`, with parameters; "all"
    unit                channel, position or feature: what a unit is in tensors of more than two
                        axes, where the layers do not tell or you want it otherwise
    activation_modules  classes or paths of modules that are one activation each
    limit               examples after which to stop

    The network is looked at in evaluation mode and left as it was found. Raises BadValue where
    something cannot be counted, UserCodeError where the network raises.
    """
    asked = Asked(chosen(definitions), unit, activation_modules, limit)
    about = About(type(model).__name__)
    result = DeadCount.of(count(model, _batches(batches), asked), about)
    if test is None:
        return result
    return beside_test(result, DeadCount.of(count(model, _batches(test), asked), about))


def _batches(given: Any) -> Iterable[Any]:
    """One tensor is one batch."""
    return [given] if hasattr(given, "dim") else given


def beside_test(train: DeadCount, test: DeadCount) -> DeadCount:
    """Figures on the test part beside those on the training part."""
    figures: dict[str, dict[str, Any]] = {}
    for row in test.layers:
        figures[row.layer] = {
            "dead_test": row.dead,
            "inactive_test": row.inactive,
            "dead_in_training_only": _share_gone(train, test, row.layer, "dead"),
            "examples_test": row.examples,
        }
    return train.updated(figures)


def _share_gone(first: DeadCount, second: DeadCount, layer: str, definition: str) -> float | None:
    """The fraction of units that are so in the first count and not in the second."""
    one = first.masks.get(definition, {}).get(layer)
    other = second.masks.get(definition, {}).get(layer)
    if one is None or other is None or len(one) != len(other):
        return None
    return float((one & ~other).double().mean())
