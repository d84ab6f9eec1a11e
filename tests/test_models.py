"""Laws over the catalogue of models."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from relubench.activations import ACTIVATIONS
from relubench.errors import BadValue
from relubench.models import MODELS, attention, layers, matching, weights

STRUCTURAL = (
    nn.Sequential,
    nn.Linear,
    nn.Conv2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.BatchNorm2d,
    nn.ZeroPad2d,
    nn.Flatten,
    nn.Unflatten,
    nn.Identity,
    nn.ParameterDict,
    layers.Act,
    layers.Dropout,
    layers.Residual,
    layers.Widened,
    layers.Preactivated,
    nn.LayerNorm,
    attention.Attention,
    attention.Block,
    attention.FeedForward,
    attention.MixerBlock,
    attention.Vision,
)
# Every listed model, as small as it gets.
TINY = {
    "ffnn": "ffnn:hidden=5x4",
    "mlp": "mlp:depth=3:width=4",
    "cnn": "cnn:filters=3x4:dense=5",
    "lenet5": "lenet5:filters=3x4:dense=6x5",
    "krizhevsky4": "krizhevsky4:filters=3x4x5",
    "alexnet": "alexnet:filters=3x4x5x6x7",
    "nin": "nin:filters=3x4x5x3x4x5x3x4",
    "vgg": "vgg:depth=11:batch_norm=true:filters=2x3x4x3x4:dense=5x4",
    "resnet18": "resnet18:filters=3x4x5x6",
    **{f"resnet{depth}": f"resnet{depth}:filters=3x4x5" for depth in (20, 32, 44, 56)},
    "wide_resnet": "wide_resnet:depth=10:widen=2:filters=2x3x4:dropout=0.1",
    "vit": "vit:layers=2:heads=2:width=8:patch=8:dropout=0.1",
    "mlp_mixer": "mlp_mixer:layers=2:width=8:patch=8:hidden=12:mixing=6",
}
IMAGE = (3, 32, 32)
KINDS = ["relu", "prelu", "rrelu", "maxout", "glu", "crelu"]  # one of each


def build(model: str, shape: tuple[int, ...], outputs: int, activation: str = "relu") -> nn.Module:
    built: nn.Module = MODELS.choose(model)(shape, outputs, ACTIVATIONS.choose(activation))
    weights.initialise(built, torch.Generator().manual_seed(0))
    if isinstance(built, attention.Transformer):
        built.settle(torch.Generator().manual_seed(1), scaled=False)
    return built


def count(model: str, shape: tuple[int, ...], outputs: int, activation: str = "relu") -> int:
    with torch.device("meta"):
        return layers.parameter_count(
            MODELS.choose(model)(shape, outputs, ACTIVATIONS.choose(activation))
        )


# Agarap 2018: those of the published notebooks. LeCun et al. 1998: 60,000, of which ours lacks 44
# of the means, has 900 more where every map sees every map, and 850 in a linear output layer. VGG:
# 133 and 138 million in the paper, to the unit in torchvision's documentation. The rest by hand:
# krizhevsky4 2432 + 25632 + 51264 + 10250; nin 14592 + 30880 + 15456 + 460992 + 2 * 37056 + 331968
# + 37056 + 1930; alexnet 23296 + 307392 + 663936 + 884992 + 590080 + 2570; mlp 784 * 64 + 64
# + 9 * 4160 + 650; vgg on 32x32: 14714688 of convolutions + 2 * 262656 + 5130, and 2 * 4224 of
# batch normalisation; resnet18: 1856 of the stem + 147968 + 525568 + 2099712 + 8393728 + 5130.
@pytest.mark.parametrize(
    ("model", "shape", "outputs", "expected"),
    [
        ("ffnn:hidden=512x512x512:dropout=0.1", (256,), 10, 662_026),
        ("ffnn:hidden=128x64x32:dropout=0.1", (30,), 2, 14_370),
        ("cnn", (256,), 10, 84_202),
        ("lenet5", (1, 28, 28), 10, 60_000 - 44 + 900 + 850),
        ("vgg:depth=11:dense=4096x4096", (3, 224, 224), 1000, 132_863_336),
        ("vgg:depth=16:dense=4096x4096", (3, 224, 224), 1000, 138_357_544),
        ("vgg:depth=16:dense=4096x4096:batch_norm=true", (3, 224, 224), 1000, 138_365_992),
        ("vgg", IMAGE, 10, 15_245_130),
        ("vgg:batch_norm=true", IMAGE, 10, 15_245_130 + 8_448),
        ("krizhevsky4", IMAGE, 10, 89_578),
        ("nin", IMAGE, 10, 966_986),
        ("alexnet", IMAGE, 10, 2_472_266),
        ("mlp", (784,), 10, 50_240 + 37_440 + 650),
        ("resnet18", IMAGE, 10, 11_173_962),
        ("resnet20", IMAGE, 10, 269_722),
        ("resnet32", IMAGE, 10, 464_154),
        ("resnet44", IMAGE, 10, 658_586),
        ("resnet56", IMAGE, 10, 853_018),
        ("wide_resnet:depth=28:widen=10", IMAGE, 10, 36_479_194),
        ("wide_resnet:depth=40:widen=4", IMAGE, 10, 8_949_210),
        # By hand: patches + positions + 6 blocks of 12 · width² + 13 · width + last norm + output.
        ("vit", IMAGE, 10, 48 * 192 + 192 + 64 * 192 + 6 * (12 * 192**2 + 13 * 192) + 384 + 1930),
        (
            "mlp_mixer",
            IMAGE,
            10,
            48 * 128 + 128 + 8 * (2 * 64 * 64 + 128 + 8 * 128**2 + 5 * 128 + 512) + 256 + 1290,
        ),
    ],
)
def test_parameter_counts(model: str, shape: tuple[int, ...], outputs: int, expected: int) -> None:
    assert count(model, shape, outputs) == expected


def test_every_model_has_a_small_form() -> None:
    assert set(TINY) == {name for name, model in MODELS.items() if model.takes == "numbers"}


@pytest.mark.parametrize(
    ("model", "activation"),
    [
        *(
            (TINY[model], activation)
            for model in ("ffnn", "cnn")
            for activation in ACTIVATIONS
            if activation not in KINDS
        ),
        *((model, kind) for model in TINY.values() for kind in KINDS),
    ],
)
def test_every_model_takes_every_activation(model: str, activation: str) -> None:
    built = build(model, (1, 16, 16), 3, activation).eval()
    x = torch.randn(5, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    outputs = built(0.1 * x)  # a gated unit squares what it gets, layer by layer
    assert outputs.shape == (5, 3)
    assert outputs.isfinite().all()
    assert all(isinstance(module, STRUCTURAL) for module in built.modules())


@pytest.mark.parametrize("model", TINY.values())
@pytest.mark.parametrize("activation", KINDS[1:])
def test_a_step_moves_every_layer_and_lowers_the_loss(model: str, activation: str) -> None:
    built = build(model, (1, 16, 16), 3, activation)
    layers.draw_noise_from(built, *(torch.Generator().manual_seed(n) for n in (1, 2)))
    x = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    before = {name: parameter.clone() for name, parameter in built.named_parameters()}

    def loss() -> torch.Tensor:
        return nn.functional.cross_entropy(built(x), torch.tensor([0, 1, 2, 0, 1, 2]))

    start = loss()
    start.backward()
    slopes = [p.grad for p in built.parameters()]
    assert all(slope is not None and slope.isfinite().all() for slope in slopes)
    torch.optim.SGD(built.parameters(), lr=1e-3).step()
    weights = [name for name in before if name.endswith("weight") and "norm" not in name]
    still = [n for n in weights if torch.equal(before[n], built.get_parameter(n))]
    assert not still
    if not any(isinstance(module, layers.Dropout) for module in built.modules()):
        assert activation == "rrelu" or loss() < start


@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_be_narrowed_for_maxout(model: str) -> None:
    narrow = matching.narrowed(model, "maxout", IMAGE, 10)
    wanted = count(model, IMAGE, 10)
    assert count(model, IMAGE, 10, "maxout") > 1.1 * wanted
    assert count(str(narrow), IMAGE, 10, "maxout") == pytest.approx(wanted, rel=0.03)


LAYERS = {
    "lenet5": ["conv1", "conv2", "dense1", "dense2"],
    "krizhevsky4": ["conv1", "conv2", "conv3"],
    "alexnet": [f"conv{n}" for n in range(1, 6)],
    "nin": [f"conv{n}" for n in range(1, 9)],
    "vgg": [*(f"conv{n}" for n in range(1, 14)), "dense1", "dense2"],
    "mlp:depth=2": ["dense1", "dense2"],
    "resnet18": ["conv1", *(f"block{n}{part}" for n in range(1, 9) for part in (".conv1", ""))],
    "resnet20": ["conv1", *(f"block{n}{part}" for n in range(1, 10) for part in (".conv1", ""))],
    "vit:layers=2": ["block1.feed_forward", "block2.feed_forward"],
    "mlp_mixer:layers=1": ["block1.positions", "block1.channels"],
    "wide_resnet:depth=10": [
        *(f"block{n}.{part}" for n in range(1, 4) for part in ("first", "second")),
        "last1",
    ],
}


@pytest.mark.parametrize("model", LAYERS)
def test_layers_are_named_in_their_order(model: str) -> None:
    with torch.device("meta"):
        built = MODELS.choose(model)(IMAGE, 10, ACTIVATIONS.choose("relu"))
    assert [name for name, _ in layers.activations(built)] == LAYERS[model]


def test_a_small_image_gets_a_border_of_zeros() -> None:
    x = torch.randn(2, 1, 27, 30, generator=torch.Generator().manual_seed(1))
    small, large = (build("lenet5", (1, *size), 4, "tanh") for size in ((27, 30), (32, 32)))
    assert torch.equal(small(x), large(nn.functional.pad(x, (1, 1, 2, 3))))


def test_lenet5_is_its_paper_s_without_a_word() -> None:
    assert MODELS["lenet5"].activation == "tanh"
    assert {model.activation for model in MODELS.values()} <= set(ACTIVATIONS)


def test_cnn_has_the_layers_of_the_study() -> None:
    names = [name for name, _ in layers.activations(build("cnn", (256,), 10))]
    assert names == ["conv1", "conv2", "conv3", "conv4", "dense1"]
    fractions = [
        m.fraction for m in build("cnn", (256,), 10).modules() if isinstance(m, layers.Dropout)
    ]
    assert fractions == [0.25, 0.25, 0.5]


def test_cnn_takes_components_as_a_square_image() -> None:
    flat = torch.randn(4, 256, generator=torch.Generator().manual_seed(1))
    from_flat, from_image = build("cnn", (256,), 10).eval(), build("cnn", (1, 16, 16), 10).eval()
    assert torch.equal(from_flat(flat), from_image(flat.reshape(4, 1, 16, 16)))


@pytest.mark.parametrize(
    ("model", "shape", "says"),
    [
        ("cnn", (30,), "no square image"),
        ("cnn", (1, 8, 8), "too small"),
        ("ffnn:hidden=0", (4,), "at least 1"),
        ("ffnn:dropout=1", (4,), "dropout"),
        ("cnn:padding=2", (1, 28, 28), "padding"),
        ("mlp:depth=0", (4,), "depth must be from 1"),
        ("mlp:depth=1000000", (4,), "depth must be from 1 to 10000"),
        ("vgg:depth=12", IMAGE, "depth must be 11, 13, 16 or 19, got 12"),
        ("nin:filters=3x3", IMAGE, "filters must be 8 widths, got 2"),
        ("resnet18", (30,), "no square image"),
        ("vit:heads=5", IMAGE, "width=192 is not a multiple of heads=5"),
        ("vit:patch=5", IMAGE, "patch=5 does not divide an image of 32x32"),
        ("mlp_mixer:layers=0", IMAGE, "layers must be at least 1"),
        ("wide_resnet:depth=12", IMAGE, "depth must be 10, 16, 22"),
        ("wide_resnet:widen=0", IMAGE, "widen must be at least 1"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(
    model: str, shape: tuple[int, ...], says: str
) -> None:
    with pytest.raises(BadValue, match=says):
        build(model, shape, 2)


@pytest.mark.parametrize(("depth", "layers_with_weights"), [(20, 20), (32, 32), (44, 44), (56, 56)])
def test_a_resnet_has_as_many_layers_as_its_name_says(depth: int, layers_with_weights: int) -> None:
    built = build(f"resnet{depth}:filters=2x2x2", IMAGE, 10)
    found = [m for m in built.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(found) == layers_with_weights


def test_a_shortcut_without_weights_is_he_s_option_a() -> None:
    """Every other pixel, and as many channels of 0 on either side."""
    x = torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    found = layers.Widened(2, 4)(x)
    assert torch.equal(found[:, 2:6], x[:, :, ::2, ::2])
    assert (found[:, :2] == 0).all()
    assert (found[:, 6:] == 0).all()


def test_a_vit_is_torchs_own_layers() -> None:
    """The same weights in nn.TransformerEncoderLayer, which adds after what it normalises first."""
    built = build("vit:layers=2:heads=4:width=16:patch=8", IMAGE, 5, "gelu").double().eval()
    assert isinstance(built, attention.Vision)
    assert built.positions is not None
    x = torch.randn(3, *IMAGE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h = built.patches(x).flatten(2).transpose(1, 2) + built.positions
    for block in built.blocks:
        theirs = nn.TransformerEncoderLayer(
            16, 4, 64, 0.0, nn.functional.gelu, batch_first=True, norm_first=True
        ).double()
        own = block.state_dict()
        names = {
            "self_attn.in_proj_": "attention.asked.",
            "self_attn.out_proj.": "attention.projection.",
            "linear1.": "feed_forward.widen.",
            "linear2.": "feed_forward.narrow.",
            "norm1.": "norm1.",
            "norm2.": "norm2.",
        }
        state = {
            their + part: own[mine + part]
            for their, mine in names.items()
            for part in ("weight", "bias")
        }
        theirs.load_state_dict(state)
        h = theirs.eval()(h)
    expected = built.output(built.norm(h).mean(dim=1))
    torch.testing.assert_close(built(x), expected, rtol=1e-9, atol=1e-12)
