"""Another's network with its activations swapped.

The network is traced (torch.fx). Every call of an activation, by module or by function, becomes an
Act of its own, so that a module called twice is two layers of units. Gates that end at 0 and 1
(sigmoid, hard sigmoid, softmax) stay: they weigh channels and positions and are no hidden units. So
does what no example reaches, such as a network that makes position biases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.errors import BadValue
from relubench.layers import WEIGHTED, Act, Dropout, pieces
from relubench.own_code import brief

# Lower-case names of torch's modules and functions, without _.
SWAPPED = {"relu", "relu6", "leakyrelu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu"}
SWAPPED |= {"mish", "hardswish", "softplus", "tanh"}
DROPPED = {"dropout": 0, "dropout1d": 2, "dropout2d": 2, "dropout3d": 2, "stochasticdepth": 1}


class Shapes(fx.Interpreter):
    """Runs a traced network and notes the shape of every tensor."""

    def run_node(self, node: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(node)
        if isinstance(value, Tensor):
            node.meta["shape"] = value.shape
        return value


def swapped(
    name: str, network: nn.Module, shape: Sequence[int], activation: Choice[Activation]
) -> fx.GraphModule:
    """The network for examples of `shape` with every activation an Act, its dropout ours.

    Weights are the network's own. Raises BadValue where activations cannot be told from the rest.
    """
    if pieces(activation) != 1 or activation.entry.outputs != 1:
        raise BadValue(
            f"{activation} does not give one output per pre-activation, and the layers of {name} "
            "have one width for both: use one of the listed models (relubench list models)"
        )
    try:
        graph = fx.Tracer().trace(network)
    except Exception as error:
        raise BadValue(
            f"{name} cannot be traced, so that its activations cannot be swapped: {brief(error)}"
        ) from error
    acting, dropping = _places(name, network, graph)
    _run(name, network, graph, shape)
    for node in acting:
        _swap(network, graph, node, activation)
    for node, share, whole in dropping:
        _drop(network, graph, node, Dropout(share, whole) if share else None)
    return fx.GraphModule(network, graph)  # its modules stand in the order of their calls


def _places(
    name: str, network: nn.Module, graph: fx.Graph
) -> tuple[list[fx.Node], list[tuple[fx.Node, float, int]]]:
    """Where activations and dropouts are called, the latter with share and what goes at once."""
    reached: set[fx.Node] = set()  # by an example
    acting, dropping = [], []
    for node in graph.nodes:
        if node.op != "placeholder" and not reached.intersection(node.all_input_nodes):
            continue
        reached.add(node)
        called = _called(network, node)
        if called in SWAPPED:
            acting.append(node)
        elif called in DROPPED:
            dropping.append((node, _share(network, node), DROPPED[called]))
        elif node.op == "call_module":
            _check_open(name, network.get_submodule(str(node.target)))
    if not acting:
        known = ", ".join(sorted(SWAPPED))
        raise BadValue(f"{name} has no activation that could be swapped: known: {known}")
    return acting, dropping


def _check_open(name: str, layer: nn.Module) -> None:
    """Refuse a layer of torch that applies an activation out of sight."""
    for module in layer.modules():
        if hasattr(module, "activation") or hasattr(module, "nonlinearity"):
            raise BadValue(
                f"{name}: the activation in {type(module).__name__} cannot be swapped: write a "
                "factory (input_shape, classes, activation)"
            )


def _share(network: nn.Module, node: fx.Node) -> float:
    share: Any = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
    if node.op == "call_module":
        share = network.get_submodule(str(node.target)).p
    return float(share)


def _run(name: str, network: nn.Module, graph: fx.Graph, shape: Sequence[int]) -> None:
    """Note the shape of every tensor, without a trace in the network."""
    try:
        with torch.no_grad():
            Shapes(network.eval(), graph=graph).run(torch.zeros(2, *shape))
    except Exception as error:
        size = "x".join(map(str, shape))
        raise BadValue(f"{name} cannot take examples of {size}: {brief(error)}") from error
    network.train()


def _called(network: nn.Module, node: fx.Node) -> str:
    """The lower-case name of what torch's module or function a node calls, without _."""
    name = ""
    if node.op == "call_module":
        name = type(network.get_submodule(str(node.target))).__name__
    elif node.op in ("call_function", "call_method"):
        name = getattr(node.target, "__name__", str(node.target))
    return name.lower().replace("_", "")


def _swap(
    network: nn.Module, graph: fx.Graph, node: fx.Node, activation: Choice[Activation]
) -> None:
    """Put an Act in the node's place; units in the last dimension are moved to dimension 1."""
    taken = node.all_input_nodes[0]
    last = _units_last(network, taken)
    act = Act(activation, node.meta["shape"][-1 if last else 1])
    with graph.inserting_before(node):
        inner = graph.call_function(torch.movedim, (taken, -1, 1)) if last else taken
        value = graph.call_module(_place(network, node, act), (inner,))
        if last:
            value = graph.call_function(torch.movedim, (value, 1, -1))
    node.replace_all_uses_with(value)
    graph.erase_node(node)


def _units_last(network: nn.Module, node: fx.Node) -> bool:
    """Whether the units are in the last dimension: those of the nearest dense layer are."""
    while node.all_input_nodes:
        if node.op == "call_module":
            layer = network.get_submodule(str(node.target))
            if isinstance(layer, WEIGHTED):
                return isinstance(layer, nn.Linear)
        node = node.all_input_nodes[0]
    return False


def _drop(network: nn.Module, graph: fx.Graph, node: fx.Node, ours: Dropout | None) -> None:
    """Put a dropout that draws from the cell's stream in the node's place, or nothing."""
    value = node.all_input_nodes[0]
    if ours:
        with graph.inserting_before(node):
            value = graph.call_module(_place(network, node, ours), (value,))
    node.replace_all_uses_with(value)
    graph.erase_node(node)


def _place(network: nn.Module, node: fx.Node, module: nn.Module) -> str:
    """Put a module where the node's own is, or else beside it, under the first free name."""
    if node.op == "call_module":
        path = str(node.target)
    else:
        owner = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()][-1:]
        path = ".".join([*filter(None, owner), _called(network, node)])
    parent, _, name = path.rpartition(".")
    home = network.get_submodule(parent)
    if node.op == "call_module" and not isinstance(getattr(home, name), type(module)):
        setattr(home, name, module)
        return path
    number = 2 if hasattr(home, name) else 1
    while hasattr(home, f"{name}_{number}"):
        number += 1
    free = f"{name}_{number}" if number > 1 else name
    home.add_module(free, module)
    return f"{parent}.{free}".lstrip(".")
