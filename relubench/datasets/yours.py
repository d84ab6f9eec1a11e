"""A user's own arrays and folders of images."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relubench.catalog import Deferred
from relubench.datasets.dataset import DATASETS, FLOAT32, Dataset, classed, huge
from relubench.errors import BadValue, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
else:
    np, Image = Deferred("numpy"), Deferred("PIL.Image")

ARRAYS = ("x", "y", "x_test", "y_test")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
LONGEST = 4096  # side of an image that is brought to a size
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")


@DATASETS.add(task="classes", source="a file of yours", examples="as many as x is long")
def npz(folder: Path, *, file: str) -> Dataset:
    """NumPy arrays x and y, and x_test and y_test where a test set is published

    x is (examples, features), (examples, height, width) or (examples, channels, height, width).
    """
    label, path = f"npz:{file}", Path(file).expanduser()
    if not path.is_file():
        raise DataError(f"{label}: there is no such file")
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in ARRAYS if name in saved}
            names = list(saved)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "it holds no arrays of numbers or words"
        raise DataError(f"{label}: cannot be read as npz: {reason}") from error
    if tuple(arrays) not in (ARRAYS[:2], ARRAYS):
        raise DataError(
            f"{label}: needs arrays x and y, or these and x_test and y_test; it has "
            f"{', '.join(names) or 'none'}"
        )
    found = list(arrays.values())
    parts = list(zip(found[::2], found[1::2], strict=True))
    for x, y in parts:
        _check_arrays(label, x, y, parts[0][0].shape[1:])
    x = np.concatenate([x for x, _ in parts])
    y, classes = classed(label, np.concatenate([y for _, y in parts]))
    n_test = len(parts[1][1]) if len(parts) > 1 else 0
    return Dataset(x[:, np.newaxis] if x.ndim == 3 else x, y, classes, n_test)


def _check_arrays(label: str, x: NDArray[Any], y: NDArray[Any], shape: Sequence[int]) -> None:
    if x.ndim not in (2, 3, 4) or x.dtype.kind not in "biuf" or x.shape[1:] != tuple(shape):
        raise DataError(
            f"{label}: x must be numbers, (examples, features) or (examples, channels, height, "
            f"width), and x_test alike; got {x.dtype} {x.shape}"
        )
    if y.shape != (len(x),):
        raise DataError(f"{label}: y must be ({len(x)},) like x, got {y.shape}")
    if 0 in x.shape[1:]:
        raise DataError(f"{label}: x is {x.shape}, and an example needs one number at the least")
    if x.dtype.kind == "f" and (np.isnan(x).any() or huge(x, FLOAT32)):
        raise DataError(
            f"{label}: x holds numbers that are not finite in float32 (NaN, or beyond "
            f"±{FLOAT32:g}): fill or remove them"
        )
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise DataError(f"{label}: y holds numbers that are not finite: an example needs its class")


# `folder` as a parameter is the data's folder, so that a folder of images is its `images` here.
@DATASETS.add(task="classes", source="a folder of yours", examples="as many as it holds images")
def folder(folder: Path, *, images: str, size: tuple[int, ...] = (0, 0)) -> Dataset:
    """Images, one directory per class; grey ones have one channel, others three

    All of one height and width, or brought to size=32x32 (0x0: as they are).
    """
    label, root = f"folder:{images}", Path(images).expanduser()
    if len(size) != 2 or (size != (0, 0) and not 1 <= min(size) <= max(size) <= LONGEST):
        got = "x".join(map(str, size))
        raise BadValue(f"{label}: size must be HEIGHTxWIDTH, each 1 to {LONGEST}, got {got}")
    if not root.is_dir():
        raise DataError(f"{label}: there is no such folder")
    paths = sorted(path for path in root.glob("*/*") if path.suffix.lower() in IMAGES)
    pictures = [_picture(label, path, size) for path in paths]
    _check_sizes(label, paths, pictures)
    grey = all(picture.mode in ("1", "L") for picture in pictures)
    x = np.array([np.asarray(picture.convert("L" if grey else "RGB")) for picture in pictures])
    x = x[:, np.newaxis] if grey else x.transpose(0, 3, 1, 2)
    y, classes = classed(label, np.array([path.parent.name for path in paths], dtype=object))
    return Dataset(np.ascontiguousarray(x), y, classes)


def _picture(label: str, path: Path, size: tuple[int, ...]) -> Image.Image:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            picture.load()  # warns of transparency, which is dropped, and of large images
            mode = picture.mode
            plain = picture.convert("L" if mode in ("1", "L") else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{label}: {path} cannot be read as an image") from error
    if mode not in MODES:
        raise DataError(f"{label}: {path} is of mode {mode}: images of 8 bits only")
    return plain.resize((size[1], size[0])) if size != (0, 0) else plain


def _check_sizes(label: str, paths: Sequence[Path], pictures: Sequence[Image.Image]) -> None:
    if not pictures:
        raise DataError(f"{label}: it holds no images: they stand in a directory per class")
    for path, picture in zip(paths, pictures, strict=True):
        if picture.size != pictures[0].size:
            sizes = [f"{height}x{width}" for width, height in (picture.size, pictures[0].size)]
            raise DataError(
                f"{label}: {path} is {sizes[0]}, others are {sizes[1]}: say size={sizes[1]}"
            )
