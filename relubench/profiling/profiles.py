"""The profile of an activation; what was computed of it before is kept, and shown without torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from relubench import __version__, libraries
from relubench.activations import Activation
from relubench.catalog import Choice, Deferred
from relubench.models.initialisation import INITS
from relubench.rows import ActivationProfileRow
from relubench.user_cache import UserCache

if TYPE_CHECKING:
    from relubench.profiling import analysis
else:
    analysis = Deferred("relubench.profiling.analysis")

CACHE = UserCache("profiles.json", most=10**7)
STEP = 1 / 64  # between the points of a curve: kinks at such multiples are hit
WINDOW = 5.0  # a curve reaches this far on both sides of 0, and past every kink under FARTHEST
FARTHEST = 10.0


def window(choices: Iterable[Choice[Activation]]) -> list[float]:
    """Points for the curves of all of these, past every near kink, in steps of STEP."""
    low, high = -WINDOW, WINDOW
    for choice in choices:
        for kink in choice.entry.kinks:
            if abs(kink) < FARTHEST:
                low = min(low, kink - 1)
                high = max(high, kink + 1)
    first = math.floor(low / STEP)
    last = math.ceil(high / STEP)
    return [number * STEP for number in range(first, last + 1)]


def profile(choice: Choice[Activation], x: Sequence[float]) -> ActivationProfileRow:
    """The profile of an activation, its curve at `x`; what was measured before is kept."""
    entry = choice.entry
    return ActivationProfileRow(
        name=str(choice),
        family=entry.family,
        formula=entry.description,
        remarks=entry.remarks,
        paper=entry.paper,
        year=entry.year,
        parameters=choice.parameters,
        learned=list(entry.learns),
        kinks=entry.kinks,
        noisy=entry.noisy,
        init=entry.init,
        init_std=INITS[entry.init].sd,
        x=list(x),
        **_kept_or_measured(choice, x),
    )


def _kept_or_measured(choice: Choice[Activation], x: Sequence[float]) -> dict[str, Any]:
    if choice.entry.sha256:  # a user's own may do something else tomorrow
        return analysis.measure(choice, x)
    ends = (x[0], x[-1])
    # The ends stand for the points between them, which are all in steps of STEP.
    key = json.dumps([__version__, libraries.torch_build().version, str(choice), *ends])
    kept = CACHE.entries().get(key)
    # A file of the cache may be damaged, and figures without a checksum would be shown as measured.
    if isinstance(kept, list) and len(kept) == 2 and kept[1] == _checksum(kept[0]):
        return _with_tuples(kept[0])
    measured = analysis.measure(choice, x)
    CACHE.keep(key, [measured, _checksum(measured)])
    return measured


def _checksum(figures: object) -> str:
    return hashlib.sha256(json.dumps(figures, sort_keys=True).encode()).hexdigest()


def _with_tuples(figures: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no tuples, of which intervals are."""
    intervals = {name: list(map(tuple, figures[name])) for name in ("flat", "faint")}
    return {**figures, **intervals}
