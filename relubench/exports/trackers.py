"""Experiment trackers: what each reads from a folder, written without a network."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from relubench.exports.export import EXPORTS, ExportedRun

PROJECT = "relubench"
BATCH = 900  # figures: mlflow takes 1000 at a time


@EXPORTS.add(requires=("tensorboard",), install="relubench[tensorboard]")
def tensorboard(runs: Sequence[ExportedRun], folder: Path) -> None:
    """A folder of events per run: curves, scores, hyper-parameters (tensorboard --logdir DIR)"""
    module = importlib.import_module("torch.utils.tensorboard")
    summary = importlib.import_module("torch.utils.tensorboard.summary")
    for run in runs:
        with module.SummaryWriter(str(folder / run.name)) as writer:
            scores = {f"test/{name}": value for name, value in run.metrics.items()}
            # By hand: add_hparams would write them to a folder of its own.
            for part in summary.hparams(run.settings, scores):
                writer.file_writer.add_summary(part, walltime=run.time)
            for epoch in run.curve:
                for name, value in _figures(epoch).items():
                    writer.add_scalar(f"train/{name}", value, epoch["epoch"], run.time)
            for name, value in scores.items():
                writer.add_scalar(name, value, len(run.curve), run.time)


# mlflow-skinny has no sqlalchemy, and without that mlflow keeps no database.
@EXPORTS.add(requires=("mlflow", "sqlalchemy"), install="relubench[mlflow]")
def mlflow(runs: Sequence[ExportedRun], folder: Path) -> None:
    """mlflow.db, a run per run (mlflow ui --backend-store-uri sqlite:///DIR/mlflow.db)"""
    with _environment({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}):
        entities = importlib.import_module("mlflow.entities")
        client = importlib.import_module("mlflow").MlflowClient(f"sqlite:///{folder}/mlflow.db")
        artefacts = (folder / "artifacts").absolute().as_uri()
        experiment = client.create_experiment(PROJECT, artifact_location=artefacts)
        for run in runs:
            _to_mlflow(client, entities, experiment, run)


def _to_mlflow(client: Any, entities: Any, experiment: str, run: ExportedRun) -> None:
    # In milliseconds; it was finished then, and began so many seconds before.
    when = int(1000 * run.time)
    start = when - int(1000 * run.row.seconds)
    made = client.create_run(experiment, start, {"key": run.row.key}, run.name).info.run_id
    figures = [entities.Metric(name, value, when, 0) for name, value in run.metrics.items()]
    for epoch in run.curve:
        step = int(epoch["epoch"] or 0)
        for name, value in _figures(epoch).items():
            figures.append(entities.Metric(f"train.{name}", value, when, step))
    parameters = [entities.Param(key, str(value)) for key, value in run.settings.items()]
    client.log_batch(made, params=parameters)
    for begin in range(0, len(figures), BATCH):
        client.log_batch(made, metrics=figures[begin : begin + BATCH])
    client.set_terminated(made, "FAILED" if run.row.failed else "FINISHED", when)


@EXPORTS.add("wandb-offline", requires=("wandb",), install="relubench[wandb]")
def wandb_offline(runs: Sequence[ExportedRun], folder: Path) -> None:
    """An offline run per run (wandb sync DIR/wandb/offline-run-*)"""
    silent = {"WANDB_SILENT": "true", "WANDB_MODE": "offline", "WANDB_CONSOLE": "off"}
    with _environment({**silent, "WANDB_DISABLE_GIT": "true", "WANDB_DISABLE_CODE": "true"}):
        wandb = importlib.import_module("wandb")
        for run in runs:
            made = wandb.init(
                project=PROJECT, name=run.name, dir=str(folder), config=run.settings, mode="offline"
            )
            for epoch in run.curve:
                figures = {f"train/{name}": value for name, value in _figures(epoch).items()}
                made.log(figures, step=epoch["epoch"])
            made.summary.update({**run.metrics, "key": run.row.key})
            made.finish(exit_code=1 if run.row.failed else 0)


def _figures(epoch: Mapping[str, float | int | None]) -> dict[str, float]:
    """The figures of an epoch that are defined."""
    return {k: float(v) for k, v in epoch.items() if k != "epoch" and v is not None}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment, until the end: libraries read them when they are imported."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
