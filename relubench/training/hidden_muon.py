"""torch's Muon for hidden dense weights and AdamW for all others, as one optimizer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from relubench.errors import BadValue
from relubench.training.uncompiled import uncompiled

if TYPE_CHECKING:
    from torch.optim import AdamW
    from torch.optim.optimizer import ParamsT
else:
    AdamW = uncompiled(torch.optim.AdamW)

ADJUSTMENTS = ("match_rms_adamw", "original", "spectral_unclamped")
# As torch.optim.Muon has them: Keller Jordan's coefficients.
FIXED = {"ns_coefficients": (3.4445, -4.775, 2.0315), "ns_steps": 5, "eps": 1e-7}


class MuonWithAdamW(AdamW):
    """Groups with `hidden` are stepped by Muon, the others by AdamW.

    A hidden tensor is a matrix, or (cells, outputs, inputs): each matrix steps by itself.
    """

    def __init__(
        self, groups: ParamsT, lr: float, weight_decay: float, settings: dict[str, Any]
    ) -> None:
        super().__init__(groups, lr, weight_decay=weight_decay, fused=True)
        self.defaults["muon"] = settings  # kept by a copy, where an attribute is not

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step of both."""
        groups = self.param_groups
        try:
            self.param_groups = [group for group in groups if not group.get("hidden")]
            super().step(closure)
        finally:
            self.param_groups = groups
        with torch.no_grad():
            for group in groups:
                if group.get("hidden"):
                    self._step_matrices(group)

    def _step_matrices(self, group: dict[str, Any]) -> None:
        muon = importlib.import_module("torch.optim._muon").muon
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                # A count too: AdamW asks every state for it when one is loaded.
                state["step"] = torch.zeros((), device=parameter.device)
                state["momentum_buffer"] = torch.zeros_like(parameter)
            state["step"].add_(1)
            muon(
                _matrices(parameter),
                _matrices(parameter.grad),
                _matrices(state["momentum_buffer"]),
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                has_complex=False,
                **self.defaults["muon"],
            )


def _matrices(tensor: Tensor) -> list[Tensor]:
    return [tensor] if tensor.ndim == 2 else list(tensor.unbind())


def made(
    groups: ParamsT, lr: float, weight_decay: float, momentum: float, nesterov: bool, adjust: str
) -> torch.optim.Optimizer:
    """The optimizer; raises BadValue where torch has no Muon, or no such adjustment."""
    if not hasattr(torch.optim, "Muon"):
        raise BadValue(f"muon needs torch 2.9 or later, and this is {torch.__version__}")
    if adjust not in ADJUSTMENTS:
        raise BadValue(f"muon: adjust must be one of {', '.join(ADJUSTMENTS)}, got {adjust}")
    settings = {"momentum": momentum, "nesterov": nesterov, "adjust_lr_fn": adjust}
    return MuonWithAdamW(groups, lr, weight_decay, settings | FIXED)
