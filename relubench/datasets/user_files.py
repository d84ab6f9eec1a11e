"""A user's own arrays and folders of images."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from relubench.catalog import Deferred
from relubench.datasets.dataset import (
    DATASETS,
    FLOAT32,
    Dataset,
    classed,
    huge,
    target_summary,
    targeted,
)
from relubench.errors import BadValue, DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageOps

    from relubench.datasets.dataset import Array
else:
    np, Image, ImageOps = Deferred("numpy"), Deferred("PIL.Image"), Deferred("PIL.ImageOps")

# What training, test and validation parts are called: here and by keras, by medmnist.
NAMES = (
    ("x", "y", "x_test", "y_test", "x_val", "y_val"),
    ("x_train", "y_train", "x_test", "y_test", "x_val", "y_val"),
    (*("train_images", "train_labels", "test_images", "test_labels"), "val_images", "val_labels"),
)
COLOURS = (1, 3, 4)
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
LONGEST = 4096  # side of an image that is brought to a size
# What systems and programs leave in a folder: no class, like a hidden directory.
LEFT_BEHIND = {"__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
# Pillow's modes of at most 8 bits a channel: convert would cut the others.
MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr")


@DATASETS.add(task="classes", source="a file of yours", examples="as many as x is long")
def npz(
    folder: Path, *, file: str, channels: str = "auto", group: str = "", task: str = "auto"
) -> Dataset:
    """NumPy arrays x and y, and x_test and y_test where a test set is published

    x is (examples, features), (examples, height, width) or (examples, channels, height, width);
    1, 3 or 4 colours that come last are moved there (channels=first: they are not, channels=last:
    any number is). x_train or train_images are x too, y may be one-hot. task=classes or
    task=regression says what numbers in y are. `group` names an array of whose each example of x
    is: those of one are never both in training and in test.
    """
    label, path = f"npz:{file}", Path(file).expanduser()
    if channels not in ("auto", "first", "last"):
        raise BadValue(f"{label}: channels={channels}: known: auto, first, last")
    if not path.is_file():
        raise DataError(f"{label}: there is no such file")
    try:
        arrays, names, members = _arrays(path, group)
    except MemoryError:
        raise DataError(f"{label}: it says that it holds more than fits into memory") from None
    except Exception as error:  # what a damaged file makes a reader raise, is in no list
        reason = getattr(error, "strerror", None) or _what_is_no_npz(path)
        raise DataError(f"{label}: cannot be read as npz: {reason}") from error
    if len(arrays) not in (2, 4):
        raise DataError(
            f"{label}: needs arrays x and y, or these and x_test and y_test; it has "
            f"{', '.join(names) or 'none'}"
        )
    dataset = of_arrays(label, arrays, channels, task)
    notes = dataset.notes
    groups = None
    if group:
        groups = _groups(label, group, members, names, dataset.n_train)
        notes += (f"examples of one {group!r} stay together ({groups.max() + 1} of them)",)
    if left_out := [name for name in names if name in ("x_val", "val_images")]:
        notes += (f"{left_out[0]}, a validation part, is left out",)
    return replace(dataset, groups=groups, notes=notes, files=(path,))


def _groups(
    label: str, name: str, members: Array | None, names: Sequence[str], count: int
) -> NDArray[np.int64]:
    """(examples,) the number of each training example's group."""
    if members is None:
        raise BadValue(f"{label}: no array {name!r}: it has {', '.join(names) or 'none'}")
    if members.shape not in ((count,), (count, 1)):
        raise DataError(f"{label}: {name} must be ({count},) like x, got {members.shape}")
    gaps = members.dtype.kind == "f" and np.isnan(members)
    if np.any(gaps):
        row = int(np.argmax(gaps)) + 1
        raise DataError(f"{label}: example {row} has no {name!r}, its group")
    _, numbers = np.unique(members.reshape(-1), return_inverse=True)
    return numbers.astype(np.int64)


def of_arrays(
    label: str, arrays: Sequence[Array], channels: str = "auto", task: str = "auto"
) -> Dataset:
    """The dataset of x and y, or of these and x_test and y_test; raises DataError with `label`.

    x  (examples, features), (examples, height, width) or (examples, channels, height, width)
    y  (examples,), (examples, 1) or one-hot
    """
    # Joined before the classes are numbered: training and test must agree on them.
    parts = [(arrays[i], _labels(arrays[i + 1])) for i in range(0, len(arrays), 2)]
    for x, y in parts:
        _check_arrays(label, x, y, parts[0][0].shape[1:])
    whole, moved = _colours_first(np.concatenate([x for x, _ in parts]), channels)
    y, classes = targeted(label, np.concatenate([y for _, y in parts]), task)
    n_test = len(parts[1][1]) if len(parts) > 1 else 0
    notes = [
        f"{target_summary(y, classes)}, inputs of {'x'.join(map(str, whole.shape[1:]))}",
        *moved,
    ]
    if arrays[1].ndim > 1 and arrays[1].shape[1] > 1:
        notes.append("y is one-hot: its columns are the classes")
    return Dataset(whole, y, classes, n_test, notes=tuple(notes))


def _arrays(path: Path, group: str) -> tuple[list[Array], list[str], Array | None]:
    """Inputs and labels for training, then for testing if they are there; the names of all.

    Last the array of that name, if there is one: whose example each is.
    """
    # Not pickled: to load a pickle is to run its author's code.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
        names = list(saved)
        # Those of which most are there: x and y alone, or with a test set.
        usual = max(NAMES, key=lambda parts: sum(name in names for name in parts[:4]))
        there = [name for name in usual[:4] if name in names]
        if there not in (list(usual[:2]), list(usual[:4])):
            return [], names, None
        members = saved[group] if group in names else None
        return [saved[name] for name in there], names, members


def _what_is_no_npz(path: Path) -> str:
    if path.suffix == ".npy":
        return "it is one array (.npy): np.savez(FILE, x=…, y=…) writes both"
    if not zipfile.is_zipfile(path):
        return "its bytes are not those of an npz file: np.savez(FILE, x=…, y=…) writes one"
    return "it holds no arrays of numbers or words"


def _labels(y: Array) -> Array:
    """Labels (n, 1) and one-hot ones as (n,)."""
    if y.ndim == 2 and y.shape[1] == 1:
        return y[:, 0]
    if y.ndim != 2 or y.dtype.kind not in "biuf":
        return y
    # One-hot only if every row has exactly one 1; several flags are several labels, refused later.
    flags = bool(((y == 0) | (y == 1)).all())
    if flags and bool((y.sum(axis=1) == 1).all()):
        classes: Array = np.argmax(y, axis=1)
        return classes
    return y


def _colours_first(x: Array, channels: str) -> tuple[Array, list[str]]:
    """Images with their channels before height and width, and a note where they were moved."""
    if x.ndim == 3:
        return x[:, np.newaxis], []
    if x.ndim != 4 or channels == "first":
        return x, []
    height, width, last = x.shape[1:]
    # Square and then a number of colours: that is how images with their colours last look.
    if channels == "last" or (height == width and last in COLOURS and height != last):
        note = f"x is {height}x{width} with {last} colours last: they are moved to the front"
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2)), [f"{note} (channels=first: not)"]
    if last in COLOURS and height not in COLOURS:
        return x, [f"x is taken as {height} channels of {width}x{last} (channels=last: colours)"]
    return x, []


def _check_arrays(label: str, x: Array, y: Array, shape: Sequence[int]) -> None:
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
        raise DataError(
            f"{label}: y holds numbers that are not finite: an example needs its target"
        )


# `folder` as a parameter is the data's folder, so that a folder of images is its `images` here.
@DATASETS.add(task="classes", source="a folder of yours", examples="as many as it holds images")
def folder(
    folder: Path, *, images: str, size: tuple[int, ...] = (0, 0), alpha: str = "white"
) -> Dataset:
    """Images, one directory per class; grey ones have one channel, others three

    All of one height and width, or brought to size=32x32 (0x0: as they are). Directories inside
    that of a class belong to it, hidden ones to none. What is transparent is shown on white, or
    with alpha=keep a fourth channel.
    """
    label, root = f"folder:{images}", Path(images).expanduser()
    if len(size) != 2 or (size != (0, 0) and not 1 <= min(size) <= max(size) <= LONGEST):
        got = "x".join(map(str, size))
        raise BadValue(f"{label}: size must be HEIGHTxWIDTH, each 1 to {LONGEST}, got {got}")
    if alpha not in ("white", "keep"):
        raise BadValue(f"{label}: alpha={alpha}: known: white, keep")
    if not root.is_dir():
        raise DataError(f"{label}: there is no such folder")
    paths = _image_paths(root)
    pictures = [_picture(label, path, size, alpha) for path in paths]
    _check_sizes(label, paths, [picture for picture, _ in pictures])
    mode = "RGBA" if alpha == "keep" else "RGB"
    mode = "L" if all(picture.mode == "L" for picture, _ in pictures) else mode
    # One mode for all: grey only if every image is.
    x = np.array([np.asarray(picture.convert(mode)) for picture, _ in pictures])
    x = x[:, np.newaxis] if mode == "L" else x.transpose(0, 3, 1, 2)
    names = [path.relative_to(root).parts[0] for path in paths]
    _check_classes(label, root, sorted({*names}))
    y, classes = classed(label, np.array(names, dtype=object))
    notes = [f"{target_summary(y, classes)}, inputs of {'x'.join(map(str, x.shape[1:]))}"]
    seen_through = sum(transparent for _, transparent in pictures)
    if seen_through and alpha == "white":
        notes.append(f"{seen_through} images have transparency, shown on white (alpha=keep)")
    if empty := _without_images(root, set(names)):
        notes.append(f"no class, since without images: {', '.join(empty[:5])}")
    searched = (Path(place) for place, _ in _walk(root))
    # The folders too: their time changes when an image is added or taken away.
    read = (*searched, *paths)
    return Dataset(np.ascontiguousarray(x), y, classes, notes=tuple(notes), files=read)


def _image_paths(root: Path) -> list[Path]:
    """The images below the directories of `root`, as torchvision finds them, but no hidden ones."""
    paths: list[Path] = []
    for directory in root.iterdir():
        if directory.is_dir() and not _is_hidden(directory.name):
            for where, names in _walk(directory):
                paths += [Path(where, name) for name in names]
    # Sorted: a file system lists in any order, and a split has to draw the same rows everywhere.
    return sorted(path for path in paths if path.suffix.lower() in IMAGES)


def _check_classes(label: str, root: Path, names: Sequence[str]) -> None:
    """Refuse the parts of a split data set, which would be taken as its classes."""
    if len(names) > 1 and {name.lower() for name in names} <= PARTS:
        part = next((name for name in names if name.lower().startswith("train")), names[0])
        raise DataError(
            f"{label}: {', '.join(names)} are parts, and a directory per class is needed: say "
            f"folder:{root / part}"
        )


def _walk(top: Path) -> Iterator[tuple[str, list[str]]]:
    """Directories and their files' names without what is hidden.

    A link back to a directory above is not followed.
    """
    for where, inside, names in os.walk(top, followlinks=True):
        real = Path(where).resolve()
        # In place: os.walk goes into what is left in this very list.
        inside[:] = [
            name
            for name in sorted(inside)
            if not _is_hidden(name) and not real.is_relative_to(Path(where, name).resolve())
        ]
        yield where, [name for name in names if not _is_hidden(name)]


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "~$")) or name in LEFT_BEHIND


def _without_images(root: Path, classes: set[str]) -> list[str]:
    directories = (path.name for path in root.iterdir() if path.is_dir())
    return sorted(name for name in directories if not _is_hidden(name) and name not in classes)


def _picture(label: str, path: Path, size: tuple[int, ...], alpha: str) -> tuple[Image.Image, bool]:
    """An image as L, RGB or RGBA, upright and of that size, and whether it is transparent."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as picture:
            mode, most = picture.mode, Image.MAX_IMAGE_PIXELS
            if most and picture.width * picture.height > most:  # before it is decoded
                raise Image.DecompressionBombError(f"it has more than {most} pixels")
            shown, transparent = _shown(ImageOps.exif_transpose(picture), alpha)
    except MemoryError:
        raise DataError(f"{label}: {path} does not fit into memory") from None
    except Exception as error:  # what a damaged file makes a reader raise, is in no list
        bomb = isinstance(error, Image.DecompressionBombError)
        reason = f": more than {Image.MAX_IMAGE_PIXELS} pixels" if bomb else ""
        raise DataError(f"{label}: {path} cannot be read as an image{reason}") from error
    if mode not in MODES:
        raise DataError(f"{label}: {path} is of mode {mode}: images of 8 bits only")
    shown = shown.resize((size[1], size[0])) if size != (0, 0) else shown
    return shown, transparent


def _shown(picture: Image.Image, alpha: str) -> tuple[Image.Image, bool]:
    """What a viewer shows: transparency on white, unless it is kept; grey as one channel."""
    grey = picture.mode in ("1", "L", "LA", "La")
    if not picture.has_transparency_data:
        plain = picture.convert("L" if grey else "RGB")
        red, *others = plain.split()
        # A palette may hold greys alone.
        same = picture.mode == "P" and all(red.tobytes() == each.tobytes() for each in others)
        return (red if same else plain), False
    whole = picture.convert("RGBA")
    transparent = bool((np.asarray(whole)[..., 3] < 255).any())
    if alpha == "keep":
        return whole, transparent
    white = Image.new("RGBA", whole.size, "white")
    return Image.alpha_composite(white, whole).convert("L" if grey else "RGB"), transparent


def _check_sizes(label: str, paths: Sequence[Path], pictures: Sequence[Image.Image]) -> None:
    if not pictures:
        raise DataError(f"{label}: it holds no images: they stand in a directory per class")
    for path, picture in zip(paths, pictures, strict=True):
        if picture.size != pictures[0].size:
            sizes = [f"{height}x{width}" for width, height in (picture.size, pictures[0].size)]
            raise DataError(
                f"{label}: {path} is {sizes[0]}, others are {sizes[1]}: say size={sizes[1]}"
            )
