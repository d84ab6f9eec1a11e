"""Tables that ship inside scikit-learn: no download."""

from __future__ import annotations

import gzip
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relubench.catalog import Deferred
from relubench.datasets.dataset import DATASETS, Dataset, digest
from relubench.errors import BadValue, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Deferred("numpy")

SHIPPED = "inside scikit-learn"


def _table(name: str, file: str) -> Dataset:
    header, table = _read_of(name, file)
    x, y = np.ascontiguousarray(table[:, :-1]), table[:, -1].astype(np.int64)
    _check_pinned(name, data=x, target=y)
    classes = header[2:] or map(str, np.unique(y))
    return Dataset(x, y, tuple(classes))


def _check_pinned(name: str, **arrays: NDArray[Any]) -> None:
    for part, array in arrays.items():
        # Releases have changed such tables: scikit-learn 0.20 corrected two rows of iris.
        if digest(array) != DATASETS[name].sha256[part]:
            version = importlib.metadata.version("scikit-learn")
            raise DataError(
                f"{name}: scikit-learn {version} ships other values of '{part}' than relubench "
                "pins: install a release of scikit-learn that ships the published data"
            )


def _read_of(name: str, file: str) -> tuple[list[str], NDArray[np.float64]]:
    path = _folder() / file
    try:
        return _read(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: {path} cannot be read ({error}): reinstall scikit-learn"
        ) from error


def _read(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """The header of one of scikit-learn's files, and its numbers: (examples, features and class).

    The header has the numbers of examples and features, and the classes' names; packed files have
    none. They are read here because scikit-learn's import takes longer than a small training.
    """
    packed = path.suffix == ".gz"
    with gzip.open(path, "rt") if packed else path.open() as lines:
        header = [] if packed else next(lines).strip().split(",")
        rows = [list(map(float, line.replace(",", " ").split())) for line in lines]
    return header, np.array(rows)


def _folder() -> Path:
    library = importlib.util.find_spec("sklearn")
    if library is None or library.origin is None:
        raise DataError("this needs scikit-learn: pip install scikit-learn")
    return Path(library.origin).parent / "datasets" / "data"


@DATASETS.add(
    task="classes",
    source=SHIPPED,
    examples="569 of 30 features, 2 classes",
    sha256={
        "data": "9c05628ae419e8ac69edfa3494078609c4e55e700fff62446d292c099aea7560",
        "target": "c8bc5033c779fcfda501a75784d4e1a16b6ce2da98866932953d0090ce79b236",
    },
)
def wdbc(folder: Path) -> Dataset:
    """Wisconsin diagnostic breast cancer: malignant or benign"""
    return _table("wdbc", "breast_cancer.csv")


@DATASETS.add(
    task="classes",
    source=SHIPPED,
    examples="1797 of 64 features or 1x8x8 pixels, 10 classes",
    sha256={
        "data": "a37578f0e9d1b18ca04d6fc2ec8b34c91a133356d3fa67534a016c5b771fb9e5",
        "target": "5383ddd907a091bb4b1156307896bd921e17fad0edc1f88f7e53bb6ed7dd6149",
    },
)
def digits(folder: Path, *, images: bool = False) -> Dataset:
    """Handwritten digits, small: as a table, or as images on request"""
    table = _table("digits", "digits.csv.gz")
    if not images:
        return table
    return Dataset(table.x.reshape(-1, 1, 8, 8), table.y, table.classes)


@DATASETS.add(
    task="classes",
    source=SHIPPED,
    examples="178 of 13 features, 3 classes",
    sha256={
        "data": "7d41765fc9620fe4942ed7d3cfe70c143f32166b26b744c2417760091cec26fd",
        "target": "3bebc5b01a52da7917564079d99214dd760ae97d8b447b6cd381b5b768a65e14",
    },
)
def wine(folder: Path) -> Dataset:
    """Italian wines of three growers by chemical analysis"""
    return _table("wine", "wine_data.csv")


@DATASETS.add(
    task="classes",
    source=SHIPPED,
    examples="150 of 4 features, 3 classes",
    sha256={
        "data": "df3b6a654dd2149c93df756ec50ea1103b63a6d53ad5851bbcaed3302ab0b692",
        "target": "3302db66e5c63cfb8bfe5c9f4bd2d468ab634cfafa1daff50ae564ae19d60ea3",
    },
)
def iris(folder: Path) -> Dataset:
    """Fisher's irises: three species by four lengths"""
    return _table("iris", "iris.csv")


@DATASETS.add(
    task="regression",
    source=SHIPPED,
    examples="442 of 10 features, a number",
    sha256={
        "data": "3ba765a7c4afb04a57d9ebe4eab251fb8c9e7da5ad046850d4b154aa189139c8",
        "target": "37e41b77b7fdd40ceb9054a9a93174eb803cca012ee69e2cd6eab02fe93afb14",
    },
)
def diabetes(folder: Path) -> Dataset:
    """How far diabetes went in a year, by age, sex, body mass, pressure and blood serum"""
    _, x = _read_of("diabetes", "diabetes_data_raw.csv.gz")
    _, target = _read_of("diabetes", "diabetes_target.csv.gz")
    y = np.ascontiguousarray(target[:, 0])
    _check_pinned("diabetes", data=x, target=y)
    return Dataset(x, y, ())


@DATASETS.add(
    task="regression",
    source=SHIPPED,
    examples="20 of 3 features, a number",
    sha256={
        "data": "7dfaff84c56b414b0763c5fc527775a9918f0e224aa91c850dea4cce86cf6e46",
        "target": "259e93dd8373bcec34a1c2a9e8d88cf5584b2e65bb97fd85a44274ae3256adc6",
    },
)
def linnerud(folder: Path, *, target: str = "waist") -> Dataset:
    """Weight, waist or pulse of twenty men by chin-ups, sit-ups and jumps: very small"""
    _, x = _read_of("linnerud", "linnerud_exercise.csv")
    _, measured = _read_of("linnerud", "linnerud_physiological.csv")
    _check_pinned("linnerud", data=x, target=measured)
    if target not in LINNERUD:
        raise BadValue(f"linnerud: target={target}: known: {', '.join(LINNERUD)}")
    return Dataset(x, np.ascontiguousarray(measured[:, LINNERUD.index(target)]), ())


LINNERUD = ("weight", "waist", "pulse")
