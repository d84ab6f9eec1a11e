"""Text as a stream of tokens, of which each is to be told from those before it."""

from __future__ import annotations

import gzip
import hashlib
import math
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError

from relubench.catalog import Deferred
from relubench.datasets.dataset import DATASETS, Dataset
from relubench.datasets.vision import network_timeout
from relubench.errors import BadValue, DataError
from relubench.grouping import joined

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
else:
    np = Deferred("numpy")

HELD = 0.1  # of a text, its end: what is validated on
MOST_WORDS = 20_000  # kinds of words; rarer ones are all one
UNKNOWN = "<unknown>"
WORD = re.compile(r"\w+|[^\w\s]")
UNITS: Mapping[str, Callable[[str], Sequence[str]]] = {
    "char": list,
    "byte": lambda text: [str(byte) for byte in text.encode()],
    "word": WORD.findall,
}
SHAKESPEARE = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"


@DATASETS.add(
    task="language",
    source="a file of yours",
    examples="as many as its text has windows",
)
def text(
    folder: Path, *, file: str, unit: str = "char", context: int = 64, windows: int = 0
) -> Dataset:
    """A text file in UTF-8, whose next unit is to be foretold: unit=char, byte or word

    The first 90 % are learned from, the last 10 % tested on. The vocabulary is that of the training
    part; what only the rest has is one unknown token. A batch is windows of `context` tokens at
    random places. An epoch has as many tokens as the training part, or `windows` windows.
    """
    label, path = f"text:{file}", Path(file).expanduser()
    if not path.is_file():
        raise DataError(f"{label}: there is no such file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{label}: cannot be read: {error.strerror}") from error
    return replace(of_text(label, _decoded(label, content), unit, context, windows), files=(path,))


def _decoded(label: str, content: bytes) -> str:
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{label}: it is not UTF-8 text: save it as that ({error.reason})"
        ) from None
    if "\0" in decoded:
        raise DataError(f"{label}: it holds bytes of 0, as no text does")
    return decoded


@DATASETS.add(
    task="language",
    source="karpathy/char-rnn, downloaded to --data-dir",
    examples="1003854 + 111540 test characters of 65 kinds, in windows",
    sha256={"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
)
def tinyshakespeare(
    folder: Path, *, unit: str = "char", context: int = 64, windows: int = 0
) -> Dataset:
    """Tiny Shakespeare: lines of his plays (Karpathy 2015), with the parameters of text"""
    content = _shakespeare(folder / "tinyshakespeare")
    pinned = DATASETS["tinyshakespeare"].sha256["input.txt"]
    if hashlib.sha256(content).hexdigest() != pinned:
        raise DataError(
            f"tinyshakespeare: {folder / 'tinyshakespeare' / 'input.txt'} is another text than the "
            "published one: remove it, and it is downloaded again"
        )
    return of_text("tinyshakespeare", content.decode(), unit, context, windows)


def _shakespeare(home: Path) -> bytes:
    """The text where it lies, plain or packed; else it is downloaded."""
    plain, packed = home / "input.txt", home / "input.txt.gz"
    if plain.is_file():
        return plain.read_bytes()
    if packed.is_file():
        try:
            return gzip.decompress(packed.read_bytes())
        except (OSError, EOFError) as error:
            raise DataError(f"tinyshakespeare: {packed} is damaged: remove it") from error
    try:
        with network_timeout(seconds=20), urllib.request.urlopen(SHAKESPEARE + "input.txt") as page:
            content: bytes = page.read()
    except (URLError, OSError) as error:
        raise DataError(
            f"tinyshakespeare: not in {home}, and the download failed: put input.txt there, or say "
            "where it is with --data-dir or RELUBENCH_DATA"
        ) from error
    home.mkdir(parents=True, exist_ok=True)
    plain.write_bytes(content)
    return content


def of_text(label: str, content: str, unit: str, context: int, windows: int) -> Dataset:
    """The windows of a text, one beside the other; raises BadValue and DataError with `label`."""
    if unit not in UNITS:
        raise BadValue(f"{label}: unit={unit}: known: {', '.join(UNITS)}")
    if context < 1 or windows < 0:
        raise BadValue(f"{label}: context must be at least 1, and windows at least 0")
    tokens = UNITS[unit](content)
    split = len(tokens) - int(len(tokens) * HELD)
    if len(tokens) - split <= context:
        what = "is empty" if not tokens else f"has {len(tokens)} tokens"
        raise DataError(
            f"{label}: it {what}, and its last tenth must be longer than context={context}: give a "
            "longer text, or a smaller context"
        )
    vocabulary = _vocabulary(tokens[:split], tokens[split:], unit)
    if len(vocabulary) < 2:
        raise DataError(f"{label}: it has one kind of token only, and there is nothing to foretell")
    numbers = {token: number for number, token in enumerate(vocabulary)}
    unknown = numbers.get(UNKNOWN, 0)
    stream = np.array([numbers.get(token, unknown) for token in tokens], dtype=np.int64)
    x, y, n_test = _windows(stream, split, context)
    letters = len(content.encode()) / len(content) if unit == "byte" else 1.0
    return Dataset(
        x,
        y,
        tuple(vocabulary),
        n_test,
        notes=(_summary(stream, split, len(vocabulary), unit, context),),
        drawn=windows or len(y) - n_test,
        letters=math.nan if unit == "word" else 1 / letters,
        tokens=len(vocabulary),
    )


def _vocabulary(training: Sequence[str], rest: Sequence[str], unit: str) -> list[str]:
    """The kinds of tokens of the training part, sorted; last what stands for all others."""
    counts = Counter(training)
    kinds = sorted(counts)
    if unit == "word" and len(kinds) > MOST_WORDS:
        kinds = sorted(token for token, _ in counts.most_common(MOST_WORDS))
    known = set(kinds)
    complete = known.issuperset(counts) and known.issuperset(rest)
    return kinds if complete else [*kinds, UNKNOWN]


def _windows(
    stream: NDArray[np.int64], split: int, context: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """(windows, context) tokens and those that follow each, and how many windows are of the end."""
    parts = []
    for part in (stream[:split], stream[split:]):
        count = (len(part) - 1) // context
        parts.append((part[: count * context], part[1 : count * context + 1]))
    x, y = (np.concatenate(each).reshape(-1, context) for each in zip(*parts, strict=True))
    return x, y, len(parts[1][0]) // context


def _summary(stream: NDArray[np.int64], split: int, kinds: int, unit: str, context: int) -> str:
    noun = {"char": "characters", "byte": "bytes", "word": "words"}[unit]
    return (
        f"{len(stream)} {noun} of {kinds} kinds, the first {split} to learn from, in windows of "
        f"{context}"
    )


# --- texts that have a class ----------------------------------------------------------------------

PADDING, OTHER, FIRST = 0, 1, 2  # tokens of a short text's end, of rare words, of known ones


def _words(texts: Sequence[str]) -> list[list[str]]:
    return [WORD.findall(text.lower()) for text in texts]


def sequences(
    train: Sequence[str], test: Sequence[str], words: int, context: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(texts, context) tokens of both, whole numbers; only words of the training texts are known.

    A longer text is cut off, a shorter one padded.
    """
    split = [_words(train), _words(test)]
    counts = Counter(joined(split[0]))
    known = sorted(word for word, _ in counts.most_common(words))
    numbers = {word: FIRST + number for number, word in enumerate(known)}
    both = []
    for part in split:
        made = np.full((len(part), context), PADDING, dtype=np.float64)
        for row, text in zip(made, part, strict=True):
            taken = [numbers.get(word, OTHER) for word in text[:context]]
            row[: len(taken)] = taken
        both.append(made)
    return both[0], both[1]
