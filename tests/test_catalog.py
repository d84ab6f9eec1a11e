"""Names with parameters, and what a catalogue refuses."""

from __future__ import annotations

from typing import Any

import pytest

from relubench.activations import ACTIVATIONS
from relubench.catalog import Catalog, Entry, spell
from relubench.commands import CATALOGS
from relubench.errors import BadValue, UnknownName
from relubench.models import MODELS
from relubench.optimizers import OPTIMIZERS


@pytest.mark.parametrize("catalog", CATALOGS.values(), ids=CATALOGS)
def test_every_entry_describes_itself_and_is_found_by_its_name(catalog: Catalog[Any]) -> None:
    assert catalog
    for name, entry in catalog.items():
        assert entry.name == name == entry.function.__name__
        assert entry.description
        assert catalog.choose(name).entry is entry


@pytest.mark.parametrize("catalog", CATALOGS.values(), ids=CATALOGS)
def test_defaults_written_out_are_spelled_as_without(catalog: Catalog[Any]) -> None:
    for entry in catalog.values():
        written = ":".join([entry.name, *(f"{k}={spell(v)}" for k, v in entry.parameters.items())])
        assert str(catalog.choose(written)) == str(catalog.choose(entry.name)) == entry.name
        assert catalog.choose(written).parameters == catalog.choose(entry.name).parameters


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("ffnn:hidden=512x512:dropout=0.1", {"hidden": (512, 512), "dropout": 0.1}),
        ("ffnn:dropout=1/4", {"hidden": (128, 64, 32), "dropout": 0.25}),
    ],
)
def test_parameters_are_read_by_their_type(text: str, parameters: dict[str, Any]) -> None:
    assert MODELS.choose(text).parameters == parameters


def test_spelling_is_normal() -> None:
    spelled = str(OPTIMIZERS.choose(" sgd:nesterov=true:momentum=0.90"))
    assert spelled == "sgd:momentum=0.9:nesterov=true"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mihs", "unknown activation 'mihs': did you mean 'mish'? (relubench list activations)"),
        ("zzz", "unknown activation 'zzz': known: "),
        ("relu:a=1", "relu has no parameter 'a': known: none"),
        ("elu:alhpa=1", "elu has no parameter 'alhpa': did you mean 'alpha'?"),
        ("elu:alpha=x", "elu: alpha='x' is not a number, such as 1.0"),
        ("elu:alpha", "elu: alpha='' is not a number"),
        ("elu:alpha=1/0", "elu: alpha='1/0' is not a number"),
    ],
)
def test_what_is_not_known_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises((BadValue, UnknownName)) as caught:
        ACTIVATIONS.choose(text)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_a_name_is_listed_once_and_described() -> None:
    catalog = Catalog("thing", Entry)

    def described() -> None:
        """It is."""

    def silent() -> None: ...

    catalog.add()(described)
    with pytest.raises(ValueError, match="twice"):
        catalog.add()(described)
    with pytest.raises(ValueError, match="no docstring"):
        catalog.add()(silent)
    del catalog["described"]
    with pytest.raises(TypeError, match="papper"):
        catalog.add(papper="misspelt")(described)
