"""What can go wrong in a way the user can mend: one line that says what was got, known, to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from relubench.printable import plain


class RelubenchError(Exception):
    """Shown without a traceback, a line for each argument; the process ends with `exit_code`."""

    exit_code = 2

    def __str__(self) -> str:
        """Each argument on a line of its own, whatever stands in it."""
        return "\n".join(plain(str(line)) for line in self.args)


class BadValue(RelubenchError, ValueError):
    """A flag, key or parameter has a value that cannot be used."""


MANY = 20  # names that a line can hold


class UnknownName(RelubenchError, ValueError):
    """A name that is none of those known.

    listed  whether `relubench list` has them
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], listed: bool = True) -> None:
        names = sorted(known)
        few = f"known: {', '.join(names) or 'none'}"
        hint = suggestion(name, names) or (few if len(names) <= MANY else f"{len(names)} are known")
        where = "relubench list" if kind == "kind" else f"relubench list {kind}s"
        beside = f" ({where})" if listed else ""
        super().__init__(f"unknown {kind} {name!r}: {hint}{beside}")

    def __reduce__(self) -> tuple[type[BadValue], tuple[str, ...]]:
        """As a worker sends it: its words are what it is."""
        return BadValue, self.args


class DataError(RelubenchError):
    """A dataset is not there, or is not what it should be."""


class ClusterError(RelubenchError):
    """A cluster that was lost while it trained."""


class NotComparable(RelubenchError):
    """A baseline that a run cannot be held against; a line for each reason."""

    exit_code = 4


class Incomplete(RelubenchError):
    """A study that ended before it could say anything; what had finished is kept."""

    exit_code = 4


class Stopped(RelubenchError):
    """The user interrupted the run."""

    exit_code = 130


class Terminated(SystemExit):
    """SIGTERM: not what a user's own code means by sys.exit."""


# What is named most often: where a slip is as near to one of these as to another, it is this one.
FREQUENT = {
    *("relu", "gelu", "silu", "tanh", "sigmoid", "elu", "selu", "mish", "leaky_relu", "prelu"),
    *("mnist", "digits", "iris", "cifar10", "ffnn", "mlp", "cnn", "adam", "sgd", "json"),
}
MEANT = {
    **dict.fromkeys(("tex",), "latex"),
    **dict.fromkeys(("md", "markdown", "gfm"), "github"),
    **dict.fromkeys(("txt", "table", "plain"), "text"),
    **dict.fromkeys(("htm",), "html"),
    **dict.fromkeys(("ndjson",), "jsonl"),
    **dict.fromkeys(("acts", "act", "units", "functions"), "activations"),
    **dict.fromkeys(("nets", "networks", "architectures"), "models"),
    **dict.fromkeys(("data", "sets"), "datasets"),
    **dict.fromkeys(("optims", "opts"), "optimizers"),
    **dict.fromkeys(("swish",), "silu"),
    **dict.fromkeys(("linear", "none"), "identity"),
    **dict.fromkeys(("lrelu", "leaky"), "leaky_relu"),
    **dict.fromkeys(("logistic",), "sigmoid"),
    **dict.fromkeys(("lenet",), "lenet5"),
    **dict.fromkeys(("resnet",), "resnet18"),
    **dict.fromkeys(("cifar",), "cifar10"),
    **dict.fromkeys(("fashion", "fmnist"), "fashion_mnist"),
    **dict.fromkeys(("breast_cancer", "cancer"), "wdbc"),
    **dict.fromkeys(("dnn", "nn", "dense", "feedforward"), "ffnn"),
    **dict.fromkeys(("acc",), "accuracy"),
    **dict.fromkeys(("time", "runtime"), "seconds"),
    **dict.fromkeys(("kaiming", "kaiming_normal", "kaiming_uniform"), "he"),
    **dict.fromkeys(("xavier", "xavier_normal", "xavier_uniform"), "glorot"),
}


def out_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or torch says that no memory is left."""
    said = str(error)
    # The CPU's allocator says the first, CUDA the second; both are RuntimeErrors.
    torch_says = "can't allocate memory" in said or "out of memory" in said
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and torch_says)


def suggestion(name: str, known: Iterable[str]) -> str:
    """'did you mean …?' for the nearest known name, or '' where none is near."""
    by_lower = {item.lower(): item for item in known}
    wanted = name.lower()
    if (meant := MEANT.get(wanted)) in by_lower:
        return f"did you mean {by_lower[str(meant)]!r}?"
    # difflib's ratio sorts out quickly; slips, which knows of swapped letters, decides.
    near = difflib.get_close_matches(wanted, by_lower, n=9, cutoff=0.5)
    near = [each for each in near if slips(wanted, each) <= max(1, len(wanted) // 2)]
    # A beginning of a name is many slips away from it, and still what was meant.
    near = near or [each for each in by_lower if len(wanted) > 2 and each.startswith(wanted)]
    if not near:
        return ""
    best = min(near, key=lambda each: (slips(wanted, each), each not in FREQUENT))
    return f"did you mean {by_lower[best]!r}?"


def slips(one: str, other: str) -> int:
    """How many letters are missing, too many, wrong or changed places with their neighbour."""
    # Optimal string alignment: Levenshtein's distance where neighbours may also change places.
    # Three rows of the table are enough.
    before: list[int] = []
    last: list[int] = [*range(len(other) + 1)]
    for i, a in enumerate(one, 1):
        row: list[int] = [i]
        for j, b in enumerate(other, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (a != b)))
            if i > 1 and j > 1 and (a, one[i - 2]) == (other[j - 2], b):
                row[-1] = min(row[-1], before[j - 2] + 1)
        before, last = last, row
    return last[-1]
