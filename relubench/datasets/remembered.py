"""What is known of a dataset without loading it: kept, and believed while its files are the same.

A command whose runs are all in the ledger needs a digest and a few sizes of its data, no example.
They are kept in the user's cache, with the size and the time of every file that was read.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from relubench import __version__
from relubench.datasets.dataset import Dataset
from relubench.user_cache import UserCache

CACHE = UserCache("data.json", most=10**7)
# FAT keeps times to 2 s; other file systems are finer.
SETTLED = 2.0  # seconds: a file that was just written may change again within its time's grain
DIGEST = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Facts:
    """A dataset's digest, the shape of an example, how many there are, the names of the classes.

    classes  none where the targets are numbers
    groups   how many groups no split may part; 0: there are none
    language  whether the targets are the next tokens, and the classes a vocabulary
    """

    digest: str
    shape: tuple[int, ...]
    n_train: int
    n_test: int
    classes: tuple[str, ...]
    groups: int = 0
    language: bool = False

    @property
    def outputs(self) -> int:
        """How many outputs a network needs: one per class, or one for a number."""
        return len(self.classes) or 1

    @property
    def respected(self) -> str:
        """What splits respect: shares of "classes", "groups" that stay whole, both, or ""."""
        kept = ["classes"] if self.classes and not self.language else []
        return " and ".join([*kept, "groups"] if self.groups else kept)

    @classmethod
    def of(cls, dataset: Dataset) -> Facts:
        """Those of a dataset that is loaded."""
        counts = (dataset.n_train, dataset.n_test)
        groups = 0 if dataset.groups is None else len(set(dataset.groups.tolist()))
        language = dataset.task == "language"
        return cls(dataset.digest, dataset.shape, *counts, dataset.classes, groups, language)


def keep(name: str, folder: str, dataset: Dataset) -> None:
    """Keep what is known of a dataset that was read from files, for `kept`."""
    # What is made or lent has no file whose change would tell that it is another.
    if not dataset.files:
        return
    stamps = _stamps(dataset.files)
    if stamps is None or time.time() - max(stamp[1] for stamp in stamps.values()) / 1e9 < SETTLED:
        return
    entry = {"files": stamps, "facts": asdict(Facts.of(dataset))}
    # Nothing is written that stands there already.
    if kept(name, folder) == Facts.of(dataset):
        return
    CACHE.keep(_key(name, folder), entry)


def kept(name: str, folder: str) -> Facts | None:
    """What was kept of a dataset, if its files are what they were; None: it must be loaded."""
    try:
        entry = CACHE.entries()[_key(name, folder)]
        stamps = {path: tuple(stamp) for path, stamp in entry["files"].items()}
        facts = _checked(entry["facts"])
    except (AttributeError, KeyError, TypeError, ValueError):  # nothing is kept, or it is damaged
        return None
    return facts if stamps and stamps == _stamps(map(Path, stamps)) else None


def _checked(found: Any) -> Facts:
    """The facts that JSON gives; raises ValueError, KeyError or TypeError where they are none."""
    counts = (found["n_train"], found["n_test"], found["groups"], *found["shape"])
    whole = all(type(count) is int and count >= 0 for count in counts)
    words = all(isinstance(name, str) for name in found["classes"])
    if not (whole and words and DIGEST.fullmatch(found["digest"])):
        raise ValueError(found)
    shape, classes = tuple(found["shape"]), tuple(found["classes"])
    sizes = (found["n_train"], found["n_test"])
    return Facts(found["digest"], shape, *sizes, classes, found["groups"], bool(found["language"]))


def _stamps(paths: Iterable[Path]) -> dict[str, tuple[int, int]] | None:
    """Size and time of change of each file, in nanoseconds; None where one is not there."""
    stamps = {}
    try:
        for path in paths:
            status = path.stat()
            stamps[str(path.absolute())] = (status.st_size, status.st_mtime_ns)
    except OSError:
        return None
    return stamps


def _key(name: str, folder: str) -> str:
    """A dataset as it is spelt, where it would be looked for, and who read it."""
    return json.dumps([__version__, name, folder, os.getcwd()])
