"""What each command does: settings in, tables out. What needs torch is imported when it is needed.

Nothing here prints: progress and notes go through the Console that the caller brings.
"""

import lazy_loader

# What stands in __init__.pyi is imported when it is first used: much of it needs torch or scipy.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
