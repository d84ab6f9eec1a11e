"""The same cross-validation as one writes it with scikit-learn."""

import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

warnings.filterwarnings("ignore")  # it trains as long as it is told
x, y = load_breast_cancer(return_X_y=True)
folds = StratifiedKFold(10, shuffle=True, random_state=0)
accuracies = []
for seed in range(5):
    network = MLPClassifier(
        (64, 32), batch_size=64, max_iter=30, tol=0.0, n_iter_no_change=31, random_state=seed
    )
    pipeline = make_pipeline(StandardScaler(), network)
    accuracies.append(cross_val_score(pipeline, x, y, cv=folds))
print(np.mean(accuracies))
