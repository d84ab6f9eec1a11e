"""Datasets, a file per kind of source: named data with a task, a source and pinned digests.

A dataset is a function (folder) -> Dataset; `folder` is where downloaded files are kept. What is
pinned is checked on every load.
"""

from functools import lru_cache
from pathlib import Path

from relubench.datasets import shipped, synthetic, tables, text, user_files, vision
from relubench.datasets.dataset import DATASETS, Dataset, Source, digest
from relubench.errors import DataError

__all__ = ["DATASETS", "Dataset", "Source", "digest", "fingerprint", "load"]
__all__ += ["shipped", "synthetic", "tables", "text", "user_files", "vision"]


DIGESTS: dict[tuple[str, str], str] = {}  # of what was loaded first


@lru_cache(maxsize=4)
def load(name: str, folder: str) -> Dataset:
    """The dataset that `name` stands for, checked; raises DataError where it cannot be had.

    It may be loaded anew, and must then be what it was.
    """
    dataset = DATASETS.choose(name)(Path(folder))
    if DIGESTS.setdefault((name, folder), dataset.digest) != dataset.digest:
        raise DataError(f"{name} has changed since this command began: run it again")
    return dataset


def fingerprint(name: str, folder: str) -> str:
    """The digest of what `load` loads: other examples, another digest."""
    if (name, folder) not in DIGESTS:
        load(name, folder)
    return DIGESTS[name, folder]
