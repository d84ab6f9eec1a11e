"""Weights from a file, read safely: numbers alone, whatever wraps them, by the network's names."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from relubench import libraries
from relubench.errors import BadValue
from relubench.user_code import brief
from relubench.wording import counted

State = dict[str, Tensor]
# What a file may wrap weights in; an average of them comes last.
WRAPPINGS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "weights", "params"),
    *("model_ema", "state_dict_ema", "ema_state_dict", "ema"),
)
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema_model.", "ema.")
UNWEIGHED = ("num_batches_tracked",)  # counts of batches, which nothing in evaluation takes
MOST = 8  # keys that a refusal names


@dataclass(frozen=True)
class Weights:
    """What a file holds, by name, and what was done to get at it."""

    file: str
    state: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()

    def fitting(self, network: nn.Module) -> tuple[int | None, int | None]:
        """The classes and the channels of images that the file has, where the network has others.

        They are read from a matrix whose rows, and from a kernel whose inputs, are others.
        """
        own = network.state_dict()
        given, _ = _renamed(self, own)
        pairs = [(given[key].shape, own[key].shape) for key in own if key in given]
        # A classifier's matrix differs in its rows alone, a first kernel in its inputs alone.
        other = [(one, mine) for one, mine in pairs if len(one) == len(mine) and one != mine]
        rows = [one[0] for one, mine in other if len(one) == 2 and one[1:] == mine[1:]]
        inputs = [one[1] for one, mine in other if len(one) == 4 and one[:1] == mine[:1]]
        return (rows[0] if len(rows) == 1 else None), (inputs[0] if len(inputs) == 1 else None)


def read(path: Path) -> Weights:
    """The weights of a file: a state dict of torch's, or safetensors, whatever wraps it.

    Nothing in it is run. Raises BadValue where it is no such file.
    """
    if not path.is_file():
        raise BadValue(f"--weights {path}: there is no such file")
    held = _safetensors(path) if _is_safetensors(path) else _pickled(path)
    state, inside = unwrapped(held, path)
    notes = [f"{path}: weights taken from {'.'.join(inside)!r}"] if inside else []
    return Weights(str(path), state, tuple(notes))


def _is_safetensors(path: Path) -> bool:
    """By its suffix, or since a header of JSON follows eight bytes of its length."""
    with path.open("rb") as file:
        return path.suffix == ".safetensors" or file.read(9)[8:] == b"{"


def _safetensors(path: Path) -> State:
    module = libraries.optional("safetensors.torch", "safetensors", "pip install safetensors")
    try:
        state: State = module.load_file(path)
    except Exception as error:  # of its Rust code, a class of its own
        raise BadValue(f"--weights {path}: no whole safetensors file ({brief(error)})") from error
    return state


def _pickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch says both in one class of error: a pickle that is refused, and one that is broken.
        if "weights_only" not in str(error) and "Unsupported" not in str(error):
            raise BadValue(_broken(path, error)) from error
        raise BadValue(
            f"--weights {path}: it holds more than numbers, and reading that would run code of "
            f"its author ({_wanted(error)}): keep weights alone, with "
            "torch.save(model.state_dict(), FILE), or as safetensors"
        ) from error
    except Exception as error:  # of zip files, of ends, of what is no pickle
        raise BadValue(_broken(path, error)) from error


def _broken(path: Path, error: Exception) -> str:
    return (
        f"--weights {path}: it is cut short, or no file of weights ({brief(error)}): give a state "
        "dict (torch.save) or safetensors"
    )


def _wanted(error: Exception) -> str:
    """What a pickle asks for, from what torch says."""
    for line in str(error).splitlines():
        if "Unsupported operand " in line:
            return "or it is no file of weights at all"
        for mark in ("GLOBAL ", "Unsupported class "):
            if mark in line:
                return "it asks for " + line.partition(mark)[2].split(" ")[0]
    return "a pickle of objects"


def unwrapped(held: Any, path: Path) -> tuple[State, list[str]]:
    """The tensors by name, and the keys that were gone through to find them.

    Raises BadValue where there are none.
    """
    inside: list[str] = []
    while isinstance(held, Mapping):
        state = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
        key = next((key for key in WRAPPINGS if isinstance(held.get(key), Mapping)), None)
        # Several tensors by name are weights already: a key such as `model` may be one of them.
        if key is None or len(state) > 1:
            break
        inside.append(key)
        held = held[key]
    else:
        raise BadValue(f"--weights {path}: it holds {type(held).__name__}, and no state dict")
    if not state:
        keys = ", ".join(map(str, list(held)[:MOST])) or "nothing"
        raise BadValue(f"--weights {path}: it holds no tensors by name, but {keys}")
    return state, inside


def load(network: nn.Module, weights: Weights) -> list[str]:
    """Give a network these weights; what was done to the names. Raises BadValue if they differ."""
    own = network.state_dict()
    renamed, notes = _renamed(weights, own)
    missing = [key for key in own if key not in renamed and not key.endswith(UNWEIGHED)]
    other = [key for key in own if key in renamed and renamed[key].shape != own[key].shape]
    if missing or other:
        raise BadValue(_mismatch(network, weights.file, own, renamed, missing, other))
    further = [key for key in renamed if key not in own]
    if further:
        notes.append(f"{weights.file}: {_listed(further, renamed)} not of this network, left out")
    # Not strict, since counts of batches may be missing; everything else was checked above.
    network.load_state_dict({key: renamed[key] for key in own if key in renamed}, strict=False)
    return [*weights.notes, *notes]


def _renamed(weights: Weights, own: Mapping[str, Tensor]) -> tuple[State, list[str]]:
    """The weights without prefixes that wrappers put before their names, if that fits better."""
    state, stripped = dict(weights.state), []
    # One after the other: DataParallel around a compiled model puts two in front.
    while prefix := _prefix(state, own):
        state = _without(state, prefix)
        stripped.append(prefix)
    if not stripped:
        return state, []
    return state, [f"{weights.file}: {', '.join(map(repr, stripped))} left off the names"]


def _prefix(state: State, own: Mapping[str, Tensor]) -> str:
    """The prefix without which most names are the network's; "" where it is better to stay."""
    known = {prefix: _known(_without(state, prefix), own) for prefix in PREFIXES}
    best = max(known, key=lambda prefix: known[prefix])
    # Strictly more names: a prefix that only fits as well is the network's own.
    if known[best] > _known(state, own):
        return best
    return _nested(state, own)


def _without(state: State, prefix: str) -> State:
    """Without a prefix; names that lack it stay as they are."""
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()}


def _known(state: State, own: Mapping[str, Tensor]) -> int:
    return sum(key in own for key in state)


def _nested(state: State, own: Mapping[str, Tensor]) -> str:
    """A prefix of all names behind which others may stand, where no name fits yet."""
    if _known(state, own):
        return ""
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            return prefix
    return ""


def _mismatch(
    network: nn.Module,
    file: str,
    own: Mapping[str, Tensor],
    given: State,
    missing: list[str],
    other: list[str],
) -> str:
    """What differs, with shapes."""
    further = [key for key in given if key not in own]
    parts = [f"--weights {file} does not fit {type(network).__name__}"]
    if other:
        pairs = [f"{key} {_size(given[key])}, not {_size(own[key])}" for key in other[:MOST]]
        parts.append(f"of another shape: {'; '.join(pairs)}{_more(other)}")
    if missing:
        parts.append(f"not in the file: {_listed(missing, own)}")
    if further:
        parts.append(f"only in the file: {_listed(further, given)}")
    return "; ".join(parts)


def _listed(keys: list[str], state: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{key} {_size(state[key])}" for key in keys[:MOST]) + _more(keys)


def _more(keys: list[str]) -> str:
    return f" and {counted(len(keys) - MOST, 'more')}" if len(keys) > MOST else ""


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "number"


# --- weights of torchvision's own -----------------------------------------------------------------


def of_torchvision(network: str, name: str) -> Weights:
    """torchvision's own weights, where an earlier download has left them in torch's cache.

    Raises BadValue where torchvision has none of this name, or the file is not there.
    """
    models = libraries.torchvision("torchvision.models")
    known = models.get_model_weights(network.removeprefix("torchvision."))
    names = [each.name for each in known] + ["DEFAULT"]
    if name not in names:
        raise BadValue(f"--weights {name}: no file, and {network} has {', '.join(names)}")
    entry = known[name]
    path = Path(torch.hub.get_dir(), "checkpoints", entry.url.rpartition("/")[2])
    if not path.is_file():
        raise BadValue(f"--weights {name}: {path} is not there; download {entry.url} to it")
    return replace(read(path), file=f"{network}:{entry.name}")
