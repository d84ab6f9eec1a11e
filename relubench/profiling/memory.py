"""What a network keeps of an example between the forward and the backward pass."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from relubench import __version__, libraries
from relubench.catalog import Deferred
from relubench.datasets import Facts
from relubench.grouping import grouped
from relubench.models import MODELS
from relubench.plan import Cell
from relubench.user_cache import UserCache

if TYPE_CHECKING:
    from relubench.profiling import keeping
else:
    keeping = Deferred("relubench.profiling.keeping")

CACHE = UserCache("memory.json", most=10**6)


def kept_bytes(cells: Iterable[Cell], facts: Facts) -> dict[Cell, float]:
    """Bytes per example that backward needs, without the weights; those of a dataset's cells.

    A cell is left out whose network is not relubench's, or of which that cannot be measured. What
    was measured before is kept, and known without torch.
    """
    known = CACHE.entries()
    found: dict[Cell, float] = {}
    for key, same in grouped(cells, lambda cell: _key(cell, facts)).items():
        if key not in known and not MODELS.choose(same[0].model).entry.code:
            measured = keeping.kept_bytes(same[0], _shape(same[0], facts), facts.outputs)
            known = {**known, key: measured}
            CACHE.keep(key, measured)
        size = known.get(key)
        if isinstance(size, float) and size > 0:
            found |= dict.fromkeys(same, size)
    return found


def _shape(cell: Cell, facts: Facts) -> tuple[int, ...]:
    return (cell.preparation.pca,) if cell.preparation.pca else facts.shape


def _key(cell: Cell, facts: Facts) -> str:
    torch = libraries.torch_build().version
    network = (cell.model, cell.activation, cell.match_parameters, cell.unit_axis)
    return json.dumps([__version__, torch, *network, _shape(cell, facts), facts.outputs])
