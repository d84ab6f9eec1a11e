from .commands.counting import deadcount as deadcount
from .neurons.watch import watch as watch

__version__: str
