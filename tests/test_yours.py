"""A user's own arrays and images as they are kept elsewhere: what is seen, said and refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from torchvision.datasets import ImageFolder

from relubench.cli import main
from relubench.datasets import DATASETS, Dataset
from relubench.errors import DataError

rng = np.random.default_rng(0)
Y = np.arange(12) % 3


def npz(folder: Path, given: str = "", **arrays: Any) -> Dataset:
    np.savez(folder / "a.npz", **arrays)
    dataset: Dataset = DATASETS.choose(f"npz:{folder / 'a.npz'}{given}")(folder)
    return dataset


@pytest.mark.parametrize(
    ("shape", "moved"),
    [
        *[((32, 32, 3), True), ((28, 28, 1), True), ((8, 8, 4), True), ((5, 5, 3), True)],
        *[((64, 64, 3), True), ((2, 2, 1), True), ((3, 32, 32), False), ((1, 28, 28), False)],
        *[((4, 8, 8), False), ((3, 3, 3), False), ((16, 16, 16), False), ((32, 48, 3), False)],
        ((8, 8, 5), False),
    ],
)
def test_colours_that_come_last_are_moved(
    shape: tuple[int, ...], moved: bool, tmp_path: Path
) -> None:
    x = rng.normal(size=(12, *shape))
    dataset = npz(tmp_path, x=x, y=Y)
    expected = x.transpose(0, 3, 1, 2) if moved else x
    assert np.array_equal(dataset.x, expected)
    assert moved == any("they are moved to the front" in note for note in dataset.notes)
    assert np.array_equal(npz(tmp_path, ":channels=first", x=x, y=Y).x, x)
    last = npz(tmp_path, ":channels=last", x=x, y=Y)
    assert np.array_equal(last.x, x.transpose(0, 3, 1, 2))
    assert len({last.digest, npz(tmp_path, ":channels=first", x=x, y=Y).digest}) == 2


def test_colours_that_may_be_last_are_named(tmp_path: Path) -> None:
    notes = str(npz(tmp_path, x=rng.normal(size=(12, 32, 48, 3)), y=Y).notes)
    assert "taken as 32 channels of 48x3 (channels=last: colours)" in notes


@pytest.mark.parametrize(
    "y",
    [
        *[Y[:, None], np.eye(3)[Y], np.eye(3, dtype=int)[Y], np.eye(3, dtype=bool)[Y]],
        *[Y.astype(float)[:, None], Y.astype(np.uint8)[:, None]],
    ],
    ids=["column", "one-hot", "one-hot int", "one-hot bool", "float column", "bytes"],
)
def test_labels_of_one_column_and_one_hot_ones_are_read(y: np.ndarray, tmp_path: Path) -> None:
    x = rng.normal(size=(12, 5))
    assert npz(tmp_path, x=x, y=y).digest == npz(tmp_path, x=x, y=Y).digest


@pytest.mark.parametrize("y", [np.eye(3)[Y] * 2, np.ones((12, 3)), rng.normal(size=(12, 2))])
def test_labels_of_several_columns_are_refused(y: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"y must be \(12,\)"):
        npz(tmp_path, x=np.ones((12, 5)), y=y)


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("x", "y", "x_test", "y_test"),
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
    ],
    ids=" ".join,
)
def test_arrays_of_keras_and_medmnist_are_read(names: tuple[str, ...], tmp_path: Path) -> None:
    x, y = rng.integers(0, 255, (12, 8, 8, 3)).astype(np.uint8), Y[:, None]
    arrays: dict[str, Any] = dict(zip(names, (x, y, x[:6], y[:6]), strict=False))
    dataset = npz(tmp_path, **arrays, val_images=x[:3], val_labels=y[:3])
    assert (dataset.n_train, dataset.n_test) == (12, 6 if len(names) > 2 else 0)
    assert np.array_equal(dataset.x[:12], x.transpose(0, 3, 1, 2))
    assert np.array_equal(dataset.y[:12], Y)
    assert "val_images, a validation part, is left out" in dataset.notes


@pytest.mark.parametrize(
    "shape", [(10**8, 10**8), (2**40, 30), (10**12,), (2**31, 2**31), (12, 2**50)], ids=str
)
def test_a_header_that_claims_too_much_is_one_line(shape: Any, tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f8", "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", head.getvalue() + b"\0" * 64)
        archive.writestr("y.npy", head.getvalue())
    with pytest.raises(DataError) as caught:
        DATASETS.choose(f"npz:{tmp_path / 'a.npz'}")(tmp_path)
    assert len(str(caught.value).splitlines()) == 1


# --- folders of images ----------------------------------------------------------------------------


def shapes(root: Path, mode: str = "RGBA", kinds: tuple[str, ...] = ("disc", "square")) -> Path:
    """Black shapes; what is around them differs in opacity alone."""
    for kind in kinds:
        (root / kind).mkdir(parents=True)
        for number in range(4):
            whole = Image.new("RGBA", (12, 12), (0, 0, 0, 0))
            draw = getattr(ImageDraw.Draw(whole), "ellipse" if kind == "disc" else "rectangle")
            draw((1 + number % 2, 1, 9, 9), fill=(0, 0, 0, 255))
            kept(whole, mode).save(root / kind / f"{number}.png")
    return root


def kept(whole: Image.Image, mode: str) -> Image.Image:
    """The same picture in another mode with transparency."""
    if mode == "P":
        found = whole.getchannel("A").convert("P")
        found.putpalette([0] * 768)
        found.info["transparency"] = 0
        return found
    if mode in ("RGB", "L"):  # one colour stands for nothing
        found = Image.new(mode, whole.size, 7 if mode == "L" else (7, 7, 7))
        found.paste(0, mask=whole.getchannel("A"))
        found.info["transparency"] = 7 if mode == "L" else (7, 7, 7)
        return found
    return whole.convert(mode)


def get(root: Path, given: str = "") -> Dataset:
    dataset: Dataset = DATASETS.choose(f"folder:{root}{given}")(root)
    return dataset


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_what_is_transparent_is_shown_on_white(mode: str, tmp_path: Path) -> None:
    dataset = get(shapes(tmp_path / "images", mode))
    alpha = np.asarray(Image.open(shapes(tmp_path / "whole") / "disc" / "0.png"))[..., 3]
    assert dataset.shape[0] == (1 if mode in ("L", "LA") else 3)
    assert all(np.array_equal(channel, 255 - alpha) for channel in dataset.x[0])
    assert "8 images have transparency, shown on white (alpha=keep)" in dataset.notes
    whole = get(tmp_path / "images", ":alpha=keep")
    assert whole.shape == (4, 12, 12)
    assert np.array_equal(whole.x[0, 3], alpha)
    assert whole.digest != dataset.digest


def test_what_is_half_transparent_is_half_white(tmp_path: Path) -> None:
    for name, colour in (("a", (200, 0, 0, 51)), ("b", (0, 0, 0, 255))):
        (tmp_path / name).mkdir()
        Image.new("RGBA", (2, 2), colour).save(tmp_path / name / "0.png")
    assert get(tmp_path).x[:, :, 0, 0].tolist() == [[244, 204, 204], [0, 0, 0]]


@pytest.mark.parametrize(
    "extra",
    [
        *[".ipynb_checkpoints/0.png", ".git/x.png", "__MACOSX/._0.png", "disc/.thumbs/0.png"],
        *["disc/._0.png", ".hidden/deep/0.png", "square/.ipynb_checkpoints/0-checkpoint.png"],
        *["@eaDir/0.png", "disc/@eaDir/0.png/SYNOPHOTO_THUMB_M.png", "__pycache__/0.png"],
        *["$RECYCLE.BIN/0.png", "System Volume Information/0.png", "lost+found/0.png"],
        *[".Trash-1000/files/0.png", "square/~$0.png"],
    ],
)
def test_what_is_hidden_is_no_class_and_no_image(extra: str, tmp_path: Path) -> None:
    before = get(shapes(tmp_path / "images"))
    path = tmp_path / "images" / extra
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", (12, 12)).save(path)
    after = get(tmp_path / "images")
    assert after.digest == before.digest
    assert ("__MACOSX" in extra) == any("without images: __MACOSX" in n for n in after.notes)


@pytest.mark.parametrize("deep", ["one", "one/two", "a/b/c/d", "2024/01", "x y"])
def test_nested_images_are_read_as_torchvision_reads_them(deep: str, tmp_path: Path) -> None:
    root = shapes(tmp_path / "images", "LA")
    for kind in ("disc", "square"):
        (root / kind / deep).mkdir(parents=True)
        Image.new("L", (12, 12), 9).save(root / kind / deep / "x.png")
    theirs, mine = ImageFolder(str(root)), get(root)
    assert list(mine.classes) == theirs.classes
    assert np.bincount(mine.y).tolist() == np.bincount(theirs.targets).tolist() == [5, 5]
    assert (mine.x == 9).all(axis=(1, 2, 3)).sum() == 2


@pytest.mark.parametrize(
    ("parts", "first"),
    [
        (("train", "test"), "train"),
        (("Training", "Testing", "Validation"), "Training"),
        (("train", "val"), "train"),
        (("TRAIN", "VALID", "TEST"), "TRAIN"),
        (("test", "dev"), "dev"),
    ],
)
def test_parts_of_a_split_are_no_classes(
    parts: tuple[str, ...], first: str, tmp_path: Path
) -> None:
    for part in parts:
        shapes(tmp_path / part)
    with pytest.raises(DataError, match="are parts, and a directory per class is needed") as no:
        get(tmp_path)
    assert str(no.value).endswith(f"say folder:{tmp_path / first}")
    assert get(tmp_path / first).classes == ("disc", "square")


@pytest.mark.parametrize("kinds", [("train", "bus"), ("test", "control"), ("valid", "invalid")])
def test_a_class_may_be_called_like_a_part(kinds: tuple[str, ...], tmp_path: Path) -> None:
    assert set(get(shapes(tmp_path, kinds=kinds)).classes) == set(kinds)


def test_a_link_to_a_directory_above_ends(tmp_path: Path) -> None:
    root = shapes(tmp_path / "images")
    (root / "disc" / "again").symlink_to(root)
    (root / "disc" / "self").symlink_to(root / "disc")
    assert len(get(root).y) == 8


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_photograph_stands_upright(turn: int, tmp_path: Path) -> None:
    """The eight orientations of EXIF, each as a viewer shows it."""
    upright = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name / "0.png", exif=exif)
    assert np.array_equal(get(tmp_path).x[0].transpose(1, 2, 0), upright)


def test_a_palette_is_what_it_shows(tmp_path: Path) -> None:
    for name, palette in (("a", [255, 0, 0, 0, 0, 255]), ("b", [0, 255, 0, 9, 9, 9])):
        (tmp_path / name).mkdir()
        picture = Image.new("P", (2, 1))
        picture.putpalette(palette)
        picture.putpixel((1, 0), 1)
        picture.save(tmp_path / name / "0.png")
    x = get(tmp_path).x
    assert x[:, :, 0].transpose(0, 2, 1).tolist() == [
        [[255, 0, 0], [0, 0, 255]],
        [[0, 255, 0], [9, 9, 9]],
    ]


def test_a_palette_of_greys_is_grey(tmp_path: Path) -> None:
    root = shapes(tmp_path / "images", "LA")
    for path in root.glob("*/*.png"):
        Image.open(path).convert("L").convert("P").save(path)
    assert get(root).shape == (1, 12, 12)


@pytest.mark.parametrize("side", [9500, 13000, 60000])
def test_a_bomb_is_refused_before_it_is_decoded(
    side: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shapes(tmp_path / "images")
    data = bytearray((root / "disc" / "0.png").read_bytes())
    data[16:24] = side.to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (root / "disc" / "0.png").write_bytes(data)
    with pytest.raises(DataError, match="cannot be read as an image: more than 89478485 pixels"):
        get(root)


FLAGS = ["-m", "ffnn:hidden=2", "--epochs", "0", "--no-ledger", "--quiet"]


def damaged(good: bytes, seed: int) -> bytes:
    """Bytes changed, cut off or doubled."""
    draw = np.random.default_rng(seed)
    data = bytearray(good)
    for place in draw.integers(0, len(data), draw.integers(1, 20)):
        data[place] = draw.integers(0, 256)
    return bytes(data[: draw.integers(0, len(data))] if seed % 4 == 0 else data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["npz", "parquet", "folder"])
def test_damaged_files_are_one_line_or_train(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """100 of each: exit 0 or 2, at most three lines."""
    good = tmp_path / "good"
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        import pandas as pd

        frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=[*"abc"]).assign(y=[*"uv"] * 30)
        frame.to_parquet(good)
    elif kind == "npz":
        with good.open("wb") as file:
            np.savez(file, x=rng.normal(size=(60, 3)), y=np.arange(60) % 2)
    for seed in range(100):
        name = f"{kind}:{tmp_path / str(seed)}"
        if kind == "folder":
            root = shapes(tmp_path / str(seed))
            good = root / "disc" / "0.png"
            good.write_bytes(damaged(good.read_bytes(), seed))
        else:
            (tmp_path / str(seed)).write_bytes(damaged(good.read_bytes(), seed))
            name += ":target=y" if kind == "parquet" else ""
        assert main(["train", "-d", name, *FLAGS]) in (0, 2), seed
        assert len(capsys.readouterr().err.splitlines()) <= 3
