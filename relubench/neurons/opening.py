"""Networks by name, as they are: nothing in them is swapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from relubench import libraries
from relubench.activations import ACTIVATIONS
from relubench.errors import BadValue, RelubenchError, Terminated, UnknownName
from relubench.libraries import TIMM, TRANSFORMERS, UNTRAINED
from relubench.models import MODELS, vision
from relubench.models.layers import Act, drawing_from
from relubench.models.user_defined import UserModel
from relubench.neurons.weights import Weights, load, of_torchvision, read
from relubench.user_code import UserCodeError, brief

TORCHVISION = "torchvision."


@dataclass(frozen=True)
class Asking:
    """What a network is asked to be.

    shape    of an example, without the batch; None: not known
    outputs  classes of the data; None: not known
    seed     of its initial weights, where no file has them
    """

    name: str
    activation: str = "relu"
    shape: Sequence[int] | None = None
    outputs: int | None = None
    seed: int = 0


def weights_of(name: str, given: str | None) -> Weights | None:
    """The weights that are meant: a file's, or torchvision's own by name."""
    if given is None:
        return None
    named = name.startswith(TORCHVISION) and not Path(given).exists() and given.isidentifier()
    return of_torchvision(name, given) if named else read(Path(given))


def opened(asking: Asking, weights: Weights | None) -> tuple[nn.Module, list[str]]:
    """The network with its weights, and notes on how they were read.

    Raises BadValue, DataError or UserCodeError in one line where that cannot be.
    """
    network = _drawn(asking, weights)
    if weights is None:
        return network, []
    # Built a second time where the file has other classes or channels than the data say.
    outputs, channels = weights.fitting(network)
    if outputs or channels:
        shape = asking.shape
        if channels and shape and len(shape) == 3:
            shape = (channels, *shape[1:])
        fitted = replace(asking, outputs=outputs or asking.outputs, shape=shape)
        network = _drawn(fitted, weights)
    return network, load(network, weights)


def _drawn(asking: Asking, weights: Weights | None) -> nn.Module:
    with drawing_from(torch.Generator().manual_seed(asking.seed)):
        network = _built(asking, weights)
    # As it was before torch.compile, which shows no calls.
    plain: nn.Module = getattr(network, "_orig_mod", network)
    return plain


def _built(asking: Asking, weights: Weights | None) -> nn.Module:
    if asking.name.startswith(TIMM):
        return _of_timm(asking)
    if asking.name.startswith(TRANSFORMERS):
        return _of_transformers(asking, weights)
    if asking.name.startswith(TORCHVISION):
        return _of_torchvision(asking)
    # What is relubench's own is built elsewhere: `is_other` was asked before.
    return _own(asking)


def is_other(name: str) -> bool:
    """Whether a network is somebody else's, so that `opened` can open it."""
    if name.startswith((*UNTRAINED, TORCHVISION)):
        return True
    return isinstance(MODELS.choose(name).entry, UserModel)


# --- each library's -------------------------------------------------------------------------------


def _of_timm(asking: Asking) -> nn.Module:
    timm = libraries.optional("timm", "timm", "pip install 'relubench[timm]'")
    name = asking.name.removeprefix(TIMM)
    if not timm.is_model(name):
        raise UnknownName("timm model", name, timm.list_models(), listed=False)
    given: dict[str, Any] = {}
    if asking.outputs:
        given["num_classes"] = asking.outputs
    if asking.shape and len(asking.shape) == 3:
        given["in_chans"] = asking.shape[0]
    network: nn.Module = timm.create_model(name, pretrained=False, **given)
    return network


def _of_transformers(asking: Asking, weights: Weights | None) -> nn.Module:
    """The network of a folder, as transformers saves it; nothing of it is fetched, or run."""
    library = libraries.optional("transformers", "transformers", "pip install 'relubench[hf]'")
    folder = Path(asking.name.removeprefix(TRANSFORMERS))
    if not (folder / "config.json").is_file():
        raise BadValue(f"{asking.name}: {folder} holds no config.json: give a saved model's folder")
    config = library.AutoConfig.from_pretrained(folder, local_files_only=True)
    # The class that saved it, such as BertForSequenceClassification; else the bare model.
    kind = next(iter(config.architectures or []), "")
    made = getattr(library, kind, None) or library.AutoModel
    if weights is None and any(folder.glob("*.safetensors")):
        network: nn.Module = made.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
        return network
    built = made(config) if hasattr(library, kind) else made.from_config(config)
    return built if isinstance(built, nn.Module) else made.from_config(config)


def _of_torchvision(asking: Asking) -> nn.Module:
    vision.check(asking.name)
    return vision.plain(asking.name, asking.shape or (3, 224, 224), asking.outputs or 1000)


def _own(asking: Asking) -> nn.Module:
    """A class, a factory or a ready network, with as many arguments as it needs."""
    choice = MODELS.choose(asking.name)
    entry = choice.entry
    assert isinstance(entry, UserModel)
    source = entry.source
    assert source is not None
    outputs = asking.outputs
    if source.count > 0 and asking.shape is None:
        raise BadValue(f"{asking.name} needs an input shape, which no data tell: give -d or --data")
    if source.count > 1 and outputs is None:
        raise BadValue(f"{asking.name} needs a number of classes, which no data tell: give -d")
    act = partial(Act, ACTIVATIONS.choose(asking.activation))
    given = (tuple(asking.shape or ()), outputs, act)[: source.count]
    try:
        made = source.make(*given, **choice.given)
    except (KeyboardInterrupt, Terminated, RelubenchError):
        raise
    except BaseException as error:
        raise UserCodeError(f"{asking.name} cannot be built: {brief(error)}") from error
    if not isinstance(made, nn.Module):
        raise UserCodeError(f"{asking.name} gives {type(made).__name__}: a model is an nn.Module")
    return made
