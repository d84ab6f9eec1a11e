"""Metrics against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from relubench.metrics import METRICS, Continuation, Estimate, Prediction

rng = np.random.default_rng(0)
Y = rng.integers(0, 4, 200)
OUTPUTS = rng.normal(size=(200, 4)) + 2 * np.eye(4)[Y]
LOG_P = torch.log_softmax(torch.from_numpy(OUTPUTS), dim=-1)
REFERENCES: dict[str, Any] = {
    "accuracy": lambda y, p: sklearn_metrics.accuracy_score(y, p.argmax(1)),
    "loss": lambda y, p: sklearn_metrics.log_loss(y, p),
    "silent": lambda y, p: 0.0,
}
for name in ("precision", "recall", "f1"):
    score = getattr(sklearn_metrics, f"{name}_score")
    for prefix, average in (("", "weighted"), ("macro_", "macro")):
        REFERENCES[prefix + name] = lambda y, p, score=score, average=average: score(
            y, p.argmax(1), average=average
        )


CLASSES = [name for name, metric in METRICS.items() if metric.task in ("any", "classes")]
NUMBERS = {
    "rmse": sklearn_metrics.root_mean_squared_error,
    "mae": sklearn_metrics.mean_absolute_error,
    "r2": sklearn_metrics.r2_score,
}


def prediction(log_p: torch.Tensor, y: np.ndarray) -> Prediction:
    return Prediction(log_p.unsqueeze(0), torch.from_numpy(y).unsqueeze(0))


@pytest.mark.parametrize("name", CLASSES)
def test_matches_scikit_learn(name: str) -> None:
    value = METRICS[name].function(prediction(LOG_P, Y))
    assert value.shape == (1,)
    assert value.item() == pytest.approx(REFERENCES[name](Y, LOG_P.exp().numpy()), rel=1e-12)


def test_confusion_matches_scikit_learn() -> None:
    expected = sklearn_metrics.confusion_matrix(Y, LOG_P.argmax(1).numpy())
    assert np.array_equal(prediction(LOG_P, Y).confusion[0].numpy(), expected)


def test_cells_do_not_mix() -> None:
    worse = LOG_P.roll(1, dims=0)
    both = Prediction(torch.stack([LOG_P, worse]), torch.from_numpy(np.stack([Y, Y])))
    for metric in map(METRICS.__getitem__, CLASSES):
        singles = [metric.function(prediction(log_p, Y)).item() for log_p in (LOG_P, worse)]
        assert metric.function(both).tolist() == pytest.approx(singles)


def test_undefined_is_not_zero() -> None:
    """Class 2 is never predicted, class 3 has no examples."""
    y = np.array([0, 0, 1, 1, 2])
    log_p = torch.log_softmax(torch.eye(4, dtype=torch.float64)[[0, 1, 1, 1, 0]] * 9, dim=-1)
    found = {
        name: metric.function(prediction(log_p, y)).item()
        for name, metric in METRICS.items()
        if name in CLASSES
    }
    assert np.isnan(found["precision"])
    assert np.isnan(found["macro_recall"])
    assert found["recall"] == pytest.approx(3 / 5)
    f1 = sklearn_metrics.f1_score(y, [0, 1, 1, 1, 0], average="weighted")
    assert found["f1"] == pytest.approx(f1)


def test_silent_examples_are_counted() -> None:
    from relubench.training.heads import HEADS

    outputs = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [0.0, 0.0], [2.0, 3.0]])
    said = prediction(HEADS.choose("relu")(outputs), np.array([0, 0, 0, 1]))
    assert METRICS["silent"].function(said).item() == 0.5


def estimate(values: np.ndarray, y: np.ndarray) -> Estimate:
    said, true = torch.from_numpy(values).float(), torch.from_numpy(y).float()
    return Estimate(said, true, (said - true).square())


def test_scores_of_numbers_match_scikit_learn() -> None:
    """In the target's units, of cells whose training sets had other means and deviations."""
    draws = np.random.default_rng(3)
    y = draws.normal(50, 20, size=(2, 80))
    said = y + draws.normal(0, 9, size=y.shape)
    means, deviations = np.array([48.0, 51.0]), np.array([18.0, 22.0])
    standard = [(part - means[:, None]) / deviations[:, None] for part in (said, y)]
    found = estimate(*standard).in_units(torch.tensor(means), torch.tensor(deviations))
    for name, expected in NUMBERS.items():
        scores = METRICS[name].function(found).tolist()
        assert scores == pytest.approx(list(map(expected, y, said)), rel=1e-5)
    losses = ((standard[0] - standard[1]) ** 2).mean(axis=1)
    assert METRICS["loss"].function(found).tolist() == pytest.approx(losses.tolist(), rel=1e-5)


def test_where_all_numbers_are_one_r2_is_undefined() -> None:
    constant = estimate(np.array([[1.0, 2.0]]), np.array([[3.0, 3.0]]))
    assert np.isnan(METRICS["r2"].function(constant).item())


def test_scores_of_a_text_are_those_of_its_losses() -> None:
    losses = torch.tensor([[1.0, 2.0, 3.0]])
    said = Continuation(losses, torch.tensor([[0.5, 0.25, 0.0]]))
    found = {name: METRICS[name].function(said.of(4.0)).item() for name in ("loss", "perplexity")}
    assert found == pytest.approx({"loss": 2.0, "perplexity": np.exp(2.0)})
    assert METRICS["token_accuracy"].function(said).item() == pytest.approx(0.25)
    bits = METRICS["bits_per_character"].function
    assert bits(said.of(4.0)).item() == pytest.approx(2 / np.log(2) / 4)
    assert np.isnan(bits(said).item())  # of words nobody knows how long they are
