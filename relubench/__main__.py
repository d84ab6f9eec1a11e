"""`python -m relubench`."""

import sys

from relubench.cli import main


def run() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    run()
