"""Passes side by side: what comes back, and what is raised."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relubench.training.parallel import divided, in_parallel


@given(st.lists(st.integers()), st.integers(1, 9))
def test_parts_are_neighbours_and_as_long_as_each_other(items: list[int], count: int) -> None:
    parts = divided(items, count)
    assert [item for part in parts for item in part] == items
    lengths = {len(part) for part in parts}
    assert len(parts) == min(count, len(items))
    assert not lengths or max(lengths) - min(lengths) <= 1


def test_parts_run_at_once_on_their_threads_and_come_back_in_order() -> None:
    together = threading.Barrier(3, timeout=60)

    def run(part: int) -> tuple[int, int]:
        together.wait()
        return part, torch.get_num_threads()

    assert in_parallel(run, [5, 3, 4], 3, 1) == [(5, 1), (3, 1), (4, 1)]


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_part_raises_is_raised(count: int) -> None:
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda part: 1 // part, [1, 0, 1], count, 1)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system copies no process")
def test_a_copy_of_the_process_has_threads_of_its_own() -> None:
    together = threading.Barrier(2, timeout=60)  # so that there are two threads
    in_parallel(lambda part: together.wait(), [1, 2], 2, 1)
    child = os.fork()
    if not child:
        signal.alarm(60)  # of the child alone: it is to end, not to wait for threads it lacks
        os._exit(in_parallel(abs, [-3, -4], 2, 1) != [3, 4])
    assert os.waitpid(child, 0)[1] == 0
