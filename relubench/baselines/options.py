"""What compare is to do about baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BaselineOptions:
    """What compare is to do about baselines.

    baseline  what the run is held against
    save      whether the run is to become a baseline
    strict    undecided is not enough
    require   a baseline must be there
    remedy    the command that makes one
    """

    baseline: Path | None = None
    save: bool = False
    strict: bool = False
    require: bool = False
    remedy: str = ""

    @property
    def records(self) -> bool:
        """Whether the figures of each seed are wanted."""
        return self.save or self.baseline is not None
