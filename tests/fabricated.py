"""Made-up results, as if they had been trained."""

from __future__ import annotations

from collections.abc import Sequence

from relubench.metrics import METRICS
from relubench.plan import Cell, Plan, Recipe, Split
from relubench.report import Terms
from relubench.results import Environment, Epoch, LayerCount, RunResult

FIXED = Terms(published=frozenset({"iris"}))  # as if its test set were published
HERE = Environment(relubench="1", torch="2", device="cpu", threads=2, dtype="float32", stack=1)
LAYERS = (
    LayerCount(
        layer="dense1", units=8, dead=1, inactive=1, rare=2, dormant=3, saturated=1,
        sparsity=0.5, mean_activation=0.25, examples=100,
    ),
    LayerCount(
        layer="dense2", units=4, dead=4, inactive=4, rare=4, dormant=4, saturated=4,
        sparsity=1.0, mean_activation=0.0, examples=100,
    ),
)  # fmt: skip


def result(
    activation: str,
    seed: int,
    accuracy: float | None,
    split: Split | None = None,
    lr: float = 0.1,
    dataset: str = "iris",
) -> RunResult:
    """A finished run with this accuracy, or one that diverged."""
    cell = Cell(
        dataset=dataset,
        model="ffnn",
        activation=activation,
        recipe=Recipe(lr=lr),
        split=split or Split(),
        seed=seed,
    )
    done = accuracy is not None
    scores = {**dict.fromkeys(METRICS, accuracy), "train_accuracy": accuracy, "train_loss": 0.1}
    return RunResult(
        cell=cell,
        environment=HERE,
        n_train=100,
        n_test=50,
        parameters=123,
        seconds=0.5 if done else 0.01,
        curve=(Epoch(loss=1.5, accuracy=0.4), Epoch(loss=0.25, accuracy=0.75)),
        scores={**scores, "silent": None} if done else {},
        confusion=((3, 1), (0, 4)) if done else None,
        layers=LAYERS if done else (),
        failed=None if done else "diverged: the loss is not finite in epoch 2",
    )


def plan(results: Sequence[RunResult], quick: bool = False) -> Plan:
    return Plan(cells=tuple(r.cell for r in results), quick=quick)


BASE = [0.90, 0.91, 0.92, 0.90, 0.91, 0.93, 0.92, 0.90, 0.91, 0.92]


def runs(activation: str, shift: float, n: int = 10) -> list[RunResult]:
    """`n` seeds, better than the base by `shift`, with a small spread of the difference."""
    return [
        result(activation, s, accuracy + shift + 0.001 * (s % 3))
        for s, accuracy in enumerate(BASE[:n])
    ]
