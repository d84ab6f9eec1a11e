"""The kinds of rows: what machine formats print, key by key, with the meaning of each key.

A row's fields are its keys, in the order in which they are printed. Keys that several kinds of rows
have stand in a part of their own; dataclasses take the fields of the *last* base first, so that the
bases of a row are to be read from right to left.

A run → runs · an activation beside others → comparisons, suggestions · hidden units → layers, calls
means that pages draw → means · a ledger, a plan → ledgers · cost, show → profiles
"""

import lazy_loader

# What stands in __init__.pyi is imported when it is first used: to make the classes takes a while.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
