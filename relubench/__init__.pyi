from .door.calls import compare as compare
from .door.calls import cv as cv
from .door.calls import load as load
from .door.calls import train as train
from .errors import RelubenchError as RelubenchError

__version__: str
