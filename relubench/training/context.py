"""What decides a run's numbers besides its cell, so that a ledger finds it: without torch."""

from __future__ import annotations

from relubench import datasets, libraries
from relubench.activations import ACTIVATIONS
from relubench.models import MODELS
from relubench.plan import Cell, Machine
from relubench.results import ENGINE, Context


def context(cell: Cell, machine: Machine) -> Context:
    """Everything besides the cell that decides its numbers on this machine."""
    return Context(
        engine=ENGINE,
        torch=libraries.torch_build().version,
        # Without the number: cuda:0 and cuda:1 of one machine are the same kind of device.
        device=machine.device.split(":")[0],
        threads=machine.threads,
        dtype=machine.dtype,
        data=datasets.facts(cell.dataset, machine.data_dir).digest,
        code=code(cell, machine),
    )


def code(cell: Cell, machine: Machine) -> str:
    """The digests of the code and weights of an activation and a model that are a user's."""
    activation = ACTIVATIONS.choose(cell.activation).entry
    model = MODELS.choose(cell.model)
    # Empty for what is relubench's: that is told apart by `engine` alone.
    digests = [activation.sha256, model.entry.code]
    # Weights that the code loads decide numbers, too, unless they are drawn anew anyway.
    if model.entry.code and not cell.fresh:
        facts = datasets.facts(cell.dataset, machine.data_dir)
        pca = cell.preparation.pca
        shape = (pca,) if pca else facts.shape
        digests.append(model.entry.loaded(shape, facts.outputs, model.parameters))
    return " ".join(filter(None, digests))
