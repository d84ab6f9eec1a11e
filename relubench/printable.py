"""Text from outside as it may be printed: one place for every output.

Column names, benchmark names, file names and the rows of ledgers are anybody's. Printed as they
are, they could move a terminal's cursor, turn the direction of a line, begin a line of their own or
speak to the continuous integration that reads the log.
"""

from __future__ import annotations

import re
import unicodedata

ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, bidi marks and the like, halves, line ends
JOINERS = "\u200c\u200d"  # of letters and emoji: they are spelling
COMMAND = re.compile(r"(?<!\S):(?=:)")  # what GitHub reads as a command where it begins a line
SUSPECT = re.compile(r"[^\x20-\x7e]|::")


def plain(text: str) -> str:
    """The text on one line; what cannot be seen stands as Python writes it: \\n, \\x1b, \\u202e."""
    # Nearly every text has nothing to escape: one pattern tells.
    if not SUSPECT.search(text):
        return text
    seen = "".join(_escape(sign) if hidden(sign) else sign for sign in text)
    return COMMAND.sub(r"\\x3a", seen)


def hidden(sign: str) -> bool:
    """Whether a character is not seen, or changes how others are."""
    return unicodedata.category(sign) in ESCAPED and sign not in JOINERS


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode("ascii")


def for_json(text: str) -> str:
    """JSON in which what cannot be seen is written as JSON writes it; it means the same."""
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(_in_json(sign) if hidden(sign) and sign != "\n" else sign for sign in text)


def _in_json(sign: str) -> str:
    # JSON escapes halves of UTF-16: a sign beyond U+FFFF takes two.
    halves = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{halves[at : at + 2].hex()}" for at in range(0, len(halves), 2))
