"""Units of any network from Python: the gate, and pictures of counts and watches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import relubench
from relubench.errors import BadValue, RelubenchError
from relubench.formats.plots import INK
from relubench.page import calls, drawing

DEAD = -1e3  # a bias that no input of ours lifts


def network(dead: int = 3, width: int = 12) -> nn.Sequential:
    """Of its first layer so many units are dead, of its second none."""
    layers = nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 2)
    made, stream = nn.Sequential(*layers), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=stream) / 4)
        made.get_parameter("0.bias")[dead:] = 3.0
        made.get_parameter("0.bias")[:dead] = DEAD
        made.get_parameter("2.bias")[:] = 2.0
    return made


def batches() -> list[Tensor]:
    return [*torch.randn(40, 6, generator=torch.Generator().manual_seed(1)).split(15)]


# --- the gate -------------------------------------------------------------------------------------


def test_without_a_gate_nothing_passes_or_fails() -> None:
    found = relubench.deadcount(network(), batches())
    assert (found.passed, found.offending) == (None, {})
    assert {row.gate for row in found.rows} == {None}


@pytest.mark.parametrize(
    ("limit", "passes"),
    [
        (0.25, True),
        (0.249, False),
        ("25%", True),
        ("20%", False),
        (["20%", "1:25%"], True),
        ("20%,1:25%", True),
        ({"1": 0.25, "": 0.0}, True),
        ({"1": "20%"}, False),
        ({"3": 0.0}, True),
        (0, False),
        (1, True),
    ],
)
def test_a_limit_is_a_share_or_what_the_shell_takes(limit: Any, passes: bool) -> None:
    found = relubench.deadcount(network(), batches(), fail_above=limit)
    assert found.passed is passes
    assert [*found.offending] == ([] if passes else ["1"])
    assert [row.gate for row in found.rows][1] == "pass"
    assert found.total.gate == ("pass" if passes else "fail")
    if not passes:
        assert found.offending["1"].startswith("25.00% of 12 units are dead")


def test_the_words_are_the_shells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(network(), "whole.pt")
    Path("net.py").write_text(
        "import torch\nnet = torch.load('whole.pt', weights_only=False)\n"
        "x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))\n"
        "data = list(x.split(15))\n"
    )
    given = ["deadcount", "-m", "./net.py:net", "--data", "./net.py:data", "--no-ledger"]
    from relubench.cli import main

    assert main([*given, "--fail-above", "20%"]) == 3
    found = relubench.deadcount(network(), batches(), fail_above="20%")
    for layer, why in found.offending.items():
        assert f"{layer}: {why}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"fail_above": 20}, "from 0 to 1"),
        ({"fail_above": True}, "from 0 to 1"),
        ({"fail_above": -0.1}, "from 0 to 1"),
        ({"fail_above": float("nan")}, "from 0 to 1"),
        ({"fail_above": "20"}, "say how many points"),
        ({"fail_above": "lots"}, "must be a number"),
        ({"fail_above": {"2": 0.1}}, "unknown layer '2'"),
        ({"fail_above": ["1:1%", "1:2%"]}, "twice"),
        ({"margin": 0.01}, "needs --baseline"),
        ({"margin": 7, "baseline": network()}, "from 0 to 1"),
        ({"margin": "rare=1%", "baseline": network()}, "dead alone"),
        ({"baseline": "none.pt"}, "no such file"),
        ({"baseline": {"0.weight": torch.zeros(3)}}, "does not fit Sequential"),
        ({"baseline": {"epoch": 3}}, "no tensors by name"),
        ({"baseline": nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))}, "other layers"),
    ],
)
def test_what_is_no_gate_is_refused(asked: dict[str, Any], what: str) -> None:
    with pytest.raises(RelubenchError, match=what) as told:
        relubench.deadcount(network(), batches(), **asked)
    assert "\n" not in str(told.value)


def baselines(folder: Path) -> Iterator[Any]:
    """One baseline, as everything that it may be."""
    torch.save({"state_dict": network(dead=2).state_dict()}, folder / "before.pt")
    yield folder / "before.pt"
    yield str(folder / "before.pt")
    yield network(dead=2).state_dict()
    yield {"model": network(dead=2).state_dict()}
    yield network(dead=2)
    yield relubench.deadcount(network(dead=2), batches())


def test_a_baseline_is_weights_a_network_or_a_count(tmp_path: Path) -> None:
    for before in baselines(tmp_path):
        now = network(dead=3)
        with torch.no_grad():
            now.get_parameter("0.bias")[0] = 3.0  # revived, while another two died
            now.get_parameter("0.bias")[3] = DEAD
        found = relubench.deadcount(now, batches(), baseline=before)
        row = found.layers[0]
        shares = [row.dead, row.dead_before, row.newly_dead, row.revived]
        assert shares == pytest.approx([3 / 12, 2 / 12, 2 / 12, 1 / 12])
        assert found.passed is False
        assert "16.67% in the baseline" in found.offending["1"]
        assert relubench.deadcount(now, batches(), baseline=before, margin=0.1).passed
        assert relubench.deadcount(now, batches(), baseline=before, margin="dead=10%").passed


def test_the_network_stays_as_it_was_beside_other_weights() -> None:
    now, before = network(dead=3), network(dead=1).state_dict()
    kept = {name: tensor.clone() for name, tensor in now.state_dict().items()}
    relubench.deadcount(now, batches(), baseline=before)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in now.state_dict().items())


def test_a_gate_counts_what_it_needs_whatever_is_asked() -> None:
    found = relubench.deadcount(network(), batches(), definitions=["dormant"], fail_above=0.2)
    assert found.passed is False
    without = relubench.deadcount(network(), batches(), definitions=["dormant"])
    with pytest.raises(BadValue, match="without dead units"):
        relubench.deadcount(network(), batches(), baseline=without)


def test_an_iterator_is_not_gone_through_twice() -> None:
    with pytest.raises(BadValue, match="give a list or a loader"):
        relubench.deadcount(network(), iter(batches()), baseline=network())
    earlier = relubench.deadcount(network(), batches())
    assert relubench.deadcount(network(), iter(batches()), baseline=earlier).passed


def test_what_cannot_be_copied_is_told() -> None:
    model = network()
    model.register_module("odd", Uncopied())
    with pytest.raises(BadValue, match="cannot be copied"):
        relubench.deadcount(model, batches(), baseline=network().state_dict())


class Uncopied(nn.Module):
    """A module that holds what cannot be copied."""

    def __deepcopy__(self, memo: object) -> None:
        raise TypeError("cannot pickle 'module' object")

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_what_cannot_die_passes() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 2))
    assert relubench.deadcount(model, batches(), fail_above=0.0).passed


# --- pictures -------------------------------------------------------------------------------------


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_count_is_drawn_as_pages_draw() -> None:
    found = relubench.deadcount(network(), batches(), definitions=["all"])
    with mpl.rc_context({"backend": "agg"}):
        axes = found.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "3", "total"]
    heads = [label.get_text() for label in axes.get_xticklabels()]
    assert heads[:3] == ["dead", "inactive", "rare"]
    shown = dict(zip(heads, texts(axes), strict=False))  # the first row
    assert shown["dead"] == "25.0"
    assert axes.get_figure().texts[0].get_text().startswith("units by call, %")  # type: ignore[union-attr]
    ours: Any = Figure().add_subplot()
    assert found.plot(ax=ours) is ours
    assert "n\u00a040 examples" in ours.get_title()


def test_what_is_not_defined_is_drawn_as_a_dash() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    axes: Any = relubench.deadcount(model, batches()).plot(ax=Figure().add_subplot())
    assert texts(axes)[0] == "–"


def test_many_calls_have_room() -> None:
    layers: list[nn.Module] = []
    for _ in range(60):
        layers += [nn.Linear(6, 6), nn.ReLU()]
    found = relubench.deadcount(nn.Sequential(*layers, nn.Linear(6, 2)), batches())
    drawn = calls.shares(found.rows)
    assert drawn.height < 61 * 16
    assert "<svg" in drawing.svg(drawn, "x")


def test_a_watch_is_drawn_as_pages_draw() -> None:
    model = network(dead=0)
    with relubench.watch(model, probe=batches()[0], every=1) as watch:
        for dead in (2, 6):
            model.get_parameter("0.bias").data[:dead] = DEAD
            watch.step()
    axes: Any = watch.plot(ax=Figure().add_subplot())
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert [*lines] == ["3", "1", "total"]
    assert list(lines["1"].get_xdata()) == [0, 1, 2]
    assert list(lines["1"].get_ydata()) == pytest.approx([0, 100 * 2 / 12, 50])
    assert lines["total"].get_color() == INK
    assert axes.get_ylabel() == "dead units %"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["total", "1", "3"]
    assert watch.plot("newly_dead", ax=Figure().add_subplot()).get_lines()
    with pytest.raises(RelubenchError, match="did you mean 'dormant'"):
        watch.plot("dormat")


def test_shares_that_nothing_has_are_not_drawn() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 2))
    watch = relubench.watch(model, probe=batches()[0])
    with pytest.raises(BadValue, match="such as 'inactive'"):
        watch.plot()
    assert watch.plot("inactive", ax=Figure().add_subplot()).get_lines()
