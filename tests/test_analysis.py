"""What `show activation` says of a unit: figures from closed forms, facts from the catalogue."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from scipy import integrate, stats

from relubench.activations import ACTIVATIONS, Activation
from relubench.cli import main
from relubench.profiling.analysis import arity
from relubench.profiling.profiles import profile, window
from relubench.rows import ActivationProfileRow

every_activation = pytest.mark.parametrize(
    "activation", list(ACTIVATIONS.values()), ids=lambda entry: entry.name
)


def profile_of(name: str) -> ActivationProfileRow:
    choice = ACTIVATIONS.choose(name)
    return profile(choice, window([choice]))


@pytest.mark.parametrize(
    ("name", "mean", "second"),
    [
        ("identity", 0.0, 1.0),
        ("relu", 1 / math.sqrt(2 * math.pi), 0.5),
        ("leaky_relu:negative_slope=0.5", 0.5 / math.sqrt(2 * math.pi), 0.625),
        ("selu", 0.0, 1.0),  # its fixed point: arXiv:1706.02515
        ("gelu", 1 / (2 * math.sqrt(math.pi)), 0.42522),  # E z Φ(z) by parts
    ],
)
def test_moments_are_those_of_closed_forms(name: str, mean: float, second: float) -> None:
    found = profile_of(name)
    assert found.mean == pytest.approx(mean, abs=1e-6)
    assert found.second_moment == pytest.approx(second, abs=1e-5)
    assert found.gain == pytest.approx(1 / math.sqrt(second), abs=1e-4)


def test_moments_are_those_of_scipys_quadrature() -> None:
    expected, _ = integrate.quad(lambda z: math.tanh(z) ** 2 * stats.norm.pdf(z), -10, 10)
    assert profile_of("tanh").second_moment == pytest.approx(expected, abs=1e-8)


@every_activation
def test_a_curve_passes_every_kink_at_its_slope(activation: Activation) -> None:
    found = profile_of(activation.name)
    assert len(found.x) == len(found.value) == len(found.slope)
    for kink, slope in activation.kinks.items():
        if kink in found.x and arity(ACTIVATIONS.choose(activation.name)) == (1, 1):
            assert found.slope[found.x.index(kink)] == pytest.approx(slope, rel=1e-9)


@every_activation
def test_values_lie_between_the_bounds(activation: Activation) -> None:
    found = profile_of(activation.name)
    values = [value for value in found.value if value is not None]
    assert found.low is None or min(values) >= found.low - 1e-3
    assert found.high is None or max(values) <= found.high + 1e-3


@every_activation
def test_slopes_vanish_inside_what_is_flat(activation: Activation) -> None:
    found = profile_of(activation.name)
    assert found.can_die or not found.flat
    for low, high in found.flat:
        inside = [
            slope
            for x, slope in zip(found.x, found.slope, strict=True)
            if (low is None or x > low) and (high is None or x < high)
        ]
        assert set(inside) <= {0.0}


@pytest.mark.parametrize(
    ("name", "flat"),
    [
        ("relu", [(None, 0.0)]),
        ("relu6", [(None, 0.0), (6.0, None)]),
        ("leaky_relu", []),
        ("leaky_relu:negative_slope=0", [(None, 0.0)]),  # its parameter decides
        ("sigmoid", []),
        ("gelu", []),
    ],
)
def test_where_a_unit_dies(name: str, flat: list[tuple[float | None, float | None]]) -> None:
    found = profile_of(name)
    assert list(found.flat) == flat
    assert found.can_die == bool(flat)


def test_tails_that_are_nearly_flat_are_named() -> None:
    ((_, low), (high, _)) = profile_of("tanh").faint
    assert low is not None
    assert low == pytest.approx(-math.atanh(math.sqrt(0.99)), abs=1 / 64)  # tanh' = 1 - tanh²
    assert high == -low
    assert profile_of("relu").faint == []


@every_activation
def test_every_unit_can_be_shown(
    activation: Activation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "activation", activation.name]) == 0
    out = capsys.readouterr().out
    assert activation.name in out
    assert activation.description.split()[0] in out
    drawn = re.split(r"\n +value +derivative", out)[1].splitlines()[:14]
    assert max(map(len, drawn)) <= 80


def test_a_row_for_machines_has_facts_and_curve(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "activation", "prelu,relu6", "--format", "json"]) == 0
    prelu, relu6 = json.loads(capsys.readouterr().out)
    assert prelu["learned"] == ["a"]
    assert prelu["parameters"]["a"] == 0.25
    assert prelu["x"] == relu6["x"]  # curves that overlay share their window
    assert max(prelu["x"]) == 7
    assert relu6["value"][-1] == 6


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_a_picture_is_written_where_one_is_asked_for(
    suffix: str, begins: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"units{suffix}"
    assert main(["show", "activation", "relu,gelu", "-o", str(path)]) == 0
    assert path.read_bytes().startswith(begins)
    assert capsys.readouterr().out == ""
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_picture_and_chosen_columns_are_written_at_once(tmp_path: Path) -> None:
    picture, rows = tmp_path / "units.svg", tmp_path / "units.json"
    command = ["show", "activation", "relu,gelu", "--columns", "gain", "--sort", "-gain"]
    assert main([*command, "-o", str(picture), "-o", str(rows)]) == 0
    assert picture.read_bytes().startswith(b"<?xml")
    found = json.loads(rows.read_text(encoding="utf-8"))
    assert [list(row) for row in found] == [["gain"]] * 2
    assert found[0]["gain"] > found[1]["gain"] == pytest.approx(2**0.5)


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "relubench" / "profiles.json"


@pytest.mark.parametrize("name", ["relu", "hard_tanh", "maxout", "gelu", "leaky_relu"])
def test_a_profile_that_is_kept_is_what_was_measured(
    name: str, fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = profile_of(name)
    monkeypatch.setattr("relubench.profiling.profiles.analysis.measure", None)  # not called again
    assert profile_of(name) == measured


def test_a_damaged_profile_is_measured_again(fresh_cache: Path) -> None:
    measured = profile_of("relu")
    text = fresh_cache.read_text()
    assert '"gain": 1.414' in text
    fresh_cache.write_text(text.replace('"gain": 1.414', '"gain": 1.514'))
    assert profile_of("relu") == measured
