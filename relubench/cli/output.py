"""An outcome's tables to stdout and to files, in the formats that are asked for."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from relubench import files, formats, report, user_code
from relubench.catalog import Deferred
from relubench.cli.flags import Names
from relubench.cli.terminal import say, width_and_colour
from relubench.errors import BadValue, Stopped
from relubench.formats import pictures
from relubench.grouping import comma_parts

if TYPE_CHECKING:
    from relubench.commands import Outcome
    from relubench.formats import plots
    from relubench.table import AnyTable
else:
    plots = Deferred("relubench.formats.plots")


def show(
    outcome: Callable[[], Outcome],
    format: str | None,
    json: bool,
    output: list[Path] | None,
    columns: Names,
    sort: str | None,
    group: Names,
    quiet: bool,
    verbose: bool,
    pictured: bool = False,
) -> int:
    """Do the work and print its tables; files are checked before the work and written after.

    With `pictured` a file may be one of pictures.SUFFIXES.
    """
    if json and format not in (None, "json"):
        raise BadValue(f"--json and --format {format}: give one of them")
    targets = _targets(output, "json" if json else format, pictured)
    if None in targets and sys.stdout is None:
        raise BadValue("stdout is closed: give -o FILE")
    path: Path | None = None
    try:
        # All files are open before the work: that one cannot be written must not cost a night.
        with ExitStack() as stack:
            parts = {p: stack.enter_context(files.replacing(p, "-o")) for p in targets if p}
            with (
                redirect_stdout(sys.stderr),
                user_code.blamed(),
            ):  # what a user's own code prints is no result
                done = outcome()
            tables = [_arranged(done.tables[0], columns, sort, group), *done.tables[1:]]
            for path, name in targets.items():
                _write(tables, name, parts[path]) if path else _print(tables, name)
        if not quiet:
            _tell(path for path in targets if path)
    except KeyboardInterrupt:
        raise Stopped("interrupted") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise BadValue(f"cannot write {path or 'to stdout'}: {error.strerror}") from error
    return done.exit_code


def _tell(written: Iterable[Path]) -> None:
    for path in written:
        if path.is_file():  # and no device, no pipe
            say(f"written: {path}")


def _targets(
    output: list[Path] | None, format: str | None, pictured: bool
) -> dict[Path | None, str]:
    """Where the tables go, each place with its format or a picture's suffix; None is stdout."""
    places = [None if path == Path("-") else path for path in output or [Path("-")]]
    if format and len(set(places)) > 1:
        raise BadValue("--format is for one output: of several, the suffixes say the format")
    return {place: _format(format, place, pictured) for place in places}


def _format(name: str | None, output: Path | None, pictured: bool) -> str:
    """The format's name, or the suffix of a picture's file."""
    device = output is not None and output.exists() and not (output.is_file() or output.is_dir())
    if name or output is None or device:  # such as /dev/null
        return formats.FORMATS[name or "text"].name
    drawn = pictures.SUFFIXES if pictured else ()
    suffix = output.suffix.lower()
    if suffix in drawn:
        return suffix
    name = formats.by_suffix(output.name)
    if name is None:
        suffixes = [*(entry.suffix for entry in formats.FORMATS.values()), *drawn]
        hint = f"give --format, or one of {', '.join(suffixes)}"
        raise BadValue(f"-o {output}: no format has this suffix; {hint}")
    return name


def _write(tables: Sequence[AnyTable], name: str, path: Path) -> None:
    """To a file: the tables, or the picture where `name` is a picture's suffix."""
    if name in formats.FORMATS:
        path.write_text(formats.render(tables, name), encoding="utf-8")
    elif picture := tables[0].picture:
        plots.save(picture, path, name.removeprefix("."))


def _print(tables: Sequence[AnyTable], name: str) -> None:
    """The tables to stdout; what its encoding cannot say is escaped for machines, else a ?."""
    text = formats.render(tables, name, *width_and_colour())
    if isinstance(sys.stdout, io.TextIOWrapper):
        machine = formats.FORMATS[name].machine
        sys.stdout.reconfigure(errors="backslashreplace" if machine else "replace")
    sys.stdout.write(text)
    sys.stdout.flush()


def _arranged(table: AnyTable, columns: Names, sort: str | None, group: Names) -> AnyTable:
    """The table as --columns, --sort and --group want it."""
    if not (columns or sort or group):
        return table
    arranged: AnyTable = arrangement(columns, sort, group).apply(table)
    return arranged


def arrangement(columns: Names, sort: str | None, group: Names) -> report.Arrangement:
    """What --columns, --sort and --group say, their comma lists split."""
    return report.Arrangement(_keys(columns), sort, _keys(group))


def _keys(lists: Names) -> tuple[str, ...]:
    return tuple(comma_parts(lists or ()))
