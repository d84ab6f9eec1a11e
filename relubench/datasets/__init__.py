"""Datasets, a file per kind of source: named data with a task, a source and pinned digests.

A dataset is a function (folder) -> Dataset; `folder` is where downloaded files are kept. What is
pinned is checked on every load.
"""

from functools import lru_cache
from pathlib import Path

from relubench.datasets import (
    in_memory,
    language,
    remembered,
    shipped,
    synthetic,
    tables,
    text,
    user_files,
    vision,
)
from relubench.datasets.dataset import DATASETS, Dataset, Source, Task, digest, task_of
from relubench.datasets.remembered import Facts
from relubench.errors import DataError

__all__ = ["DATASETS", "Dataset", "Facts", "Source", "Task", "digest", "facts", "forget", "load"]
__all__ += [
    "in_memory",
    "language",
    "remembered",
    "shipped",
    "synthetic",
    "tables",
    "task_of",
    "text",
    "user_files",
    "vision",
]


FIRST: dict[tuple[str, str], Facts] = {}  # of what this process has met first


# Small, since it keeps whole datasets; what falls out is loaded and compared again.
@lru_cache(maxsize=4)
def load(name: str, folder: str) -> Dataset:
    """The dataset that `name` stands for, checked; raises DataError where it cannot be had.

    It may be loaded anew, and must then be what it was.
    """
    dataset = DATASETS.choose(name)(Path(folder))
    remembered.keep(name, folder, dataset)
    if FIRST.setdefault((name, folder), Facts.of(dataset)).digest != dataset.digest:
        raise DataError(f"{name} has changed since this command began: run it again")
    return dataset


def facts(name: str, folder: str) -> Facts:
    """What is known of the dataset that `load` loads; where its files are unchanged, without that.

    Raises DataError where it must be loaded and cannot be had.
    """
    if (name, folder) not in FIRST:
        # Without loading, if its files are as they were when it was last read.
        kept = remembered.kept(name, folder)
        if kept is None:
            load(name, folder)
        else:
            FIRST[name, folder] = kept
    return FIRST[name, folder]


def forget() -> None:
    """Forget what was loaded: to another command of this process files may be others."""
    load.cache_clear()
    FIRST.clear()
