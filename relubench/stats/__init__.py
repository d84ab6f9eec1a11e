"""Tests, intervals and corrections; pure numpy and scipy.

paired seeds → signs, intervals · overlapping splits → splits · datasets, unpaired seeds → ranks
several comparisons, several looks → corrections · a word, a gate → verdicts · who is best → best
two figures of the same runs → correlations
"""

import lazy_loader

# What stands in __init__.pyi is imported when it is first used: numpy and scipy take a while.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
