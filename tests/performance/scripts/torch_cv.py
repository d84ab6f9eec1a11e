"""Cross-validation as one writes it with torch and care: a bare loop, a fused optimizer."""

import sys

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold
from torch import nn
from torch.nn import functional

torch.set_num_threads(int(sys.argv[1]))
data, classes = load_breast_cancer(return_X_y=True)
x, y = torch.tensor(data, dtype=torch.float32), torch.tensor(classes)
accuracies = []
for train, test in StratifiedKFold(10, shuffle=True, random_state=0).split(data, classes):
    mean, sd = x[train].mean(0), x[train].std(0)
    x_train, y_train = (x[train] - mean) / sd, y[train]
    x_test, y_test = (x[test] - mean) / sd, y[test]
    for seed in range(5):
        torch.manual_seed(seed)
        network = nn.Sequential(
            *(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
        )
        optimizer = torch.optim.Adam(network.parameters(), fused=True)
        for _ in range(30):
            for rows in torch.randperm(len(x_train)).split(64):
                optimizer.zero_grad()
                functional.cross_entropy(network(x_train[rows]), y_train[rows]).backward()
                optimizer.step()
        with torch.no_grad():
            accuracies.append((network(x_test).argmax(1) == y_test).float().mean().item())
print(sum(accuracies) / len(accuracies))
