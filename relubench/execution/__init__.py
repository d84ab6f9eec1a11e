"""A plan becomes results: what is known is looked up, the rest is trained and kept."""

import lazy_loader

# What stands in __init__.pyi is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
