"""Rows to pictures, and to one HTML file that needs nothing else.

What is shown is made from typed rows by `report`; nothing here computes a figure of its own.
"""

import lazy_loader

# What stands in __init__.pyi is imported when it is first used: matplotlib is slow to load.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
