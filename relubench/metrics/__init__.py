"""What a prediction is worth: metrics, and the measures that runs are compared by."""

from relubench.metrics.classification import METRICS, Metric, Prediction

__all__ = ["METRICS", "Metric", "Prediction"]
