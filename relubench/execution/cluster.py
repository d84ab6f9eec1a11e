"""A dask cluster as a place to train: who may train there, and how a stack gets there and back."""

from __future__ import annotations

import json
import logging
import pickle
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from relubench import __version__, files
from relubench.errors import BadValue, ClusterError
from relubench.plan import Stack
from relubench.results import ENGINE, RunResult

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 10  # seconds for the scheduler to answer, and for its first worker
ONE_AT_A_TIME = threading.Lock()  # torch's number of threads is one for the whole process


def run_stacks(
    client: Client, stacks: Iterable[Stack], fit: Callable[[Stack], list[RunResult]]
) -> Iterator[tuple[Stack, list[RunResult] | str]]:
    """Each stack with its results, or with why it was given up; one in flight for each worker.

    What `fit` raises is raised here. When this ends, nobody wants what is in flight any more, and
    the scheduler drops it.
    """
    # Here, and below: distributed is an extra that need not be installed, and takes a second.
    from distributed import KilledWorker, as_completed

    # One stack a worker in flight, no more: a stack is claimed when it is taken, and whoever joins
    # later should find some left.
    source = iter(stacks)
    running: dict[object, Stack] = {}
    finished = as_completed(loop=client.loop)
    while True:
        workers = max(1, len(client.nthreads()))  # now: they come and go
        for stack in islice(source, max(0, workers - len(running))):
            task = pickle.dumps((fit, stack))  # in bytes, or the scheduler would import torch
            # pure=False: dask would otherwise answer an equal task with the results of the first.
            future = client.submit(_train, task, versions(), pure=False)
            running[future] = stack
            finished.add(future)
        if not running:
            return
        # Waits for any of them; a worker that is lost gives its task to another by itself.
        future = next(finished)
        stack = running.pop(future)
        try:
            results = future.result()
        except KilledWorker as killed:
            results = f"its worker died, {killed.allowed_failures + 1} times"
        yield stack, results


def _train(task: bytes, client: Mapping[str, str]) -> list[RunResult]:
    """On a worker: it may have joined after the others were checked, or have several threads."""
    from distributed import get_worker

    _check_versions(client, versions(), get_worker().address)
    # `dask worker` has as many threads as cores unless told otherwise; each would set torch's own.
    with ONE_AT_A_TIME:
        fit, stack = pickle.loads(task)
        results: list[RunResult] = fit(stack)
        return results


@contextmanager
def connect(scheduler: str) -> Iterator[Client]:
    """A client of the cluster at this address, its workers checked.

    Raises BadValue where it cannot be used, ClusterError where it is lost on the way.
    """
    try:
        from distributed import CancelledError, Client
    except ImportError:
        remedy = "pip install 'relubench[distributed]'"
        raise BadValue(f"--executor dask: dask.distributed is not installed: {remedy}") from None
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # errors are raised here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dask lists versions; `_check_workers` does
            client = Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError):
        remedy = "start one with `dask scheduler`, or name another with --scheduler"
        raise BadValue(f"no dask scheduler answers at {scheduler}: {remedy}") from None
    with client:
        try:
            _check_workers(client, scheduler)
            yield client
        except (CancelledError, OSError) as error:
            if isinstance(error, OSError) and client.status == "running":
                raise  # not the connection's
            why = f"the dask scheduler at {scheduler} is gone"
            raise ClusterError(f"{why}: the same command trains what is left") from None


def _check_workers(client: Client, scheduler: str) -> None:
    """Refuse a cluster without a worker, or with one that would give other numbers."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        remedy = f"start one with `dask worker {scheduler} --nthreads 1`"
        raise BadValue(f"the dask scheduler at {scheduler} has no worker: {remedy}") from None
    for worker, answer in client.run(versions, on_error="return").items():
        # on_error="return": what fails on a worker comes back in the place of its answer.
        if isinstance(answer, Exception):
            remedy = f"install relubench {__version__} there"
            raise BadValue(f"dask worker {worker} cannot train: {answer}: {remedy}")
        _check_versions(versions(), answer, worker)


def versions() -> dict[str, str]:
    """Versions that must be the same on a worker: they decide numbers, or carry them."""
    return {
        "relubench": __version__,
        "relubench's engine": str(ENGINE),
        "torch": metadata.version("torch"),
        # Pickles go both ways, and code in them is of one minor version.
        "Python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "distributed": metadata.version("distributed"),
    }


def _check_versions(client: Mapping[str, str], worker: Mapping[str, str], name: str) -> None:
    """Refuse a worker whose versions differ."""
    differing = []
    for package, version in client.items():
        there = worker.get(package)
        if there != version:
            differing.append(f"{package} is {version} here and {there} there")
    if differing:
        remedy = "install the same versions on both sides"
        raise BadValue(f"dask worker {name}: {'; '.join(differing)}: {remedy}")


def address(scheduler_file: str) -> str:
    """The address of the scheduler that wrote this file."""
    try:
        text = files.text(Path(scheduler_file))
    except BadValue as error:
        raise BadValue(f"--scheduler-file {scheduler_file}: {error}") from None
    try:
        return str(json.loads(text)["address"])
    except (ValueError, KeyError, TypeError, RecursionError):
        why = "no dask scheduler wrote this file"
        raise BadValue(f"--scheduler-file {scheduler_file}: {why}") from None
