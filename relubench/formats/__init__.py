"""Output formats: a Table in, text out; and the pictures that text and files have."""

from relubench.formats.pictures import UNFOLDED
from relubench.formats.render import (
    FORMATS,
    Format,
    by_suffix,
    csv,
    github,
    html,
    json,
    jsonl,
    latex,
    markdown,
    render,
    text,
    turn,
)

__all__ = ["FORMATS", "UNFOLDED", "Format", "by_suffix", "csv", "github", "html", "json", "jsonl"]
__all__ += ["latex", "markdown", "render", "text", "turn"]
