"""What people write instead: the same trainings without relubench, each as good as it gets.

The functions of wdbc train a classifier per fold and seed and return its mean test accuracy; those
of MNIST make a network and the data ready and return a function that trains one epoch.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torchvision import datasets, transforms

HIDDEN, EPOCHS, BATCH, FOLDS = (64, 32), 30, 64, 10


def wdbc_folds() -> Iterator[tuple[np.ndarray, ...]]:
    """x_train, y_train, x_test, y_test of every fold, scaled by its training set."""
    x, y = load_breast_cancer(return_X_y=True)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y):
        mean, std = x[train].mean(axis=0), x[train].std(axis=0)
        scaled = ((x - mean) / std).astype(np.float32)
        yield scaled[train], y[train], scaled[test], y[test]


def ffnn(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    """Dense layers with relu and He's initial weights."""
    stages: list[nn.Module] = []
    for before, units in zip((inputs, *hidden), hidden, strict=False):
        layer = nn.Linear(before, units)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        stages += [layer, nn.ReLU()]
    return nn.Sequential(*stages, nn.Linear(hidden[-1], outputs))


def cnn() -> nn.Sequential:
    """The catalogue's cnn for images of 1x28x28 and ten classes."""

    def block(channels: int, units: int) -> list[nn.Module]:
        convolutions = [nn.Conv2d(channels, units, 3), nn.ReLU(), nn.Conv2d(units, units, 3)]
        return [*convolutions, nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]

    dense = [nn.Flatten(), nn.Linear(1024, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10)]
    return nn.Sequential(*block(1, 32), *block(32, 64), *dense)


def adam(network: nn.Module) -> torch.optim.Optimizer:
    """The fused one, the fastest on a CPU."""
    return torch.optim.Adam(network.parameters(), fused=True)


def step(network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    """One batch."""
    optimizer.zero_grad()
    functional.cross_entropy(network(x), y).backward()
    optimizer.step()


def epoch(
    network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, batch: int
) -> None:
    """The bare loop: all examples are one tensor, and a batch is an index into it."""
    for rows in torch.randperm(len(x)).split(batch):
        step(network, optimizer, x[rows], y[rows])


def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of hits of a network without dropout."""
    with torch.no_grad():
        return float((network(x).argmax(dim=1) == y).double().mean())


def wdbc_torch(train: Callable[[nn.Module, Tensor, Tensor], None], seeds: int) -> float:
    """Folds and seeds around a way to train a torch network."""
    found = []
    for fold in wdbc_folds():
        x_train, y_train, x_test, y_test = map(torch.from_numpy, fold)
        for seed in range(seeds):
            torch.manual_seed(seed)
            network = ffnn(x_train.shape[1], HIDDEN, 2)
            train(network, x_train, y_train)
            found.append(accuracy(network, x_test, y_test))
    return sum(found) / len(found)


def wdbc_bare(seeds: int) -> float:
    """The bare loop."""

    def train(network: nn.Module, x: Tensor, y: Tensor) -> None:
        optimizer = adam(network)
        for _ in range(EPOCHS):
            epoch(network, optimizer, x, y, BATCH)

    return wdbc_torch(train, seeds)


def wdbc_loader(seeds: int) -> float:
    """A DataLoader over the tensors."""

    def train(network: nn.Module, x: Tensor, y: Tensor) -> None:
        optimizer = adam(network)
        loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True)
        for _ in range(EPOCHS):
            for some, classes in loader:
                step(network, optimizer, some, classes)

    return wdbc_torch(train, seeds)


def wdbc_estimator(estimator: Callable[[int], Any], seeds: int) -> float:
    """Folds and seeds around a scikit-learn estimator."""
    found: list[float] = []
    for x_train, y_train, x_test, y_test in wdbc_folds():
        for seed in range(seeds):
            found.append(estimator(seed).fit(x_train, y_train).score(x_test, y_test))
    return sum(found) / len(found)


def wdbc_sklearn(seeds: int) -> float:
    """MLPClassifier, which never stops early here."""

    def estimator(seed: int) -> MLPClassifier:
        return MLPClassifier(
            HIDDEN,
            batch_size=BATCH,
            max_iter=EPOCHS,
            tol=0.0,
            n_iter_no_change=EPOCHS + 1,
            random_state=seed,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it trains as long as it is told
        return wdbc_estimator(estimator, seeds)


def wdbc_skorch(seeds: int) -> float:
    """NeuralNetClassifier without its callbacks and its validation split."""

    def estimator(seed: int) -> NeuralNetClassifier:
        torch.manual_seed(seed)
        return NeuralNetClassifier(
            ffnn(30, HIDDEN, 2),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.Adam,
            optimizer__fused=True,
            lr=0.001,
            max_epochs=EPOCHS,
            batch_size=BATCH,
            iterator_train__shuffle=True,
            train_split=None,
            callbacks="disable",
            verbose=0,
        )

    return wdbc_estimator(estimator, seeds)


def bare(network: nn.Module, x: Tensor, y: Tensor, batch: int) -> Callable[[], None]:
    """An epoch of the bare loop."""
    optimizer = adam(network)
    return lambda: epoch(network, optimizer, x, y, batch)


def batched(
    cells: int, hidden: tuple[int, ...], dropout: float, x: Tensor, y: Tensor, batch: int
) -> Callable[[], None]:
    """An epoch of several dense networks as one, with torch's own dropout, or none; two classes."""
    widths = [x.shape[1], *hidden, 2]
    weights = [torch.randn(cells, a, b) / a**0.5 for a, b in itertools.pairwise(widths)]
    biases = [torch.zeros(cells, 1, b) for b in widths[1:]]
    parameters = [tensor.requires_grad_() for tensor in (*weights, *biases)]
    optimizer = torch.optim.Adam(parameters, fused=True)

    def run() -> None:
        for rows in torch.stack([torch.randperm(len(x)) for _ in range(cells)]).split(batch, dim=1):
            z = x[rows]
            for weight, bias in zip(weights[:-1], biases, strict=False):
                z = torch.baddbmm(bias, z, weight).relu()
                z = functional.dropout(z, dropout) if dropout else z
            z = torch.baddbmm(biases[-1], z, weights[-1])
            optimizer.zero_grad()
            (cells * functional.cross_entropy(z.flatten(0, 1), y[rows].flatten())).backward()
            optimizer.step()

    return run


def script(network: nn.Module, folder: str, batch: int, workers: int) -> Callable[[], None]:
    """An epoch of the torchvision script: a transform per image, a DataLoader around it."""
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    images = datasets.MNIST(folder, train=True, transform=transform)
    loader = DataLoader(images, batch_size=batch, shuffle=True, num_workers=workers)
    optimizer = adam(network)

    def run() -> None:
        for x, y in loader:
            step(network, optimizer, x, y)

    return run


SHAPES = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU, "tanh": nn.Tanh}


def followers(activations: tuple[str, ...], runs: int, steps: int) -> None:
    """Networks of five units, one after the other, each an example a step after a number."""
    for name in activations:
        for seed in range(runs):
            torch.manual_seed(seed)
            x, y = torch.randint(2, (steps, 20)).float(), torch.randn(steps, 1)
            follow(nn.Sequential(nn.Linear(20, 5), SHAPES[name](), nn.Linear(5, 1)), x, y)


def follow(network: nn.Module, x: Tensor, y: Tensor) -> None:
    """One pass, a step for each example."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, fused=True)
    for example, number in zip(x.split(1), y.split(1), strict=True):
        optimizer.zero_grad()
        functional.mse_loss(network(example), number).backward()
        optimizer.step()


class Block(nn.Module):
    """One of nanoGPT's blocks, without dropout and biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.asked = nn.Linear(width, 3 * width, bias=False)
        self.projection = nn.Linear(width, width, bias=False)
        self.widen = nn.Linear(width, 4 * width, bias=False)
        self.narrow = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(examples, positions, width) to the same shape."""
        asked = self.asked(self.norm1(x)).split(x.shape[2], dim=2)
        q, k, v = (each.view(*x.shape[:2], self.heads, -1).transpose(1, 2) for each in asked)
        taken = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.projection(taken.transpose(1, 2).reshape(x.shape))
        hidden: Tensor = self.narrow(functional.gelu(self.widen(self.norm2(x))))
        return x + hidden


class Gpt(nn.Module):
    """nanoGPT's network in the size that its README trains on a CPU."""

    def __init__(self, tokens: int, context: int, width: int = 128) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(tokens, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads=4) for _ in range(4)))
        self.norm = nn.LayerNorm(width, bias=False)
        self.output = nn.Linear(width, tokens, bias=False)
        self.output.weight = self.tokens.weight

    def forward(self, x: Tensor) -> Tensor:
        """(examples, positions) tokens to (examples, positions, tokens) scores."""
        x = self.tokens(x) + self.positions.weight[: x.shape[1]]
        scores: Tensor = self.output(self.norm(self.blocks(x)))
        return scores


def gpt_steps(
    text: Tensor, tokens: int, context: int, batch: int, count: int, fused: bool
) -> Callable[[], object]:
    """So many steps as nanoGPT's script takes them, with its rates and its clipping."""
    network = Gpt(tokens, context)
    matrices = [each for each in network.parameters() if each.ndim > 1]
    scales = [each for each in network.parameters() if each.ndim == 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices},
        {"params": scales, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, 1e-3, (0.9, 0.99), weight_decay=0.1, fused=fused)

    def steps() -> None:
        for number in range(count):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * (0.1 + 0.45 * (1 + math.cos(math.pi * number / count)))
            begins = torch.randint(len(text) - context, (batch,)).tolist()
            x = torch.stack([text[begin : begin + context] for begin in begins])
            y = torch.stack([text[begin + 1 : begin + context + 1] for begin in begins])
            optimizer.zero_grad()
            functional.cross_entropy(network(x).flatten(0, 1), y.flatten()).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

    return steps
