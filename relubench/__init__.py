"""relubench: which activation should this network use, and what does it cost?"""

import sys
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "deadcount", "watch"]

# What is imported when it is first used: it needs torch.
_DOORS = {"deadcount": "relubench.commands.counting", "watch": "relubench.neurons.watch"}

if sys.flags.optimize > 1:
    from relubench import docstrings

    docstrings.keep()


def __getattr__(name: str) -> Any:
    if name not in _DOORS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_DOORS[name]), name)
