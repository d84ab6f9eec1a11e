"""Pages and pictures show what the rows say; what comes from outside stays text."""

from __future__ import annotations

import base64
import hashlib
import multiprocessing
import os
import re
import shlex
import sys
import time
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from fabricated import plan, result, runs
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from relubench import commands, config, isolation, page, report
from relubench.cli import main
from relubench.commands import CATALOGS
from relubench.errors import BadValue
from relubench.execution.ledger import Context, Ledger
from relubench.formats import render
from relubench.models import MODELS
from relubench.page import copies, drawing, kinds
from relubench.page.comparing import _cliques
from relubench.page.sections import sections
from relubench.page.study import Study
from relubench.plan import Cell, Plan, Preparation, Recipe, Split
from relubench.report import ComparisonOptions
from relubench.report.naming import setup_row
from relubench.results import Epoch, RunResult
from relubench.rows import CostRow, MemoryRow

HOSTILE = "<script>alert(1)</script>"
DATASETS = ("iris", "wine", "digits")


def results() -> list[RunResult]:
    """Three datasets, three activations, two rates, ten seeds; one diverged."""
    found = []
    for dataset in DATASETS:
        for lr in (0.1, 0.01):
            for number, activation in enumerate(("relu", "gelu", "tanh")):
                shift = (0.0, 0.02, -0.03)[number]
                for run in runs(activation, shift):
                    cell = replace(run.cell, dataset=dataset, recipe=Recipe(lr=lr))
                    seconds = 1 + number + cell.seed / 100
                    found.append(replace(run, cell=cell, seconds=seconds))
    return [*found, replace(result("elu", 0, None), cell=replace(found[0].cell, activation="elu"))]


def study(found: list[RunResult] | None = None, **facts: object) -> Study:
    found = results() if found is None else found
    options = ComparisonOptions(published=frozenset(DATASETS))
    made = Study(found, plan(found), options, title="a title")
    return replace(made, **facts)  # type: ignore[arg-type]


def xs(line: Line2D) -> list[float]:
    return [float(x) for x in np.asarray(line.get_xdata())]


def ys(line: Line2D) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata())]


def drawn(of: Study, kind: str, number: int = 0) -> Axes:
    axes = Figure().add_subplot()
    page.PICTURES[kind](of)[number].draw(axes)
    return axes


@pytest.fixture(scope="module")
def whole() -> str:
    """A page with everything."""
    return page.html(study())


# --- rows -----------------------------------------------------------------------------------------


def test_learning_curves_are_means_over_the_runs_that_finished() -> None:
    found = []
    for seed, (first, last) in enumerate([(2.0, 1.0), (3.0, 0.5), (4.0, 0.0)]):
        curve = (Epoch(loss=first, accuracy=0.1 * seed), Epoch(loss=last, accuracy=0.5))
        found.append(replace(result("relu", seed, 0.9), curve=curve, seconds=2.0 + seed))
    lost = replace(result("relu", 3, None), curve=(Epoch(loss=9.0, accuracy=0.0), Epoch()))
    rows = report.learning_rows([*found, lost])
    assert [row.epoch for row in rows] == [1, 2]
    assert [row.n for row in rows] == [3, 3]
    assert [row.loss for row in rows] == pytest.approx([3.0, 0.5])
    assert [row.loss_sd for row in rows] == pytest.approx([1.0, 0.5])
    assert rows[0].accuracy_sd == pytest.approx(np.std([0.0, 0.1, 0.2], ddof=1))
    assert [row.seconds for row in rows] == pytest.approx([1.5, 3.0])


def test_layers_and_confusion_are_over_the_runs_that_finished() -> None:
    found = [*(result("relu", seed, 0.9) for seed in range(3)), result("relu", 3, None)]
    by_layer = {row.layer: row for row in report.layer_means(found)}
    assert {name: row.dead for name, row in by_layer.items()} == pytest.approx(
        {"dense1": 1 / 8, "dense2": 1.0, "total": 5 / 12}
    )
    (row,) = report.classified(found)
    assert row.confusion == [[9, 3], [0, 12]]
    assert row.n == 3


CELLS = [
    Cell(dataset="iris", model="ffnn:hidden=8", activation="relu"),
    Cell(
        dataset="csv:a b.csv:target=y",
        model="ffnn:hidden=8x4",
        activation="leaky_relu:negative_slope=0.2",
        head="relu",
        match_parameters=True,
        recipe=Recipe(
            optimizer="sgd:momentum=0.9", lr=0.3, epochs=7, batch_size=5, weight_decay=1e-05,
        ),
        preparation=Preparation(standardise=False, pca=3, limit=50),
        split=Split(folds=3, fold=2, repeat=1),
        seed=4,
        perturb="gaussian:0.1,dropout:0.2",
        init="he",
    ),
    Cell(
        dataset="digits",
        model="ffnn:hidden=8",
        activation="gelu",
        recipe=Recipe(lr=0.001, rates="0.001,0.01,0.1"),
        until="train_error=0.25",
        seed=2,
    ),
]  # fmt: skip


def of_cell(cell: Cell) -> RunResult:
    scores = {f"accuracy {name}": 0.25 for name in cell.perturbations}
    done = result("relu", 0, 0.875)
    chosen = 0.01 if cell.recipe.rates else None
    return replace(done, cell=cell, chosen=chosen, scores={**done.scores, **scores})


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.dataset)
@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_rows_that_are_read_back_are_the_rows(cell: Cell, kind: str) -> None:
    found = [of_cell(cell), replace(result("relu", 1, None), cell=replace(cell, seed=9))]
    table = report.runs(found, plan(found))
    again = report.results_of(render([table], kind))
    assert report.runs(again, plan(again)).records == table.records


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "neither JSON"),
        ("[1]", "row 1: it is no row"),
        ('{"dataset": "iris"}', "row 1: it has no 'model'"),
    ],
)
def test_what_is_no_row_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadValue, match=says):
        report.results_of(text)


def test_a_row_that_was_changed_is_refused() -> None:
    found = [result("relu", 0, 0.9)]
    text = render([report.runs(found, plan(found))], "jsonl").replace('"seed": 0', '"seed": 1')
    with pytest.raises(BadValue, match="its key is"):
        report.results_of(text)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.dataset)
def test_a_run_is_among_those_that_its_command_trains(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[commands.Request] = []

    def keep(request: commands.Request, *_: object) -> commands.Outcome:
        asked.append(request)
        return commands.Outcome([report.runs([], Plan(cells=()))])

    for name in ("train", "cv"):
        monkeypatch.setattr(commands, name, keep)
    command = report.command(report.run_row(of_cell(cell)))
    assert main(shlex.split(command)[1:]) == 0
    (request,) = asked
    settings = config.resolve(config.Benchmarks("", {}), None, request.flags, CATALOGS)
    cells = config.plan(settings, request.command, False, MODELS).cells
    assert cell.key in {each.key for each in cells}


# --- drawings -------------------------------------------------------------------------------------


def test_a_forest_plot_draws_the_rows() -> None:
    """Points at the differences, lines from end to end, in points; filled where it is decided."""
    of = study()
    first = [row for row in of.rows if row.setup == of.rows[0].setup]
    others = [row for row in first if row.verdict != "reference" and row.difference is not None]
    lines = drawn(of, "forest").lines[1:]  # the first is at 0
    points = [line for line in lines if len(xs(line)) == 1]
    ends = [line for line in lines if len(xs(line)) == 2]
    assert [xs(line)[0] for line in points] == pytest.approx(
        [100 * (row.difference or 0) for row in others]
    )
    expected = [(100 * (r.difference_low or 0), 100 * (r.difference_high or 0)) for r in others]
    assert [tuple(xs(line)) for line in ends] == [pytest.approx(pair) for pair in expected]
    filled = [line.get_markerfacecolor() != "none" for line in points]
    assert filled == [row.verdict in ("better", "worse", "equivalent") for row in others]
    assert True in filled


def test_learning_curves_are_drawn_from_their_rows() -> None:
    of = study()
    rows = [row for row in of.learning if row.setup == of.learning[0].setup]
    axes = drawn(of, "curves", 1)
    for line in axes.lines:
        own = [row for row in rows if row.activation == line.get_label()]
        assert xs(line) == [row.epoch for row in own]
        assert ys(line) == pytest.approx([100 * (r.accuracy or 0) for r in own])


def test_held_out_examples_have_curves_where_every_run_has_them() -> None:
    """Each activation's own line, and its training beside it."""
    held = Epoch(loss=0.5, accuracy=0.8, held_out=0.7, held_out_loss=0.6)
    found = []
    for run in [*runs("relu", 0.0), *runs("gelu", 0.02)]:
        better = replace(held, held_out=0.75, held_out_loss=0.55 + run.cell.seed / 100)
        found.append(replace(run, curve=(held, better)))
    of = study(found)
    titles = [drawing.title for drawing in page.PICTURES["curves"](of)]
    assert sum(title.startswith("held-out") for title in titles) == 2
    axes = drawn(of, "curves", 3)
    lines = {line.get_label(): line for line in axes.lines if line.get_linewidth() > 1}
    assert ys(lines["gelu"]) == pytest.approx([70.0, 75.0])
    thin = [line for line in axes.lines if line.get_linewidth() < 1]
    assert [ys(line) for line in thin] == [pytest.approx([80.0, 80.0])] * 2
    rows = report.learning_rows(found)
    assert rows[1].held_out_loss == pytest.approx(0.595)
    few = [*found[:-1], replace(found[-1], curve=(Epoch(loss=1.0, accuracy=0.5),) * 2)]
    assert not [d for d in page.PICTURES["curves"](study(few)) if d.title.startswith("held-out")]


def test_memory_is_a_cost_where_it_is_known() -> None:
    of = study()
    assert not [d for d in page.PICTURES["pareto"](of) if "KiB" in d.title]
    known = [
        MemoryRow(**vars(setup_row(run.cell)), kept_bytes=1024.0 * ord(run.cell.activation[0]))
        for run in of.results
        if run.cell.seed == 0
    ]
    drawings = [d for d in page.PICTURES["pareto"](study(memory=known)) if "KiB" in d.title]
    assert len(drawings) == 6
    assert f"at {ord('r')} KiB" in drawings[0].alt


def test_what_a_test_separates_is_joined_to_the_reference() -> None:
    of = study()
    rows = [row for row in of.rows if row.setup == of.rows[0].setup]
    separated = [row for row in rows if row.verdict in ("better", "worse")]
    edges = [line for line in drawn(of, "pareto").lines if len(xs(line)) == 2]
    assert len(edges) == len(separated) == 2
    reference = next(row for row in rows if row.verdict == "reference")
    for edge in edges:
        begin = (xs(edge)[0], ys(edge)[0])
        assert begin == pytest.approx((reference.seconds, 100 * (reference.mean or 0)))


def test_the_best_rate_has_the_largest_mark() -> None:
    of = study()
    axes = drawn(of, "rates")
    of_one = [row for row in of.rows if row.dataset == of.rows[0].dataset]
    best = {}
    for name in {row.activation for row in of_one if row.mean is not None}:
        known = [row for row in of_one if row.activation == name and row.mean is not None]
        best[name] = max(known, key=lambda row: row.mean or 0).mean or 0
    large = [line for line in axes.lines if line.get_markersize() == 10]
    assert sorted(ys(line)[0] for line in large) == pytest.approx(
        sorted(100 * mean for mean in best.values())
    )


def test_places_beside_one_bar_are_all_alike() -> None:
    level = {frozenset(pair) for pair in ((0, 1), (1, 2), (0, 2), (2, 3), (1, 3), (3, 4))}
    assert _cliques(5, level) == [(0, 2), (1, 3), (3, 4)]
    assert _cliques(3, set()) == []


def test_labels_keep_what_tells_them_apart() -> None:
    names = [f"leaky_relu:negative_slope={slope}" for slope in (0.1, 0.25)]
    assert len({drawing.short(name) for name in names}) == 2
    assert all(len(drawing.short(name)) <= drawing.LONGEST for name in names)


def test_a_picture_is_drawn_on_axes_that_are_there() -> None:
    axes = Figure().add_subplot()
    assert page.plot(study(), "dead", ax=axes) is axes
    assert "n\u00a010" in axes.get_title()
    with pytest.raises(BadValue, match="nothing to draw"):
        page.plot(study(), "cost")


def cost_row(name: str, relative: float) -> CostRow:
    figures = dict.fromkeys(CostRow.meanings(), relative)
    words = {"activation": name, "reference": "relu", "device": "cpu", "dtype": "f", "torch": "2"}
    counts = {"elements": 64, "threads": 1, "rounds": 3, "quick": False}
    return CostRow(**{**figures, **words, **counts})  # type: ignore[arg-type]


def test_costs_are_drawn() -> None:
    axes = drawn(Study(costs=[cost_row("relu", 1.0), cost_row("gelu", 2.5)]), "cost")
    points = [line for line in axes.lines if len(xs(line)) == 1]
    assert [xs(line)[0] for line in points] == [1.0, 2.5]


def test_every_kind_that_can_be_asked_for_is_one() -> None:
    assert set(page.PICTURES) == set(kinds.KINDS)
    assert set(kinds.FITTING.values()) <= set(kinds.KINDS)


BEGINS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


@pytest.mark.parametrize("kind", BEGINS)
def test_the_same_rows_are_the_same_bytes(kind: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.{kind}" for number in range(2)]
    for path in paths:
        page.save(study(), "curves", "forest", path, kind)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert first.startswith(BEGINS[kind])


# --- the page -------------------------------------------------------------------------------------


class Parsed(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_page_has_what_has_data() -> None:
    every = [section.name for section in sections(study())]
    assert every == [
        *("verdicts", "results", "forest", "curves", "pareto", "rates", "dead", "ranks", "wins"),
        *("confusion", "methods", "environment", "runs"),
    ]
    one = [section.name for section in sections(study([result("relu", 0, 0.9)]))]
    assert not {"forest", "pareto", "rates", "ranks", "wins", "methods"} & set(one)
    assert {"results", "curves", "confusion", "runs"} <= set(one)


def test_of_set_ups_without_the_reference_the_first_activation_is_it() -> None:
    found = [*runs("gelu", 0.0), *runs("tanh", 0.05)]
    rows = study(found).rows
    assert {row.reference for row in rows} == {"gelu"}
    assert {row.verdict for row in rows} == {"reference", "better"}


def test_activations_that_not_every_dataset_has_are_not_ranked() -> None:
    found = [
        run for run in results() if (run.cell.dataset, run.cell.activation) != ("wine", "gelu")
    ]
    ((_, ranking), *_) = study(found).compared[0].ranked
    assert ranking.names == ["relu", "tanh"]
    assert all(row.mean_rank is None for row in study(found).rows if row.activation == "gelu")


def test_a_page_shows_the_texts_of_its_tables(whole: str) -> None:
    of = study()
    texts = " ".join(Parsed(whole).texts)
    for table in (of.compared[0].tables[0], of.runs):
        for cells in table.texts:
            assert all(cell in texts for cell in cells)


def test_a_page_loads_nothing_and_runs_nothing_else(whole: str) -> None:
    elements = Parsed(whole).elements
    (policy,) = [a["content"] for _, a in elements if a.get("http-equiv")]
    assert policy
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", whole, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not any("style" in attributes for _, attributes in elements)
    assert not any(key.startswith("on") for _, attributes in elements for key in attributes)
    assert {a["href"] for _, a in elements if "href" in a if a["href"] and a["href"][0] != "#"} == {
        "data:,"
    }
    assert not [a for _, a in elements if "src" in a]


def test_no_two_elements_have_one_id_and_every_reference_leads_somewhere(
    whole: str,
) -> None:
    attributes = [found for _, found in Parsed(whole).elements]
    names = [each["id"] for each in attributes if "id" in each]
    assert len(names) == len(set(names))
    links = [each.get("href") or each.get("xlink:href") or "" for each in attributes]
    pointed = {link[1:] for link in links if link.startswith("#")}
    pointed |= set(re.findall(r"url\(#([^)]*)\)", whole))
    assert pointed <= set(names)


def test_text_from_outside_stays_text() -> None:
    """Names of activations, datasets and classes."""
    found = []
    for name in (HOSTILE, "relu"):
        for run in runs(name, 0.0, 3):
            found.append(replace(run, cell=replace(run.cell, dataset=f"csv:{HOSTILE}")))
    of = study(found, title=HOSTILE, classes={f"csv:{HOSTILE}": (HOSTILE, "$x^2$")})
    text = page.html(replace(of, notes=[HOSTILE]))
    assert HOSTILE not in text
    parsed = Parsed(text)
    kinds_of = [a.get("type") for tag, a in parsed.elements if tag == "script"]
    assert kinds_of == ["text/plain", "text/plain", None]
    assert HOSTILE in "".join(parsed.texts)
    assert drawing.short("$x^2$") in "".join(parsed.texts)


def test_the_same_study_is_the_same_page(whole: str) -> None:
    assert page.html(study()) == whole


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may be copied, as that of a command is."""
    monkeypatch.setattr(isolation.GUARD, "armed", True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="nothing is copied elsewhere")


@on_linux
@pytest.mark.usefixtures("two_cores")
def test_copies_draw_the_same_page(whole: str) -> None:
    assert page.html(study()) == whole


def made(pieces: list[copies.Piece]) -> list[str]:
    with copies.begun(pieces) as finish:
        return finish()


@on_linux
@pytest.mark.usefixtures("two_cores")
def test_pieces_are_made_by_copies_and_stay_in_order() -> None:
    def piece(number: int) -> str:
        time.sleep(0.02)
        return f"{number} {os.getpid()}"

    found = made([partial(piece, number) for number in range(40)])
    assert [text.split()[0] for text in found] == [str(number) for number in range(40)]
    assert len({text.split()[1] for text in found}) == 2
    assert len({text.split()[1] for text in made([partial(piece, 0)] * 11)}) == 1  # too few


@on_linux
@pytest.mark.usefixtures("two_cores")
def test_what_a_copy_leaves_undone_is_done_here(capfd: pytest.CaptureFixture[str]) -> None:
    here = os.getpid()

    def dies() -> str:
        time.sleep(0.02)
        if os.getpid() != here:
            os._exit(1)
        return "done"

    def fails() -> str:
        time.sleep(0.02)
        raise ValueError("no picture")

    assert made([dies] * 12) == ["done"] * 12
    with pytest.raises(ValueError, match="no picture"):
        made([fails] * 12)
    assert capfd.readouterr() == ("", "")
    assert not multiprocessing.active_children()


def test_five_hundred_runs_are_under_two_megabytes() -> None:
    """Ten activations, thirty epochs, ten classes, five datasets; figures with all their digits."""
    draw = np.random.default_rng(0)
    matrix = tuple(tuple(map(int, line)) for line in draw.integers(0, 50, (10, 10)))
    found = []
    for dataset in (*DATASETS, "wdbc", "mnist"):
        for number in range(10):
            for run in runs("relu" if not number else f"swish:beta={number}.0", 0.0):
                losses, accuracies = draw.random((2, 30)).tolist()
                curve = tuple(
                    Epoch(loss=loss, accuracy=accuracy)
                    for loss, accuracy in zip(losses, accuracies, strict=True)
                )
                cell = replace(run.cell, dataset=dataset)
                scores: dict[str, float | None] = {
                    name: float(draw.random()) for name in run.scores
                }
                found.append(replace(run, cell=cell, curve=curve, confusion=matrix, scores=scores))
    assert len(found) == 500
    assert len(page.html(study(found)).encode()) < 2_000_000


# --- from the command line ------------------------------------------------------------------------

FAST = ["-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "2", "--device", "cpu", "-q"]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger with finished runs."""
    path = tmp_path / "runs.db"
    opened = Ledger(path)
    context = Context(engine=1, torch="2", device="cpu", threads=1, dtype="float32", data="d")
    opened.write(results(), context)
    opened.close()
    return path


@pytest.mark.parametrize("command", ["train", "cv", "compare", "deadcount"])
def test_training_commands_write_a_page_and_pictures(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--folds", "2"] if command == "cv" else ["--seeds", "3"]
    names = ["page.html", "a.svg", "a.png", "a.pdf"]
    outputs = [word for name in names for word in ("-o", str(tmp_path / name))]
    assert main([command, *FAST, *more, "-a", "relu,tanh", *outputs]) == 0
    assert capsys.readouterr().out == ""
    text = (tmp_path / "page.html").read_text()
    assert text.startswith("<!doctype html>")
    assert "relu, tanh on iris" in text
    assert "versicol" in text
    for kind, begins in BEGINS.items():
        assert (tmp_path / f"a.{kind}").read_bytes().startswith(begins)


def test_format_html_is_the_table(tmp_path: Path) -> None:
    path = tmp_path / "table.html"
    assert main(["train", *FAST, "--format", "html", "-o", str(path)]) == 0
    assert "<!doctype" not in path.read_text()


def test_a_ledger_and_its_rows_make_the_same_tables(ledger: Path, tmp_path: Path) -> None:
    rows, pages = tmp_path / "rows.jsonl", [tmp_path / "a.html", tmp_path / "b.html"]
    assert main(["ledger", "export", "--ledger", str(ledger), "-o", str(rows)]) == 0
    for source, path in zip((ledger, rows), pages, strict=True):
        assert main(["report", str(source), "-o", str(path)]) == 0
    tables = [re.findall(r"<table.*?</table>", p.read_text(), re.DOTALL) for p in pages]
    assert tables[0] == tables[1]


def test_a_report_shows_the_runs_that_are_meant(ledger: Path, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    asked = ["-d", "wine", "-a", "relu,tanh", "--reference", "tanh", "--metric", "loss"]
    assert main(["report", "--ledger", str(ledger), *asked, "-o", str(path)]) == 0
    texts = " ".join(Parsed(path.read_text()).texts)
    assert "tanh, relu on wine" in texts
    assert "gelu" not in texts
    assert "loss beside tanh" in texts


def test_without_an_output_the_page_goes_to_stdout(
    ledger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(ledger)]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")


def test_a_benchmark_shows_what_is_finished_and_says_what_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.toml").write_text(
        '[benchmark.mine]\ndataset = "iris"\nmodel = "ffnn:hidden=4"\nepochs = 2\nseeds = 3\n'
        'activation = ["relu", "tanh"]\n'
        '[[benchmark.mine.published]]\nsource = "a book"\nconfirmed = true\nactivation = "tanh"\n'
        "value = 0.5\n"
    )
    asked = ["--config", str(tmp_path / "b.toml"), "-o", str(tmp_path / "page.html")]
    assert main(["report", "mine", *asked]) == 2
    assert "relubench compare mine trains it" in capsys.readouterr().err
    assert main(["train", *FAST, "-a", "relu,tanh", "--seeds", "2"]) == 0
    assert main(["report", "mine", *asked]) == 0
    assert "2 of 6 runs of mine are not finished" in capsys.readouterr().err
    text = (tmp_path / "page.html").read_text()
    assert "2 of 6 runs of mine are not finished" in text
    assert "a book" in text


REFUSED = {
    "no such file": (["report", "none.db", "-o", "x.html"], "there is no such file"),
    "no such benchmark": (["report", "smok", "-o", "x.html"], "did you mean 'smoke'?"),
    "a table's suffix": (["report", "-o", "x.csv"], ".html, .svg, .png, .pdf"),
    "no such kind": (["train", "--picture", "forrest", "-o", "x.svg"], "did you mean 'forest'?"),
    "no place": (["train", "--picture", "curves"], "say where it goes: -o curves.svg"),
    "nothing to draw": (["train", *FAST, "--picture", "ranks", "-o", "x.svg"], "nothing to draw"),
    "a plan": (["train", *FAST, "--dry-run", "-o", "x.svg"], "nothing to draw"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_is_refused(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, says = REFUSED[case]
    assert main(arguments) == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("x.*"))


def test_a_file_that_is_neither_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    assert main(["report", str(path), "-o", str(tmp_path / "x.html")]) == 2
    assert "neither JSON" in capsys.readouterr().err


def test_runs_of_several_devices_are_told_of(tmp_path: Path) -> None:
    here, *others = results()[:4]
    there = replace(here, environment=replace(here.environment, device="cuda"))
    for found, told in (([here, *others], False), ([there, *others], True)):
        rows, path = tmp_path / "rows.jsonl", tmp_path / "x.html"
        rows.write_text(render([report.runs(found, plan(found))], "jsonl"))
        assert main(["report", str(rows), "-o", str(path)]) == 0
        assert ("several versions of torch" in path.read_text()) is told


def test_data_that_are_gone_are_told_of(tmp_path: Path) -> None:
    found = [replace(run, cell=replace(run.cell, dataset="csv:gone.csv")) for run in results()[:5]]
    rows, path = tmp_path / "rows.jsonl", tmp_path / "x.html"
    rows.write_text(render([report.runs(found, plan(found))], "jsonl"))
    assert main(["report", str(rows), "-o", str(path)]) == 0
    assert "csv:gone.csv is not to be had here" in path.read_text()
