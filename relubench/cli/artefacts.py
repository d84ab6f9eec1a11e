"""What compare leaves behind besides its tables: files for CI, the step's page, annotations."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from relubench import baselines, files
from relubench.cli.terminal import say, write
from relubench.errors import BadValue

if TYPE_CHECKING:
    from relubench.commands import Outcome


def distinct(paths: Iterable[tuple[str, Path | None]]) -> None:
    """Refuse two flags that name one file."""
    seen: dict[Path, str] = {}
    for flag, path in paths:
        # Devices and pipes may be named twice: /dev/null for two files is no mistake.
        if path and (path.is_file() or not path.exists()):
            other = seen.setdefault(files.resolved(path), flag)
            if other != flag:
                raise BadValue(f"{other} and {flag} both name {path}")


def remedy(arguments: list[str]) -> str:
    """A command line with what makes a baseline in place of what asks for one."""
    kept = [word for word in arguments if word not in ("--strict", "--require-baseline")]
    # Quoted first, so that a path with a blank can be pasted into a shell again.
    text = shlex.join(["relubench", *kept])
    return re.sub(r"(?<= )--baseline(?=[ =])", "--save-baseline", text)


@contextmanager
def keeping(paths: dict[str, Path | None]) -> Iterator[dict[str, Path]]:
    """Files that appear, each whole, if something is written to them."""
    with ExitStack() as stack:
        parts = {
            flag: stack.enter_context(files.replacing(path, flag))
            for flag, path in paths.items()
            if path
        }
        yield parts
        for part in parts.values():
            # Nothing was written, as with no gate to report: an earlier file stays as it is.
            if part.is_file() and not part.stat().st_size:
                part.unlink()


def deliver(done: Outcome, parts: dict[str, Path]) -> Outcome:
    """Write what an outcome has for files and for GitHub; stdout is left alone."""
    for flag, part in parts.items():
        if flag in done.files:
            try:
                part.write_text(done.files[flag], encoding="utf-8")
            except OSError as error:
                raise BadValue(f"{flag}: cannot write: {error.strerror}") from error
    for problem in done.problems:
        say(f"relubench: {problem}")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        # As they are: `say` would escape the :: by which GitHub knows a command.
        for line in done.annotations:
            write(line)
    page = os.environ.get("GITHUB_STEP_SUMMARY")
    if page and done.summary:
        _append(Path(page), done.summary)
    return done


def _append(page: Path, text: str) -> None:
    """Add to the page of a step as much as it has room for; a page that cannot be written is told.

    It is no reason for another exit code.
    """
    try:
        with page.open("a", encoding="utf-8") as file:
            file.write(baselines.ci.cut(text, baselines.ci.SUMMARY_BYTES - page.stat().st_size))
    except OSError as error:
        say(f"relubench: GITHUB_STEP_SUMMARY: cannot write {page}: {error.strerror}")
