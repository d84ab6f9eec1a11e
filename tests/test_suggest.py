"""suggest: which activation to use on a table, how sure that is, and within which time."""

from __future__ import annotations

import csv
import itertools
import json
import math
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
from fabricated import FIXED, plan, result

from relubench import events, stats
from relubench.cli import main
from relubench.events import Event
from relubench.execution.budget import Clock, OutOfTime
from relubench.report import Ended, suggest_rows, suggestion_decided
from relubench.report.suggestion import answer, sentences
from relubench.rows import SuggestRow
from relubench.stats import Design, Look

LOOKS = (Look(5, 0.0125), Look(10, 0.0125), Look(20, 0.025))
OWN = """[benchmark.suggest]
model = ["ffnn:hidden=8", "ffnn:hidden=4x4"]
activation = ["relu", "gelu", "tanh"]
lr = [0.01, 0.05]
epochs = 6
batch_size = 256
seeds = 10
"""

# --- which of several is the best -----------------------------------------------------------------


def scores_of(means: list[float], n: int, seed: int) -> dict[str, Any]:
    """Paired scores: what a seed shares, and what is each candidate's own."""
    stream = np.random.default_rng(seed)
    shared = stream.normal(size=n)
    return {
        f"a{number}": mean + shared + stream.normal(size=n) for number, mean in enumerate(means)
    }


def permuted(gap: Any) -> float:
    """One-sided p of scipy's test over all signs."""
    found = scipy.stats.permutation_test(
        (gap,), np.mean, permutation_type="samples", alternative="greater", n_resamples=2**20
    )
    return float(found.pvalue)


def test_p_best_is_scipys_permutation_test_of_the_best_rival() -> None:
    scores = scores_of([0.0, 0.4, 1.0], 8, 3)
    found = stats.beside_best(scores, Design(), 0.1, 0.05, 3)
    for name, own in scores.items():
        gaps = [other - own for rival, other in scores.items() if rival != name]
        tests = [permuted(gap) for gap in gaps]
        assert found[name].p == pytest.approx(min(1, 2 * min(tests)))


def test_a_limit_is_students() -> None:
    scores = scores_of([0.0, 0.2], 12, 1)
    found = stats.beside_best(scores, Design(), 0.1, 0.05, 2)
    gap = scores["a1"] - scores["a0"]
    expected = scipy.stats.ttest_1samp(gap, 0).confidence_interval(0.90).high
    assert found["a0"].loses == pytest.approx(max(0.0, expected))


@pytest.mark.parametrize("means", [[0.0] * 5, [0.0, 0.0, 0.0, 0.3, 0.9], [0.0, 0.8, 0.8, 0.8, 0.8]])
def test_nothing_that_is_said_is_wrong_too_often(means: list[float]) -> None:
    margin, alpha, studies = 0.5, 0.05, 400
    best = int(np.argmax(means))
    wrong = 0
    for seed in range(studies):
        found = stats.beside_best(scores_of(means, 10, seed), Design(), margin, alpha, len(means))
        ruled_out = found[f"a{best}"].p < alpha
        beyond = any(
            found[f"a{number}"].p_margin < alpha and max(means) - mean >= margin
            for number, mean in enumerate(means)
        )
        short = any(
            found[f"a{number}"].loses < max(means) - mean for number, mean in enumerate(means)
        )
        wrong += ruled_out or beyond or short
    assert wrong / studies <= alpha + 2.5 * math.sqrt(alpha * (1 - alpha) / studies)


def test_the_order_of_candidates_says_nothing() -> None:
    scores = scores_of([0.0, 0.5, 1.0], 9, 2)
    there = stats.beside_best(scores, Design(3 / 7), 0.1, 0.05, 3)
    back = stats.beside_best(dict(reversed(scores.items())), Design(3 / 7), 0.1, 0.05, 3)
    assert there == back


def test_one_alone_is_the_best() -> None:
    (found,) = stats.beside_best({"a": np.arange(4.0)}, Design(), 0.1, 0.05, 1).values()
    assert (found.p, found.loses, found.p_margin) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("seeds", [[5, 10, 20], [2], [3, 7]])
def test_looks_spend_alpha_and_no_more(seeds: list[int]) -> None:
    looks = stats.spent(seeds)
    assert sum(look.alpha for look in looks) == pytest.approx(0.05)
    assert [look.seeds for look in looks] == seeds


# --- sentences from rows --------------------------------------------------------------------------


def rows(
    shifts: dict[str, float], spread: float = 0.002, alpha: float = 0.025, base: float = 0.9
) -> list[SuggestRow]:
    """Rows of fabricated runs: what is added to each activation's accuracy."""
    stream, results = np.random.default_rng(0), []
    for name, shift in shifts.items():
        for seed in range(20):
            accuracy = base + shift + spread * float(stream.normal())
            results.append(result(name, seed, accuracy))
    looks = (*LOOKS[:2], replace(LOOKS[2], alpha=alpha))
    return suggest_rows(results, plan(results), FIXED, Ended(looks, 3, "last look"))


def test_the_best_of_all_is_suggested_beside_what_it_gains() -> None:
    found = rows({"relu": 0.0, "gelu": 0.03, "tanh": -0.02})
    assert [row.verdict for row in found] == ["suggested", "not best", "not best"]
    text = answer(found)
    assert text.startswith("Use gelu rather than relu: ")
    assert "and none of the 3 activations is as good" in text
    assert f"{100 * (found[0].difference or 0):.1f}" in text
    assert suggestion_decided(found)


def test_what_may_be_as_good_is_named() -> None:
    found = rows({"relu": 0.0, "gelu": 0.03, "silu": 0.03})
    assert answer(found).endswith("may be as good.")
    assert sum(row.verdict == "may be best" for row in found) == 1


def test_alike_within_the_margin_does_not_matter() -> None:
    found = rows({"relu": 0.0, "gelu": 0.0005, "tanh": 0.0})
    text = answer(found)
    assert text.startswith("It does not matter")
    assert "keep relu" in text
    assert "1 point or more" in text
    assert suggestion_decided(found)


def test_where_little_is_shown_the_reference_stays_and_the_possible_gain_is_said() -> None:
    found = rows({"relu": 0.0, "gelu": 0.005, "tanh": 0.0}, spread=0.05)
    reference = next(row for row in found if row.activation == "relu")
    text = answer(found)
    assert text.startswith("Keep relu: no activation is shown to be better")
    assert f"{100 * (reference.gives_away or 0):.1f} points at most" in text
    assert not suggestion_decided(found)


def test_a_limit_beyond_all_shares_is_none() -> None:
    results = [result("relu", seed, 0.5 + 0.4 * seed) for seed in range(2)]
    results += [result("gelu", seed, 0.9 - 0.4 * seed) for seed in range(2)]
    found = suggest_rows(results, plan(results), FIXED, Ended(LOOKS, 1, "budget"))
    assert {row.gives_away for row in found} == {None}
    assert "at most" not in answer(found)


def test_a_reference_that_diverged_is_not_suggested() -> None:
    results = [result("relu", seed, None if seed == 3 else 0.9) for seed in range(20)]
    results += [result("gelu", seed, 0.9 + seed / 1e4) for seed in range(20)]
    found = suggest_rows(results, plan(results), FIXED, Ended(LOOKS, 3, "last look"))
    assert {row.activation: row.verdict for row in found} == {
        "gelu": "suggested",
        "relu": "diverged",
    }
    assert "relu diverged in 1 of 20 runs" in answer(found)


def test_where_everything_diverged_nothing_is_suggested() -> None:
    results = [result(name, seed, None) for name in ("relu", "gelu") for seed in range(5)]
    found = suggest_rows(results, plan(results), FIXED, Ended(LOOKS, 1, "budget"))
    assert answer(found).startswith("No activation is suggested")
    assert sentences(found)


def test_what_is_not_better_than_the_largest_class_does_not_matter() -> None:
    # The fabricated matrices have half of their examples in each of two classes.
    found = rows({"relu": 0.0, "gelu": 0.001}, base=0.5, spread=0.03)
    assert {row.largest_class for row in found} == {0.5}
    text = answer(found)
    assert text.startswith("It does not matter which activation")
    assert "50.0 %" in text
    assert not suggestion_decided(found)


def test_what_may_yet_be_learned_is_not_said_to_make_no_difference() -> None:
    found = rows({"relu": 0.0, "gelu": 0.001}, base=0.53, spread=0.2)
    text = answer(found)
    assert text.startswith("Keep relu: none is shown yet to do better")
    assert "may show it" in text


@pytest.mark.parametrize("shift", [0.0, 0.0005, 0.005, 0.03])
def test_sentences_follow_from_the_rows_as_machines_get_them(shift: float) -> None:
    found = rows({"relu": 0.0, "gelu": shift, "tanh": -shift})
    again = [read_back(json.loads(json.dumps(row.record()))) for row in found]
    assert answer(again) == answer(found)
    assert sentences(again) == sentences(found)


def read_back(record: dict[str, Any]) -> SuggestRow:
    return SuggestRow(**{field.name: record[field.name] for field in fields(SuggestRow)})


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """1000 rows with mixed columns, and the same rows with labels that are noise."""
    folder, stream = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    names = {}
    for name in ("told", "noise"):
        path = folder / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["age", "income", "colour", "member", "label"])
            for _ in range(1000):
                age, income = stream.normal(size=2)
                colour = stream.choice(["red", "green", "blue"])
                member = stream.choice(["yes", "no"])
                drawn = age + (income if colour == "red" else -income) + 0.3 * stream.normal()
                label = drawn > 0 if name == "told" else stream.random() > 0.5
                writer.writerow(
                    [f"{age:.4f}", f"{income:.4f}", colour, member, "pos" if label else "neg"]
                )
        names[name] = f"csv:{path}:target=label"
    return names


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger that the tests below share."""
    return str(tmp_path_factory.mktemp("kept") / "ledger.db")


@pytest.fixture
def own(tmp_path: Path) -> list[str]:
    """A plan of one's own, as small as one can be."""
    path = tmp_path / "own.toml"
    path.write_text(OWN, encoding="utf-8")
    return ["suggest", "--config", str(path), "--threads", "1", "--stack", "16", "--budget", "1h"]


@pytest.fixture
def told(own: list[str], tables: dict[str, str]) -> list[str]:
    return [*own, "-d", tables["told"]]


def test_its_sentence_follows_from_its_rows(
    told: list[str], kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told += ["--ledger", kept]
    assert main([*told, "--format", "jsonl"]) == 0
    found = [read_back(json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    assert len(found) == 3
    assert {row.verdict for row in found} <= {"suggested", "may be best", "not best"}
    assert all(row.runs == 2 * len(row.seeds) for row in found)
    assert all(set(rates) <= {0.01, 0.05} for row in found for rates in row.chosen_lr.values())
    assert main(told) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == answer(found)
    assert all(sentence in out for sentence in sentences(found))
    assert "taken from" in err  # what had finished was not trained again


def test_on_labels_that_are_noise_it_says_that_nothing_matters(
    own: list[str], tables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*own, "-d", tables["noise"]]) == 0
    out = capsys.readouterr().out
    assert out.startswith("It does not matter which activation")
    assert "look at the labels" in out


def test_a_page_says_it_first(told: list[str], kept: str, tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "picture.svg"
    told += ["--ledger", kept]
    assert main([*told, "-o", str(page), "-o", str(picture), "--quiet"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.index("Which activation to use") < text.index("In each network by itself")
    assert 'id="suggestion"' in text
    assert "mean of 2 networks" in picture.read_text(encoding="utf-8")


def test_several_tables_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suggest", "-d", "iris,wine"]) == 2
    assert "give one -d" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0s", "soon", "2 weeks", "-3"])
def test_a_budget_is_a_time(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suggest", f"--budget={text}"]) == 2
    assert "90s, 2min or 1h" in capsys.readouterr().err


def test_where_the_first_look_takes_longer_than_the_budget_nothing_is_trained(
    told: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger.db"
    assert main([*told, "--budget", "2.1s", "--ledger", str(ledger)]) == 2
    err = capsys.readouterr().err
    assert "the first look, 30 runs, would end after about" in err
    assert "done" not in err


def test_many_examples_are_cut_to_as_many_as_the_budget_holds(
    told: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("relubench.commands.suggesting.FEWEST", 100)
    monkeypatch.setattr(Clock, "left", lambda self, runs: 100.0)
    takes = iter([300.0, 290.0])  # the second opinion counts
    monkeypatch.setattr("relubench.commands.suggesting.forecast", lambda work: next(takes, 1.0))
    assert main([*told, "--format", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert "--limit 250" in err
    assert {json.loads(line)["n_train"] for line in out.splitlines()} == {250}


# --- the time -------------------------------------------------------------------------------------


def test_training_ends_at_the_first_epoch_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(1000)  # one more whenever it is asked
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))
    event, heard = Event(kind="epoch", key="k", name="n", runs=1), 0
    try:
        with Clock(1000.0, 10.0).running(0):
            while heard < 100:
                events.tell(event)
                heard += 1
    except OutOfTime:
        pass
    assert 0 < heard < 10
    events.tell(event)  # and nobody listens any more


@pytest.mark.parametrize("begun", [False, True])
def test_a_look_that_does_not_end_leaves_the_look_before_it(
    begun: bool,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = iter([1e6] if begun else [])
    monkeypatch.setattr(Clock, "left", lambda self, runs: 1e6 if runs <= 30 else next(left, -1.0))
    monkeypatch.setattr("relubench.report.suggestion_decided", lambda rows: False)
    assert main([*told, "--format", "jsonl"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["stopped"] for row in found} == {"budget"}
    assert {row["look"] for row in found} == {1}
    assert {tuple(row["seeds"]) for row in found} == {(0, 1, 2, 3, 4)}


def test_time_that_is_up_before_the_first_look_is_an_exit_code_of_its_own(
    told: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    left = itertools.chain([1e6] * 3, itertools.repeat(-1.0))
    monkeypatch.setattr(Clock, "left", lambda self, runs: next(left))
    assert main(told) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "before the first look" in err
    assert "goes on from here" in err
