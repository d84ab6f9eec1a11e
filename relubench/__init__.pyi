from .door.calls import compare as compare
from .door.calls import cv as cv
from .door.calls import load as load
from .door.calls import suggest as suggest
from .door.calls import train as train
from .door.counts import NetworkCount as NetworkCount
from .door.counts import Watch as Watch
from .door.counts import deadcount as deadcount
from .door.counts import watch as watch
from .door.result import Comparison as Comparison
from .door.result import Result as Result
from .door.result import Runs as Runs
from .door.result import Suggestion as Suggestion
from .errors import RelubenchError as RelubenchError

__version__: str
