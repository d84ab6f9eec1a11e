"""The manual's page on Python and its notebook do what they say."""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import relubench
from relubench.door import calls

MANUAL = Path(relubench.__file__).parent / "manual"
PAGE = (MANUAL / "python.md").read_text(encoding="utf-8")
NOTEBOOK = json.loads((MANUAL / "python.ipynb").read_text(encoding="utf-8"))
CELLS = ["".join(c["source"]) for c in NOTEBOOK["cells"] if c["cell_type"] == "code"]


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def run(source: str, space: dict[str, Any]) -> Any:
    """Run a cell; returns the value of its last line, where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), space)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "cell", "eval"), space)
    return None


def test_the_notebook_ends_in_a_table_and_a_picture() -> None:
    space: dict[str, Any] = {"__name__": "__notebook__"}
    *before, result, picture = [run(cell, space) for cell in CELLS]
    frame = before[3]
    assert frame["activation"].str.contains("hard_tanh").sum() == 1
    assert set(before[4]["verdict"]) >= {"reference", "better", "equivalent"}
    assert before[5]["relu"] > 0 == before[5]["gelu"]  # dead units
    assert "<table>" in result._repr_html_()
    assert len(picture.get_yticklabels()) == len(frame) - 1


def test_the_notebook_shows_what_it_gives() -> None:
    """Its outputs are those of a run: committed, so that a forge shows them."""
    outputs = [c["outputs"] for c in NOTEBOOK["cells"] if c["cell_type"] == "code"]
    kinds = [set(output["data"]) for output in [*outputs[-2], *outputs[-1]]]
    assert kinds == [{"text/html", "text/plain"}, {"image/png", "text/plain"}]
    assert "better than relu: gelu" in "".join(outputs[-2][0]["data"]["text/plain"])


def test_the_page_s_examples_run() -> None:
    space: dict[str, Any] = {"__name__": "__notebook__"}
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    quick = blocks[0].replace("seeds=10", "seeds=2, epochs=1")
    for block in [quick, *blocks[1:]]:
        run(block, space)
    assert {"wine", "digits"} <= set(space["best"].index.get_level_values("dataset"))


def test_the_page_names_every_keyword_of_a_run() -> None:
    for key in (*calls.RUN, *calls.SWITCHES):
        assert re.search(rf"`{key}=", PAGE) or f", `{key}=" in PAGE
    members = re.findall(r"^\| `[^|]*?\.(\w+)[^|]*\|", PAGE, re.MULTILINE)
    known = {
        *dir(relubench.Comparison),
        *dir(relubench.Suggestion),
        *relubench.Runs.__annotations__,
    }
    assert set(members) <= known | set(relubench.Result.__annotations__)
