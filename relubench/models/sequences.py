"""Networks of attention: language models, and images as sequences of patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from relubench.activations import Activation
from relubench.catalog import Choice, Deferred, Parameters
from relubench.errors import BadValue
from relubench.models.chain import CIFAR, Chain
from relubench.models.model import MODELS, check_dropout

if TYPE_CHECKING:
    from torch import nn

    from relubench.models import attention
else:
    nn, attention = Deferred("torch.nn"), Deferred("relubench.models.attention")

NORMS = ("layer", "rms")
POOLS = ("mean", "cls")
POSITIONS = ("learned", "rotary")


def _hidden(settings: Parameters) -> dict[str, int]:
    """What `hidden=0` stands for."""
    return {"hidden": max(1, round(settings["ratio"] * settings["width"]))}


def _check(model: str, **settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise BadValue(f"{model}: {name} must be at least 1, got {value}")
    if settings["width"] % settings["heads"]:
        raise BadValue(
            f"{model}: width={settings['width']} is not a multiple of heads={settings['heads']}"
        )


def _check_word(model: str, name: str, word: str, known: Sequence[str]) -> None:
    if word not in known:
        raise BadValue(f"{model}: {name}={word}: known: {', '.join(known)}")


@MODELS.add(
    paper="GPT-2 (Radford et al.); as karpathy/nanoGPT has it",
    year=2019,
    widths=("hidden",),
    filled=_hidden,
    activation="gelu",
    init="gpt2",
    takes="tokens",
    any_layout=False,
)
def gpt(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    layers: int = 4,
    heads: int = 4,
    width: int = 128,
    context: int = 64,
    ratio: float = 4.0,
    hidden: int = 0,
    dropout: float = 0.0,
    norm: str = "layer",
    position: str = "learned",
    tied: bool = True,
    bias: bool = False,
) -> nn.Module:
    """Blocks of causal attention and a feed-forward layer, each normalised before: a language model

    A feed-forward layer has ratio · width units, or `hidden` of them. norm=layer or rms,
    position=learned or rotary. Weights begin normal with sd 0.02, those that add to a block's input
    divided by √(2 · layers), and embeddings too. tied=true: the output layer is the embedding.
    """
    _check("gpt", layers=layers, heads=heads, width=width, context=context)
    check_dropout("gpt", dropout)
    _check_word("gpt", "norm", norm, NORMS)
    _check_word("gpt", "position", position, POSITIONS)
    if position == "rotary" and width // heads % 2:
        raise BadValue(f"gpt: position=rotary turns pairs, and a head is {width // heads} wide")
    if shape[0] > context:
        raise BadValue(
            f"gpt: context={context} is less than the {shape[0]} tokens of an example: say "
            f"context={shape[0]}"
        )
    form = attention.Form(
        width=width,
        heads=heads,
        hidden=hidden or _hidden({"ratio": ratio, "width": width})["hidden"],
        dropout=dropout,
        norm=norm,
        rotary=position == "rotary",
        causal=True,
        bias=bias,
    )
    return attention.Language(form, activation, layers, outputs, context, tied)


@MODELS.add(
    paper="arXiv:1810.04805 (Devlin et al.), each block normalised before",
    year=2018,
    widths=("hidden",),
    filled=_hidden,
    activation="gelu",
    init="gpt2",
    takes="sentences",
    any_layout=False,
)
def encoder(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    layers: int = 2,
    heads: int = 4,
    width: int = 64,
    tokens: int = 1002,
    context: int = 64,
    ratio: float = 4.0,
    hidden: int = 0,
    dropout: float = 0.0,
    pool: str = "mean",
) -> nn.Module:
    """Blocks of attention in both directions and a feed-forward layer: classes of sentences

    pool=mean: of the mean over the words; pool=cls: of a place before the first. `tokens` kinds are
    known: of 1000 words, two more for padding and all other words.
    """
    _check("encoder", layers=layers, heads=heads, width=width, tokens=tokens, context=context)
    check_dropout("encoder", dropout)
    _check_word("encoder", "pool", pool, POOLS)
    if shape[0] > context:
        raise BadValue(
            f"encoder: context={context} is less than the {shape[0]} words of an example: say "
            f"context={shape[0]}"
        )
    form = attention.Form(
        width=width,
        heads=heads,
        hidden=hidden or _hidden({"ratio": ratio, "width": width})["hidden"],
        dropout=dropout,
    )
    return attention.Reader(form, activation, layers, tokens, context, outputs, pool == "cls")


@MODELS.add(
    paper="arXiv:2010.11929 (Dosovitskiy et al.), in CIFAR size; mean instead of a class token",
    year=2020,
    widths=("hidden",),
    filled=_hidden,
    activation="gelu",
    init="gpt2",
    any_layout=False,
)
def vit(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    layers: int = 6,
    heads: int = 3,
    width: int = 192,
    patch: int = 4,
    ratio: float = 4.0,
    hidden: int = 0,
    dropout: float = 0.0,
) -> nn.Module:
    """Patches of an image as a sequence, blocks of attention and a dense layer, the mean of all"""
    _check("vit", layers=layers, heads=heads, width=width, patch=patch)
    check_dropout("vit", dropout)
    form = attention.Form(
        width=width,
        heads=heads,
        hidden=hidden or _hidden({"ratio": ratio, "width": width})["hidden"],
        dropout=dropout,
    )
    patches, places = _patches("vit", shape, width, patch, activation)
    blocks = [attention.Block(form, activation) for _ in range(layers)]
    return attention.Vision(form, blocks, patches, places, outputs)


@MODELS.add(
    paper="arXiv:2105.01601 (Tolstikhin et al.), in CIFAR size",
    year=2021,
    widths=("hidden", "mixing"),
    filled=lambda settings: _hidden(settings) | {"mixing": max(1, settings["width"] // 2)},
    activation="gelu",
    init="gpt2",
    any_layout=False,
)
def mlp_mixer(
    shape: Sequence[int],
    outputs: int,
    activation: Choice[Activation],
    *,
    layers: int = 8,
    width: int = 128,
    patch: int = 4,
    ratio: float = 4.0,
    hidden: int = 0,
    mixing: int = 0,
    dropout: float = 0.0,
) -> nn.Module:
    """Patches of an image as a sequence; dense layers over positions, then over channels

    ratio · width units over channels, or `hidden`; width / 2 over positions, or `mixing`.
    """
    _check("mlp_mixer", layers=layers, heads=1, width=width, patch=patch)
    check_dropout("mlp_mixer", dropout)
    form = attention.Form(
        width=width,
        heads=1,
        hidden=hidden or _hidden({"ratio": ratio, "width": width})["hidden"],
        dropout=dropout,
    )
    patches, places = _patches("mlp_mixer", shape, width, patch, activation)
    between = mixing or max(1, width // 2)
    blocks = [attention.MixerBlock(form, places, between, activation) for _ in range(layers)]
    return attention.Vision(form, blocks, patches, 0, outputs)


def _patches(
    model: str, shape: Sequence[int], width: int, patch: int, activation: Choice[Activation]
) -> tuple[nn.Module, int]:
    """What makes a sequence of an image, and how many patches there are."""
    chain = Chain(model, shape, activation)
    chain.image(CIFAR)
    channels, height, across = chain.shape
    if height % patch or across % patch:
        raise BadValue(f"{model}: patch={patch} does not divide an image of {height}x{across}")
    chain.stages["patches"] = nn.Conv2d(channels, width, patch, patch)
    return nn.Sequential(chain.stages), (height // patch) * (across // patch)
