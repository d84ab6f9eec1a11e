"""Cross-validation against the loop that people write with scikit-learn and torch."""

from __future__ import annotations

import dataclasses
from statistics import mean

import pytest
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from torch import nn

from relubench.plan import Cell, Machine, Recipe, Split, Stack
from relubench.training import engine


def plain_loop() -> float:
    """Mean accuracy of 10-fold cv on wdbc, ffnn 64-32, Adam 0.001, 30 epochs of batches of 64."""
    x, y = load_breast_cancer(return_X_y=True)
    generator, accuracies = torch.Generator().manual_seed(0), []
    for train, test in StratifiedKFold(10, shuffle=True, random_state=0).split(x, y):
        scaler = StandardScaler().fit(x[train])
        x_train, x_test = (torch.tensor(scaler.transform(x[p])).float() for p in (train, test))
        y_train, y_test = torch.tensor(y[train]), torch.tensor(y[test])
        sizes = [(30, 64), (64, 32), (32, 2)]
        layers = [nn.Linear(*size) for size in sizes]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        network = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        optimizer = torch.optim.Adam(network.parameters(), 0.001)
        for _ in range(30):
            for rows in torch.randperm(len(train), generator=generator).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x_train[rows]), y_train[rows]).backward()
                optimizer.step()
        accuracies.append((network(x_test).argmax(1) == y_test).double().mean().item())
    return float(mean(accuracies))


def test_cv_on_wdbc_is_what_a_plain_loop_gives(machine: Machine) -> None:
    """Two means over 10 folds with an sd of about 0.02 each: 0.02 apart is 2 standard errors."""
    cell = Cell(
        dataset="wdbc",
        model="ffnn:hidden=64x32",
        activation="relu",
        recipe=Recipe(epochs=30, batch_size=64),
    )
    splits = [Split(folds=10, fold=fold) for fold in range(10)]
    cells = [dataclasses.replace(cell, split=split) for split in splits]
    results = [result for c in cells for result in engine.fit(Stack((c,)), machine)]
    accuracy = mean(result.scores["accuracy"] or 0 for result in results)
    assert 0.96 <= accuracy <= 0.985
    assert accuracy == pytest.approx(plain_loop(), abs=0.02)
    assert sum(result.n_test for result in results) == 569
