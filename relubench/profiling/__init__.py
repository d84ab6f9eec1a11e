"""One activation by itself: its curve, its moments, its cost; what a network keeps with it."""

import lazy_loader

# What stands in __init__.pyi is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
