"""The command line as scripts see it: exit codes, streams, rows, and what is refused."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from relubench.activations import ACTIVATIONS
from relubench.activations.activation import FAMILIES
from relubench.cli import main
from relubench.cli.flags import options
from relubench.commands import CATALOGS
from relubench.config import Settings
from relubench.config.options import declared
from relubench.errors import BadValue
from relubench.formats import FORMATS, render
from relubench.report import listing
from relubench.training import engine

TINY = ["-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "1"]
RUN_KEYS = {
    *("dataset", "model", "activation", "head", "optimizer", "lr", "epochs", "batch_size", "seed"),
    *("n_train", "n_test", "parameters", "accuracy", "precision", "recall", "f1", "loss"),
    *("train_accuracy", "train_loss", "dead", "inactive", "dormant", "saturated", "sparsity"),
    *("mean_activation", "seconds", "device", "threads", "torch", "key", "failed"),
    *("confusion", "curve"),
}
COMPARE_KEYS = {
    *("dataset", "model", "head", "lr", "activation", "n", "accuracy", "accuracy_sd"),
    *("difference", "difference_low", "difference_high", "p", "verdict", "reference", "dead"),
    *("inactive", "seconds", "parameters", "diverged", "test"),
}
LAYER_KEYS = {
    *("layer", "units", "dead", "inactive", "rare", "dormant", "saturated", "sparsity"),
    *("mean_activation", "examples", "definition"),
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, where only the shipped benchmarks are found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CI", raising=False)


def rows(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The JSON rows of a command that must end well."""
    assert main([*arguments, "--format", "json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def relubench(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "relubench", *arguments], **pipes | options)


def test_train_has_a_row_per_cell(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(["train", *TINY, "-a", "relu,gelu", "--head", "softmax,relu"], capsys)
    assert [(r["head"], r["activation"]) for r in found] == [
        ("softmax", "relu"),
        ("softmax", "gelu"),
        ("relu", "relu"),
        ("relu", "gelu"),
    ]
    for row in found:
        assert set(row) >= RUN_KEYS
        undefined = {key for key, value in row.items() if value is None}
        assert undefined <= {"pca", "limit", "folds", "fold", "failed", "silent"} | {
            *("validation", "report"),
            *("schedule", "warmup", "clip_norm", "steps", "task", "tasks", "by_task"),
            *("online_accuracy", "task_accuracy", "first_task_accuracy", "online_slope"),
            *("online_loss", "loss_slope", "mean_weight"),
            *("augment", "perturb", "rates", "until", "epochs_until", "seconds_until"),
            *("precision", "macro_precision", "chosen_init", "unit_axis", "history", "revive"),
            *("rmse", "mae", "r2", "train_r2", "perplexity", "token_accuracy"),
            *("bits_per_character", "tokens_per_second"),
        }
        assert len(row["curve"]) == 1
        assert sum(map(sum, row["confusion"])) == row["n_test"] == 45


def test_cv_has_a_row_per_fold(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(["cv", *TINY, "--folds", "3", "--repeats", "2"], capsys)
    assert [(r["repeat"], r["fold"]) for r in found] == [(r, f) for r in (0, 1) for f in (0, 1, 2)]
    assert all(set(row) >= RUN_KEYS for row in found)
    assert sum(row["n_test"] for row in found) == 2 * 150


def test_compare_has_a_row_per_activation(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(["compare", *TINY, "-a", "gelu,tanh", "--seeds", "3"], capsys)
    assert sorted(row["activation"] for row in found) == ["gelu", "relu", "tanh"]
    for row in found:
        assert set(row) >= COMPARE_KEYS
        reference = row["activation"] == "relu"
        assert (row["verdict"] == "reference") == reference
        for key in ("difference", "difference_low", "difference_high", "p"):
            assert (row[key] is None) == reference


def test_compare_over_folds_averages_the_seeds_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*TINY, "-a", "relu,tanh", "--folds", "3", "--repeats", "2", "--seeds", "2"]
    found = rows(["compare", *arguments], capsys)
    assert {(r["design"], r["n"], r["pairs"]) for r in found} == {("folds", 12, 6)}
    assert {(r["folds"], r["repeats"], len(r["seeds"])) for r in found} == {(3, 2, 2)}
    assert all("corrected resampled t (n_test/n_train 0.5)" in r["test"] for r in found)


def test_compare_says_what_it_can_show_before_it_trains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> Any:
        raise BadValue("not today")

    monkeypatch.setattr("relubench.training.engine.fit", refuse)
    assert main(["compare", *TINY, "-a", "relu,gelu", "--seeds", "5"]) == 2
    err = capsys.readouterr().err
    assert err.index("5 random splits: only a mean difference above") < err.index("not today")


def test_a_growing_comparison_trains_each_seed_once_and_stops(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    fit = engine.fit

    def counting(stack: Any, *arguments: Any, **keywords: Any) -> Any:
        trained.extend(cell.seed for cell in stack.cells)
        return fit(stack, *arguments, **keywords)

    monkeypatch.setattr("relubench.training.engine.fit", counting)
    arguments = ["compare", *TINY, "-a", "relu,gelu", "--stack", "2", "--threads", "1"]
    arguments += ["--no-ledger", *GROW]
    assert main([*arguments, "5", "--seeds", "3", "--margin", "accuracy=0.0000001%"]) == 0
    assert "5 seeds: the last look; not all is decided." in capsys.readouterr().out
    assert sorted(trained) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    trained.clear()
    found = rows([*arguments, "12", "--seeds", "6", "--metric", "parameters"], capsys)
    assert len(trained) == 2 * 6  # equal counts are equivalent at the first look
    assert {row["verdict"] for row in found} == {"reference", "equivalent"}
    assert {row["look"] for row in found} == {1}
    assert found[0]["alpha"] == pytest.approx(0.025)


def test_several_files_at_once_in_the_chosen_columns(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", *TINY, "--lr", "0.1,0.01", "--columns", "lr,macro_f1", "--sort", "lr"]
    assert main([*arguments, "-o", "a.json", "-o", "b.tex", "-o", "-"]) == 0
    assert [list(row) for row in json.loads(Path("a.json").read_text())] == [["lr", "macro_f1"]] * 2
    assert [row["lr"] for row in json.loads(Path("a.json").read_text())] == [0.01, 0.1]
    assert "\\toprule\nlr & macro f1" in Path("b.tex").read_text()
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert printed[2][:3] == ["lr", "macro", "f1"]


def test_deadcount_has_a_row_per_layer_and_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(["deadcount", "-d", "iris", "-m", "ffnn:hidden=4x3", "--epochs", "1"], capsys)
    assert [(row["layer"], row["units"]) for row in found] == [
        ("dense1", 4),
        ("dense2", 3),
        ("total", 7),
    ]
    assert all(set(row) >= LAYER_KEYS for row in found)
    assert all(row["examples"] == 105 for row in found)


def test_deadcount_trains_once_what_no_rate_changes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    network = ["-d", "iris", "-m", "mlp:depth=6:width=3", "--seeds", "2"]
    recipes = ["--epochs", "1", "--lr", "0.01,0.1", "--batch-size", "16,64"]
    trained = rows(["deadcount", *network, *recipes], capsys)
    assert len(trained) == 2 * 2 * 2 * 7
    born: dict[tuple[int, str], set[float]] = {
        (row["seed"], row["layer"]): set() for row in trained
    }
    for row in trained:
        born[row["seed"], row["layer"]].add(row["born_dead"])
    assert all(len(shares) == 1 for shares in born.values())
    begun = rows(["deadcount", *network, "--epochs", "0"], capsys)
    assert all(row["born_dead"] == row["dead"] for row in begun)
    assert {(row["seed"], row["layer"]): {row["dead"]} for row in begun} == born
    assert any(row["dead"] for row in begun)
    kept = rows(["ledger", "export"], capsys)
    assert sorted(row["epochs"] for row in kept) == 2 * [0] + 8 * [1]


@pytest.mark.parametrize("command", ["train", "cv", "compare", "deadcount"])
def test_the_same_command_prints_the_same_bytes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [command, *TINY, "-a", "relu,rrelu", "--seeds", "2", "--no-ledger"]
    arguments += ["--threads", "1"]
    arguments += ["--folds", "2"] if command == "cv" else []
    first, second = (
        [{k: v for k, v in row.items() if k != "seconds"} for row in rows(arguments, capsys)]
        for _ in range(2)
    )
    assert first == second


def test_fractions_are_not_rounded(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(["train", *TINY], capsys)
    hits = sum(row["confusion"][i][i] for i in range(3))
    assert row["accuracy"] == hits / 45


GROW = ["--until-decided", "--max-seeds"]
BAD = {
    "unknown command": (["trian"], "trian"),
    "unknown flag": (["train", "--epoch", "1"], "--epoch"),
    "unknown activation": (["train", "-a", "mihs"], "did you mean 'mish'?"),
    "unknown dataset": (["train", "-d", "digit"], "did you mean 'digits'?"),
    "unknown model": (["train", "-m", "fnn"], "did you mean 'ffnn'?"),
    "unknown head": (["train", "--head", "sofmax"], "did you mean 'softmax'?"),
    "unknown optimizer": (["train", "--optimizer", "adm"], "did you mean 'adam'?"),
    "unknown benchmark": (["compare", "smok"], "did you mean 'smoke'?"),
    "unknown kind": (["list", "activation_s"], "did you mean 'activations'?"),
    "unknown family": (["list", "activations", "--family", "smoth"], "did you mean 'smooth'?"),
    "family of another kind": (["list", "heads", "--family", "smooth"], "only activations have"),
    "search without a kind": (["list", "--search", "x"], "need a kind"),
    "unknown format": (["list", "heads", "--format", "jsn"], "did you mean 'json'?"),
    "unknown parameter": (["train", "-m", "ffnn:width=3"], "no parameter 'width'"),
    "width 0": (["train", "-m", "ffnn:hidden=0"], "at least 1"),
    "one fold": (["cv", *TINY, "--folds", "1"], "--folds: got 1"),
    "too many folds": (["cv", *TINY, "--folds", "51"], "at most 50 folds"),
    "fewer epochs than none": (["train", "--epochs", "-1"], "--epochs: got -1"),
    "no number": (["train", "--epochs", "many"], "--epochs: got many"),
    "negative rate": (["train", "--lr", "-1"], "--lr: got -1"),
    "no accelerator": (["train", "--device", "cuda"], "--device cuda: this machine has cpu"),
    "unknown device": (["train", "--device", "gpu"], "--device gpu: this machine has"),
    "no precision": (["train", "--precision", "fp8"], "'float32', 'float64', 'tf32' or 'bf16'"),
    "tf32 here": (["train", "--device", "cpu", "--precision", "tf32"], "only CUDA devices"),
    "a time ago": (["train", "--checkpoint", "-1"], "--checkpoint: got -1"),
    "no stack": (["train", "--stack", "0"], "--stack: got 0"),
    "a stack of words": (["train", "--stack", "many"], "--stack: got many"),
    "both seeds": (["train", "--seed", "1", "--seeds", "2"], "not both"),
    "missing data": (["train", "-d", "mnist", "--data-dir", "none"], "--data-dir"),
    "missing config": (["train", "--config", "none.toml"], "cannot read none.toml"),
    "too many components": (["train", *TINY, "--pca", "5"], "at most 4 components"),
    "components of what tries rates": (
        ["train", *TINY, "--limit", "3", "--pca", "3", "--best-lr", "--lr", "1,2"],
        "at most 2 components",
    ),
    "limit below classes": (["train", *TINY, "--limit", "2"], "at least that"),
    "cnn on a table": (["train", "-d", "iris", "-m", "cnn"], "too small"),
    "-o in no folder": (["train", *TINY, "-o", "none/x.json"], "-o none/x.json: cannot be written"),
    "-o is a folder": (["train", *TINY, "--format", "csv", "-o", "."], "it is a folder"),
    "an unknown column": (["train", *TINY, "--columns", "acuracy"], "did you mean 'accuracy'"),
    "an unknown sort key": (["compare", *TINY, "--sort", "-when"], "--sort: unknown key 'when'"),
    "an unknown group": (["deadcount", *TINY, "--group", "layr"], "did you mean 'layer'"),
    "a format for two": (
        ["train", *TINY, "-o", "a.csv", "-o", "b.md", "--format", "csv"],
        "--format is for one",
    ),
    "an unknown measure": (["compare", "--metric", "acuracy"], "did you mean 'accuracy'"),
    "a margin of nothing": (["compare", "--margin", "1%"], "--margin: got '1%'"),
    "a rope of 0": (["compare", "--rope", "0"], "--rope: got 0"),
    "some pairs": (["compare", "--pairs", "some"], "must be 'reference' or 'all'"),
    "no end": (["compare", "--until-decided"], "--max-seeds N"),
    "an end alone": (["compare", "--max-seeds", "9"], "--until-decided ends"),
    "an end too early": (["compare", *GROW, "3"], "above --seeds 10"),
    "growing folds": (["compare", "--folds", "3", *GROW, "30"], "--repeats"),
    "-o of no format": (["train", *TINY, "-o", "x.xml"], "no format has this suffix"),
    "--save and -o alike": (["train", *TINY, "--save", "x.csv", "-o", "x.csv"], "both name x.csv"),
    "a parameter twice": (["train", "-m", "ffnn:hidden=8:hidden=9"], "given twice"),
    "an empty name": (["train", "-a", "relu,"], "names no activation"),
    "a bad optimizer": (["train", *TINY, "--optimizer", "sgd:nesterov=true"], "momentum"),
    "a bad unit": (["train", *TINY, "-a", "relu,celu:alpha=0"], "celu:alpha=0.0"),
    "a huge number": (["train", "-a", "elu:alpha=1e400000000"], "is not a number"),
    "a huge width": (["train", *TINY[:2], "-m", f"ffnn:hidden={10**20}"], "too large"),
    "folds without end": (["cv", "--folds", str(10**20)], "--folds: got"),
    "--save in no folder": (["train", *TINY, "--save", "none/x.pt"], "--save none/x.pt"),
    "no unit to show": (["show", "activation", "mihs"], "did you mean 'mish'?"),
    "too many to show": (
        ["show", "activation", ",".join(f"elu:alpha={i}" for i in "123456789")],
        "at most 8",
    ),
    "a picture of a table": (["list", "heads", "-o", "x.png"], "no format has this suffix"),
    "no picture suffix": (["show", "activation", "relu", "-o", "x.gif"], ".svg, .png, .pdf"),
    "no size": (["cost", "--sizes", "16Ki,many"], "--sizes: got 'many'"),
    "half an element": (["cost", "--sizes", "100.5"], "--sizes: got '100.5'"),
    "no rounds": (["cost", "--rounds", "0"], "--rounds: got 0"),
    "cost of nothing": (["cost", "-a", "mihs"], "did you mean 'mish'?"),
    "cost on no threads": (["cost", "--threads", "0"], "--threads: got 0"),
    "--save of many": (["train", *TINY, "--seeds", "2", "--save", "x.pt"], "this plan has 2"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_line(
    case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "no accelerator" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")

    def offline(*arguments: Any, **keywords: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    arguments, says = BAD[case]
    assert main([*arguments, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_a_broken_config_lists_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    Path("benchmarks.toml").write_text("[benchmark.a]\nepcohs = 1\nlr = -1\n")
    assert main(["compare", "a"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert all(line.startswith("relubench: benchmarks.toml, [benchmark.a]: ") for line in err)


def test_a_corrupted_file_is_refused(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = Path("data/MNIST/raw")
    raw.mkdir(parents=True)
    for good in (real_data / "MNIST/raw").glob("*-ubyte"):
        (raw / good.name).symlink_to(good)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"not a label file")
    assert main(["train", "-d", "mnist", "--data-dir", "data"]) == 2
    assert "t10k-labels-idx1-ubyte is corrupted" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "cv", "compare", "deadcount"])
def test_a_diverged_run_exits_1_and_the_table_is_printed(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [command, *TINY, "-a", "identity", "--optimizer", "sgd", "--lr", "1e30"]
    arguments += ["--folds", "2"] if command == "cv" else []
    assert main([*arguments, "--epochs", "3", "--format", "json"]) == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found = json.loads(capsys.readouterr().out, parse_constant=refuse)
    assert all(row["accuracy"] is None for row in found)
    assert main([*arguments, "--epochs", "3"]) == 1
    out = capsys.readouterr().out
    assert "–" in out
    assert "not finite" in out


def test_what_is_the_same_is_trained_once(capsys: pytest.CaptureFixture[str]) -> None:
    units = "leaky_relu,leaky_relu:negative_slope=0.01"
    arguments = ["compare", *TINY, "-a", units, "--lr", "0.1,0.1", "--seeds", "2"]
    found = rows([*arguments, "--reference", "leaky_relu:negative_slope=0.010"], capsys)
    assert [(row["activation"], row["n"]) for row in found] == [("leaky_relu", 2)]


def test_a_stack_prints_what_its_cells_print_alone(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cv", *TINY, "--folds", "4", "--seeds", "2", "--threads", "1", "--no-ledger"]
    alone, stacked = (rows([*arguments, "--stack", width], capsys) for width in ("1", "8"))
    assert {row["stack"] for row in alone} == {1}
    assert {row["stack"] for row in stacked} == {8}  # of 112 and 113 training rows
    for first, second in zip(alone, stacked, strict=True):
        assert first["key"] == second["key"]
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)
        assert first["dead"] == second["dead"]


def test_a_dry_run_trains_nothing_and_knows_what_is_finished(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train", *TINY, "--seeds", "2"]) == 0
    monkeypatch.setattr("relubench.training.engine.fit", None)
    capsys.readouterr()
    arguments = ["train", *TINY, "-a", "relu,gelu", "--seeds", "3", "--stack", "2", "--dry-run"]
    found = rows(arguments, capsys)
    assert [(r["activation"], r["runs"], r["finished"], r["stacks"]) for r in found] == [
        ("relu", 3, 2, 1),
        ("gelu", 3, 0, 2),
    ]
    assert main(arguments) == 0
    assert "6 runs, 2 finished; 3 stacks to train" in capsys.readouterr().out


def test_a_dry_run_estimates_the_time_from_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = ["train", "-d", "iris", "-m", "ffnn:hidden=7", "--seeds", "40", "--epochs", "50"]
    (row,) = rows([*long, "--dry-run"], capsys)
    assert row["seconds_left"] is None
    monkeypatch.setattr("relubench.execution.tuning.SHARE", 1e9)
    rows([*long, "--no-ledger"], capsys)
    (row,) = rows([*long, "--dry-run", "--rerun"], capsys)
    assert 0 < row["seconds_left"] < 600


def test_jobs_print_what_one_process_prints(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", *TINY, "-a", "relu,gelu", "--seeds", "3", "--threads", "1", "--no-ledger"]
    alone, jobs = (rows([*arguments, "--stack", "2", "--jobs", n], capsys) for n in ("1", "2"))
    for row in (*alone, *jobs):
        del row["seconds"]
    assert jobs == alone


def test_ctrl_c_ends_the_workers_too() -> None:
    process = relubench(
        "train", "-d", "digits", "--epochs", "100000", "--jobs", "2", "--seeds", "2"
    )
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)  # ends when the last worker has closed its pipes
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("relubench: interrupted")


@pytest.mark.parametrize("kind", ["activations", "models", "datasets", "benchmarks", "formats"])
@pytest.mark.parametrize("name", list(FORMATS))
def test_list_prints_every_format(kind: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind, "--format", name]) == 0
    assert capsys.readouterr().out


def test_list_gives_every_fact_of_every_activation(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(["list", "activations", "--format", "json"], capsys)
    assert {row["name"] for row in found} == set(ACTIVATIONS)
    wanted = {"name", "family", "formula", "parameters", "paper", "year"}
    wanted |= {"elementwise", "noisy", "learned", "can_die"}
    assert all(wanted <= set(row) for row in found)
    families = [row["family"] for row in found]
    assert list(dict.fromkeys(families)) == [family for family in FAMILIES if family in families]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_listed_under_its_heading(
    family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(["list", "activations", "--family", family, "--format", "json"], capsys)
    assert [row["name"] for row in found] == [
        a.name for a in ACTIVATIONS.values() if a.family == family
    ]
    assert main(["list", "activations", "--family", family]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(tuple(FAMILIES))] == [
        f"{family}: {FAMILIES[family]}"
    ]


@pytest.mark.parametrize("kind", [f"{kind}s" for kind in (*CATALOGS, "benchmark")])
def test_search_finds_an_entry_of_every_kind(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    everything = [row["name"] for row in rows(["list", kind, "--format", "json"], capsys)]
    search = ["list", kind, "--search", everything[-1].upper(), "--format", "json"]
    found = [row["name"] for row in rows(search, capsys)]
    assert everything[-1] in found
    assert found == [name for name in everything if name in found]
    assert rows(["list", kind, "--search", "no such text", "--format", "json"], capsys) == []


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("kind", CATALOGS)
def test_a_list_fits_its_terminal(kind: str, width: int) -> None:
    table = listing.catalog(CATALOGS[kind], "description")
    lines = render([table], "text", width=width).splitlines()
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(
    ("redirection", "code", "says"),
    [
        ("2>&-", 0, ""),
        ("2>/dev/full", 0, ""),
        (">&-", 2, "stdout is closed"),
        (">/dev/full", 2, "cannot write to stdout"),
        ("-o /dev/full --format csv", 2, "cannot write /dev/full"),
        ("-o /dev/stdout --format csv | grep -q iris", 0, ""),
    ],
)
def test_streams_may_be_closed_or_full(redirection: str, code: int, says: str) -> None:
    command = " ".join([sys.executable, "-m relubench train --quiet", *TINY, redirection])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == (1 if says else 0)


def test_terminated_runs_leave_no_file() -> None:
    process = relubench("train", "-d", "digits", "--epochs", "100000", "-o", "x.json")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert not list(Path().iterdir())


def test_verbose_adds_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-a", "mihs", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_file_gets_the_format_of_its_suffix_and_stdout_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", *TINY, "-o", "x.jsonl"]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(Path("x.jsonl").read_text())["dataset"] == "iris"
    assert main(["train", *TINY, "-o", "x.jsonl", "--format", "github"]) == 0
    assert Path("x.jsonl").read_text().startswith("**iris")
    assert [path.name for path in Path().iterdir()] == ["x.jsonl"]


def test_a_failed_command_leaves_the_file_as_it_was() -> None:
    Path("x.json").write_text("before")
    assert main(["train", "-d", "mnist", "--data-dir", ".", "-o", "x.json", "-a", "nope"]) == 2
    assert Path("x.json").read_text() == "before"


def test_saved_weights_load_as_weights_only() -> None:
    assert main(["train", *TINY, "--save", "w.pt"]) == 0
    state = torch.load("w.pt", weights_only=True)
    assert state["dense1.weights.weight"].shape == (4, 4)
    assert state["output.bias"].shape == (3,)


def test_confusion_and_curve_are_shown_with_class_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY, "--confusion", "--curve"]) == 0
    out = capsys.readouterr().out
    assert "versicolor" in out
    assert "train loss" in out


def test_notes_go_to_stderr_and_quiet_silences_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *TINY]) == 0
    assert "device: " in capsys.readouterr().err
    assert main(["train", *TINY, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_flags_are_the_keys_of_the_config() -> None:
    only_in_files = {"description", "minutes", "estimated", "quick", "published"}
    assert {option.key for option in declared()} == set(Settings.model_fields) - only_in_files
    for command in ("train", "cv", "compare", "deadcount"):
        flags = {parameter.name.removeprefix("no_") for parameter in options(command)}
        assert flags == {option.key for option in declared() if command in option.commands}


def test_short_names_mean_what_people_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["-V"]) == 0
    version = capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == version
    long = ["train", "-d", "iris", "-m", "ffnn:hidden=4", "--epochs", "1", "--threads", "1"]
    rows = []
    for more in (
        ["--quiet", "--format", "json", "--lr", "0.1"],
        ["-q", "-f", "json"],
        ["-q", "--json"],
    ):
        rate = [] if "--lr" in more else ["--learning-rate", "0.1"]
        assert main([*long, *more, *rate]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        rows.append({k: v for k, v in json.loads(out)[0].items() if k != "seconds"})
    assert rows[0] == rows[1] == rows[2]
    assert rows[0]["lr"] == 0.1


def test_a_switch_can_be_put_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "benchmarks.toml"
    text = '[benchmark.mine]\ndataset = "iris"\nmodel = "ffnn:hidden=4"\nepochs = 1\n'
    table.write_text(text + "standardise = false\nmatch_parameters = true\n", encoding="utf-8")
    arguments = ["train", "mine", "--config", str(table), "--no-ledger", "-q", "--json"]
    found = []
    for more in ([], ["--standardise", "--no-match-parameters"], ["--no-standardise"]):
        assert main([*arguments, *more]) == 0
        row = json.loads(capsys.readouterr().out)[0]
        found.append((row["standardise"], row["match_parameters"]))
    assert found == [(False, True), (True, False), (False, True)]
    assert main([*arguments, "--fresh", "--no-fresh"]) == 2
    assert "--fresh and --no-fresh: give one of them" in capsys.readouterr().err


def test_what_is_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.csv"
    assert main(["train", *TINY, "-o", str(path)]) == 0
    assert f"written: {path}" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["relu"], "max(0, x)"),
        (["activation", "gelu,relu"], "relu"),
        (["digits"], "1797 of 64 features"),
        (["head", "relu"], "DL-ReLU classifier"),
        (["smoke"], "Seconds, no network"),
        (["torchvision.resnet18"], "torchvision"),
    ],
)
def test_show_finds_the_kind_by_itself(
    words: list[str], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", *words]) == 0
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("train -a le", {"leaky_relu", "lecun_tanh"}),
        ("train -a relu,gelu,mis", {"relu,gelu,mish"}),
        ("compare smo", {"smoke"}),
        ("train -f js", {"json", "jsonl"}),
        ("train --perturb ga", {"gaussian"}),
    ],
)
def test_a_shell_completes_names(words: str, completed: set[str]) -> None:
    environment = os.environ | {
        "_RELUBENCH_COMPLETE": "complete_bash",
        "COMP_WORDS": f"relubench {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    script = "import sys; from relubench.__main__ import run; sys.argv[0] = 'relubench'; run()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    found = set(done.stdout.split())
    assert completed <= found
    assert all(name.startswith(words.split()[-1]) for name in found)


def test_ctrl_c_ends_with_130_and_one_line() -> None:
    process = relubench("train", "-d", "digits", "--epochs", "100000", "--verbose")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("device: ")
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1].startswith("relubench: interrupted")


def test_ctrl_c_prints_no_traceback() -> None:
    process = relubench("train", "-d", "digits", "--epochs", "100000")
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["list", "activations"], ["--help"]], ids=" ".join)
def test_a_reader_that_leaves_is_no_error(arguments: list[str]) -> None:
    with relubench(*arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141


def test_ascii_output_is_not_an_error() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    process = relubench("list", "activations", env=environment)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "relu" in out


HELP = ["", "train", "cv", "compare", "suggest", "deadcount", "report", "cost", "list", "show"]
HELP += ["help", "ledger"]
HELP += ["ledger show", "ledger export", "ledger check", "ledger rm", "ledger merge"]
HELP += ["ledger small-predicts-large"]


@pytest.mark.parametrize("command", HELP)
def test_help_at_80_columns(
    command: str,
    golden: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command.split(), "--help"]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    name = command.replace(" ", "-") or "relubench"
    golden(f"help/{name}.txt", "\n".join(lines).strip("\n") + "\n")


@pytest.mark.parametrize(
    "command", ["train", "cv", "compare", "suggest", "deadcount", "cost", "list", "show"]
)
def test_help_ends_with_two_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    last = capsys.readouterr().out.split("Examples:")[1]
    assert last.count(f"relubench {command} ") >= 2


def test_stdin_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(["train", *TINY]) == 0
