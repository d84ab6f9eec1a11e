"""Imports of a user's file from beside it: found in its source, apart from other files'."""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import importlib.util
import inspect
import os
import random
import site
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from importlib.abc import MetaPathFinder
from importlib.machinery import FrozenImporter, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from threading import RLock, local
from types import CodeType, ModuleType
from typing import TypeVar

from relubench.errors import RelubenchError

PREFIX = "relubench_own_"
INSTALLED = {
    *(sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")),
    *site.getsitepackages(),
    site.getusersitepackages(),
}
T = TypeVar("T")


class Drawing:
    """The lock of torch's global generator, for passes in parallel and for code that is loaded.

    Reentrant, and lendable: a thread that runs something for the holder counts as the holder.
    """

    def __init__(self) -> None:
        self.lock, self.here = RLock(), local()

    def __enter__(self) -> None:
        if not hasattr(self.here, "lent"):
            self.lock.acquire()

    def __exit__(self, *raised: object) -> None:
        if not hasattr(self.here, "lent"):
            self.lock.release()

    def apart(self, run: Callable[[], T]) -> T:
        """Call `run` in a thread of its own, to which the lock is lent.

        vmap, tracing, devices and whether gradients are kept are a thread's: where an import in a
        function comes upon them, they must not reach the tensors that the module makes.
        """
        if hasattr(self.here, "lent"):
            return run()
        with self, ThreadPoolExecutor(1, initializer=self._lend) as other:
            return other.submit(run).result()

    def _lend(self) -> None:
        self.here.lent = True


DRAWING = Drawing()


class LateImport(RelubenchError):
    """A module that is imported too late for the digest of the file that imports it."""


class UserImports:
    """A user's file, run, and the modules that it has to itself.

    Those are what an import finds in the file's own folder, first, as for a script; where the file
    is a module of a package, in the package's folder. They run under private names, such as
    `relubench_own_….utils`, from the very bytes that the digest covers. Others are imported as
    usual.

    folders  where they lie: `base` first, then what the file adds to sys.path while it is loaded
    read     the source of each that has been run, and of each that an import statement names
    digest   of these; "" while the file is loaded
    """

    def __init__(self, key: str, base: str, name: str, file: str = "") -> None:
        """Run the module `name` of `base`, which may be given by its file; `key` is its alone.

        What the file raises is raised here.
        """
        self.root = PREFIX + hashlib.sha256(os.fsencode(key)).hexdigest()[:12]
        self.name, self.file = f"{self.root}.{name}", file
        self.folders = [base, *({os.path.dirname(file)} - {base, ""})]
        self.read: dict[str, bytes] = {}
        self.by_hand: list[str] = []
        self.digest = ""
        self._path = [*sys.path]
        self._is_own: dict[str, bool] = {}  # by the top of a module's name
        self._importlib = ModuleType("importlib")
        # An import statement calls the __import__ of its module's own builtins: only these
        # modules' imports are changed, and nothing global.
        self.builtins = {**vars(builtins), "__import__": self._import}
        try:
            self.module = self._run()
        except BaseException:
            # What failed halfway must not be found as if it had been loaded.
            for name in (self.root, *self._loaded()):
                sys.modules.pop(name, None)
            raise

    def _run(self) -> ModuleType:
        # An empty package over these folders: all that the file imports lies below
        # it, under its own names.
        package = ModuleType(self.root)
        package.__path__ = self.folders
        sys.modules[self.root] = package
        FINDER.owners[self.root] = self
        # First of all finders: private names are nobody else's.
        if FINDER not in sys.meta_path:
            sys.meta_path.insert(0, FINDER)
        # Finders keep what a folder held: a file written in this very second would be missed.
        importlib.invalidate_caches()
        before = [*sys.path]
        try:
            module = importlib.import_module(self.name)
            self._adopt()
        finally:
            sys.path[:] = before
        self.read = self.sources() | self.read
        self.by_hand = [file for file in files(module) if file not in self.read]
        self.read |= {file: Path(file).read_bytes() for file in self.by_hand}
        self.digest = digest_of(self.read, self.folders[0])
        return module

    def _adopt(self) -> None:
        """Take over what the file has added to sys.path: no other file shall look there."""
        if not self.digest and sys.path != self._path:
            added = [os.path.abspath(entry) for entry in sys.path if entry not in self._path]
            self.folders += [entry for entry in added if entry not in self.folders]
            self._path = [*sys.path]
            self._is_own.clear()

    def _loaded(self) -> list[str]:
        return [name for name in [*sys.modules] if name.startswith(f"{self.root}.")]

    # --- which modules are its own

    def current(self) -> bool:
        """Whether its files are as they were when it was run."""
        importlib.invalidate_caches()
        self._is_own.clear()
        try:
            # By content: a time would miss two edits within its grain.
            return self.sources() == self.read
        except OSError:
            return False

    def sources(self) -> dict[str, bytes]:
        """Read each file that was run, or that an import in one names, even in a function."""
        sources = {file: Path(file).read_bytes() for file in self.by_hand}
        to_visit = [self.name, *self._loaded()]
        while to_visit:
            for module, spec in self._way(to_visit.pop()):
                if not spec.origin or spec.origin in sources:
                    continue
                sources[spec.origin] = Path(spec.origin).read_bytes()
                is_package = spec.submodule_search_locations is not None
                package = module if is_package else module.rpartition(".")[0]
                to_visit += self._named(sources[spec.origin], package)
        return sources

    def _way(self, name: str) -> Iterator[tuple[str, ModuleSpec]]:
        """The packages on the way to a module, and the module, as far as they exist."""
        path: Sequence[str] = self.folders
        _, *parts = name.split(".")
        for depth, part in enumerate(parts, 1):
            module = ".".join([self.root, *parts[:depth]])
            spec = self.spec(module, path, part)
            if spec is None:
                return
            path = [*(spec.submodule_search_locations or ())]
            yield module, spec

    def _named(self, source: bytes, package: str) -> Iterator[str]:
        for name in named_imports(source):
            if name.startswith("."):
                with suppress(ImportError):  # it leaves the package: refused when it is run
                    yield importlib.util.resolve_name(name, package)
            elif self.has(name):
                yield f"{self.root}.{name}"

    def has(self, name: str) -> bool:
        """Whether an absolute name means a module of its own."""
        top = name.partition(".")[0]
        if top not in self._is_own:
            # In Python's order: the file's folder first, as for a script, then the
            # path, then what it added.
            path = [self.folders[0], *self._path, *self.folders]
            self._is_own[top] = any(home in self.folders for home in homes(top, path))
        return self._is_own[top]

    def spec(self, module: str, path: Sequence[str] | None, spelt: str) -> ModuleSpec | None:
        """The spec of a module of its own, which PathFinder knows as `spelt`."""
        if module == self.name and self.file:
            inside = [os.path.dirname(self.file)] if _is_package(self.file) else None
            return importlib.util.spec_from_file_location(
                module, self.file, submodule_search_locations=inside
            )
        return PathFinder.find_spec(spelt, path)

    # --- imports

    def source(self, file: str) -> bytes:
        """The bytes to run; raises LateImport where the digest knows nothing of the file."""
        if file not in self.read:
            if self.digest:
                raise LateImport(
                    f"{os.path.basename(file)} is imported while the code is used, by a name that "
                    f"no import statement holds, so that its digest leaves it out: write one"
                )
            self.read[file] = Path(file).read_bytes()
        return self.read[file]

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """The `__import__` of its modules."""
        # The file may have added to sys.path just before it imports.
        self._adopt()
        if not level and not self.has(name):
            module = builtins.__import__(name, globals, locals, fromlist or ())
            return self._own_importlib() if module is importlib else module
        spelt = name if level else f"{self.root}.{name}"
        run = partial(builtins.__import__, spelt, globals, locals, fromlist or (), level)
        package = str((globals or {}).get("__package__"))
        full = importlib.util.resolve_name("." * level + spelt, package)
        module = self._run_once(run, full, fromlist or ())
        if fromlist or level:
            return module
        # `import a.b` binds a: here the module below the private root.
        root, top = full.split(".")[:2]
        return sys.modules[f"{root}.{top}"]

    def _own_importlib(self) -> ModuleType:
        """The module importlib, with an import_module that looks beside the file too."""
        vars(self._importlib).update(vars(importlib), import_module=self._import_module)
        return self._importlib

    def _import_module(self, name: str, package: str | None = None) -> ModuleType:
        self._adopt()
        if not name.startswith(".") and not self.has(name):
            return importlib.import_module(name, package)
        spelt = name if name.startswith(".") else f"{self.root}.{name}"
        full = importlib.util.resolve_name(spelt, package)
        return self._run_once(partial(importlib.import_module, full), full)

    def _run_once(
        self, run: Callable[[], ModuleType], full: str, names: Sequence[str] = ()
    ) -> ModuleType:
        """Import a module, and names of it; what is still to be loaded is loaded in a thread."""
        module = sys.modules.get(full)
        loaded = module is not None and all(hasattr(module, name) for name in names)
        if loaded or not self.digest:
            return run()
        return DRAWING.apart(run)


class _Finder(MetaPathFinder):
    """Finds modules with private names.

    owners  by the root of the name
    """

    def __init__(self) -> None:
        self.owners: dict[str, UserImports] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        owner = self.owners.get(fullname.partition(".")[0])
        if owner is None:
            return None
        spec = owner.spec(fullname, path, fullname)
        if spec and spec.origin and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.origin, owner)
        return spec


FINDER = _Finder()


class _Loader(SourceFileLoader):
    """Runs the source itself: a compiled file is only compared by its length and its second."""

    def __init__(self, fullname: str, path: str, own: UserImports) -> None:
        super().__init__(fullname, path)
        self.own = own

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.own.source(self.path), self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self.own.builtins  # which its functions keep
        with drawing_alike():
            super().exec_module(module)


@contextmanager
def drawing_alike() -> Iterator[None]:
    """Let global generators draw the same in each process, and leave no trace in them."""
    # Here: the catalogue needs this module at start-up, which must not wait for numpy and torch.
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may
    random.setstate(random.Random(0).getstate())
    np.random.set_state(np.random.RandomState(0).get_state())  # noqa: NPY002
    try:
        with DRAWING, torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(torch.Generator().manual_seed(0).get_state())
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


# --- files and names ------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def named_imports(source: bytes) -> tuple[str, ...]:
    """The names that a source may import, as import_module takes them: `a.b`, `.b`.

    Of `from a import b` both `a` and `a.b` are, since b may be a module. Imports in functions count
    too, and calls of import_module and __import__ with a plain name.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ()  # told when it is run; or no source
    names: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                names += [alias.name for alias in node.names]
            case ast.ImportFrom():
                start = "." * node.level + (node.module or "")
                dot = "" if start.endswith(".") else "."
                names += [start, *(start + dot + alias.name for alias in node.names)]
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                names.append(name)
    return tuple(dict.fromkeys(filter(None, names)))


def homes(top: str, path: Sequence[str]) -> list[str]:
    """The folders of `path` where Python finds a module; none where that is not a user's own."""
    if top in ("relubench", "__main__", *sys.builtin_module_names) or FrozenImporter.find_spec(top):
        return []
    spec = PathFinder.find_spec(top, path)
    if spec is None:
        return []
    places = [*(spec.submodule_search_locations or filter(None, [spec.origin]))]
    folders = [os.path.dirname(os.path.abspath(place)) for place in places]
    return [folder for folder in folders if not installed(folder)]


def installed(folder: str) -> bool:
    """Whether packages are installed in this folder, or Python's own modules."""
    return folder in INSTALLED or os.path.basename(folder) in ("site-packages", "dist-packages")


def module_name(file: str, source: bytes) -> tuple[str, str]:
    """The base and the name of a file as a module, for UserImports.

    It is one of the package that its folder is where it uses a relative import, or names the
    package; else a script, whose base is its folder.
    """
    folder, top = os.path.dirname(file), ""
    above = folder
    while os.path.isfile(os.path.join(above, "__init__.py")):
        # Up through all packages: the outermost one's parent is where imports begin.
        top, above = os.path.basename(above), os.path.dirname(above)
    stem = os.path.basename(file).removesuffix(".py")
    names = named_imports(source)
    if top and any(name.startswith(".") or name.partition(".")[0] == top for name in names):
        parts = [*os.path.relpath(folder, above).split(os.sep), stem]
        return above, ".".join(parts[:-1] if _is_package(file) else parts)
    return folder, stem.replace(".", "_")


def _is_package(file: str) -> bool:
    return os.path.basename(file) == "__init__.py"


def files(module: ModuleType) -> Iterator[str]:
    """The source files of a module and of what it has taken from its own folder and below.

    Installed packages may lie below too, in a .venv: they count for a module of theirs only.
    """
    folder = Path(getattr(module, "__file__", None) or "").parent
    seen: set[str] = set()
    to_visit = [module]
    while to_visit:
        visited = to_visit.pop()
        values = list(vars(visited).values())
        file = getattr(visited, "__file__", None)
        above = Path(file or "").parents
        # No file: built in. Not below the folder: not beside the user's code.
        if file is None or file in seen or folder not in above:
            continue
        below = [place for place in above if place not in (folder, *folder.parents)]
        if any(installed(str(place)) for place in below):
            continue
        seen.add(file)
        yield file
        to_visit += filter(inspect.ismodule, values)
        for value in values:
            defined = inspect.isclass(value) or inspect.isfunction(value)
            if defined and value.__module__ in sys.modules:
                to_visit.append(sys.modules[value.__module__])


def digest_of(sources: Mapping[str, bytes], base: str) -> str:
    """The digest of these files, with their paths from `base`."""
    whole = hashlib.sha256()
    for file, source in sorted(sources.items()):
        place = os.fsencode(os.path.relpath(file, base).replace(os.sep, "/"))
        whole.update(b"%b\0%d\0" % (place, len(source)) + source)
    return whole.hexdigest()[:16]
