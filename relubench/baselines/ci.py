"""What continuous integration reads: a summary, annotations, JUnit, a benchmark history's rows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from relubench.baselines.gate import figure_text
from relubench.formats import github, markdown
from relubench.printable import for_json, plain
from relubench.rows import CallRow, CompareRow, GateRow
from relubench.table import AnyTable
from relubench.wording import counted

SUMMARY_BYTES = 2**20  # of a step's summary; GitHub drops one that is longer
CUT = "\n\nThe rest is left out: a summary has at most 1 MiB.\n"
# All but what XML 1.0 allows (section 2.2, Char).
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def summary(tables: Sequence[AnyTable], heading: str, room: int = SUMMARY_BYTES) -> str:
    """Tables as Markdown under a heading, in at most `room` bytes of UTF-8."""
    text = "\n".join([f"### relubench: {markdown(heading)}", "", *map(github, tables), ""])
    return cut(text, room)


def cut(text: str, room: int) -> str:
    """The text's whole lines that fit in `room` bytes, with a sentence where some are missing."""
    if len(text.encode()) <= room:
        return text
    left = max(0, room - len(CUT.encode()))
    # GitHub's limit is one of bytes; errors="ignore" drops a character that is cut in two.
    kept = text.encode()[:left].decode(errors="ignore").rpartition("\n")[0]
    return (kept + CUT) if room >= len(CUT.encode()) else ""


def annotation(title: str, message: str) -> str:
    """One error as a workflow command of GitHub Actions."""
    return f"::error title={_escaped(title, ':,')}::{_escaped(message)}"


def _escaped(text: str, also: str = "") -> str:
    # In one pass, so that no escape is escaped again; : and , end what they stand in, in
    # properties.
    return "".join(f"%{ord(sign):02X}" if sign in f"%{also}" else sign for sign in plain(text))


def errors(rows: Sequence[GateRow]) -> list[str]:
    """An error for each row of a gate that failed."""
    return [
        annotation("relubench gate", f"{name(row.setup)}: {loss(row)}")
        for row in rows
        if row.gate == "fail"
    ]


def name(setup: Mapping[str, object]) -> str:
    """What names a row, in one line: dataset, model, head, activation, then the recipe."""
    first = ("dataset", "model", "head", "activation")
    rest = [f"{key} {value}" for key, value in setup.items() if key not in first and value]
    return " · ".join([*(str(setup[key]) for key in first), *rest])


def loss(row: GateRow) -> str:
    """What was measured of a gate's row."""
    before, now = figure_text(row, row.baseline), figure_text(row, row.value)
    margin, seeds = figure_text(row, row.margin), counted(row.n, "seed")
    text = f"{row.metric}: {before} in the baseline, {now} here, margin {margin}, {seeds}"
    return f"{text} ({row.reason})" if row.reason else text


def junit(rows: Sequence[GateRow]) -> str:
    """A test case per row of a gate."""
    cases = []
    for row in rows:
        case = _case(row.metric, name(row.setup))
        if row.gate == "fail":
            _verdict(case, "failure", loss(row))
        elif row.gate == "incomplete":
            _verdict(case, "error", row.reason or "")
        # Neither passed nor failed: JUnit knows "skipped", with a reason.
        elif row.gate != "pass":
            _verdict(case, "skipped", f"{row.gate}: {loss(row) if row.n else row.reason}")
        cases.append(case)
    return _suite(cases)


def junit_of_runs(rows: Sequence[CompareRow], setup: Sequence[str]) -> str:
    """A test case per row of compare, where there is no baseline: it fails if a run diverged."""
    cases = []
    for row in rows:
        case = _case("finished", name({key: row.get(key) for key in setup}))
        if row.diverged:
            runs = counted(row.runs, "run")
            _verdict(case, "failure", f"{row.diverged} of {runs} diverged")
        cases.append(case)
    return _suite(cases)


def junit_of_layers(rows: Sequence[CallRow], wrong: Mapping[str, str]) -> str:
    """A test case per call of an activation: it fails where too many of its units are dead."""
    cases = []
    for row in rows:
        case = _case("dead", f"{row.model} · {row.layer}")
        if row.layer in wrong:
            _verdict(case, "failure", wrong[row.layer])
        cases.append(case)
    return _suite(cases)


def junit_of_refusal(reasons: Sequence[str]) -> str:
    """A test case per reason why a run cannot be held against its baseline."""
    cases = [_case("comparable", "baseline") for _ in reasons]
    for case, reason in zip(cases, reasons, strict=True):
        _verdict(case, "error", reason)
    return _suite(cases)


def _case(test: str, group: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", name=_legal(test), classname=_legal(group))


def _verdict(case: ElementTree.Element, kind: str, message: str) -> None:
    ElementTree.SubElement(case, kind, message=_legal(message))


def _legal(text: str) -> str:
    # ElementTree writes characters that XML 1.0 forbids, and parsers then refuse the whole file.
    return NOT_XML.sub("\ufffd", plain(text))


def _suite(cases: Sequence[ElementTree.Element]) -> str:
    def count(kind: str) -> str:
        return str(sum(case.find(kind) is not None for case in cases))

    suite = ElementTree.Element(
        "testsuite",
        name="relubench",
        tests=str(len(cases)),
        failures=count("failure"),
        errors=count("error"),
        skipped=count("skipped"),
    )
    suite.extend(cases)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def history(rows: Sequence[CompareRow], setup: Sequence[str]) -> str:
    """compare's rows for github-action-benchmark, tool customSmallerIsBetter.

    Error and dead fraction in per cent, seconds per run. What is not defined is left out.
    """
    entries = []
    for row in rows:
        where = name({key: row.get(key) for key in setup})
        error = None if row.accuracy is None else 100 * (1 - row.accuracy)
        dead = None if row.dead is None else 100 * row.dead
        spread = row.accuracy_sd
        ranges = {"error": None if spread is None else f"± {100 * spread:.2g}"}
        # The tool compares one direction only: smaller is better, so error and not accuracy.
        figures = {"error": ("%", error), "dead": ("%", dead), "seconds": ("s", row.seconds)}
        extra = f"{counted(row.n, 'seed')}, relubench {row.relubench}, torch {row.torch}"
        for metric, (unit, value) in figures.items():
            if value is not None:
                entry = {"name": plain(f"{where}: {metric}"), "unit": unit, "value": value}
                spread_of = {"range": ranges[metric]} if ranges.get(metric) else {}
                entries.append({**entry, **spread_of, "extra": extra})
    return for_json(json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"
