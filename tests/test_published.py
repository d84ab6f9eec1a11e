"""Published figures beside measured ones: the rule, and what a file may say of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricated import facts_rows
from scipy import stats as scipy_stats

from relubench import config
from relubench.cli import main
from relubench.commands import CATALOGS
from relubench.config import Published
from relubench.errors import BadValue
from relubench.report import published

ENTRY = Published(activation="relu", value=0.9, source="a paper", confirmed=True)
ROW = {"dataset": "iris", "model": "ffnn", "activation": "relu", "head": "softmax", "lr": 0.1} | {
    "accuracy": 0.89,
    "accuracy_sd": 0.01,
    "dead": 0.2,
    "n": 5,
}
SHIPPED = Path(__file__).parents[1] / "benchmarks.toml"


@pytest.mark.parametrize(("runs", "spread"), [(1, None), (23, 2.0)])
def test_19_of_20_further_means_lie_within_the_margin(runs: int, spread: float | None) -> None:
    """Against drawn runs; where both spreads are known the degrees of freedom are cautious."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(4000):
        ours = rng.normal(size=6)
        theirs = rng.normal(scale=spread or 1, size=runs).mean()
        half = published.margin(float(ours.std(ddof=1)), 6, runs, spread)
        inside += abs(ours.mean() - theirs) <= half
    assert 0.94 < inside / 4000 < (0.96 if spread is None else 1)


def test_the_margin_of_one_run_is_the_textbooks() -> None:
    """t(0.975, 4 degrees of freedom) = 2.776, from any table."""
    assert published.margin(0.01, 5) == pytest.approx(2.776 * 0.01 * np.sqrt(1.2), rel=1e-3)


def test_a_figure_agrees_differs_or_has_a_reason() -> None:
    assert str(published.verdict(ENTRY, 0.89, 0.01, 5)) == "agrees"
    assert str(published.verdict(ENTRY, 0.85, 0.01, 5)) == "differs"
    reasons = {
        published.verdict(ENTRY, 0.9, None, 1),
        published.verdict(ENTRY, None, None, 0),
        published.verdict(ENTRY, 0.9, 0.01, 5, "it was quick"),
        published.verdict(ENTRY.model_copy(update={"value": None}), 0.9, 0.01, 5),
        published.verdict(ENTRY.model_copy(update={"incomparable": "no net"}), 0.9, 0.01, 5),
    }
    assert len(reasons) == 5
    assert all(str(reason).startswith("cannot be compared: ") for reason in reasons)


def test_what_all_figures_share_stands_below_them() -> None:
    other = ENTRY.model_copy(update={"source": "another", "metric": "seconds", "confirmed": False})
    rows: Any = facts_rows(ROW | {"seconds": 2.5, "seconds_sd": 0.1})
    alone, apart = (published.table(entries, rows, "") for entries in ([other], [ENTRY, other]))
    assert [column.head for column in alone.columns][-2:] == ["within ±", "verdict"]
    assert alone.texts[0][:2] == ["2.50 ± 0.10", "0.90"]  # no per cent
    assert "published: another (not confirmed)" in alone.notes
    assert [column.head for column in apart.columns][-2:] == ["verdict", "source"]
    assert [texts[0] for texts in apart.texts] == ["accuracy %", "seconds s"]
    assert [texts[-1] for texts in apart.texts] == ["a paper", "another (not confirmed)"]
    quick = published.table([ENTRY, ENTRY], rows, "it was quick")
    assert quick.columns[-1].head == "difference"
    assert quick.notes == ["cannot be compared: it was quick", "published: a paper"]


def test_a_figure_stands_beside_the_rows_that_it_is_about() -> None:
    rows: Any = facts_rows(ROW, ROW | {"activation": "elu"}, ROW | {"lr": 0.2})
    unsure = ENTRY.model_copy(update={"confirmed": False, "metric": "dead", "lr": 0.2})
    table = published.table([ENTRY, unsure], rows, "")
    assert [(row["lr"], row["metric"]) for row in table.records] == [
        (0.1, "accuracy"),
        (0.2, "accuracy"),
        (0.2, "dead"),
    ]
    assert table.records[0]["difference"] == pytest.approx(-0.01)
    assert [texts[-1] for texts in table.texts] == ["yes", "yes", "no"]
    assert "published: a paper" in table.notes


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('value = "much"', "entry 1, value: got much, must be a valid number"),
        ("valeu = 0.9", "entry 1, valeu: unknown key: known: dataset"),
        ('activation = "mihs"', "entry 1: unknown activation 'mihs': did you mean 'mish'?"),
        ('metric = "taste"', "entry 1, metric: got taste, must be 'accuracy'"),
        ("figures = [0.9]", "must be tables"),
        ("figures = [{ value = 0.9 }, { valeu = 0.8 }]", "entry 2, valeu: unknown key"),
    ],
)
def test_a_figure_that_cannot_be_read_is_refused(line: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "b.toml"
    entry = f'[[benchmark.b.published]]\nsource = "s"\nconfirmed = true\n{line}\n'
    file.write_text(f"[benchmark.b]\n{entry}", encoding="utf-8")
    with pytest.raises(BadValue, match="published: ") as caught:
        config.read(file, CATALOGS)
    assert says in str(caught.value)


def test_figures_share_what_stands_above_them(tmp_path: Path) -> None:
    file = tmp_path / "b.toml"
    shared = '[[benchmark.b.published]]\nsource = "s"\nconfirmed = true\nmetric = "dead"\n'
    inner = 'figures = [{ activation = "elu", value = 0.1 }, { value = 0.2, metric = "loss" }]\n'
    file.write_text(f"[benchmark.b]\n{shared}{inner}", encoding="utf-8")
    found = config.resolve(config.read(file, CATALOGS), "b", {}, CATALOGS).published
    assert found == (
        Published(activation="elu", value=0.1, metric="dead", source="s", confirmed=True),
        Published(value=0.2, metric="loss", source="s", confirmed=True),
    )


def test_a_figure_without_a_source_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "b.toml"
    file.write_text("[benchmark.b]\n[[benchmark.b.published]]\nvalue = 0.9\n", encoding="utf-8")
    with pytest.raises(BadValue, match=r"entry 1, source: must be given; .*confirmed: must be"):
        config.read(file, CATALOGS)


def test_every_study_has_a_quick_form_and_every_figure_a_row() -> None:
    found = config.read(SHIPPED, CATALOGS)
    studies = [name for name, table in found.tables.items() if "published" in table]
    assert len(studies) >= 11
    for name in studies:
        full = config.resolve(found, name, {}, CATALOGS)
        quick = config.resolve(found, name, {}, CATALOGS, quick=True)
        cells = config.plan(full, "compare", False, CATALOGS["model"]).cells
        fewer = config.plan(quick, "compare", True, CATALOGS["model"]).cells
        work = [sum(cell.recipe.epochs * cell.parts for cell in each) for each in (cells, fewer)]
        assert work[1] * 3 <= work[0], name
        assert full.minutes
        assert found.tables[name]["quick"]["minutes"] <= min(5, full.minutes)
        for entry in full.published:
            about = {key: getattr(entry, key) for key in published.NAMES if key != "lr"}
            assert any(
                all(value in (None, getattr(cell, key)) for key, value in about.items())
                for cell in cells
            ), f"{name}: {entry}"


def test_compare_prints_measured_and_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = '[benchmark.b]\ndataset = "iris"\nmodel = "ffnn:hidden=4"\nepochs = 2\nseeds = 2\n'
    text += "quick = { epochs = 1, seeds = 3 }\n\n[[benchmark.b.published]]\nvalue = 0.5\n"
    Path("benchmarks.toml").write_text(
        text + 'source = "a paper"\nconfirmed = false\nnote = "An old one."\n', encoding="utf-8"
    )
    assert main(["compare", "b", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "1 published figure, accuracy %\n" in out
    assert "a paper (not confirmed)" in out
    assert "An old one." in out
    assert main(["compare", "b", "--quiet", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "1 epoch · 3 paired seeds" in out  # its own quick form
    assert "cannot be compared: a quick run" in " ".join(out.split())
    assert main(["compare", "b", "--quiet", "--epochs", "1"]) == 0
    assert "cannot be compared: --epochs" in " ".join(capsys.readouterr().out.split())


def test_the_mish_readme_is_as_its_intervals_say() -> None:
    """Each sd is that of the page's own 95 % interval over 23 runs, isru's mean too."""
    study = tomllib.loads(SHIPPED.read_text(encoding="utf-8"))
    table = study["benchmark"]["squeezenet-mish"]
    figures = {each["activation"]: each for each in table["published"][0]["figures"]}
    assert (table["lr"], table["batch_size"], table["epochs"]) == (0.001, 128, 50)
    assert figures.keys() == set(table["activation"])
    half_widths = {
        "isru": 0.4323568,
        "mish": 0.1716,
        "sigmoid": 2.4934984,
        "softplus": 0.6060631,
        "isrlu": 0.2502932,
        "sqnl": 0.2024614,
        "hardshrink": 0.4252852,
        "elish": 0.2064078,
    }
    t = scipy_stats.t.ppf(0.975, 22)
    for name, half_width in half_widths.items():
        sd = half_width / 100 * 23**0.5 / t
        assert figures[name]["sd"] == pytest.approx(sd, rel=0.01), name
    assert figures["isru"]["value"] == 0.8345
