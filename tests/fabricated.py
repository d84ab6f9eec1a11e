"""Made-up results, as if they had been trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from relubench.metrics import METRICS
from relubench.plan import Cell, Plan, Recipe, Split
from relubench.report import ComparisonOptions, compare
from relubench.results import Environment, Epoch, LayerCount, RunResult
from relubench.rows import CompareRow
from relubench.table import Row

FIXED = ComparisonOptions(published=frozenset({"iris"}))  # as if its test set were published
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


@dataclass(frozen=True)
class FactsRow(Row):
    """A row with any keys."""

    facts: Mapping[str, Any]

    @property
    def keys(self) -> list[str]:
        return list(self.facts)

    def get(self, key: str) -> Any:
        return self.facts.get(key)

    def __getattr__(self, key: str) -> Any:
        try:
            return self.facts[key]
        except KeyError:
            raise AttributeError(key) from None


def facts_rows(*facts: Mapping[str, Any]) -> list[FactsRow]:
    return [FactsRow(each) for each in facts]


def compare_row(activation: str = "relu", /, **figures: Any) -> CompareRow:
    """A row of compare with these figures."""
    runs = [result("relu", 0, 0.9)]
    return replace(compare(runs, plan(runs)).rows[0], **{"activation": activation} | figures)


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
    own = [name for name, metric in METRICS.items() if metric.task in ("any", "classes")]
    scores = {**dict.fromkeys(own, accuracy), "train_accuracy": accuracy, "train_loss": 0.1}
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
