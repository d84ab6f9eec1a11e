"""Units of any network, counted and watched: `deadcount` and `watch`, with their pictures."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from relubench.baselines.dead_gate import Above, Limits, judged
from relubench.catalog import Deferred
from relubench.commands.counting import Part, audited, beside_baseline, with_removed
from relubench.errors import BadValue
from relubench.neurons import watch as watching
from relubench.neurons.counting import Asked
from relubench.neurons.definitions import chosen
from relubench.neurons.weights import Weights, load, read, unwrapped
from relubench.report.call_table import About
from relubench.report.dead_count import DeadCount
from relubench.user_code import brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from relubench.page import calls, drawing
else:
    calls, drawing = Deferred("relubench.page.calls"), Deferred("relubench.page.drawing")

# Weights of before, a network that has them, or what was counted with them.
Baseline = str | os.PathLike[str] | Mapping[str, Tensor] | nn.Module | DeadCount


@dataclass(frozen=True, eq=False, repr=False)
class NetworkCount(DeadCount):
    """What `deadcount` gives: rows, masks, the gate's word, and views of them."""

    def plot(self, ax: Axes | None = None) -> Axes:
        """Shares of units: a row for each call, a column for each definition."""
        return drawing.shown(calls.shares(self.rows), ax)


class Watch(watching.Watch):
    """Counts over time; `rows` hold them, a row for each call of an activation and a total."""

    def plot(self, definition: str = "dead", ax: Axes | None = None) -> Axes:
        """The share of units that is so, over steps; a line for each layer.

        Raises BadValue where no layer has such a share.
        """
        return drawing.shown(calls.over_steps(self.rows, definition), ax)


def deadcount(
    model: nn.Module,
    batches: Iterable[Any] | Tensor,
    *,
    test: Iterable[Any] | None = None,
    definitions: Sequence[str] | None = None,
    unit: str | None = None,
    activation_modules: Sequence[str] = (),
    limit: int | None = None,
    proof: bool = False,
    ablate: bool = False,
    fail_above: Above | None = None,
    baseline: Baseline | None = None,
    margin: float | str | None = None,
) -> NetworkCount:
    """Count dead, inactive, rare, dormant and saturated units of any network.

    batches             tensors, (inputs, labels) or dicts of tensors; or one tensor of examples
    test                further batches, whose figures stand beside
    definitions         names as in `relubench list definitions`, with parameters; "all"
    unit                channel, position or feature: what a unit is in tensors of more than two
                        axes, where the layers do not tell or you want it otherwise
    activation_modules  classes or paths of modules that are one activation each
    limit               examples after which to stop
    proof, ablate       as the shell's flags; both go through the batches again
    fail_above          a gate: the share of a layer's units that may be dead, as 0.2 or "20%",
                        {"dense3": 0.5, "": 0.2} by layer ("": all others)
    baseline            a gate beside the same network before: weights (a file, a state dict), the
                        network with them, or what deadcount said of it on the same batches
    margin              how many more may be dead than in the baseline, as 0.01 or "dead=1%"

    The network is looked at in evaluation mode and left as it was found. `.passed` says whether
    all layers keep the gate's limits, `.offending` which do not, and why. Raises BadValue where
    something cannot be counted, UserCodeError where the network raises.
    """
    limits = Limits.of(fail_above, margin, baseline is not None)
    choices = {choice.entry.name: choice for choice in chosen(definitions)}
    if limits:
        choices = with_removed(choices)
    asked = Asked(list(choices.values()), unit, activation_modules, limit)
    parts: dict[str, Part] = {"train": partial(_batches, batches)}
    if test is not None:
        parts["test"] = partial(_batches, test)
    _check_repeatable(batches, proof or ablate, baseline)
    about = About(type(model).__name__)
    _, result = audited(model, parts, asked, about, proof, ablate)
    if baseline is not None:
        result = beside_baseline(result, _before(model, baseline, parts["train"], asked))
    return NetworkCount(**vars(judged(result, limits)))


def _batches(given: Any) -> Iterable[Any]:
    """One tensor is one batch."""
    return [given] if hasattr(given, "dim") else given


def _check_repeatable(batches: Any, again: bool, baseline: Baseline | None) -> None:
    """Refuse an iterator, which is used up after one pass, where there are several."""
    counted_again = baseline is not None and not isinstance(baseline, DeadCount)
    if not isinstance(batches, Iterator) or not (again or counted_again):
        return
    what = "a baseline that is to be counted goes" if counted_again else "proof and ablate go"
    raise BadValue(f"{what} through the batches again: give a list or a loader")


def _before(model: nn.Module, baseline: Baseline, part: Part, asked: Asked) -> DeadCount:
    """What is counted with the weights of before."""
    if isinstance(baseline, DeadCount):
        return baseline
    network = baseline if isinstance(baseline, nn.Module) else _weighed(model, baseline)
    _, before = audited(network, {"train": part}, asked, About(type(network).__name__))
    return before


def _weighed(model: nn.Module, given: str | os.PathLike[str] | Mapping[str, Tensor]) -> nn.Module:
    """A copy of the network with other weights."""
    if isinstance(given, Mapping):
        weights = Weights("baseline", unwrapped(given, Path("baseline"))[0])
    else:
        weights = read(Path(given))
    try:
        network = copy.deepcopy(model)
    except Exception as error:  # whatever a module holds, such as a file or a lock
        name = type(model).__name__
        raise BadValue(
            f"{name} cannot be copied for the baseline's weights ({brief(error)}): give baseline="
            "a network that has them"
        ) from error
    load(network, weights)
    return network


def watch(
    model: nn.Module,
    probe: Any,
    every: int = 100,
    *,
    unit: str | None = None,
    activation_modules: Sequence[str] = (),
) -> Watch:
    """Count units of a network on the same examples again and again while it is trained.

    probe  a batch: a tensor, (inputs, labels) or a dict of tensors; or a list of batches
    every  steps between two counts; the first is taken at once

    What is given is a context manager and an object with `.step()`, which is called after every
    step of training. The loop keeps its mode, gradients and random state.
    """
    return Watch(model, probe, every, Asked(chosen(None), unit, activation_modules))
