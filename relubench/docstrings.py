"""Docstrings under `python -OO`, which drops them: here they are what `list` and `--help` print."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType


class _Loader(SourceFileLoader):
    """Compiles as `python -O` does, and leaves the compiled files of -OO alone."""

    def get_code(self, fullname: str) -> CodeType:
        # From the source each time: the cached .opt-2.pyc has no docstrings.
        source = self.get_data(self.path)
        return compile(source, self.path, "exec", dont_inherit=True, optimize=1)


class _Finder(MetaPathFinder):
    """Finds relubench's modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("relubench."):
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec and spec.origin and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.origin)
        return spec


def keep() -> None:
    """Keep those of what is imported from now on."""
    sys.meta_path.insert(0, _Finder())
