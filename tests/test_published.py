"""Published figures beside measured ones: the rule, and what a file may say of them."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fabricated import facts_rows, plan, result, runs
from scipy import stats as scipy_stats

from relubench import config
from relubench.cli import main
from relubench.commands import CATALOGS
from relubench.config import Published
from relubench.errors import BadValue
from relubench.plan import Cell
from relubench.profiling import table as cost_table
from relubench.profiling.timing import Timings
from relubench.report import ComparisonOptions, published, sources
from relubench.results import RunResult, TaskResult

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
    whole = ROW | {"lr": 0.2, "layer": "total"}  # shares of units are of layers, or of all
    rows: Any = facts_rows(ROW, ROW | {"activation": "elu"}, ROW | {"lr": 0.2}, whole)
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
        ('layer = "dense1"', "entry 1: layer: a figure of accuracy has none: known for dead,"),
        (
            'metric = "seconds"\nnumber = 2',
            "entry 1: number: a figure of seconds is of no one task",
        ),
        ('beside = "relu"', "entry 1: beside: a figure of accuracy is beside nothing"),
        ('metric = "relative"\nbeside = "mihs"', "unknown activation 'mihs'"),
        (
            'metric = "effective_rank"\nclaimed = "lower"',
            "entry 1: claimed: a figure of effective_rank is not",
        ),
        ('claimed = "up"', "entry 1, claimed: got up, must be 'higher' or 'lower'"),
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


def passes(cell: Cell) -> int:
    """Examples that a cell learns from, each as often as it does."""
    sizes = {"mnist": 60000, "fashion_mnist": 60000, "cifar10": 50000, "cifar100": 50000}
    examples = cell.preparation.limit or sizes.get(cell.dataset, 1500)
    return cell.recipe.epochs * cell.parts * examples


def test_every_study_has_a_quick_form_and_every_figure_a_row() -> None:
    found = config.read(SHIPPED, CATALOGS)
    studies = [name for name, table in found.tables.items() if "published" in table]
    assert len(studies) >= 11
    for name in studies:
        full = config.resolve(found, name, {}, CATALOGS)
        quick = config.resolve(found, name, {}, CATALOGS, quick=True)
        cells = config.plan(full, "compare", False, CATALOGS["model"]).cells
        fewer = config.plan(quick, "compare", True, CATALOGS["model"]).cells
        assert sum(map(passes, fewer)) * 3 <= sum(map(passes, cells)), name
        assert full.minutes
        assert found.tables[name]["quick"]["minutes"] <= min(5, full.minutes)
        for entry in full.published:
            about = {key: getattr(entry, key) for key in sources.NAMES if key != "lr"}
            assert any(
                all(value in (None, getattr(cell, key)) for key, value in about.items())
                for cell in cells
            ), f"{name}: {entry}"


def beside_runs(entries: list[Published], results: list[RunResult]) -> list[dict[str, Any]]:
    """The records of compare's published figures."""
    rows = published.of_comparison(entries, [], results, plan(results), ComparisonOptions(), "")
    return rows[0].records


def test_shares_of_units_are_those_of_a_layer_or_of_all() -> None:
    """The made-up networks have 1 of 8 units dead in their first layer, 4 of 4 in the second."""
    entry = Published(metric="dead", value=0.125, source="a paper", confirmed=True)
    entries = [entry.model_copy(update={"layer": name}) for name in ("dense1", "dense2", None)]
    first, second, whole = published.of_units(entries, runs("relu", 0.0), "")[0].records
    assert [row["layer"] for row in (first, second, whole)] == ["dense1", "dense2", "total"]
    assert [row["measured"] for row in (first, second, whole)] == [1 / 8, 1, 5 / 12]
    assert [row["verdict"] for row in (first, second, whole)] == ["agrees", "differs", "differs"]
    assert beside_runs(entries, runs("relu", 0.0)) == [first, second, whole]
    assert published.of_units([ENTRY], runs("relu", 0.0), "") == []


def in_sequence(seed: int, *accuracies: float) -> RunResult:
    """A run that had these accuracies at the ends of its tasks."""
    unknown = dict.fromkeys(TaskResult.__dataclass_fields__)
    tasks = [TaskResult(**unknown | {"accuracy": one}) for one in accuracies]
    return replace(result("relu", seed, 0.5), tasks=tuple(tasks))


def test_a_figure_of_a_task_is_of_that_task() -> None:
    found = [in_sequence(0, 0.9, 0.2), in_sequence(1, 0.9, 0.4)]
    entry = Published(metric="accuracy", value=0.3, number=2, source="s", confirmed=True)
    (row,) = beside_runs([entry], found)
    assert (row["number"], row["measured"], row["verdict"]) == (2, pytest.approx(0.3), "agrees")
    assert row["measured_sd"] == pytest.approx(0.02**0.5)  # of 0.2 and 0.4


def timed(activation: str, seed: int, seconds: float, stack: int = 1) -> RunResult:
    run = result(activation, seed, 0.5)
    return replace(run, seconds=seconds, environment=replace(run.environment, stack=stack))


@pytest.mark.parametrize("stack", [1, 2])
def test_a_ratio_of_seconds_is_by_seed_beside_the_activation_that_it_names(stack: int) -> None:
    """3 and 5 times as long; runs of one pass are one measurement, without a spread."""
    seconds = {"relu": (1.0, 2.0), "elu": (3.0, 10.0), "tanh": (9.0, 9.0)}
    found = []
    for name, each in seconds.items():
        found += [timed(name, seed, each[seed], stack) for seed in (0, 1)]
    shared: Any = {"activation": "elu", "metric": "seconds_ratio", "source": "s", "confirmed": True}
    entries = [Published(value=4.0, **shared), Published(value=4.0, beside="tanh", **shared)]
    first, second = beside_runs(entries, found)
    assert (first["beside"], first["measured"]) == ("relu", 4)
    assert (second["beside"], second["measured"]) == ("tanh", pytest.approx((3 + 10) / 18))
    if stack == 1:
        assert (first["measured_sd"], first["verdict"]) == (pytest.approx(2**0.5), "agrees")
    else:
        assert first["verdict"] == "cannot be compared: 2 runs here, without a spread"


def test_ratios_of_cost_are_round_by_round() -> None:
    def timings(name: str, *nanoseconds: float, saved: float) -> Timings:
        return Timings(
            activation=name,
            elements=64,
            forward=nanoseconds,
            forward_backward=nanoseconds,
            copy=nanoseconds,
            saved=saved,
        )

    relu, mish = timings("relu", 1.0, 2.0, saved=4), timings("mish", 2.0, 8.0, saved=12)
    (row,) = (r for r in cost_table.ratio_rows([relu, mish], ["relu"]) if r.activation == "mish")
    assert row.relative == 3  # of 2 and 4
    assert row.relative_sd == pytest.approx(2**0.5)
    assert (row.saved_relative, row.n) == (3, 2)
    entry = Published(metric="relative", beside="relu", value=3, source="s", confirmed=True)
    (measured,) = published.table([entry.model_copy(update={"activation": "mish"})], [row], "").rows
    assert (str(measured.verdict), measured.dataset) == ("agrees", None)


def test_cost_of_a_benchmark_prints_its_ratios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "b.toml"
    entry = 'metric = "saved_relative"\nvalue = 1\nsource = "s"\nconfirmed = true\n'
    text = f'[benchmark.b]\nactivation = ["relu6"]\n[[benchmark.b.published]]\n{entry}'
    file.write_text(text, encoding="utf-8")
    cost = ["cost", "b", "--config", str(file), "--sizes", "64", "--quiet"]
    assert main([*cost, "--rounds", "2"]) == 0
    out = capsys.readouterr().out
    assert "relu6" in out
    assert "2 published figures, saved relative\n" in out  # of relu itself, too
    assert main([*cost, "--quick"]) == 0
    assert "cannot be compared: a quick run" in " ".join(capsys.readouterr().out.split())


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
