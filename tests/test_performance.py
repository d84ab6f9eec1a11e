"""What the performance bench says of its measurements; the measuring itself is not run here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "performance"))

import measure


def test_contestants_take_turns_after_one_that_does_not_count() -> None:
    turns: list[str] = []
    runs = {name: lambda name=name: turns.append(name) for name in "ab"}
    seconds = measure.measure(runs, rounds=3)
    assert turns == [*"ab", *"ab", *"ba", *"ab"]
    assert {name: len(found) for name, found in seconds.items()} == {"a": 3, "b": 3}


SECONDS = {"relubench": [1.0, 2.0, 4.0], "peer": [3.0, 8.0, 4.0]}  # ratios of rounds: 3, 4, 1


@pytest.mark.parametrize(
    ("figure", "median", "reached"),
    [
        (measure.faster(1, "", "peer", SECONDS, 3), 3, True),
        (measure.faster(1, "", "peer", SECONDS, 3.1), 3, False),
        (measure.faster(1, "", "peer", SECONDS, None), 3, None),
        (measure.as_slow(1, "", "peer", SECONDS, 1 / 3), 1 / 3, True),
        (measure.as_slow(1, "", "peer", SECONDS, 0.3), 1 / 3, False),
    ],
)
def test_a_figure_is_the_median_of_the_rounds_own_ratios(
    figure: measure.Figure, median: float, reached: bool | None
) -> None:
    row = figure.as_row()
    assert row["median"] == pytest.approx(median)
    assert row["reached"] is reached
    assert (row["seconds"], row["peer_seconds"]) == (2.0, 4.0)
