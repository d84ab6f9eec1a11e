"""torchvision's networks have a row for each call of an activation: lists made by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import relubench

Calls = list[tuple[str, str]]  # place and function, in the order of the calls


def relus(places: Iterator[str]) -> Calls:
    return [(place, "relu") for place in places]


def alexnet() -> Iterator[str]:
    yield from (f"features.{number}" for number in (1, 4, 7, 9, 11))
    yield from ("classifier.2", "classifier.5")


def resnet18() -> Iterator[str]:
    yield "relu"
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            # The one module is called before and after the sum.
            yield f"layer{stage}.{block}.relu"
            yield f"layer{stage}.{block}.relu_2"


def googlenet() -> Iterator[str]:
    yield from ("conv1.relu", "conv2.relu", "conv3.relu")
    for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        for branch in ("1", "2.0", "2.1", "3.0", "3.1", "4.1"):
            yield f"inception{name}.branch{branch}.relu"


# Of inception_v3: the parts of a block of each kind.
A = ("1x1", "5x5_1", "5x5_2", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3", "_pool")
B = ("3x3", "3x3dbl_1", "3x3dbl_2", "3x3dbl_3")
C = ("1x1", *(f"7x7_{n}" for n in (1, 2, 3)), *(f"7x7dbl_{n}" for n in (1, 2, 3, 4, 5)), "_pool")
D = ("3x3_1", "3x3_2", "7x7x3_1", "7x7x3_2", "7x7x3_3", "7x7x3_4")
E = ("1x1", "3x3_1", "3x3_2a", "3x3_2b", *(f"3x3dbl_{n}" for n in ("1", "2", "3a", "3b")), "_pool")
MIXED = {"5b": A, "5c": A, "5d": A, "6a": B, "6b": C, "6c": C, "6d": C, "6e": C}
MIXED |= {"7a": D, "7b": E, "7c": E}


def inception_v3() -> Iterator[str]:
    for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3"):
        yield f"Conv2d_{name}.relu"
    for name, parts in MIXED.items():
        for part in parts:
            yield f"Mixed_{name}.branch{part}.relu"


def mobilenet_v3_small() -> Calls:
    calls = [("features.0.2", "hardswish")]
    for number in range(1, 12):
        bent = "relu" if number < 4 else "hardswish"
        # The first block does not widen; the second and third do not squeeze.
        convolutions = 1 if number == 1 else 2
        calls += [(f"features.{number}.block.{part}.2", bent) for part in range(convolutions)]
        if number not in (2, 3):
            squeeze = f"features.{number}.block.{convolutions}"
            calls.append((f"{squeeze}.activation", "relu"))
            calls.append((f"{squeeze}.scale_activation", "hardsigmoid"))
    return [*calls, ("features.12.2", "hardswish"), ("classifier.1", "hardswish")]


def vit_b_16() -> Calls:
    return [(f"encoder.layers.encoder_layer_{number}.mlp.1", "gelu") for number in range(12)]


def swin_t() -> Calls:
    depths = {1: 2, 3: 2, 5: 6, 7: 2}
    calls: Calls = []
    for stage, depth in depths.items():
        calls += [(f"features.{stage}.{block}.mlp.1", "gelu") for block in range(depth)]
    return calls


# With the side of an image.
BY_HAND = {
    "alexnet": (relus(alexnet()), 224),
    "resnet18": (relus(resnet18()), 64),
    "mobilenet_v3_small": (mobilenet_v3_small(), 64),
    "vit_b_16": (vit_b_16(), 224),
    "swin_t": (swin_t(), 64),
    "googlenet": (relus(googlenet()), 96),
    "inception_v3": (relus(inception_v3()), 128),
}


def test_the_lists_are_as_long_as_torchvisions_code_says() -> None:
    lengths = {name: len(calls) for name, (calls, _) in BY_HAND.items()}
    assert lengths == {
        "alexnet": 7,
        "resnet18": 17,
        "mobilenet_v3_small": 19 + 14 + 9,
        "vit_b_16": 12,
        "swin_t": 12,
        "googlenet": 57,
        "inception_v3": 94,
    }


@pytest.mark.parametrize("name", BY_HAND)
def test_torchvisions_networks_have_a_row_per_call(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    calls, size = BY_HAND[name]
    more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = models.get_model(name, weights=None, **more)
    found = relubench.deadcount(network, torch.randn(2, 3, size, size))
    assert [(row.layer, row.function) for row in found.layers] == calls
