"""Noise belongs to its cell: what draws, in training and in whatever company, draws the same."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from test_engine import as_alone, numbers
from torch import Tensor

from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.models.layers import Dropout
from relubench.noise import Noise
from relubench.noise import drawn as raw
from relubench.noise import keys as odd
from relubench.plan import Cell, Machine, Preparation, Recipe, Split, Stack
from relubench.results import RunResult
from relubench.training import building, engine
from relubench.training.checkpoints import Checkpoint, CheckpointStore
from relubench.training.learning import NoiseKeys
from relubench.training.networks import Networks
from relubench.training.parallel import in_parallel

CELL = Cell(
    dataset="iris",
    model="ffnn:hidden=8x6:dropout=0.3",
    activation="relu",
    recipe=Recipe(epochs=2, batch_size=16, lr=0.01),
)
CPU = torch.device("cpu")
STEPS, SHAPE = 300, (64, 128)
EVENLY = 0.001  # the p below which a draw is not taken to be even; one in a thousand is by chance
OWN = """
import torch
from torch import nn
from torch.nn import functional as F

from relubench.models.layers import Dropout


def whole(shape, classes, activation, *, kind: int = 1):
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), activation(3), Dropout(0.4, kind),
        nn.Flatten(), nn.Linear(3 * 36, 5), activation(5), nn.Linear(5, classes),
    )

def dropping(shape, classes, activation):
    return nn.Sequential(
        nn.Linear(4, 8), activation(8), nn.Dropout(0.5), nn.Linear(8, classes)
    )

class Noisy(nn.Module):
    def __init__(self, shape, classes, activation):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 8), activation(8), nn.Linear(8, classes)

    def forward(self, x):
        x = F.rrelu(self.act(self.first(x)), training=self.training)
        return self.last(x + 0.1 * torch.randn_like(x))

def always(shape, classes, activation):
    return Noisy(shape, classes, activation)
"""
DRAWING = ["dropping", "always"]
PARTS = [(Split(), 3), (Split(folds=4, fold=0), 0)]  # 112 examples beside 105: padded
PARTS += [(Split(folds=4, fold=0), 2)]


@pytest.fixture
def double(machine: Machine) -> Machine:
    return dataclasses.replace(machine, dtype="float64")


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.py"
    path.write_text(OWN, encoding="utf-8")
    return str(path)


# --- the numbers ----------------------------------------------------------------------------------


def keys(count: int, stream: torch.Generator) -> Tensor:
    return odd(raw((count, 2), stream))


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """(steps, examples, units) from 0 to 1."""
    stream = torch.Generator().manual_seed(1)
    steps = [Noise(*each).integers(SHAPE, CPU).numpy() for each in keys(STEPS, stream)]
    return (np.stack(steps).astype(np.int64) + 2**31) / 2**32


def even(samples: np.ndarray, bins: int = 16) -> float:
    """The p of the hypothesis that every sample is even, from the p of each (chi-square)."""
    counts = [np.histogram(sample, bins, (0, 1))[0] for sample in samples]
    return float(stats.kstest([stats.chisquare(c).pvalue for c in counts], "uniform").pvalue)


def independent(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The same for the squares of pairs."""
    counts = [np.histogram2d(a, b, 8, [[0, 1], [0, 1]])[0].ravel() for a, b in pairs]
    return float(stats.kstest([stats.chisquare(c).pvalue for c in counts], "uniform").pvalue)


def test_every_step_and_every_place_is_even(drawn: np.ndarray) -> None:
    flat = drawn.reshape(STEPS, -1)
    assert even(flat, 256) > EVENLY
    assert even(flat.T[:4000]) > EVENLY
    assert flat.mean() == pytest.approx(1 / 2, abs=4 * math.sqrt(1 / 12 / flat.size))
    assert flat.var() == pytest.approx(1 / 12, abs=4 * math.sqrt(1 / 180 / flat.size))
    for bit in (8, 9, 12, 20, 31):  # of those that are used
        ones = ((flat * 2**32).astype(np.int64) >> bit & 1).mean(axis=1)
        assert stats.kstest((ones - 0.5) * 2 * math.sqrt(flat.shape[1]), "norm").pvalue > EVENLY


NEIGHBOURS: dict[str, Callable[[np.ndarray], list[tuple[np.ndarray, np.ndarray]]]] = {
    "units": lambda x: [(a[:, :-1].ravel(), a[:, 1:].ravel()) for a in x],
    "examples": lambda x: [(a[:-1].ravel(), a[1:].ravel()) for a in x],
    "halves": lambda x: [(a[:32].ravel(), a[32:].ravel()) for a in x],
    "steps": lambda x: [(a.ravel(), b.ravel()) for a, b in pairwise(x)],
}


@pytest.mark.parametrize("neighbours", NEIGHBOURS)
def test_neighbours_are_independent(neighbours: str, drawn: np.ndarray) -> None:
    assert independent(NEIGHBOURS[neighbours](drawn)) > EVENLY


def test_masks_of_steps_and_of_places_are_independent(drawn: np.ndarray) -> None:
    masks = (drawn.reshape(STEPS, -1) < 0.5).astype(float)
    for rows in (masks, masks.T[:1000]):
        z = np.corrcoef(rows)[np.triu_indices(len(rows), 1)] * math.sqrt(rows.shape[1])
        assert z.std() == pytest.approx(1, abs=0.03)
        assert abs(z).max() < stats.norm.isf(1e-4 / len(z))


def test_cells_layers_and_draws_of_one_layer_are_independent() -> None:
    cells = [dataclasses.replace(CELL, seed=seed) for seed in (0, 1)]
    drawn = NoiseKeys(cells, [Dropout(0.5), Dropout(0.5)]).draw([200, 200])

    def numbers_of(cell: int, layer: int) -> list[Noise]:
        return [Noise(*each) for each in drawn[cell, :, layer]]

    def evenly(noise: Noise) -> np.ndarray:
        return noise.uniform(torch.empty(4096)).numpy()

    def even_pairs(a: list[Noise], b: list[Noise]) -> float:
        pairs = [(evenly(one), evenly(other)) for one, other in zip(a, b, strict=True)]
        return independent(pairs)

    assert even_pairs(numbers_of(0, 0), numbers_of(1, 0)) > EVENLY
    assert even_pairs(numbers_of(0, 0), numbers_of(0, 1)) > EVENLY
    same = numbers_of(0, 0)
    assert even_pairs(same, same) > EVENLY  # one after the other


def test_a_bit_of_a_key_changes_half_of_the_bits() -> None:
    pair = keys(1, torch.Generator().manual_seed(0))[0]
    before = Noise(*pair).integers((4096,), CPU)
    for which in (0, 1):
        for bit in range(1, 31):
            other = pair.clone()
            other[which] ^= 1 << bit
            changed = (before ^ Noise(*other).integers((4096,), CPU)).numpy().view(np.uint32)
            upper = np.unpackbits((changed >> max(bit, 8)).view(np.uint8)).sum()
            assert upper / 4096 / (32 - max(bit, 8)) > 0.3  # a product carries upwards


def test_further_rows_change_nothing_nor_does_company() -> None:
    pairs = keys(3, torch.Generator().manual_seed(0))
    few, many = (Noise(*pairs[0]).integers((rows, 4), CPU) for rows in (5, 9))
    assert torch.equal(few, many[:5])
    x = torch.zeros(3, 5, 4)
    for draw in (Noise.uniform, Noise.normal):
        together = torch.vmap(lambda pair, x, draw=draw: draw(Noise(*pair), x))(pairs, x)
        alone = [draw(Noise(*pair), x[0]) for pair in pairs]
        assert torch.equal(together, torch.stack(alone))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_numbers_have_their_distribution_in_every_type(dtype: torch.dtype) -> None:
    noise, x = Noise.of(torch.Generator().manual_seed(0)), torch.empty(200_000, dtype=dtype)
    for draw, law in ((noise.uniform, "uniform"), (noise.normal, "norm")):
        found = draw(x)
        assert found.dtype == dtype
        assert found.isfinite().all()
        if dtype != torch.bfloat16:
            assert stats.kstest(found.numpy(), law).pvalue > EVENLY
    assert 0 <= noise.uniform(x).min() <= noise.uniform(x).max() <= 1


# --- dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [0, 1, 2])
@pytest.mark.parametrize("share", [0.0, 0.3, 1 - 2**-40, 1.0])
def test_dropout_drops_its_share_at_once(share: float, whole: int) -> None:
    dropout, x = Dropout(share, whole), torch.ones(2000, 5, 3, 2, requires_grad=True)
    dropout.noise = Noise.of(torch.Generator().manual_seed(0))
    dropped = dropout(x)
    dropped.sum().backward()
    assert dropped.isfinite().all()
    assert x.grad is not None
    assert torch.equal(x.grad, dropped.detach())
    gone = (dropped.detach() == 0).flatten(max(whole, 1)) if whole else (dropped == 0)[..., None]
    assert torch.equal(gone.all(dim=-1), gone.any(dim=-1))
    n = gone[..., 0].numel()
    spread = 4 * math.sqrt(share * (1 - share) / n)
    assert gone.double().mean().item() == pytest.approx(share, abs=spread + 1e-12)


def test_dropout_is_the_same_whatever_the_activation() -> None:
    """Law 2: a noisy one draws nothing from it."""
    relu, rrelu = (
        NoiseKeys([CELL], Networks([building.build(cell, (4,), Machine(data_dir=""))]).noisy)
        for cell in (CELL, dataclasses.replace(CELL, activation="rrelu"))
    )
    first, second = relu.draw([7]), rrelu.draw([7])
    assert first.shape == (1, 7, 2, 2)
    assert second.shape == (1, 7, 4, 2)
    assert torch.equal(second[:, :, rrelu.place >= rrelu.counts[0]], first)


# --- law 3 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [a.name for a in ACTIVATIONS.values() if a.noisy])
@pytest.mark.parametrize("model", ["ffnn:hidden=8x6:dropout=0.3", "cnn:filters=3:dense=5"])
def test_a_stack_is_its_cells_alone(activation: str, model: str, double: Machine) -> None:
    """In float64, with dropout, with parts of unequal sizes and with augmentation."""
    cell = dataclasses.replace(CELL, activation=activation, model=model)
    parts = PARTS
    if model.startswith("cnn"):
        recipe = dataclasses.replace(CELL.recipe, augment="flip,crop:padding=1", batch_size=32)
        cell = dataclasses.replace(cell, dataset="digits:images=true", recipe=recipe)
        parts = [(Split(folds=4, fold=fold), fold) for fold in (0, 1, 3)]
    cells = [dataclasses.replace(cell, split=split, seed=seed) for split, seed in parts]
    together = as_alone(Stack(tuple(cells)), double)
    assert {result.environment.stack for result in together} == {3}
    assert len({result.n_train for result in together}) == 2
    side = as_alone(Stack(tuple(cells), n_parallel=2), double)
    assert {result.environment.stack for result in side} == {1, 2}


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_what_is_dropped_as_a_whole_is_so_in_a_stack(kind: int, own: str, double: Machine) -> None:
    cell = dataclasses.replace(
        CELL,
        dataset="digits:images=true",
        model=f"{own}:whole:kind={kind}",
        preparation=Preparation(limit=100),
    )
    cells = [dataclasses.replace(cell, seed=seed) for seed in range(3)]
    together = as_alone(Stack(tuple(cells)), double)
    assert {result.environment.stack for result in together} == {3}


def test_worker_processes_give_what_one_does(capsys: pytest.CaptureFixture[str]) -> None:
    def trained(*how: str) -> list[float]:
        study = ["cv", "-d", "iris", "-m", CELL.model, "-a", "rrelu", "--folds", "2"]
        study += ["--seeds", "3", "--epochs", "2", "--precision", "float64", "--threads", "1"]
        assert main([*study, *how, "--no-ledger", "--quiet", "--format", "json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        return [row["loss"] for row in rows] + [row["train_loss"] for row in rows]

    alone = trained("--stack", "1")
    assert trained("--stack", "4", "--jobs", "2") == pytest.approx(alone, rel=1e-9)
    assert len(set(alone)) == len(alone)


# --- what draws from torch's global generator -----------------------------------------------------


def curves(results: list[RunResult]) -> list[list[float]]:
    return [numbers(result) for result in results]


@pytest.mark.parametrize("name", DRAWING)
def test_a_model_that_draws_by_itself_is_its_cell_s(
    name: str, own: str, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained alone, in threads and resumed alike, and nothing global is left changed."""
    cell = dataclasses.replace(CELL, model=f"{own}:{name}", recipe=Recipe(epochs=6))
    cells = tuple(dataclasses.replace(cell, seed=seed) for seed in range(3))
    engine.fit(Stack(cells[:1]), machine)  # the file is read
    before = torch.random.get_rng_state()
    together = engine.fit(Stack(cells), machine)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {result.environment.stack for result in together} == {1}
    torch.manual_seed(5)  # which is nothing to it
    alone = [result for cell in reversed(cells) for result in engine.fit(Stack((cell,)), machine)]
    torch.random.set_rng_state(before)
    assert curves(alone[::-1]) == curves(together)
    assert len({tuple(curve) for curve in curves(together)}) == 3
    side = in_parallel(lambda cell: engine.fit(Stack((cell,)), machine)[0], cells, 3, 1)
    assert curves(side) == curves(together)

    save, saved = Checkpoint.save, []

    def killed_at_the_second(self: Checkpoint, state: dict[str, object]) -> None:
        save(self, state)
        saved.append(state)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed_at_the_second)
    unfinished = CheckpointStore(tmp_path / "unfinished", 0.0)
    with pytest.raises(KeyboardInterrupt):
        engine.fit(Stack(cells[:1]), machine, checkpoints=unfinished)
    assert curves(engine.fit(Stack(cells[:1]), machine, checkpoints=unfinished)) == curves(
        together[:1]
    )


@pytest.mark.parametrize("name", DRAWING)
def test_a_model_that_draws_by_itself_is_not_refused(
    name: str, own: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "-d", "iris", "-m", f"{own}:{name}", "--epochs", "1", "--quiet"]
    assert main([*command, "--format", "json", "--no-ledger"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["failed"] is None


def test_a_draw_moves_what_is_drawn(own: str, machine: Machine) -> None:
    """Each step another: dropout by torch trains otherwise than none."""
    network = building.build(dataclasses.replace(CELL, model=f"{own}:dropping"), (4,), machine)
    x: Tensor = torch.ones(8, 4)
    with torch.random.fork_rng(devices=[]):
        assert not torch.equal(network(x), network(x))
