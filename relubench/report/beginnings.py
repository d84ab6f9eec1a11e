"""Initial weights, as comparisons tell of them: who began how, and what that decides."""

from __future__ import annotations

from collections.abc import Sequence

from relubench.grouping import grouped
from relubench.report.naming import SETUP, varying
from relubench.table import Row

REST = [key for key in SETUP if key != "chosen_init"]


def starts(rows: Sequence[Row]) -> list[str]:
    """Which scheme each activation had, where they differ within a set-up."""
    said = []
    for chosen, members in grouped(rows, lambda row: row["chosen_init"]).items():
        schemes = grouped(members, lambda row: row["init"])
        *fewer, usual = sorted(schemes, key=lambda scheme: len(schemes[scheme]))
        parts = [
            f"{scheme} before {', '.join(dict.fromkeys(r['activation'] for r in schemes[scheme]))}"
            for scheme in fewer
        ]
        if parts:
            which = f" ({chosen})" if chosen else ""
            said.append(f"initial weights{which}: {'; '.join(parts)}; {usual} before the others.")
    return said


def decided(rows: Sequence[Row]) -> list[str]:
    """Of which activations the verdict depends on the initial weights, a sentence per set-up."""
    said = []
    names = varying(rows, *REST)
    for members in grouped(rows, lambda row: tuple(row[key] for key in REST)).values():
        schemes = list(dict.fromkeys(row["chosen_init"] for row in members))
        if len(schemes) < 2:
            continue
        verdicts = {
            activation: [row["verdict"] for row in same]
            for activation, same in grouped(
                sorted(members, key=lambda row: schemes.index(row["chosen_init"])),
                lambda row: row["activation"],
            ).items()
        }
        where = ", ".join(str(members[0][name]) for name in names)
        begun = f"{', '.join(schemes[:-1])} and {schemes[-1]}"
        differ = [
            f"{activation} ({', '.join(found)})"
            for activation, found in verdicts.items()
            if len(set(found)) > 1
        ]
        says = f"differ for {', '.join(differ)}" if differ else "are the same"
        sentence = f"under {begun} the verdicts {says}."
        said.append(f"{where}: {sentence}" if where else f"U{sentence[1:]}")
    return said
