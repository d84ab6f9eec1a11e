"""What a prediction is worth: metrics, and the measures that runs are compared by."""

from relubench.metrics.classification import METRICS, Metric, Prediction
from relubench.metrics.regression import Estimate

__all__ = ["METRICS", "Estimate", "Metric", "Prediction"]
