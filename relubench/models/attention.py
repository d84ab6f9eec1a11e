"""What transformers are made of: attention, feed-forward layers, blocks, and networks of them.

Sequences are (examples, positions, width). A unit of a feed-forward layer is a channel over all
positions, as one of a convolution is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from relubench.activations import Activation
from relubench.catalog import Choice
from relubench.models.layers import Act, Dropout

SPREAD = 0.02  # GPT-2's standard deviation of all weights that begin random
BASE = 10_000.0  # of the rotary angles, arXiv:2104.09864
EPSILON = 1e-5


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the blocks of a transformer have in common.

    hidden  units of a feed-forward layer
    norm    "layer", or "rms": without a mean
    rotary  whether positions turn queries and keys, instead of being added
    causal  whether a position sees those before it alone
    """

    width: int
    heads: int
    hidden: int
    dropout: float = 0.0
    norm: str = "layer"
    rotary: bool = False
    causal: bool = False
    bias: bool = True


class RootMeanSquareNorm(nn.Module):
    """x / √(mean x² + eps), each channel scaled (arXiv:1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def reset_parameters(self) -> None:
        """Begin with a scale of 1."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape whose last dimension is the width."""
        return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPSILON) * self.weight


def normalising(form: Form) -> nn.Module:
    """The normalisation that a form has."""
    if form.norm == "rms":
        return RootMeanSquareNorm(form.width)
    return nn.LayerNorm(form.width, EPSILON, bias=form.bias)


class _Attend(torch.autograd.Function):
    """torch's attention for a stack: the networks are further examples of one call.

    torch has no rule for it under vmap. The backward pass takes the forward pass once more.
    """

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """(examples, heads, positions, width of a head) each."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what the backward pass needs."""
        *tensors, ctx.causal = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of queries, keys and values."""
        *tensors, mask = ctx.saved_tensors
        with torch.enable_grad():
            q, k, v = (tensor.detach().requires_grad_() for tensor in tensors)
            value = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=ctx.causal)
        return *torch.autograd.grad(value, (q, k, v), gradient), None, None

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        """Networks and their examples in one dimension."""
        *tensors, causal = inputs
        flat = []
        for tensor, dim in zip(tensors, dims, strict=False):
            if tensor is not None and dim is None:
                tensor = tensor.unsqueeze(0).expand(info.batch_size, *tensor.shape)
            elif tensor is not None:
                tensor = tensor.movedim(dim, 0)
            flat.append(None if tensor is None else tensor.flatten(0, 1))
        value: Tensor = _Attend.apply(*flat, causal)
        return value.unflatten(0, (info.batch_size, -1)), 0


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Softmax of scaled dot products, of one network or of a stack.

    q, k, v  (examples, heads, positions, width of a head)
    mask     True where a query may look at a key; broadcast to (examples, heads, queries, keys)
    """
    if torch._C._functorch.is_batchedtensor(q):
        return _stacked(q, k, v, mask, causal)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


def _stacked(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    value: Tensor = _Attend.apply(q, k, v, mask, causal)
    return value


def rotated(x: Tensor) -> Tensor:
    """Pairs of channels turned by angles that grow with the position (arXiv:2104.09864)."""
    positions, width = x.shape[-2:]
    half = width // 2
    steps = torch.arange(half, device=x.device, dtype=x.dtype) / half
    places = torch.arange(positions, device=x.device, dtype=x.dtype)
    angles = torch.outer(places, BASE**-steps)
    cosine, sine = angles.cos(), angles.sin()
    first, second = x[..., :half], x[..., half : 2 * half]
    turned = (first * cosine - second * sine, first * sine + second * cosine)
    return torch.cat(turned, dim=-1)


class Attention(nn.Module):
    """Every position takes from the others what its heads ask for."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self.form = form
        self.asked = nn.Linear(form.width, 3 * form.width, form.bias)
        self.projection = nn.Linear(form.width, form.width, form.bias)
        self.weighing = Dropout(form.dropout)
        self.dropout = Dropout(form.dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(examples, positions, width) to the same shape."""
        by_head = self.asked(x).unflatten(-1, (3, self.form.heads, -1))
        q, k, v = by_head.permute(2, 0, 3, 1, 4).unbind()
        if self.form.rotary:
            q, k = rotated(q), rotated(k)
        taken = self._taken(q, k, v, mask).transpose(1, 2).flatten(2)
        value: Tensor = self.projection(taken)
        return self.dropout(value) if self.form.dropout else value

    def _taken(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if not (self.training and self.form.dropout):
            return attend(q, k, v, mask, self.form.causal)
        # Its own dropout would draw from torch's global generator.
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if self.form.causal:
            mask = torch.ones(q.shape[-2], q.shape[-2], dtype=torch.bool, device=q.device).tril()
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        weights: Tensor = self.weighing(scores.softmax(dim=-1))
        return weights @ v


class FeedForward(nn.Module):
    """A dense layer with the activation, and one back to the width."""

    def __init__(self, form: Form, activation: Choice[Activation], width: int = 0) -> None:
        super().__init__()
        width = width or form.width
        act = Act(activation, form.hidden)
        # In the order of calls: a layer's weights begin as suits the activation that comes next.
        self.widen = nn.Linear(width, act.pieces * form.hidden, form.bias)
        self.activation = act
        self.narrow = nn.Linear(act.units, width, form.bias)
        self.dropout = Dropout(form.dropout) if form.dropout else None

    def forward(self, x: Tensor) -> Tensor:
        """(examples, positions, width) to the same shape."""
        # Units stand in dimension 1, as everywhere.
        active = self.activation(self.widen(x).transpose(1, 2)).transpose(1, 2)
        value: Tensor = self.narrow(active)
        return value if self.dropout is None else self.dropout(value)


class Block(nn.Module):
    """Attention and a feed-forward layer, each of what is normalised, each added."""

    def __init__(self, form: Form, activation: Choice[Activation]) -> None:
        super().__init__()
        self.norm1, self.attention = normalising(form), Attention(form)
        self.norm2, self.feed_forward = normalising(form), FeedForward(form, activation)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(examples, positions, width) to the same shape."""
        x = x + self.attention(self.norm1(x), mask)
        value: Tensor = x + self.feed_forward(self.norm2(x))
        return value


class MixerBlock(nn.Module):
    """A feed-forward layer over positions, then one over channels (arXiv:2105.01601)."""

    def __init__(self, form: Form, positions: int, mixing: int, act: Choice[Activation]) -> None:
        super().__init__()
        between = Form(width=form.width, heads=1, hidden=mixing, dropout=form.dropout)
        self.norm1, self.positions = normalising(form), FeedForward(between, act, positions)
        self.norm2, self.channels = normalising(form), FeedForward(form, act)

    def forward(self, x: Tensor) -> Tensor:
        """(examples, positions, width) to the same shape."""
        x = x + self.positions(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        value: Tensor = x + self.channels(self.norm2(x))
        return value


class Transformer(nn.Module):
    """Blocks one after the other, and what they have of GPT-2's initial weights."""

    count = 0

    def append(self, blocks: Sequence[nn.Module]) -> None:
        """Take blocks, once what comes before them is there: layers are drawn in their order."""
        for number, block in enumerate(blocks, start=1):
            self.add_module(f"block{number}", block)
        self.count = len(blocks)

    @property
    def blocks(self) -> list[Any]:
        """In their order."""
        return [getattr(self, f"block{number}") for number in range(1, self.count + 1)]

    @torch.no_grad()
    def settle(self, stream: torch.Generator, scaled: bool) -> None:
        """Draw embeddings, and scale what is added to a block's input by 1 / √(2 · blocks).

        scaled  whether to scale: where the other weights begin as GPT-2's do
        """
        for module in self.modules():
            for tensor in self._embedded(module):
                z = torch.randn(tensor.shape, generator=stream, dtype=torch.float64)
                tensor.copy_(SPREAD * z)
        if scaled:
            for name, parameter in self.named_parameters():
                if name.endswith(("projection.weight", "narrow.weight")):
                    parameter.div_(math.sqrt(2 * self.count))

    def _embedded(self, module: nn.Module) -> Iterable[Tensor]:
        """The tensors of a module that no scheme of initial weights draws."""
        if isinstance(module, nn.Embedding):
            yield module.weight
        if module is self:
            yield from (p for name, p in self.named_parameters(recurse=False))


class Language(Transformer):
    """Says of every position how likely each token is to come next.

    tied  whether the output layer is the embedding of the tokens
    """

    def __init__(
        self,
        form: Form,
        activation: Choice[Activation],
        layers: int,
        tokens: int,
        context: int,
        tied: bool,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, form.width)
        self.positions = None if form.rotary else nn.Embedding(context, form.width)
        self.dropout = Dropout(form.dropout) if form.dropout else None
        self.append([Block(form, activation) for _ in range(layers)])
        self.norm = normalising(form)
        self.output = None if tied else nn.Linear(form.width, tokens, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(examples, positions) token numbers to (examples, positions, tokens) scores."""
        x = self.tokens(tokens)
        if self.positions is not None:
            x = x + self.positions.weight[: tokens.shape[1]]
        if self.dropout is not None:
            x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if self.output is not None:
            scores: Tensor = self.output(x)
            return scores
        return F.linear(x, self.tokens.weight)


class Reader(Transformer):
    """Classes of sentences: of the mean of what comes out, or of a place before the first token.

    Token 0 is padding, which nothing looks at.
    """

    def __init__(
        self,
        form: Form,
        activation: Choice[Activation],
        layers: int,
        tokens: int,
        context: int,
        outputs: int,
        first: bool,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, form.width)
        self.positions = nn.Embedding(context, form.width)
        self.first = nn.Parameter(torch.empty(form.width)) if first else None
        self.append([Block(form, activation) for _ in range(layers)])
        self.norm = normalising(form)
        self.output = nn.Linear(form.width, outputs)

    def kept(self, tokens: Tensor) -> Tensor:
        """(…, positions) token numbers to (…, places) bool: where there is no padding."""
        seen = tokens != 0
        if self.first is None:
            return seen
        return torch.cat((torch.ones_like(seen[..., :1]), seen), dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(examples, positions) token numbers to (examples, classes)."""
        seen = self.kept(tokens)
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        if self.first is not None:
            x = torch.cat((self.first.expand(len(x), 1, -1), x), dim=1)
        # A sentence without a word looks at all of its padding.
        mask = (seen | ~seen.any(dim=1, keepdim=True))[:, None, None]
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x)
        if self.first is not None:
            pooled = x[:, 0]
        else:
            weights = seen.to(x.dtype)
            pooled = (x * weights.unsqueeze(-1)).sum(dim=1) / weights.sum(
                dim=1, keepdim=True
            ).clamp(min=1)
        scores: Tensor = self.output(pooled)
        return scores


class Vision(Transformer):
    """Patches of an image as a sequence, and classes from the mean of what comes out.

    positions  learned and added; None: the blocks know them
    """

    def __init__(
        self, form: Form, blocks: Sequence[nn.Module], patches: nn.Module, places: int, outputs: int
    ) -> None:
        super().__init__()
        self.patches = patches
        self.positions = nn.Parameter(torch.empty(places, form.width)) if places else None
        self.append(blocks)
        self.norm = normalising(form)
        self.output = nn.Linear(form.width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(examples, channels, height, width) to (examples, classes)."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.positions is not None:
            x = x + self.positions
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.output(self.norm(x).mean(dim=1))
        return scores


@torch.no_grad()
def continued(
    network: Callable[[Tensor], Tensor],
    tokens: Tensor,
    count: int,
    context: int,
    stream: torch.Generator,
) -> Tensor:
    """Tokens (positions,) and `count` more, drawn as the network says of the last `context`."""
    for _ in range(count):
        scores = network(tokens[-context:].unsqueeze(0))[0, -1]
        drawn = torch.multinomial(scores.softmax(dim=-1), 1, generator=stream)
        tokens = torch.cat((tokens, drawn))
    return tokens
