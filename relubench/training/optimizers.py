"""Optimizers, from torch: functions (parameter groups, lr, weight_decay) -> torch.optim.Optimizer.

All but those in TAKING_MATRICES are elementwise: no weight's step depends on another weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relubench.catalog import Catalog, Deferred, Entry
from relubench.errors import BadValue

if TYPE_CHECKING:
    from torch import optim
    from torch.optim.optimizer import ParamsT

    from relubench.training import hidden_muon, uncompiled
else:
    optim, uncompiled = Deferred("torch.optim"), Deferred("relubench.training.uncompiled")
    hidden_muon = Deferred("relubench.training.hidden_muon")

OPTIMIZERS: Catalog[Entry[optim.Optimizer]] = Catalog("optimizer", Entry)
TAKING_MATRICES = ("muon",)
DECAYED = ("all", "matrices")

# fused=True: one kernel for all tensors, where torch has one (not for RMSprop). Steps of small
# networks cost mostly calls.


@OPTIMIZERS.add()
def adam(
    groups: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> optim.Optimizer:
    """Adam (arXiv:1412.6980); weight decay is added to the gradient"""
    return uncompiled.uncompiled(optim.Adam)(
        groups, lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=True
    )


@OPTIMIZERS.add()
def adamw(
    groups: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    decay: str = "all",
) -> optim.Optimizer:
    """Adam with decoupled weight decay (arXiv:1711.05101)

    decay=matrices leaves biases and the scales of normalisation without weight decay.
    """
    if decay not in DECAYED:
        raise BadValue(f"adamw: decay must be {' or '.join(DECAYED)}, got {decay}")
    return uncompiled.uncompiled(optim.AdamW)(
        groups, lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay, fused=True
    )


@OPTIMIZERS.add()
def sgd(
    groups: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> optim.Optimizer:
    """Stochastic gradient descent, with momentum and Nesterov's on request"""
    return uncompiled.uncompiled(optim.SGD)(
        groups, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True
    )


@OPTIMIZERS.add()
def rmsprop(
    groups: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
) -> optim.Optimizer:
    """RMSprop (Tieleman & Hinton 2012)"""
    return uncompiled.uncompiled(optim.RMSprop)(
        groups,
        lr,
        alpha=alpha,
        eps=eps,
        momentum=momentum,
        centered=centered,
        weight_decay=weight_decay,
    )


@OPTIMIZERS.add()
def muon(
    groups: ParamsT,
    lr: float,
    weight_decay: float,
    *,
    momentum: float = 0.95,
    nesterov: bool = True,
    adjust: str = "match_rms_adamw",
) -> optim.Optimizer:
    """Muon (kellerjordan.github.io/posts/muon) for hidden dense weights, AdamW for all others

    It is torch.optim.Muon, from torch 2.9 on. With adjust=match_rms_adamw (arXiv:2502.16982) both
    learn at AdamW's rates; the others are original and spectral_unclamped.
    """
    return hidden_muon.made(groups, lr, weight_decay, momentum, nesterov, adjust)
