"""relubench: which activation should this network use, and what does it cost?"""

import sys

import lazy_loader

# What stands in __init__.pyi is imported when it is first used, torch with it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"

if sys.flags.optimize > 1:
    from relubench import docstrings

    docstrings.keep()
