"""Finished runs for other tools: each form, read by its own library, has the same figures."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import relubench
from relubench.cli import main
from relubench.exports import EXPORTS
from relubench.exports.export import ExportedRun, metric_keys, setting_keys
from relubench.rows import EpochRow, RunRow

OPTIONS: dict[str, Any] = {"model": "ffnn:hidden=4", "epochs": 3, "threads": 1}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> relubench.Runs:
    """Three runs in the ledger, one of which diverged."""
    monkeypatch.chdir(tmp_path)
    relubench.train(dataset="iris", activation=["relu", "gelu"], **OPTIONS)
    relubench.train(dataset="wine", activation="relu", lr=1e30, optimizer="sgd", **OPTIONS)
    loaded = relubench.load()
    assert sum(row.failed is not None for row in loaded.rows) == 1
    return loaded


def written(name: str, library: str = "") -> Path:
    """The folder with the runs; the test is skipped where the library is not installed."""
    if library:
        pytest.importorskip(library, reason=f"{library} is not installed")
    # Apart: these libraries warn, start threads and change logging.
    command = [sys.executable, "-m", "relubench", "ledger", "export", "--to", name, "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"3 runs written to out, for {name}" in done.stderr
    return Path("out")


def same(figures: dict[str, float], row: RunRow) -> None:
    """The figures are those of the row that are defined, all of them."""
    record = row.record()
    expected = {name: record[name] for name in metric_keys() if record[name] is not None}
    assert figures == pytest.approx(expected, rel=1e-6)


def by_key(rows: Iterable[RunRow]) -> dict[str, RunRow]:
    return {row.key: row for row in rows}


READERS: dict[str, Any] = {
    "csv": pd.read_csv,
    "jsonl": lambda path: pd.read_json(path, lines=True, dtype={"fold": "Int64"}),
    "parquet": pd.read_parquet,
}


@pytest.mark.parametrize("name", READERS)
def test_tables_are_read_by_pandas(name: str, runs: relubench.Runs) -> None:
    folder = written(name)
    wide, long, curves = (
        READERS[name](folder / f"{table}.{name}") for table in ("runs", "results", "curves")
    )
    rows = by_key(runs.rows)
    assert set(wide["key"]) == set(rows)
    assert wide["activation"].tolist() == [row.activation for row in runs.rows]
    for key, of_run in long.groupby("key"):
        row = rows[str(key)]
        same(dict(zip(of_run["metric"], of_run["value"], strict=True)), row)
        assert set(of_run["method"]) == {row.activation}
        assert of_run["task"].str.startswith(f"{row.dataset} · {row.model}").all()
        assert set(of_run["seed"]) == {row.seed}
    assert list(curves) == ["key", *EpochRow.declared_keys()]
    for row, table in zip(runs.rows, runs.curves, strict=True):
        of_run = curves[curves["key"] == row.key]
        losses = [epoch.loss if epoch.loss is not None else math.nan for epoch in table.rows]
        assert of_run["loss"].tolist() == pytest.approx(losses, rel=1e-12, nan_ok=True)


def test_a_setting_is_one_value(runs: relubench.Runs) -> None:
    """No curve, no confusion matrix, no names of classes; and every key of a row is some kind."""
    lists = {"confusion", "classes", "curve", "history", "by_task"}
    no_setting = {*lists, "perturbed", "failed", "key", "quick"}
    assert set(setting_keys()) == set(RunRow.declared_keys()) - set(metric_keys()) - no_setting
    for row in runs.rows:
        named = dataclasses.replace(row, classes=["a", "b"])
        settings = ExportedRun(named, "", "", ()).settings
        assert {type(value) for value in settings.values()} <= {bool, int, float, str}
        assert settings.keys() >= {"dataset", "optimizer", "seed", "threads"}


def test_losses_on_held_out_examples_are_in_the_curves(runs: relubench.Runs) -> None:
    relubench.train(dataset="iris", activation="tanh", validation="20%", **OPTIONS)
    assert main(["ledger", "export", "--to", "csv", "out", "--quiet", "-a", "tanh"]) == 0
    curves = pd.read_csv("out/curves.csv")
    assert len(curves) == OPTIONS["epochs"]
    assert (curves["held_out_loss"] > 0).all()


def test_tasks_differ_where_set_ups_do(runs: relubench.Runs) -> None:
    relubench.train(dataset="iris", activation="relu", lr=[0.1, 0.2], **OPTIONS)
    assert main(["ledger", "export", "--to", "csv", "out", "--quiet", "-d", "iris"]) == 0
    long = pd.read_csv("out/results.csv")
    per_task = long[long["metric"] == "seconds"].groupby(["task", "method", "seed"]).size()
    assert len(per_task) == 4
    assert per_task.max() == 1


def test_tensorboard_reads_its_events(runs: relubench.Runs) -> None:
    folder = written("tensorboard", "tensorboard")
    reading = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    for row, table in zip(runs.rows, runs.curves, strict=True):
        (place,) = folder.glob(f"*-{row.key[:8]}")
        events = reading.EventAccumulator(str(place))
        events.Reload()
        tags = events.Tags()["scalars"]
        tested = [tag for tag in tags if tag.startswith("test/")]
        same({tag[5:]: events.Scalars(tag)[-1].value for tag in tested}, row)
        there = "train/loss" in tags  # not of a run that diverged in its first epoch
        drawn = [(e.step, e.value) for e in events.Scalars("train/loss")] if there else []
        defined = [(e.epoch, e.loss) for e in table.rows if e.loss is not None]
        assert [step for step, _ in drawn] == [epoch for epoch, _ in defined]
        assert [loss for _, loss in drawn] == pytest.approx([loss for _, loss in defined])
        plugin = importlib.import_module("tensorboard.plugins.hparams.plugin_data_pb2")
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        start = plugin.HParamsPluginData.FromString(content).session_start_info
        assert start.hparams["activation"].string_value == row.activation


MLFLOW = """
import json, mlflow
client = mlflow.MlflowClient("sqlite:///out/mlflow.db")
(experiment,) = [e for e in client.search_experiments() if e.name == "relubench"]
found = {}
for run in client.search_runs([experiment.experiment_id]):
    history = client.get_metric_history(run.info.run_id, "train.loss")
    found[run.data.tags["key"]] = [
        {k: v for k, v in run.data.metrics.items() if not k.startswith("train.")},
        run.data.params["activation"], run.info.status, [[m.step, m.value] for m in history],
    ]
print(json.dumps(found))
"""


def test_mlflow_reads_its_database(runs: relubench.Runs) -> None:
    written("mlflow", "mlflow")
    found = json.loads(python(MLFLOW).splitlines()[-1])
    assert set(found) == set(by_key(runs.rows))
    for row, table in zip(runs.rows, runs.curves, strict=True):
        metrics, activation, status, history = found[row.key]
        same(metrics, row)
        assert (activation, status) == (row.activation, "FAILED" if row.failed else "FINISHED")
        defined = [[e.epoch, e.loss] for e in table.rows if e.loss is not None]
        assert sorted(history) == defined


def test_a_long_training_is_exported_to_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of parameters it takes 6000 characters, and cuts or refuses what is longer."""
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.chdir(tmp_path)
    relubench.train(dataset="iris", activation="relu", **OPTIONS | {"epochs": 150})
    assert len(json.dumps(relubench.load().rows[0].curve)) > 6000
    command = [sys.executable, "-m", "relubench", "ledger", "export", "--to", "mlflow", "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "truncated" not in done.stderr
    ((_, _, _, history),) = json.loads(python(MLFLOW).splitlines()[-1]).values()
    assert len(history) == 150


WANDB = """
import glob, json
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore
found = {}
for file in glob.glob("out/wandb/offline-run-*/*.wandb"):
    store = DataStore()
    store.open_for_scan(file)
    summary, config, losses = {}, {}, []
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.run.config.update:
            config[item.key] = json.loads(item.value_json)
        for item in record.history.item:
            if "train/loss" in (item.key, *item.nested_key):
                losses.append(json.loads(item.value_json))
        for item in record.summary.update:
            summary[item.key or item.nested_key[0]] = json.loads(item.value_json)
    found[summary["key"]] = [summary, config["activation"], losses]
print(json.dumps(found))
"""


def test_wandb_reads_its_files(runs: relubench.Runs) -> None:
    written("wandb-offline", "wandb")
    found = json.loads(python(WANDB).splitlines()[-1])
    assert set(found) == set(by_key(runs.rows))
    for row, table in zip(runs.rows, runs.curves, strict=True):
        summary, activation, losses = found[row.key]
        same({name: summary[name] for name in metric_keys() if name in summary}, row)
        assert activation == row.activation
        assert losses == [epoch.loss for epoch in table.rows if epoch.loss is not None]


def python(script: str) -> str:
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_SILENT": "true"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | quiet
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "csw", "out"], "unknown export 'csw': did you mean 'csv'?"),
        (["--to", "csv"], "--to NAME writes to a folder"),
        (["out"], "--to NAME writes to a folder"),
        (["--to", "csv", "full"], "full: it is there and not an empty folder"),
        (["--to", "csv", "full/file"], "full/file: it is there and not an empty folder"),
        (["--to", "csv", "full/file/more"], "full/file/more: cannot be written"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_said(
    arguments: list[str], said: str, runs: relubench.Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("full").mkdir()
    Path("full/file").touch()
    assert main(["ledger", "export", *arguments, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not Path("out").exists()


def test_a_library_that_is_missing_is_named(
    runs: relubench.Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, entry in EXPORTS.items():
        if entry.requires:
            assert main(["ledger", "export", "--to", name, "out", "--quiet"]) == 2
            err = capsys.readouterr().err
            assert f"--to {name} needs {entry.requires[0]}: pip install '{entry.install}'" in err
