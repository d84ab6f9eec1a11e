"""An outcome's tables to stdout and to files, in the formats that are asked for."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from relubench import files, formats, report, screen, user_code
from relubench.cli import views
from relubench.cli.flags import Names
from relubench.cli.terminal import say, width_and_colour
from relubench.errors import BadValue, Stopped
from relubench.grouping import comma_parts

if TYPE_CHECKING:
    from relubench.commands import Outcome
    from relubench.table import AnyTable


# What stands for signs of tables and pictures where the encoding of stdout lacks them.
PLAIN = str.maketrans("–·…↑↓×●─│┼−²³▁▂▃▄▅▆▇█▏▎▍▌▋▊▉", "--~^vxo-|+-23_,.-=+*#.......")


def show(
    outcome: Callable[[], Outcome],
    format: str | None,
    json: bool,
    output: list[Path] | None,
    columns: Names,
    wide: bool,
    explain: bool,
    sort: str | None,
    group: Names,
    quiet: bool,
    verbose: bool,
    command: str = "",
    picture: str | None = None,
) -> int:
    """Do the work and print its tables; files are checked before the work and written after.

    command  whose pages and pictures `views` knows
    picture  the kind of picture that is asked for
    """
    if json and format not in (None, "json"):
        raise BadValue(f"--json and --format {format}: give one of them")
    targets = _targets(output, "json" if json else format, command)
    views.check(picture, command, targets)
    if None in targets and sys.stdout is None:
        raise BadValue("stdout is closed: give -o FILE")
    path: Path | None = None
    try:
        # All files are open before the work: that one cannot be written must not cost a night.
        with ExitStack() as stack:
            parts = {p: stack.enter_context(files.replacing(p, "-o")) for p in targets if p}
            with (
                redirect_stdout(screen.Above()),
                user_code.blamed(),
            ):  # what a user's own code prints is no result
                done = outcome()
            # Before a word of the table: what is painted stands where it begins.
            screen.stop()
            tables = list(done.tables)
            if tables:
                tables[0] = _arranged(tables[0], columns, sort, group)
            tables = [_as_asked(table, wide, explain) for table in tables]
            for path, name in targets.items():
                if path is None:
                    # A command without tables has a page alone.
                    _print(tables, name) if tables else _put(views.text(done))
                else:
                    _write(done, tables, name, parts[path], command, picture)
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


def _targets(output: list[Path] | None, format: str | None, command: str) -> dict[Path | None, str]:
    """Where the tables go, each place with its format or a picture's suffix; None is stdout."""
    places = [None if path == Path("-") else path for path in output or [Path("-")]]
    if format and len(set(places)) > 1:
        raise BadValue("--format is for one output: of several, the suffixes say the format")
    return {place: _format(format, place, command) for place in places}


def _format(name: str | None, output: Path | None, command: str) -> str:
    """The format's name, or the suffix of a page or a picture."""
    device = output is not None and output.exists() and not (output.is_file() or output.is_dir())
    if name or output is None or device:  # such as /dev/null
        return formats.FORMATS[name or "text"].name
    drawn = views.suffixes(command)
    suffix = output.suffix.lower()
    # A page has no tables of its own to write in a format.
    tables = () if command == "report" else formats.FORMATS.values()
    name = suffix if suffix in drawn else formats.by_suffix(output.name) if tables else None
    if name is None:
        or_format = "--format, or " if tables else ""
        known = ", ".join(dict.fromkeys([*(entry.suffix for entry in tables), *drawn]))
        raise BadValue(f"-o {output}: no format has this suffix; give {or_format}one of {known}")
    return name


def _write(
    done: Outcome,
    tables: Sequence[AnyTable],
    name: str,
    path: Path,
    command: str,
    picture: str | None,
) -> None:
    """To a file: the tables in the format `name`, or what has this suffix."""
    if name in formats.FORMATS:
        path.write_text(formats.render(tables, name), encoding="utf-8")
    else:
        views.write(done, command, picture, name, path)


def _print(tables: Sequence[AnyTable], name: str) -> None:
    """The tables to stdout; what its encoding cannot say is escaped for machines, else a ?."""
    _put(formats.render(tables, name, *width_and_colour()), formats.FORMATS[name].machine)


def _put(text: str, machine: bool = True) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        if not machine:
            text = spelled(text, sys.stdout.encoding)
        # For machines nothing may be lost: JSON reads \u2013 as the sign that it is.
        sys.stdout.reconfigure(errors="backslashreplace" if machine else "replace")
    sys.stdout.write(text)
    sys.stdout.flush()


def spelled(text: str, encoding: str) -> str:
    """The text with a plain sign for each one that an encoding lacks, in as many columns."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace(" ± ", " +-").translate(PLAIN)
    return text


def _arranged(table: AnyTable, columns: Names, sort: str | None, group: Names) -> AnyTable:
    """The table as --columns, --sort and --group want it."""
    if not (columns or sort or group):
        return table
    arranged: AnyTable = arrangement(columns, sort, group).apply(table)
    return arranged


def arrangement(columns: Names, sort: str | None, group: Names) -> report.Arrangement:
    """What --columns, --sort and --group say, their comma lists split."""
    return report.Arrangement(_keys(columns), sort, _keys(group))


def _as_asked(table: AnyTable, wide: bool, explain: bool) -> AnyTable:
    table = table.explained if explain else table
    return replace(table, whole=True) if wide else table


def _keys(lists: Names) -> tuple[str, ...]:
    return tuple(comma_parts(lists or ()))
