"""What came out: frozen results, ready for a table or a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from relubench import __version__
from relubench.plan import Cell

LOST = "lost"  # how `failed` begins where a run was not finished by its worker
ENGINE = 2  # goes up when the same cell would get other numbers


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What else decides a number: versions, device, threads, float type, cells in one pass."""

    relubench: str
    torch: str
    device: str
    threads: int
    dtype: str
    stack: int


RARE = 0.01  # share of examples; Dohare's incremental CIFAR study
DORMANT = 0.025  # tau of ReDo, arXiv:2302.12902
FLAT, SATURATED = 0.01, 0.99  # |slope| under FLAT on at least this share of examples

COUNTS = ("dead", "inactive", "rare", "dormant", "saturated")
MOMENTS = ("sparsity", "mean_activation", "sd_activation")
DEFINITIONS = {
    "dead": "slope exactly 0 on every example",
    "born_dead": "dead before any training",
    "inactive": "output exactly 0 on every example",
    "rare": f"output not 0 on under {RARE:.0%} of the examples (of a channel: and positions)",
    "dormant": f"mean |output| at most {DORMANT} of its layer's mean",
    "saturated": f"|slope| under {FLAT} on at least {SATURATED:.0%} of them",
    "sparsity": "share of outputs that are exactly 0",
    "mean_activation": "mean output",
    "sd_activation": "standard deviation of all outputs of a layer",
}
COUNTED_ON = (
    "counted after the activation, on the whole training part, in evaluation mode; "
    "a unit is a neuron, or a convolution's channel over all positions"
)


@dataclass(frozen=True, kw_only=True)
class LayerCount:
    """Units of one layer that are dead and so on: DEFINITIONS says when, COUNTED_ON on what."""

    layer: str
    units: int
    dead: int
    inactive: int
    rare: int
    dormant: int
    saturated: int
    sparsity: float
    mean_activation: float
    examples: int
    sd_activation: float | None = None  # ledgers may hold counts without it


def total(layers: Sequence[LayerCount]) -> LayerCount:
    """All hidden units of a network together; sparsity, mean and sd weigh each unit alike."""
    units = sum(layer.units for layer in layers)
    known = [
        layer.sd_activation * layer.units for layer in layers if layer.sd_activation is not None
    ]
    counts = {name: sum(getattr(layer, name) for layer in layers) for name in COUNTS}
    means = {
        name: sum(getattr(layer, name) * layer.units for layer in layers) / units
        for name in ("sparsity", "mean_activation")
    }
    return LayerCount(
        layer="total",
        units=units,
        examples=layers[0].examples,
        sd_activation=sum(known) / units if len(known) == len(layers) else None,
        **counts,
        **means,
    )


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training set: mean loss and accuracy as the pass itself saw them.

    Both are None where the loss is not finite: the cell has diverged.
    """

    loss: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """One trained cell. A diverged one has a reason in `failed` and no scores."""

    cell: Cell
    environment: Environment
    n_train: int
    n_test: int
    parameters: int
    seconds: float
    curve: tuple[Epoch, ...]
    scores: dict[str, float | None] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] | None = None
    layers: tuple[LayerCount, ...] = ()
    failed: str | None = None

    @property
    def finished(self) -> bool:
        """Whether it was trained to an end, be it divergence."""
        return not (self.failed or "").startswith(LOST)


def lost(cell: Cell, why: str) -> RunResult:
    """What stands for a cell that nobody could train to an end."""
    nowhere = Environment(relubench=__version__, torch="", device="", threads=0, dtype="", stack=0)
    return RunResult(
        cell=cell,
        environment=nowhere,
        n_train=0,
        n_test=0,
        parameters=0,
        seconds=0.0,
        curve=(),
        failed=f"{LOST}: {why}",
    )
