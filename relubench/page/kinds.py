"""The kinds of pictures by name, known without matplotlib: what `--picture` takes."""

from __future__ import annotations

KINDS = (
    *("forest", "curves", "tasks", "pareto", "rates", "dead", "lives", "survival"),
    *("ranks", "wins", "confusion"),
    *("activations", "cost", "suggestion", "calls"),
)
FITTING = {  # the kind that fits a command, where none is asked for
    "compare": "forest",
    "report": "forest",
    "suggest": "suggestion",
    "cv": "curves",
    "train": "curves",
    "deadcount": "dead",
    "cost": "cost",
}
