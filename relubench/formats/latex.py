"""Text as LaTeX: what has a meaning there is escaped, and signs become commands."""

from __future__ import annotations

import re
import unicodedata

SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "…": r"\dots{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: f"${sign}$" for sign in "<>|"},
    **{
        sign: f"${command}$"
        for sign, command in {
            "−": "-",
            "±": r"\pm",
            "·": r"\cdot",
            "×": r"\times",
            "√": r"\surd",
            "∞": r"\infty",
            "≤": r"\leq",
            "≥": r"\geq",
            "≠": r"\neq",
            "≈": r"\approx",
            "∈": r"\in",
            "→": r"\to",
            "↑": r"\uparrow",
            "↓": r"\downarrow",
            "●": r"\bullet",
            "⌊": r"\lfloor",
            "⌋": r"\rfloor",
        }.items()
    },
}
LATIN = dict(  # capitals without a command of their own
    ALPHA="A", BETA="B", EPSILON="E", ZETA="Z", ETA="H", IOTA="I", KAPPA="K", MU="M", NU="N",
    OMICRON="O", RHO="P", TAU="T", CHI="X",
)  # fmt: skip
BETWEEN = re.compile(r"(?<!\\)\$\$(?![\^_])")  # two formulas in a row are one
MINUS = re.compile(r"(?<![\w.-])-(?=[\d.])")


def escape(text: str) -> str:
    """The text for a table cell; letters with accents stay, since LaTeX reads UTF-8."""
    # Only before a digit: a hyphen in a name, and an exponent's, stay what they are.
    signs = MINUS.sub("−", text)
    escaped = "".join(SIGNS.get(sign) or _other(sign) for sign in signs)
    escaped = BETWEEN.sub("", escaped)
    return f"{{[}}{escaped[1:]}" if escaped.startswith("[") else escaped  # \\[ takes a length


def _other(sign: str) -> str:
    """Greek letters by name, superscripts and subscripts by what they raise; the rest as it is."""
    if sign.isascii():
        return sign
    kind, _, name = unicodedata.name(sign, "").partition(" LETTER ")
    if kind == "GREEK SMALL":
        name = "SIGMA" if name == "FINAL SIGMA" else name
        return "o" if name == "OMICRON" else f"$\\{name.replace('LAMDA', 'LAMBDA').lower()}$"
    if kind == "GREEK CAPITAL":
        command = f"\\{name.replace('LAMDA', 'LAMBDA').capitalize()}"
        return f"$\\mathrm{{{LATIN[name]}}}$" if name in LATIN else f"${command}$"
    # Unicode says of ² that it is <super> 0032.
    form, _, plain = unicodedata.decomposition(sign).partition(" ")
    if form in ("<super>", "<sub>"):
        return f"${'^' if form == '<super>' else '_'}{{{chr(int(plain, 16))}}}$"
    return sign
