"""A gate for dead units: at most so many in a layer, or at most so many more than before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from relubench.errors import BadValue, UnknownName
from relubench.metrics.measures import MEASURES, margin
from relubench.report.dead_count import DeadCount
from relubench.rows import CallRow

RISE = "1%"  # of a layer's units, where --margin says nothing else
# From Python: 0.2, "20%", ["20%", "dense3:50%"] or {"dense3": 0.5, "": 0.2}.
Above = float | str | Sequence[str] | Mapping[str, float | str]


@dataclass(frozen=True)
class Limits:
    """What a gate allows.

    each  the share of a layer's units that may be dead; by layer, "" for all others
    rise  how many more may be dead than with the baseline's weights; None: there is none
    """

    each: Mapping[str, float]
    rise: float | None = None

    @classmethod
    def parse(cls, above: Sequence[str], rise: str | None, baseline: bool) -> Limits:
        """From '20%' and 'dense3:50%', and from 'dead=1%'; raises BadValue."""
        each: dict[str, float] = {}
        for text in above:
            # From the right: a layer's name may hold colons, a size does not.
            layer, _, size = text.strip().rpartition(":")
            if layer in each:
                raise BadValue(f"--fail-above names {layer or 'all layers'} twice")
            each[layer] = _share(size, f"--fail-above {text}")
        if rise is not None and not baseline:
            raise BadValue("--margin needs --baseline FILE, against whose weights dead units rise")
        name, equals, size = (rise or f"dead={RISE}").partition("=")
        if name.strip() != "dead" or not equals:
            raise BadValue(f"--margin {rise}: deadcount knows dead alone, such as dead=1%")
        return cls(each, _share(size, f"--margin {rise}") if baseline else None)

    @classmethod
    def of(cls, above: Above | None, rise: float | str | None, baseline: bool) -> Limits:
        """From what Python code has: shares as numbers, too; raises BadValue."""
        texts, shares = _apart(above)
        if rise is None or isinstance(rise, str):
            limits = cls.parse(texts, rise, baseline)
        else:
            limits = cls.parse(texts, f"dead={RISE}", baseline)  # refused without a baseline
            limits = replace(limits, rise=_fraction(rise, "margin"))
        return replace(limits, each={**limits.each, **shares})

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return bool(self.each) or self.rise is not None

    def allowed(self, row: CallRow) -> float | None:
        """The share of a layer's units that may be dead."""
        return self.each.get(row.layer, self.each.get(""))


def _apart(above: Above | None) -> tuple[list[str], dict[str, float]]:
    """Limits as the shell writes them, and those that are numbers, by layer."""
    if above is None:
        return [], {}
    if isinstance(above, str):
        return above.split(","), {}
    if isinstance(above, Mapping):
        texts = [f"{layer}:{size}" for layer, size in above.items() if isinstance(size, str)]
        numbers = {name: size for name, size in above.items() if not isinstance(size, str)}
        return texts, {
            name: _fraction(size, f"fail_above {name}") for name, size in numbers.items()
        }
    if isinstance(above, Sequence):
        return [str(text) for text in above], {}
    return [], {"": _fraction(above, "fail_above")}


def _fraction(share: float, where: str) -> float:
    # True is 1 to Python, and a gate that lets everything through.
    if isinstance(share, bool) or not 0 <= share <= 1:
        raise BadValue(
            f"{where}: got {share}: give a share from 0 to 1, or per cent, such as '20%'"
        )
    return float(share)


def _share(text: str, where: str) -> float:
    try:
        return margin(text, MEASURES["dead"]).size
    except BadValue as problem:
        raise BadValue(f"{where}: {problem}") from None


def judged(count: DeadCount, limits: Limits) -> DeadCount:
    """The count with the gate's word for each layer. Raises UnknownName for a layer."""
    # A limit of a layer that is not there would always pass.
    known = [row.layer for row in count.layers]
    for layer in limits.each:
        if layer and layer not in known:
            raise UnknownName("layer", layer, known, listed=False)
    if not limits:
        return count
    rows: list[CallRow] = []
    wrong: dict[str, str] = {}
    for row in count.layers:
        why = _wrong(row, limits)
        if why:
            wrong[row.layer] = why
        rows.append(replace(row, gate="fail" if why else "pass"))
    total = replace(count.total, gate="fail" if wrong else "pass")
    return replace(count, rows=[*rows, total], offending=wrong)


def _wrong(row: CallRow, limits: Limits) -> str:
    """Why a layer fails; "" where it passes. What cannot die has no dead units."""
    dead, allowed = row.dead or 0.0, limits.allowed(row)
    if allowed is not None and dead > allowed:
        return f"{dead:.2%} of {row.units} units are dead, {allowed:.2%} are allowed"
    if limits.rise is None or row.dead_before is None:
        return ""
    rise = dead - row.dead_before
    if rise > limits.rise:
        return (
            f"{dead:.2%} of {row.units} units are dead, {row.dead_before:.2%} in the baseline, "
            f"{limits.rise:.2%} more are allowed"
        )
    return ""
