"""What became of hidden units: shares and survival, against counting by hand and scipy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy
from fabricated import plan, runs
from hypothesis import given, settings
from hypothesis import strategies as st

from relubench import report, stats
from relubench.cli import main
from relubench.page import Study
from relubench.page.pictures import PICTURES
from relubench.results import LayerHistory, RunResult
from relubench.stats import Lives


def lives(ends: Sequence[float], died: Sequence[bool]) -> Lives:
    return Lives(np.array(ends, dtype=float), np.array(died, dtype=bool))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=40))
def test_kaplan_meier_is_scipys(units: list[tuple[int, bool]]) -> None:
    ends, died = zip(*units, strict=True)
    times = sorted(set(ends))  # after the last, nothing is said
    found = stats.kaplan_meier(lives(ends, died), times)
    observed = np.array(ends, dtype=float)
    data = scipy.stats.CensoredData.right_censored(observed, ~np.array(died))
    expected = scipy.stats.ecdf(data).sf.evaluate(np.array(times, dtype=float))
    assert found == pytest.approx(expected, abs=1e-12)


def test_nothing_is_said_of_units_that_nobody_sees() -> None:
    seen = stats.kaplan_meier(lives([2, 2, 1], [False, False, True]), [1, 2, 3])
    assert seen[:2] == pytest.approx([2 / 3, 2 / 3])
    assert np.isnan(seen[2])
    assert stats.kaplan_meier(lives([1, 1], [True, True]), [0, 1, 2]).tolist() == [1, 0, 0]
    (point,) = stats.surviving([lives([1], [False])], [5])
    assert point == stats.Surviving(None, None, None)


def test_the_interval_is_students_over_runs_where_all_are_seen_to_the_end() -> None:
    draws = np.random.default_rng(0)
    several = []
    for _ in range(7):
        ends = draws.integers(0, 6, 40).astype(float)
        several.append(Lives(ends, ends < 5))
    shares = np.array([[(run.ends > time).mean() for time in range(5)] for run in several])
    for time, point in enumerate(stats.surviving(several, range(5))):
        limits = stats.t_interval(shares[:, time])
        assert point.share == pytest.approx(shares[:, time].mean())
        assert point.low == pytest.approx(max(0.0, limits.low or 0.0))
        assert point.high == pytest.approx(min(1.0, limits.high or 1.0))


def test_of_a_single_run_the_interval_is_over_its_units() -> None:
    run = lives([1, 1, 2, 2, 2, 2, 2, 2], [True, True, *[False] * 6])
    point = stats.surviving([run], [1])[0]
    low, high = scipy.stats.binomtest(6, 8).proportion_ci(method="wilson")
    assert (point.low, point.high) == pytest.approx((low, high))


# --- rows -----------------------------------------------------------------------------------------

EPOCHS = (0, 1, 2, 3)
#            unit:  0      1      2      3      4
DEAD = np.array(
    [
        [True, False, False, False, False],
        [True, True, False, False, False],
        [False, True, True, False, False],
        [False, False, True, False, False],
    ]
)


def history(dead: np.ndarray, layer: str = "dense1") -> LayerHistory:
    before = np.zeros_like(dead[0])
    died, revived = [], []
    for now in dead:
        died.append(tuple(np.flatnonzero(now & ~before).tolist()))
        revived.append(tuple(np.flatnonzero(before & ~now).tolist()))
        before = now
    counts = tuple(dead.sum(axis=1).tolist())
    zeros = (0,) * len(dead)
    return LayerHistory(
        layer=layer,
        units=dead.shape[1],
        examples=512,
        epochs=EPOCHS[: len(dead)],
        dead=counts,
        inactive=counts,
        rare=counts,
        dormant=counts,
        saturated=zeros,
        sparsity=tuple(0.5 for _ in dead),
        mean_activation=tuple(0.1 for _ in dead),
        died=tuple(died),
        revived=tuple(revived),
        reset=zeros,
    )


def tracked(*histories: tuple[LayerHistory, ...]) -> list[RunResult]:
    results = runs("relu", 0.0)[: len(histories)]
    return [
        dataclasses.replace(result, history=layers)
        for result, layers in zip(results, histories, strict=True)
    ]


def test_shares_of_lives_are_those_of_the_units() -> None:
    whole, alive = history(DEAD), history(np.zeros((4, 3), dtype=bool), "dense2")
    first, second, total = report.life_rows(tracked((whole, alive)))
    assert (first.layer, second.layer, total.layer) == ("dense1", "dense2", "total")
    assert first.born_dead == 1 / 5  # unit 0
    assert first.died == 2 / 5  # units 1 and 2
    assert first.revived == 2 / 5  # units 0 and 1
    assert first.ever_revived == 2 / 3
    assert first.dead == 1 / 5
    assert first.dead_by_epoch == [1 / 5, 2 / 5, 2 / 5, 1 / 5]
    assert second.ever_revived is None
    assert second.died == 0
    assert total.units == 8
    assert total.died == 2 / 8
    assert total.counted_after == list(EPOCHS)


def test_lives_are_means_over_runs_that_finished() -> None:
    several = tracked(*[(history(DEAD),)] * 2, (history(np.zeros((4, 5), dtype=bool)),))
    row, _ = report.life_rows(several)
    assert row.n == 3
    assert row.died == pytest.approx(2 / 3 * 2 / 5)
    diverged = dataclasses.replace(several[0], failed="diverged: …")
    row, _ = report.life_rows([diverged, *several[1:]])
    assert row.n == 2
    assert row.died == pytest.approx(1 / 2 * 2 / 5)


def test_survival_counts_a_diverged_run_until_then() -> None:
    short = dataclasses.replace(
        tracked((history(DEAD[:2]),))[0], failed="diverged: the loss is not finite in epoch 2"
    )
    (row,) = report.survival_rows([short])
    assert row.survived == pytest.approx([4 / 5, 3 / 5])
    whole = tracked((history(DEAD),), (history(DEAD),))
    (row,) = report.survival_rows(whole)
    assert row.n == 2
    assert row.survived == pytest.approx([4 / 5, 3 / 5, 2 / 5, 2 / 5])
    assert row.survived_low == pytest.approx(row.survived)  # both runs say the same
    short = dataclasses.replace(whole[1], history=short.history, failed=short.failed)
    (row,) = report.survival_rows([whole[0], short])
    assert row.counted_after == list(EPOCHS)
    assert row.survived[:2] == pytest.approx([4 / 5, 3 / 5])
    assert row.survived[2] == pytest.approx(3 / 5 * 2 / 3)  # of three units that are still seen


def test_without_histories_there_is_nothing_to_say() -> None:
    results = runs("relu", 0.0)
    assert report.life_rows(results) == []
    assert report.survival_rows(results) == []
    study = Study(results, plan(results))
    assert PICTURES["survival"](study) == PICTURES["lives"](study) == []


# --- for people and machines ----------------------------------------------------------------------

ARGUMENTS = ["deadcount", "-d", "iris", "-m", "ffnn:hidden=6x5", "--epochs", "3", "--lr", "0.1"]


def test_history_prints_a_line_per_layer_and_survival(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "-a", "relu,elu", "--seeds", "2", "--history"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("dense1", "dense2", "total", "ever revived %"))
    assert "never dead" in shown
    assert "units of one run are not independent" in shown
    assert main([*ARGUMENTS, "--history"]) == 0  # from the ledger, or one seed of it
    assert "too narrow" in capsys.readouterr().out


def test_history_rows_are_for_machines_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--history", "--track-neurons", "2", "-f", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["layer"] for row in rows] == ["dense1", "dense2", "total"]
    assert rows[0]["counted_after"] == [0, 2, 3]
    assert len(rows[0]["dead_by_epoch"]) == 3


def test_a_run_of_the_ledger_shows_its_lives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ARGUMENTS, "--track-neurons", "1", "-f", "json"]) == 0
    key = json.loads(capsys.readouterr().out)[0]["key"]
    assert main(["ledger", "show", key]) == 0
    shown = capsys.readouterr().out
    assert "ever revived %" in shown
    assert "'epoch'" not in shown  # a history is no fact in one line
    assert main(["ledger", "export", "-f", "csv"]) == 0
    assert "history" in capsys.readouterr().out.splitlines()[0]


def test_history_of_another_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deadcount", "--weights", "none", "--history", "-d", "iris"]) == 2
    assert "--history is of what is trained here" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["lives", "survival"])
def test_histories_are_drawn_from_their_rows(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, page = tmp_path / "drawn.svg", tmp_path / "page.html"
    dying = [*ARGUMENTS[:-1], "1.0", "--history"]
    assert main([*dying, "--picture", kind, "-o", str(picture), "-o", str(page)]) == 0
    assert "epochs learned" in picture.read_text(encoding="utf-8") or "<svg" in picture.read_text()
    text = page.read_text(encoding="utf-8")
    assert "Survival of units" in text
    assert "Dead units by epoch" in text
