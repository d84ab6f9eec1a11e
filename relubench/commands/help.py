"""The manual's pages, by topic: what `relubench help` lists and shows."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Annotated

from relubench.commands.request import Outcome
from relubench.errors import BadValue, suggestion
from relubench.table import Column, Row, Table

# In the order in which a newcomer reads them; a page that is not named here follows.
READING_ORDER = (
    *("getting-started", "commands", "python", "activations", "models", "data", "dead-neurons"),
    *("choosing", "statistics", "ci", "page", "ledger-and-clusters", "rows", "studies"),
    *("performance", "design", "own-code", "glossary", "stability"),
)


@dataclass(frozen=True, kw_only=True)
class TopicRow(Row):
    """help: a page of the manual."""

    topic: Annotated[str, "by which it is asked for"]
    description: Annotated[str, "what it is about"]


def pages() -> dict[str, str]:
    """The Markdown of every page by its topic, in reading order."""
    folder = resources.files("relubench") / "manual"
    texts = {
        file.name.removesuffix(".md"): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".md")
    }
    ordered = [topic for topic in READING_ORDER if topic in texts]
    others = sorted(set(texts) - set(ordered))
    return {topic: texts[topic] for topic in [*ordered, *others]}


def topics() -> Outcome:
    """A row per topic: its name and the line below its page's heading."""
    rows = [
        TopicRow(topic=topic, description=text.split("\n\n")[1].replace("\n", " "))
        for topic, text in pages().items()
    ]
    columns: list[Column[TopicRow]] = [
        Column("topic", lambda row: row.topic, left=True),
        Column("description", lambda row: row.description, left=True, wrap=True),
    ]
    notes = ["relubench help TOPIC shows a page; relubench help COMMAND shows a command's flags."]
    return Outcome([Table(rows, columns, "topics of the manual", notes)])


def page(topic: str, commands: tuple[str, ...]) -> str:
    """The Markdown of one topic; `commands` are other words that could have been meant."""
    texts = pages()
    if topic not in texts:
        hint = suggestion(topic, [*texts, *commands]) or f"known: {', '.join(texts)}"
        raise BadValue(f"unknown topic {topic!r}: {hint} (relubench help)")
    return texts[topic]
