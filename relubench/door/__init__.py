"""The Python door: the commands as functions, with arrays and objects where names may stand."""

import lazy_loader

# What stands in __init__.pyi is imported when it is first used: `import relubench` is quick.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
