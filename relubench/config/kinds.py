"""The types of options: what a text or a TOML value may be, and what it becomes."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from relubench.errors import BadValue
from relubench.grouping import joined
from relubench.metrics import measures
from relubench.plan import Margin

UNITS = {None: 1, "s": 1, "min": 60, "h": 3600}  # in seconds
MANY = 100_000  # seeds, folds or repeats: a slip of the finger, not a study


def _comma_list(value: object) -> tuple[object, ...]:
    """'a,b' or ['a,b', 'c'] to a tuple of single entries; a comma after a backslash stays."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(joined(map(_entries, items)))


def _no_decimal_comma(value: object) -> object:
    """Refuse 0,001, which would be the two rates 0 and 1."""
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str) and re.fullmatch(r"0,\d+", text):
            meant = text.replace(",", ".")
            raise BadValue(f"got {text}: did you mean {meant}? A comma joins several")
    return value


def _how_many(value: object) -> object:
    """Refuse a list where a number of seeds is asked for."""
    if isinstance(value, str) and re.fullmatch(r"\d+([,-]\d+)+", value):
        raise BadValue(f"got {value}, must be how many there are: 3 means seeds 0, 1 and 2")
    return value


def _entries(item: object) -> list[object]:
    """The entries of one text; what is no text, such as a TOML number, is one entry."""
    if not isinstance(item, str):
        return [item]
    # A comma that a backslash precedes belongs to a name, such as a file's.
    parts = re.split(r"(?<!\\),", item)
    return [part.strip().replace("\\,", ",") for part in parts]


def _width(value: object) -> str:
    """'auto', or how many cells train in one pass."""
    text = str(value)
    if text != "auto" and not (text.isdecimal() and 1 <= int(text) <= MANY):
        raise BadValue(f"got {text}, must be auto or a whole number from 1")
    return text


def _address(text: str) -> str:
    if not re.fullmatch(r"(tcp|tls|ws|wss)://[^\s/]+:\d{1,5}", text):
        raise BadValue(f"got {text}, must be an address such as tcp://host:8786")
    return text


def _target(value: object) -> str:
    """'train_error=0.25' or 'train_error=25%', as cells and rows have it: the first."""
    name, equals, text = str(value).partition("=")
    number = re.fullmatch(r"\s*((?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)\s*(%?)\s*", text)
    if not equals or name.strip() not in ("train_error", "train_loss") or not number:
        raise BadValue(f"got {value}, must be such as train_error=0.25 or train_loss=0.1")
    name = name.strip()
    size = float(number[1]) / (100 if number[2] else 1)
    if name == "train_error" and size >= 1:
        raise BadValue(f"got {value}: an error is a fraction below 1, such as 0.25 or 25%")
    if name == "train_loss" and number[2]:
        raise BadValue(f"got {value}: a loss is in nats, such as 0.1")
    return f"{name}={size!r}"  # repr: 25% and 0.25 are one cell


def _schedules(value: object) -> object:
    """`step:at=81,122:gamma=0.1` with its epochs joined by x, as all whole numbers are."""
    texts = value if isinstance(value, list | tuple) else [value]
    return [re.sub(r"(?<=\d),(?=\d)", "x", t) if isinstance(t, str) else t for t in texts]


def _warmup(value: object) -> str | None:
    """'5%' or '0.05', a part of all steps, as '0.05'; '100' steps as they are; 0: none."""
    text = str(value).strip()
    number = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(%?)", text)
    if number and text.isdecimal():
        return str(int(text)) if int(text) else None
    size = float(number[1]) / (100 if number[2] else 1) if number else -1.0
    if not 0 <= size < 1:
        raise BadValue(f"got {value}, must be a number of steps such as 100, or a part such as 5%")
    return repr(size) if size else None


def _held_back(value: object) -> str:
    """'10%' or '0.1', as cells and rows have it: the second; or 'test'."""
    text = str(value).strip()
    if text == "test":
        return text
    number = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(%?)", text)
    size = float(number[1]) / (100 if number[2] else 1) if number else 0.0
    if not 0 < size < 1:
        raise BadValue(f"got {value}, must be a part of the training set such as 10%, or test")
    return repr(size)


def _duration(value: object) -> float:
    """'2min', '90s', '1h' or a number of seconds, in seconds."""
    number = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(s|min|h)?\s*", str(value))
    seconds = float(number[1]) * UNITS[number[2]] if number else 0.0
    if not 0 < seconds < math.inf:
        raise BadValue(f"got {value}, must be a time such as 90s, 2min or 1h")
    return seconds


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_list), Field(min_length=1)]


# A comma list, or a TOML list; what stands twice counts once.
LISTED = (
    BeforeValidator(_comma_list),
    AfterValidator(lambda items: tuple(dict.fromkeys(items))),
    Field(min_length=1),
)
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# abs turns -0.0 into 0.0: they are one decay, and their keys must not differ.
Decay = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(abs)]
Rates = Annotated[tuple[Rate, ...], *LISTED, BeforeValidator(_no_decimal_comma)]
Decays = Annotated[tuple[Decay, ...], *LISTED]
Epochs = Annotated[tuple[Annotated[int, Field(ge=0)], ...], *LISTED]  # 0: untrained
Margins = Annotated[dict[str, Margin], BeforeValidator(measures.margins)]
BatchSizes = Annotated[tuple[Annotated[int, Field(ge=1, le=2**31 - 1)], ...], *LISTED]


Schedules = Annotated[
    tuple[str, ...], Field(min_length=1), *LISTED[:1], BeforeValidator(_schedules)
]
Warmup = Annotated[str | None, BeforeValidator(_warmup)]
Norm = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Smoothing = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), AfterValidator(abs)]
Steps = Annotated[int, Field(ge=1)]


Axis = int
Components = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1, le=MANY)]
Folds = Annotated[int, Field(ge=2, le=MANY)]
Seed = Annotated[int, Field(ge=0)]
Seeds = Annotated[Count, BeforeValidator(_how_many)]
SeveralSeeds = Annotated[int, Field(ge=2, le=MANY)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Duration = Annotated[float, BeforeValidator(_duration)]
Threads = Annotated[int, Field(ge=1, le=1024)]
StackWidth = Annotated[str, BeforeValidator(_width)]
Address = Annotated[str, AfterValidator(_address)]
Target = Annotated[str, BeforeValidator(_target)]
Validation = Annotated[str, BeforeValidator(_held_back)]
Protocol = Literal["fresh", "published"]
Reported = Literal["last", "best"]
Pairs = Literal["reference", "all"]
Family = Literal["setup", "all"]
Precision = Literal["float32", "float64", "tf32", "bf16"]
