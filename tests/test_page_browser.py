"""A page in a real browser; where there is no Chromium, nothing of this is tested."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import browser
import pytest
from browser import Browser, browsing
from fabricated import plan, result, runs

from relubench import page, report
from relubench.formats import render
from relubench.plan import Recipe
from relubench.report import ComparisonOptions
from relubench.results import RunResult
from relubench.table import Table

pytestmark = pytest.mark.skipif(not browser.FOUND, reason="no Chromium: apt-get install chromium")
HOSTILE = "<script>alert(1)</script>"
AXE = Path(os.environ.get("AXE", "node_modules/axe-core/axe.min.js"))
SETTLED = 30.0  # seconds
WIDTHS = (1280, 390)


def results() -> list[RunResult]:
    found = []
    for dataset in ("iris", "wine"):
        for number, activation in enumerate(("relu", "gelu", "tanh", HOSTILE)):
            for lr in (0.1, 0.01):
                for run in runs(activation, 0.01 * number, 4):
                    cell = replace(run.cell, dataset=dataset, recipe=Recipe(lr=lr))
                    found.append(replace(run, cell=cell, seconds=1.0 + number))
    lost = result("relu", 9, None)
    return [*found, replace(lost, cell=replace(found[0].cell, seed=9))]


@pytest.fixture(scope="module")
def study() -> page.Study:
    found = results()
    classes = dict.fromkeys(("iris", "wine"), (HOSTILE, "b"))
    options = ComparisonOptions(published=frozenset({"iris", "wine"}))
    return page.Study(found, plan(found), options, title=HOSTILE, classes=classes)


@pytest.fixture(scope="module")
def written(study: page.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page.html(study), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browsing() as opened:
        yield opened


@pytest.fixture
def shown(tab: Browser, written: Path) -> Browser:
    """The page, freshly loaded."""
    tab.events.clear()
    tab.look(1280)
    tab.open(written)
    return tab


def column(tab: Browser, table: str, number: int) -> list[str]:
    cells = f"Array.from(document.querySelectorAll('#{table} tbody tr:not([hidden])'))"
    found: list[str] = tab.ask(f"{cells}.map(row => row.cells[{number}].textContent)")
    return found


def test_nothing_is_complained_of_nothing_is_requested_nothing_pops_up(shown: Browser) -> None:
    shown.ask("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    time.sleep(0.2)
    shown.ask("1")
    methods = [event["method"] for event in shown.events]
    for unwanted in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
        assert unwanted not in methods
    assert "Page.javascriptDialogOpening" not in methods
    requests = [e["params"] for e in shown.events if e["method"] == "Network.requestWillBeSent"]
    urls = {request["request"]["url"].partition(":")[0] for request in requests}
    assert urls <= {"file", "data"}
    assert len([r for r in requests if r["request"]["url"].startswith("file:")]) == 1
    assert HOSTILE in shown.ask("document.querySelector('h1').textContent")
    assert shown.ask("document.querySelectorAll('svg script, table script').length") == 0


def test_the_table_has_the_figures_of_the_rows(shown: Browser, study: page.Study) -> None:
    table = study.compared[0].tables[0]
    for number in range(len(table.columns)):
        expected = [" ".join(cells[number].split()) for cells in table.texts]
        assert [" ".join(c.split()) for c in column(shown, "results-table0", number)] == expected


@pytest.mark.parametrize("by", ["a click", "Enter", "Space"])
def test_a_column_is_sorted_up_then_down(shown: Browser, study: page.Study, by: str) -> None:
    heads = study.compared[0].tables[0].heads
    at = next(number for number, head in enumerate(heads) if head.startswith("accuracy"))
    button = f"document.querySelectorAll('#results-table0 thead button')[{at}]"
    means = [row.mean for row in study.rows if row.mean is not None]
    for down in (False, True):
        if by == "a click":
            shown.ask(f"{button}.click()")
        else:
            shown.ask(f"{button}.focus()")
            shown.press("Enter", "\r") if by == "Enter" else shown.press(" ", " ")
        state = shown.ask(f"{button}.closest('th').getAttribute('aria-sort')")
        assert state == ("descending" if down else "ascending")
        orders = shown.ask(
            "Array.from(document.querySelectorAll('#results-table0 tbody tr'))"
            f".map(row => row.cells[{at}].dataset.order)"
        )
        shown_means = [float(order) for order in orders if order is not None]
        assert shown_means == pytest.approx(sorted(means, reverse=down), rel=1e-5)


def test_rows_are_filtered_by_words(shown: Browser) -> None:
    field = "document.getElementById('results-table0-filter')"
    shown.ask(f"{field}.focus()")
    for letter in "wine gelu":
        shown.press(letter, letter)
    assert set(column(shown, "results-table0", 0)) == {"wine"}
    counted = "document.querySelector('[data-counts=\"results-table0\"]').textContent"
    assert shown.ask(counted) == "2 of 16 rows"
    shown.ask(f"{field}.value = ''; {field}.dispatchEvent(new Event('input'))")
    assert len(column(shown, "results-table0", 0)) == 16


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("rows", ["runs", "comparisons"])
def test_downloads_are_what_the_command_prints(
    shown: Browser, study: page.Study, rows: str, kind: str, tmp_path: Path
) -> None:
    shown.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    shown.ask(f"document.querySelector('[data-rows={rows}][data-kind={kind}]').click()")
    path, end = tmp_path / f"{rows}.{kind}", time.monotonic() + SETTLED
    table = study.runs if rows == "runs" else Table(study.rows, ())
    expected = render([table], kind)
    while not path.exists() or len(path.read_bytes()) < len(expected.encode()):
        assert time.monotonic() < end, list(tmp_path.iterdir())
        time.sleep(0.05)
    assert path.read_text(encoding="utf-8") == expected
    if kind == "json" and rows == "runs":
        assert json.loads(expected) == report.runs(study.results, study.plan).records


OUTSIDE = """
Array.from(document.querySelectorAll('svg')).flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return Array.from(svg.querySelectorAll('text')).filter(text => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 3 || box.right > frame.right + 3
      || box.top < frame.top - 3 || box.bottom > frame.bottom + 3;
  }).map(text => svg.getAttribute('aria-labelledby') + ': ' + text.textContent);
})
"""
OVERLAPPING = """
Array.from(document.querySelectorAll('svg')).flatMap(svg => {
  const texts = Array.from(svg.querySelectorAll('text'));
  const boxes = texts.map(text => [text, text.getBoundingClientRect()]);
  const found = [];
  boxes.forEach(([one, a], number) => boxes.slice(number + 1).forEach(([other, b]) => {
    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (across > 2 && down > 3) found.push(`${one.textContent} / ${other.textContent}`);
  }));
  return found;
})
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_and_no_words_overlap(shown: Browser, width: int, dark: bool) -> None:
    shown.look(width, dark)
    assert shown.ask("document.documentElement.scrollWidth") <= width
    assert shown.ask("document.querySelectorAll('svg text').length") > 100
    assert shown.ask(OUTSIDE) == []
    assert shown.ask(OVERLAPPING) == []
    ink, paper = shown.ask(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (sum(eval_rgb(ink)) > sum(eval_rgb(paper))) is dark


def eval_rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def test_it_is_read_without_a_script(tab: Browser, written: Path) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.call("Page.navigate", url=written.as_uri())
        time.sleep(1)
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "relu" in tab.ask("document.querySelector('#results-table0').textContent")


def test_it_prints(shown: Browser, tmp_path: Path) -> None:
    shown.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm install --no-save axe-core")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_serious_stands_in_the_way_of_anybody(shown: Browser, dark: bool) -> None:
    shown.look(1280, dark)
    shown.ask("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    shown.ask(AXE.read_text(encoding="utf-8") + "; 0")
    found = shown.ask("axe.run().then(done => done.violations)")
    grave = [
        (each["id"], each["help"], each["nodes"][0]["html"][:200])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert grave == []
