"""relubench: which activation should this network use, and what does it cost?"""

import sys

__version__ = "0.1.0"

if sys.flags.optimize > 1:
    from relubench import docstrings

    docstrings.keep()
