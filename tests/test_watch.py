"""A loop of one's own is watched: the same counts as deadcount, and it goes on as it did."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import relubench
from relubench.errors import BadValue
from relubench.neurons.watch import DeadUnitsWarning
from relubench.results import COUNTS, MOMENTS


def network() -> nn.Sequential:
    made = nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    return made


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 6, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 1).long()


def trained(watched: bool, lr: float = 5.0) -> tuple[nn.Module, Any, list[Any]]:
    model, (x, y) = network(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    torch.default_generator.manual_seed(3)
    watch = relubench.watch(model, probe=x[:32], every=4) if watched else None
    counts = []
    for _ in range(10):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        if watch:
            watch.step()
            counts.append(relubench.deadcount(model, x[:32]))
    return model, watch, counts


def test_it_counts_what_deadcount_counts_at_the_same_step() -> None:
    _, watch, counts = trained(watched=True)
    assert [row.step for row in watch.rows[::3]] == [0, 4, 8]
    for step in (4, 8):
        mine = [row for row in watch.rows if row.step == step]
        for row, other in zip(mine, counts[step - 1].rows, strict=True):
            assert (row.layer, row.units) == (other.layer, other.units)
            for name in (*COUNTS, *MOMENTS):
                assert row.get(name) == pytest.approx(other.get(name), rel=1e-6)


def test_the_loop_goes_on_as_without_it() -> None:
    one, other = trained(watched=True)[0], trained(watched=False)[0]
    for (name, mine), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert one.training


def test_units_that_die_and_revive_are_told() -> None:
    model = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1))
    with relubench.watch(model, probe=torch.randn(9, 1), every=1) as watch:
        for biases in ([9.0, 9.0, -9e3, 9.0], [9.0, -9e3, -9e3, -9e3], [9.0, 9.0, 9.0, -9e3]):
            model.get_parameter("0.bias").data.copy_(torch.tensor(biases))
            watch.step()
    layer = [row for row in watch.rows if row.layer == "1"][1:]
    assert [row.dead for row in layer] == [0.25, 0.75, 0.25]
    assert [row.newly_dead for row in layer[1:]] == [0.5, 0.0]
    assert [row.revived for row in layer[1:]] == [0.0, 0.5]


def test_it_warns_once_for_each_layer_and_says_what_to_do() -> None:
    model = network()
    watch = relubench.watch(model, probe=data()[0], every=1)
    model.get_parameter("0.bias").data[:8] = -1e3
    with pytest.warns(DeadUnitsWarning, match=r"1: 50% of 16 units are dead at step 1: a lower"):
        watch.warn_above(0.2).step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watch.step()


def test_the_last_step_is_counted_at_the_end_of_the_block() -> None:
    model = network()
    with relubench.watch(model, probe=data()[0], every=100) as watch:
        for _ in range(7):
            watch.step()
    assert watch.rows[-1].step == 7
    assert list(watch.frame()["step"].unique()) == [0, 7]


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    trained(watched=True)
    assert capsys.readouterr() == ("", "")


def test_a_lazy_network_is_not_made_by_looking() -> None:
    model = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 1))
    with pytest.raises(BadValue, match="lazy layers"):
        relubench.watch(model, probe=torch.randn(3, 2))
    with pytest.raises(BadValue, match="from 1"):
        relubench.watch(network(), probe=torch.randn(3, 6), every=0)
