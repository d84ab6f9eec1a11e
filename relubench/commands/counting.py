"""deadcount of any network: what is counted of it, and the shell's flags for that."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relubench import config, datasets, execution, user_code
from relubench.baselines import ci
from relubench.baselines.dead_gate import Limits, judged
from relubench.catalog import Choice, Deferred
from relubench.commands.assembly import read
from relubench.commands.ledgers import run_of
from relubench.commands.request import Outcome, Request
from relubench.errors import BadValue, UnknownName
from relubench.metrics.measures import MEASURES, margin
from relubench.models import MODELS
from relubench.neurons import ablation, bounds, opening, pruning
from relubench.neurons.counting import Asked, Counted, check_ready, count, taken
from relubench.neurons.definitions import DEFINITIONS, Definition, chosen
from relubench.neurons.opening import Asking
from relubench.neurons.weights import Weights, load
from relubench.plan import Cell, Machine
from relubench.report import call_table
from relubench.report.call_table import About
from relubench.report.dead_count import DeadCount
from relubench.table import AnyTable
from relubench.training import building, examples

if TYPE_CHECKING:
    from torch import nn

    from relubench import page
    from relubench.execution.progress import Console
else:
    page = Deferred("relubench.page")

SPLITS = ("train", "test", "both")
REMOVED = ("dead", "inactive", "rare")  # what --ablate takes out, one after the other
BATCH = 256  # examples of a pass
MOST = 8  # layers that a refusal names
Part = Callable[[], Iterable[Any]]  # the batches of one part of the data, from the start


def audited(
    network: nn.Module,
    parts: Mapping[str, Part],
    asked: Asked,
    about: About,
    proof: bool = False,
    ablate: bool = False,
) -> tuple[Counted, DeadCount]:
    """Everything that is asked of the first part, with the second one beside."""
    (name, part), *others = parts.items()
    counted = count(network, part(), asked)
    result = DeadCount.of(counted, replace(about, split=name))
    for _, other in others:
        result = beside_test(result, DeadCount.of(count(network, other(), asked), about))
    if proof:
        proven = bounds.proven(network, counted.plan, taken(part(), network, asked.limit))
        shares = {layer: {"proven_dead": float(m.double().mean())} for layer, m in proven.items()}
        masks = {layer: mask.cpu() for layer, mask in proven.items()}
        result = replace(result.updated(shares), masks={**result.masks, "proven_dead": masks})
    if ablate:
        removed = {name: result.masks[name] for name in REMOVED if name in result.masks}
        # Accuracy without units is measured on the test part, where there is one.
        _, measured = others[0] if others else (name, part)
        again = taken(measured(), network, asked.limit)
        result = replace(result, ablations=ablation.ablate(network, counted.plan, again, removed))
    return counted, result


def beside_test(train: DeadCount, test: DeadCount) -> DeadCount:
    """Figures on the test part beside those on the training part."""
    figures: dict[str, dict[str, float | None]] = {}
    for row in test.layers:
        figures[row.layer] = {
            "dead_test": row.dead,
            "inactive_test": row.inactive,
            "dead_in_training_only": _share_gone(train, test, row.layer),
            "examples_test": row.examples,
        }
    return train.updated(figures)


def beside_baseline(now: DeadCount, before: DeadCount) -> DeadCount:
    """Dead units beside those with the weights of before; raises BadValue for another network."""
    _check_comparable(now, before)
    figures: dict[str, dict[str, float | None]] = {}
    for row in before.layers:
        figures[row.layer] = {
            "dead_before": row.dead,
            "newly_dead": _share_gone(now, before, row.layer),
            "revived": _share_gone(before, now, row.layer),
        }
    return now.updated(figures)


def _check_comparable(now: DeadCount, before: DeadCount) -> None:
    """Refuse a baseline beside which a layer would pass since nothing is known of it."""
    if "dead" not in before.masks:
        raise BadValue("the baseline was counted without dead units: let definitions name 'dead'")
    names = [row.layer for row in now.layers]
    earlier = [row.layer for row in before.layers]
    if names != earlier:
        other = [name for name in names if name not in earlier] or names
        raise BadValue(
            f"the baseline is of a network with other layers: {other[0]} is not at its place "
            f"there (it has {', '.join(earlier[:MOST])})"
        )


def _share_gone(first: DeadCount, second: DeadCount, layer: str) -> float | None:
    """The fraction of units that are dead in the first count and not in the second."""
    one = first.masks.get("dead", {}).get(layer)
    other = second.masks.get("dead", {}).get(layer)
    # Other widths: no unit of one is a unit of the other.
    if one is None or other is None or len(one) != len(other):
        return None
    return float((one & ~other).double().mean())


# --- for the shell --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Counting:
    """The flags of deadcount for a network that is not trained here, as they are given."""

    weights: str | None = None
    run: str | None = None
    from_ledger: bool = False
    data: str | None = None
    split: str | None = None
    definitions: Sequence[str] = ()
    rare: str | None = None
    tau: str | None = None
    unit: str | None = None
    activation_module: Sequence[str] = ()
    proof: bool = False
    ablate: bool = False
    prune: Path | None = None
    fail_above: Sequence[str] = ()
    baseline: Path | None = None
    margin: str | None = None

    @property
    def parts(self) -> Sequence[str]:
        """The parts of the data to count on."""
        split = self.split or "train"
        if split not in SPLITS:
            raise UnknownName("split", split, SPLITS, listed=False)
        return ("train", "test") if split == "both" else (split,)

    def asked(self, limit: int | None) -> Asked:
        """What is to be counted."""
        choices = {each.entry.name: each for each in chosen(self.definitions or None)}
        if self.fail_above or self.baseline or self.ablate or self.prune:
            choices = with_removed(choices)
        if self.rare is not None:
            fraction = margin(self.rare, MEASURES["dead"]).size
            choices["rare"] = DEFINITIONS.choose(f"rare:fraction={fraction!r}")
        if self.tau is not None:
            choices["dormant"] = DEFINITIONS.choose(f"dormant:tau={self.tau}")
        return Asked(list(choices.values()), self.unit, self.activation_module, limit)


def with_removed(choices: Mapping[str, Choice[Definition]]) -> dict[str, Choice[Definition]]:
    """With what gates, ablation and pruning work with, even where --definitions leaves it out."""
    missing = [name for name in REMOVED if name not in choices]
    return dict(choices) | {name: DEFINITIONS.choose(name) for name in missing}


def count_network(
    request: Request, counting: Counting, console: Console, prune: Path | None = None
) -> Outcome:
    """Count in one network with its weights; the gate's exit code is 3.

    prune  where the smaller weights are written, in place of counting.prune
    """
    limits = Limits.parse(counting.fail_above, counting.margin, counting.baseline is not None)
    subject = _subject(request, counting, console)
    network, result, counted = subject.counted(counting, console)
    if counting.baseline is not None:
        earlier = subject.weighed(str(counting.baseline))
        other, _ = earlier.network()
        _, before = audited(other, earlier.parts(counting, console), subject.asked, subject.about)
        result = beside_baseline(result, before)
    result = judged(result, limits)
    wrong = result.offending
    tables: list[AnyTable] = [result.table()]
    if result.ablations:
        tables.append(call_table.ablations(result.ablations))
    if counting.prune is not None:
        # One batch is enough to see that the smaller network gives the same.
        first = next(taken(subject.parts(counting, console)[counting.parts[0]](), network))
        cut = pruning.prune(network, counted.plan, first, result.masks.get("inactive", {}))
        cut.save(prune or counting.prune, counting.prune.suffix)
        tables.append(call_table.pruning(cut.rows, cut.notes))
    return Outcome(
        tables,
        3 if wrong else 0,
        {"--junit": ci.junit_of_layers(result.layers, wrong)},
        [f"{layer}: {why}" for layer, why in wrong.items()],
        [ci.annotation("relubench deadcount", f"{layer}: {why}") for layer, why in wrong.items()],
        ci.summary(tables, "dead units"),
        lambda: page.Study(
            calls=result.rows, tables=tables, title=f"Units of {result.total.model}"
        ),
    )


@dataclass(frozen=True)
class _Subject:
    """A network, its weights and its data.

    cell     what decides data, and the network where it is relubench's
    name     of the network, as it was given
    weights  None: as it begins
    trained  whether the cell is a run of the ledger
    """

    cell: Cell
    name: str
    machine: Machine
    weights: Weights | None
    asked: Asked
    about: About
    trained: bool = False

    def weighed(self, file: str) -> _Subject:
        """The same with other weights."""
        return replace(self, weights=opening.weights_of(self.name, file))

    def counted(self, counting: Counting, console: Console) -> tuple[nn.Module, DeadCount, Counted]:
        """The network, and what was counted in it."""
        network, notes = self.network()
        for note in notes:
            console.note(note)
        parts = self.parts(counting, console)
        counted, result = audited(
            network, parts, self.asked, self.about, counting.proof, counting.ablate
        )
        return network, result, counted

    def network(self) -> tuple[nn.Module, list[str]]:
        """The network with its weights, on the device, and notes on how they were read."""
        shape, outputs = self._sizes()
        if opening.is_other(self.name) and not self.trained:
            asking = Asking(self.name, self.cell.activation, shape, outputs, self.cell.seed)
            network, notes = opening.opened(asking, self.weights)
        else:
            network = building.build(self.cell, tuple(shape or ()), self.machine)
            notes = load_own(network, self.weights) if self.weights else []
        check_ready(network)
        return network.to(self.machine.device), notes

    def _sizes(self) -> tuple[Sequence[int] | None, int | None]:
        """The shape of an example and how many outputs there are; None: not known."""
        if self.cell.dataset.startswith(OWN_DATA):
            first = next(iter(own_batches(self.cell.dataset.removeprefix(OWN_DATA), "train")), None)
            return _shape_of(first), None
        data = examples.tensors(self.cell, self.machine)
        dataset = datasets.load(self.cell.dataset, self.machine.data_dir)
        return tuple(data.x_train.shape[1:]), dataset.outputs

    def parts(self, counting: Counting, console: Console) -> dict[str, Part]:
        """The batches by part of the data."""
        return {part: partial(self._part, part, console) for part in counting.parts}

    def _part(self, part: str, console: Console) -> Iterable[Any]:
        if self.cell.dataset.startswith(OWN_DATA):
            own = own_batches(self.cell.dataset.removeprefix(OWN_DATA), part)
            return console.steps(own, _length(own))
        data = examples.tensors(self.cell, self.machine)
        x, y = (data.x_train, data.y_train) if part == "train" else (data.x_test, data.y_test)
        pairs = list(zip(x.split(BATCH), y.split(BATCH), strict=True))
        return console.steps(pairs, len(pairs))


OWN_DATA = "own data: "  # how a cell's dataset begins where it is a user's batches


def _subject(request: Request, counting: Counting, console: Console) -> _Subject:
    """What is asked for; raises BadValue where that is not one network with one set of weights."""
    names = _names(request.flags.get("model"))
    if len(names) > 1:
        raise BadValue(f"deadcount of weights takes one network, got {', '.join(names)}")
    # A network that nothing here trains is in no catalogue: settings are read without it.
    others = {key: value for key, value in request.flags.items() if key != "model"}
    if names and (counting.from_ledger or not opening.is_other(names[0])):
        others["model"] = names
    settings = read(replace(request, flags=others), console)
    if counting.run is not None:
        cell = _run(request, counting)
    else:
        cell = _one_cell(config.plan(settings, "deadcount", request.quick, MODELS).cells)
    trained = counting.run is not None or counting.from_ledger
    if counting.data is not None and not trained and not (names and opening.is_other(names[0])):
        raise BadValue("--data is for a network of your own: name it with -m ./net.py:Net")
    file = counting.weights
    if trained and file is None:
        file = str(execution.kept_weights.of_run(_ledger(request), cell))
    name = names[0] if names else cell.model
    if counting.data is not None:
        if "dataset" in others:
            raise BadValue("-d and --data both name data: give one of them")
        cell = replace(cell, dataset=f"{OWN_DATA}{counting.data}")
    given = None if file in (None, "none") else file
    machine = Machine(
        data_dir=str((request.data_dir or execution.machines.data_dir()).absolute()),
        device=execution.machines.device(settings.device, console),
        threads=settings.threads or execution.machines.threads(),
        dtype=settings.precision,
    )
    weights = opening.weights_of(name, given)
    data = counting.data or cell.dataset
    about = About(name, data, weights=weights.file if weights else "as it begins")
    limit = settings.limit if counting.data else None
    return _Subject(cell, name, machine, weights, counting.asked(limit), about, trained)


def _names(given: Any) -> list[str]:
    lists = [given] if isinstance(given, str) else given or []
    names = ",".join(lists).split(",")
    return [name.strip() for name in names if name.strip()]


def _one_cell(cells: Sequence[Cell]) -> Cell:
    if len(cells) > 1:
        raise BadValue(
            f"deadcount of weights counts in one network on one dataset, and these flags name "
            f"{len(cells)}: give one of each"
        )
    return cells[0]


def _run(request: Request, counting: Counting) -> Cell:
    if counting.from_ledger:
        raise BadValue("--run names a run by its key, --from-ledger by its flags: give one of them")
    assert counting.run is not None
    return run_of(_ledger(request), counting.run).cell


def _ledger(request: Request) -> Path:
    if request.ledger is None:
        raise BadValue("--run and --from-ledger name a run of the ledger: leave --no-ledger out")
    return request.ledger


def load_own(network: nn.Module, weights: Weights) -> list[str]:
    """Give a network the weights that train --save kept, under its author's own names."""
    own = network.state_dict()
    state = {}
    for key, tensor in weights.state.items():
        # Swapped networks stand one level deeper than in their author's state dict.
        state[key if key in own or f"network.{key}" not in own else f"network.{key}"] = tensor
    return load(network, replace(weights, state=state))


def own_batches(name: str, part: str) -> Any:
    """A user's batches: an iterable, or a function that gives one, for 'train' or 'test'."""
    where, _, attribute = name.rpartition(":")
    thing = user_code.load(where, attribute).thing if where else None
    if thing is None:
        raise BadValue(f"--data {name}: give ./file.py:NAME or package.module:NAME")
    # A loader is called by iterating over it, whatever else it can do.
    if callable(thing) and not hasattr(thing, "__iter__"):
        takes = bool(inspect.signature(thing).parameters)
        if part == "test" and not takes:
            raise BadValue(f"--data {name} takes no part: let it take 'train' or 'test'")
        thing = thing(part) if takes else thing()
    if not hasattr(thing, "__iter__"):
        raise BadValue(f"--data {name} is of type {type(thing).__name__}, and no batches")
    return thing


def _length(batches: Any) -> int | None:
    """How many batches there are; a loader of a stream has a length that raises."""
    try:
        return len(batches)
    except TypeError:
        return None


def _shape_of(first: Any) -> Sequence[int] | None:
    """The shape of an example of the first batch, where that is one tensor."""
    if first is None:
        raise BadValue("--data: it gives no batch")
    x = first[0] if isinstance(first, list | tuple) else first
    return tuple(x.shape[1:]) if hasattr(x, "shape") else None
