"""Texts: long and sparse inputs."""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from relubench.catalog import Deferred
from relubench.datasets import language
from relubench.datasets.dataset import DATASETS, Dataset
from relubench.datasets.vision import network_timeout
from relubench.errors import BadValue, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn import datasets as sklearn_datasets
    from sklearn.feature_extraction import text as words
    from sklearn.utils import Bunch

    from relubench.datasets.dataset import Array
else:
    np, sklearn_datasets = Deferred("numpy"), Deferred("sklearn.datasets")
    words = Deferred("sklearn.feature_extraction.text")


@DATASETS.add(
    "20newsgroups",
    task="classes",
    source="scikit-learn, downloaded to --data-dir; not pinned",
    examples="11314 + 7532 test of 1000 features, 20 classes",
)
def newsgroups(
    folder: Path, *, features: int = 1000, whole: bool = False, context: int = 0
) -> Dataset:
    """20 Newsgroups by date: TF-IDF of the training set's most frequent words

    Headers, signatures and quotes are removed unless `whole`. Most inputs are 0, and stay so with
    --no-standardise. With `context` it is tokens instead, for a model of attention: so many words
    of each, of which `features` are known.
    """
    if features < 1:
        raise BadValue(f"20newsgroups: features must be at least 1, got {features}")
    remove = () if whole else ("headers", "footers", "quotes")
    train, test = (_fetch(part, folder, remove) for part in ("train", "test"))
    return Dataset(
        np.array([*train.data, *test.data], dtype=object),
        np.concatenate([train.target, test.target]).astype(np.int64),
        tuple(train.target_names),
        n_test=len(test.data),
        encode=partial(language.sequences, words=features, context=context)
        if context
        else partial(tf_idf, features=features),
        width=context or features,
        tokens=features + language.FIRST if context else 0,
    )


def _fetch(part: str, folder: Path, remove: tuple[str, ...]) -> Bunch:
    try:
        # stdout holds the table alone: what a download prints goes to stderr.
        with contextlib.redirect_stdout(sys.stderr), network_timeout(seconds=20):
            return sklearn_datasets.fetch_20newsgroups(
                data_home=str(folder), subset=part, remove=remove, shuffle=False, n_retries=1
            )
    except (OSError, LookupError, EOFError) as error:
        raise DataError(
            f"20newsgroups: not in {folder / '20news-bydate_py3.pkz'}, and the download failed: "
            "put scikit-learn's file there, or say where it is with --data-dir or RELUBENCH_DATA"
        ) from error


def tf_idf(
    train: Array, test: Array, features: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(texts,) to (texts, features); words and weights are those of the training texts.

    Where the training texts have fewer words, the last features are 0.
    """
    vectorizer = words.TfidfVectorizer(max_features=features)
    try:
        both = vectorizer.fit_transform(train).toarray(), vectorizer.transform(test).toarray()
    except ValueError as error:
        raise DataError(f"the training texts hold no words ({error})") from error
    missing = features - both[0].shape[1]
    x_train, x_test = (np.pad(x, ((0, 0), (0, missing))) for x in both)
    return x_train, x_test
