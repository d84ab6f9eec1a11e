"""relubench measured beside what people write instead: python tests/performance."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

from relubench.__main__ import yield_cores

yield_cores()  # as the command line does, before torch is imported

from measure import table  # noqa: E402
from rows import ROWS  # noqa: E402

from relubench.formats import FORMATS, render  # noqa: E402


def main() -> None:
    """Prints one table; what it is doing goes to stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(map(str, ROWS)), help="rows, such as 1,3")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--format", default="text", choices=FORMATS)
    chosen = parser.parse_args()
    rows = [int(row) for row in chosen.only.split(",")]
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # stack widths are measured anew
        for row in rows:
            if row in (2, 3) and not os.environ.get("RELUBENCH_DATA"):
                sys.stderr.write(f"row {row} left out: RELUBENCH_DATA names no MNIST\n")
                continue
            for figure in ROWS[row](chosen.rounds):
                figures.append(figure)
                median = figure.as_row()["median"]
                measured = f"{figure.task}, {figure.against}: {median:.3g} {figure.unit}"
                sys.stderr.write(f"row {row}: {measured}\n")
    sys.stdout.write(render([table(figures, chosen.rounds)], chosen.format))


if __name__ == "__main__":
    main()
