"""Models: networks built from an activation.

A model is a function (shape, outputs, activation) -> nn.Module. `shape` is that of one example,
`outputs` the number of classes; every non-linearity is an Act. Weights are left undrawn: the
engine draws them (relubench.models.layers.initialise).
"""

from relubench.models import convolutional, dense, sequences, sources
from relubench.models.model import MODELS, Model

__all__ = ["MODELS", "Model", "convolutional", "dense", "sequences", "sources"]
