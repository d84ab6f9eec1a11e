"""What a prediction is worth: metrics, and the measures that runs are compared by."""

from relubench.metrics.classification import METRICS, Metric, Prediction
from relubench.metrics.language import Continuation
from relubench.metrics.regression import Estimate

__all__ = ["METRICS", "Continuation", "Estimate", "Metric", "Prediction"]
