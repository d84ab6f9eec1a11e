"""Which file has the weights of a run: what `train --save` wrote, noted beside the ledger."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from relubench import files
from relubench.errors import BadValue
from relubench.plan import Cell

FOLDER = "weights"  # beside the ledger, with a note per run


def remember(ledger: Path, cell: Cell, written: Path, called: Path) -> None:
    """Note that a file has a run's weights; where that cannot be noted, it has them all the same.

    written, called  where it lies as yet, and where it will
    """
    with suppress(OSError, BadValue):
        note = {"file": str(called.absolute()), "sha256": _digest(written)}
        path = _note(ledger, cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, json.dumps(note).encode())


def of_run(ledger: Path, cell: Cell) -> Path:
    """The file with a run's weights; raises BadValue where it is not there any more, or another."""
    name = f"{cell.dataset}, {cell.model}, {cell.activation}, seed {cell.seed}"
    keep = "train --save FILE keeps them; or name their file with --weights FILE"
    try:
        note = json.loads(files.text(_note(ledger, cell)))
        path, digest = Path(note["file"]), note["sha256"]
    except (BadValue, ValueError, TypeError, KeyError):
        raise BadValue(f"the weights of {name} were not kept: {keep}") from None
    try:
        same = _digest(path) == digest
    except OSError as error:
        raise BadValue(f"{path}, with the weights of {name}: {error.strerror}: {keep}") from None
    if not same:
        raise BadValue(f"{path} has other weights by now than those of {name}: {keep}")
    return path


def _note(ledger: Path, cell: Cell) -> Path:
    return ledger.absolute().parent / FOLDER / f"{cell.key}.json"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
