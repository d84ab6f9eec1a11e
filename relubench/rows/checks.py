"""Rows of doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from relubench.table import Row


@dataclass(frozen=True, kw_only=True)
class CheckRow(Row):
    """doctor: one thing that was looked at."""

    what: Annotated[str, "what was looked at"]
    status: Annotated[Literal["ok", "warning", "problem"], "whether it is as it should be"]
    found: Annotated[str, "what is there"]
    remedy: Annotated[str, "what to do"] = ""
