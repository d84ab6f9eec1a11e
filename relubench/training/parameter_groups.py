"""An optimizer's parameter groups: what is decayed, at which rate, and what is a hidden matrix."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor, nn

from relubench.models.layers import ParameterGroup
from relubench.models.layers import parameter_groups as by_decay
from relubench.plan import Recipe
from relubench.training.networks import Networks
from relubench.training.optimizers import OPTIMIZERS, TAKING_MATRICES
from relubench.training.step_groups import StepGroups


def matrices(network: nn.Module) -> list[str]:
    """The names of a network's weights, in its order: neither biases nor scales nor slopes."""
    named = network.named_parameters()
    return [name for name, each in named if each.ndim > 1 and ".learned." not in name]


def hidden_matrices(network: nn.Module) -> list[str]:
    """The dense weights between the first layer and the last: what Muon is made for."""
    between = matrices(network)[1:-1]
    return [name for name in between if network.get_parameter(name).ndim == 2]


def taken_whole(network: nn.Module, recipe: Recipe) -> list[str]:
    """The parameters that the recipe's optimizer takes as matrices, not number by number."""
    name = OPTIMIZERS.choose(recipe.optimizer).entry.name
    return hidden_matrices(network) if name in TAKING_MATRICES else []


def parameter_groups(
    step_groups: StepGroups, networks: Networks, recipe: Recipe, rates: Sequence[Tensor]
) -> list[ParameterGroup]:
    """The groups of a pass; with rates that change, each step group has its own.

    rates  a rate for each step group; none: the recipe's
    """
    if not rates:
        return _groups(step_groups.parameters, step_groups, networks, recipe)
    groups = []
    for parameters, rate in zip(step_groups.by_group, rates, strict=True):
        for group in _groups(parameters, step_groups, networks, recipe):
            groups.append(group | {"lr": rate})
    return groups


def _groups(
    parameters: Mapping[str, Tensor], step_groups: StepGroups, networks: Networks, recipe: Recipe
) -> list[ParameterGroup]:
    network = networks.modules[0]
    hidden = _named(parameters, step_groups, taken_whole(network, recipe))
    rest = {key: tensor for key, tensor in parameters.items() if key not in hidden}
    kept: dict[str, Tensor] = {}
    if OPTIMIZERS.choose(recipe.optimizer).parameters.get("decay") == "matrices":
        decayed = _named(rest, step_groups, matrices(network))
        kept = {key: tensor for key, tensor in rest.items() if key not in decayed}
        rest = decayed
    groups = by_decay(rest, recipe.weight_decay)
    if kept:
        groups.append({"params": [*kept.values()], "weight_decay": 0.0})
    if hidden:
        decay = recipe.weight_decay
        groups.append({"params": [*hidden.values()], "weight_decay": decay, "hidden": True})
    return groups


def _named(
    parameters: Mapping[str, Tensor], step_groups: StepGroups, names: Collection[str]
) -> dict[str, Tensor]:
    """Those parameters that have one of these names in the network."""
    return {key: each for key, each in parameters.items() if step_groups.names[key] in names}
