"""RunResults to Tables: what to show. A file per command, and the pieces they share."""

import lazy_loader

# What stands in __init__.pyi is imported when it is first used: much of it needs torch or scipy.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
