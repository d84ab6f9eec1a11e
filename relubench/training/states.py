"""The whole state of an unfinished training: taken, checked, and gone on from."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from relubench.results import Epoch, LayerHistory, TaskResult
from relubench.training import tracking
from relubench.training.best_epoch import BestEpoch
from relubench.training.networks import Networks
from relubench.training.tracking import Tracker

LARGEST_REST = 2**28  # bytes that a state may have besides its tensors
KEYS = {"tensors", "optimizer", "streams", "curves"}
Saved = Any  # out of a file, which may hold anything: nothing of it is used before it is checked
OptimizerState = dict[int, dict[str, object]]  # by a tensor's number, and torch's name of each part


class Damaged(Exception):
    """A file that holds no state of this training; the message says why."""


@dataclass(frozen=True, eq=False)
class State:
    """All that a training goes on from at the end of an epoch.

    curves  of each cell; a diverged one has ended
    epochs  that the training has in all
    tasks   of each cell's sequence, those that it has learned; None: it has no sequence
    tracker  of the histories of hidden units; None: there are none
    best     the weights of each cell's best epoch; None: the last ones count
    """

    networks: Networks
    optimizer: torch.optim.Optimizer
    streams: Sequence[torch.Generator]
    curves: list[list[Epoch]]
    epochs: int
    tasks: list[list[TaskResult]] | None = None
    tracker: Tracker | None = None
    best: BestEpoch | None = None

    def save(self) -> dict[str, object]:
        """The state as torch.load(weights_only=True) reads it back."""
        tensors = self.networks.tensors
        more: dict[str, object] = {"histories": self.tracker.save()} if self.tracker else {}
        if self.tasks is not None:
            more["tasks"] = [list(map(vars, tasks)) for tasks in self.tasks]
        if self.best:
            more["best"] = self.best.tensors
        return more | {
            "tensors": {name: tensor.detach() for name, tensor in tensors.items()},
            "optimizer": self.optimizer.state_dict(),
            "streams": [stream.get_state() for stream in self.streams],
            # As plain dicts: weights_only=True reads no class of ours.
            "curves": [list(map(vars, curve)) for curve in self.curves],
        }

    @property
    def sound(self) -> bool:
        """Whether it is worth keeping: some cell has not diverged, none that goes on is about to.

        One whose weights are no longer finite diverges in the next epoch.
        """
        going = _going(self.curves)
        if not going or not _finite(self.networks, self.networks.parameters, going):
            return False
        # What the optimizer keeps of a diverged cell is no number, and does no harm.
        some_diverged = len(going) < len(self.curves)
        return some_diverged or _has_no_nan(self.optimizer.state_dict()["state"])

    @property
    def largest_file(self) -> int:
        """Bytes that a file of this state has at most: tensors, and an optimizer's of them."""
        sizes = [tensor.nbytes for tensor in self.networks.tensors.values()]
        # Adam keeps two tensors of a parameter's size, RMSprop at most three: 16 is ample.
        return LARGEST_REST + 16 * sum(sizes)

    def restore(self, saved: Mapping[str, Saved]) -> None:
        """Take over what was saved; raises Damaged, with nothing changed, where it does not fit."""
        # All checks come first: a state that is taken over in part would be worse than none.
        curves = self._checked_curves(saved)
        learned = self._checked_tasks(saved)
        histories = self._checked_histories(saved)
        best = self._checked_best(saved)
        with torch.no_grad():
            for name, tensor in self.networks.tensors.items():
                tensor.copy_(saved["tensors"][name])
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate  # the very tensor, where it changes from step to step
        for stream, saved_state in zip(self.streams, saved["streams"], strict=True):
            stream.set_state(saved_state)
        for curve, epochs in zip(self.curves, curves, strict=True):
            curve[:] = epochs
        for tasks, of_cell in zip(self.tasks or (), learned, strict=True):
            tasks[:] = of_cell
        if self.tracker:
            self.tracker.restore(histories)
        if self.best:
            self.best.tensors = best

    def _checked_tasks(self, saved: Mapping[str, Saved]) -> list[list[TaskResult]]:
        """The tasks that each cell has learned."""
        if self.tasks is None:
            return []
        learned = saved.get("tasks")
        if not isinstance(learned, list) or len(learned) != len(self.tasks):
            raise Damaged("it has not the tasks of each run")
        try:
            return list(map(_tasks, learned))
        except TypeError as error:
            raise Damaged("a task of it is none") from error

    def _checked_histories(self, saved: Mapping[str, Saved]) -> list[tuple[LayerHistory, ...]]:
        if self.tracker is None:
            return []
        try:
            return tracking.histories(saved.get("histories"), len(self.curves))
        except ValueError as error:
            raise Damaged(f"of the histories of its units {error}") from error

    def _checked_best(self, saved: Mapping[str, Saved]) -> dict[str, Tensor]:
        """The weights of each cell's best epoch, on the networks' device."""
        if self.best is None:
            return {}
        own = self.networks.tensors
        best: Saved = saved.get("best")
        if not _alike(best, own):
            raise Damaged("its best weights are not those of these networks")
        return {name: best[name].to(tensor.device) for name, tensor in own.items()}

    def _checked_curves(self, saved: Mapping[str, Saved]) -> list[list[Epoch]]:
        """The learning curves of a state that is one of this training."""
        if not saved.keys() >= KEYS:
            raise Damaged(f"it lacks {', '.join(sorted(KEYS - saved.keys()))}")
        curves = self._curves(saved["curves"])
        going = _going(curves)
        if not going:
            raise Damaged("all its runs have diverged")
        if not _alike(saved["tensors"], self.networks.tensors):
            raise Damaged("its tensors are not those of these networks")
        weights = {name: saved["tensors"][name] for name in self.networks.parameters}
        if not _finite(self.networks, weights, going):
            raise Damaged("its weights are not finite")
        self._check_streams(saved["streams"])
        self._check_optimizer(saved["optimizer"], len(going) == len(curves))
        return curves

    def _curves(self, saved: Saved) -> list[list[Epoch]]:
        """The learning curves; one of a run that goes on has as many epochs as any."""
        if not isinstance(saved, list) or len(saved) != len(self.curves):
            raise Damaged("it has not a learning curve for each run")
        curves = [_curve(epochs) for epochs in saved]
        finished = max(map(len, curves), default=0)
        whole = all(len(curve) == finished or _diverged(curve) for curve in curves)
        if not whole or not 1 <= finished <= self.epochs:
            raise Damaged("its learning curves are not as long as they can be")
        return curves

    def _check_streams(self, saved: Saved) -> None:
        if not _alike(saved, [stream.get_state() for stream in self.streams]):
            raise Damaged("its random streams are not those of these runs")
        try:
            for state in saved:
                # Tried on a generator of no use: those of the training must not
                # change before all is checked.
                torch.Generator().set_state(state)
        except RuntimeError as error:
            raise Damaged("a random stream of it is none") from error

    def _check_optimizer(self, saved: Saved, all_go_on: bool) -> None:
        """Refuse what this optimizer does not have after some step.

        It keeps nothing of what never has a gradient.
        """
        own = self.optimizer.state_dict()
        if not isinstance(saved, dict) or saved.keys() != own.keys():
            raise Damaged("its optimizer is none")
        # Rate, decay and the numbers of the parameters: load_state_dict would take over any.
        if not _same_settings(saved["param_groups"], own["param_groups"]):
            raise Damaged("its optimizer has other settings")
        states = saved["state"]
        stepped = self._stepped()
        if not isinstance(states, dict) or not states.keys() <= stepped.keys():
            raise Damaged("its optimizer is of other networks")
        if not all(_alike(states[number], stepped[number]) for number in states):
            raise Damaged("its optimizer is of other networks")
        # SGD counts no steps; a negative or infinite count would spoil Adam's bias correction.
        counts = [state["step"] for state in states.values() if "step" in state]
        if not all(0 <= float(count) < math.inf for count in counts):
            raise Damaged("its optimizer has not counted its steps")
        if all_go_on and not _has_no_nan(states):
            raise Damaged("its optimizer has no numbers")

    def _stepped(self) -> OptimizerState:
        """The optimizer's state after a step, by number; the networks do not change."""
        # Of what an optimizer keeps only a step tells: torch says nowhere which tensors those are.
        optimizer = copy.deepcopy(self.optimizer)
        for group in optimizer.param_groups:
            for tensor in group["params"]:
                tensor.grad = torch.zeros_like(tensor)
        optimizer.step()
        states: OptimizerState = optimizer.state_dict()["state"]
        return states


def checksum(state: object) -> str:
    """A digest of all that a state holds: tensors, numbers, words, lists and dicts of them."""
    digest = hashlib.sha256()
    _add(digest, state)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, part: object) -> None:
    if isinstance(part, Tensor):
        digest.update(f"{part.dtype} {list(part.shape)} ".encode())
        # Bytes, since NaN is not equal to itself and -0.0 is to 0.0.
        flat = part.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    elif isinstance(part, Mapping):
        digest.update(f"{len(part)} keys ".encode())
        for key in sorted(part, key=repr):  # by repr: numbers and words do not compare
            _add(digest, key)
            _add(digest, part[key])
    elif isinstance(part, list | tuple):
        digest.update(f"{len(part)} parts ".encode())
        for item in part:
            _add(digest, item)
    else:
        digest.update(f"{part!r} ".encode())


def _curve(saved: Saved) -> list[Epoch]:
    """A learning curve; raises Damaged where a figure cannot be one."""
    try:
        curve = [Epoch(**epoch) for epoch in saved]
    except TypeError as error:
        raise Damaged("a learning curve of it is none") from error
    ended_before = any(epoch.loss is None for epoch in curve[:-1])
    if ended_before or not all(map(_possible, curve)):
        raise Damaged("a learning curve of it has figures that cannot be")
    return curve


def _possible(epoch: Epoch) -> bool:
    for accuracy in (epoch.accuracy, epoch.held_out):
        if accuracy is None:
            continue
        # Not isinstance: a bool or a tensor of one number out of a file would pass for a float.
        if type(accuracy) is not float or not 0 <= accuracy <= 1:
            return False
    if epoch.loss is None:
        return epoch.accuracy is None
    return type(epoch.loss) is float and math.isfinite(epoch.loss)


def _diverged(curve: Sequence[Epoch]) -> bool:
    """Whether a cell with this learning curve has diverged."""
    return bool(curve) and curve[-1].loss is None


def _going(curves: Sequence[Sequence[Epoch]]) -> list[int]:
    """The numbers of the cells that have not diverged."""
    return [number for number, curve in enumerate(curves) if not _diverged(curve)]


def _alike(one: Saved, other: object) -> bool:
    """Whether both hold the same kinds of things in the same places, tensors of the same shapes."""
    if isinstance(other, Tensor):
        same = isinstance(one, Tensor) and one.layout == other.layout
        return same and one.shape == other.shape and one.dtype == other.dtype
    if isinstance(other, dict):
        same_keys = isinstance(one, dict) and one.keys() == other.keys()
        return same_keys and all(_alike(one[key], other[key]) for key in other)
    if isinstance(other, list):
        same_length = isinstance(one, list) and len(one) == len(other)
        return same_length and all(map(_alike, one, other))
    return type(one) is type(other)


def _finite(networks: Networks, weights: Mapping[str, Tensor], cells: Sequence[int]) -> bool:
    """Whether these cells' weights are; each (cells, …) where there are several networks."""
    for tensor in weights.values():
        of_cells = tensor[list(cells)] if networks.stacked else tensor
        if not torch.isfinite(of_cells).all():
            return False
    return True


def _same_settings(saved: Saved, own: Sequence[Mapping[str, object]]) -> bool:
    """Whether an optimizer's groups are the same, but for rates that change from step to step."""
    if not isinstance(saved, list) or not all(isinstance(group, dict) for group in saved):
        return False
    return list(map(_settled, saved)) == list(map(_settled, own))


def _tasks(saved: Sequence[Mapping[str, Any]]) -> list[TaskResult]:
    return [TaskResult(**task) for task in saved]


def _settled(group: Mapping[str, object]) -> dict[str, object]:
    """What does not change in a group; of what does, that it is a number in a tensor."""
    settled = dict(group)
    if isinstance(settled.get("lr"), Tensor):
        settled["lr"] = "changes"
    return settled


def _has_no_nan(states: OptimizerState) -> bool:
    """Whether an optimizer's tensors hold no NaN; squares of large gradients may be infinite."""
    for state in states.values():
        for part in state.values():
            if isinstance(part, Tensor) and part.isnan().any():
                return False
    return True
