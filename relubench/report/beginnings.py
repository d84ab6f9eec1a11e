"""Initial weights, as comparisons tell of them: who began how, and what that decides."""

from __future__ import annotations

from collections.abc import Sequence

from relubench.grouping import grouped
from relubench.report.naming import varying
from relubench.rows import SETUP, CompareRow

REST = [key for key in SETUP if key != "chosen_init"]


def starts(rows: Sequence[CompareRow]) -> list[str]:
    """Which scheme each activation had, where they differ within a set-up."""
    sentences = []
    for chosen, members in grouped(rows, lambda row: row.chosen_init).items():
        schemes = grouped(members, lambda row: row.init)
        # What most activations have is said last, without their names.
        *fewer, usual = sorted(schemes, key=lambda scheme: len(schemes[scheme]))
        parts = [f"{scheme} before {_activations(schemes[scheme])}" for scheme in fewer]
        if parts:
            which = f" ({chosen})" if chosen else ""
            schemes_text = "; ".join([*parts, f"{usual} before the others."])
            sentences.append(f"initial weights{which}: {schemes_text}")
    return sentences


def _activations(rows: Sequence[CompareRow]) -> str:
    return ", ".join(dict.fromkeys(row.activation for row in rows))


def _setup_but_init(row: CompareRow) -> tuple[object, ...]:
    return tuple(row.get(key) for key in REST)


def decided(rows: Sequence[CompareRow]) -> list[str]:
    """Of which activations the verdict depends on the initial weights, a sentence per set-up."""
    sentences = []
    names = varying(rows, *REST)
    # Set-ups that differ in their initial weights alone.
    for members in grouped(rows, _setup_but_init).values():
        schemes = list(dict.fromkeys(row.chosen_init for row in members))
        if len(schemes) < 2:
            continue
        in_order = sorted(members, key=lambda row: schemes.index(row.chosen_init))
        differ = []
        for activation, same in grouped(in_order, lambda row: row.activation).items():
            verdicts = [row.verdict for row in same]
            if len(set(verdicts)) > 1:
                differ.append(f"{activation} ({', '.join(verdicts)})")
        where = ", ".join(str(members[0].get(name)) for name in names)
        begun = f"{', '.join(map(str, schemes[:-1]))} and {schemes[-1]}"
        says = f"differ for {', '.join(differ)}" if differ else "are the same"
        sentence = f"under {begun} the verdicts {says}."
        sentences.append(f"{where}: {sentence}" if where else f"U{sentence[1:]}")
    return sentences
