"""Names with parameters, and what a catalogue refuses."""

from __future__ import annotations

from typing import Any

import pytest

from relubench.activations import ACTIVATIONS
from relubench.catalog import Catalog, Entry, spell
from relubench.commands import CATALOGS
from relubench.datasets import DATASETS
from relubench.errors import BadValue, UnknownName
from relubench.models import MODELS
from relubench.training.optimizers import OPTIMIZERS
from relubench.training.perturbations import PERTURBATIONS


def bare(entry: Entry) -> str:
    """The shortest text that names it: with what must be given, if anything must."""
    return ":".join([entry.name, *(spell(like) or "x" for like in entry.first.values())])


@pytest.mark.parametrize("catalog", CATALOGS.values(), ids=CATALOGS)
def test_every_entry_describes_itself_and_is_found_by_its_name(catalog: Catalog[Any]) -> None:
    assert catalog
    for name, entry in catalog.items():
        assert entry.name == name
        assert name == entry.function.__name__ or not name.isidentifier()
        assert entry.description
        assert catalog.choose(bare(entry)).entry is entry


@pytest.mark.parametrize("catalog", CATALOGS.values(), ids=CATALOGS)
def test_defaults_written_out_are_spelled_as_without(catalog: Catalog[Any]) -> None:
    for entry in catalog.values():
        name = bare(entry)
        written = ":".join([name, *(f"{k}={spell(v)}" for k, v in entry.parameters.items())])
        assert str(catalog.choose(written)) == str(catalog.choose(name)) == name
        assert catalog.choose(written).parameters == catalog.choose(name).parameters


@pytest.mark.parametrize(
    ("catalog", "text", "spelled", "parameters"),
    [
        (DATASETS, "npz:a/b c.npz", "npz:a/b c.npz", {"file": "a/b c.npz"}),
        (
            DATASETS,
            "csv:a=b.csv:missing=refuse:target=x=y",
            "csv:a=b.csv:target=x=y",
            {"file": "a=b.csv", "target": "x=y", "missing": "refuse"},
        ),
        (PERTURBATIONS, "gaussian:1/10", "gaussian:0.1", {"sd": 0.1}),
    ],
)
def test_what_must_be_given_stands_first_without_a_key(
    catalog: Catalog[Any], text: str, spelled: str, parameters: dict[str, Any]
) -> None:
    choice = catalog.choose(text)
    assert choice.parameters == choice.entry.parameters | parameters
    assert str(choice) == str(catalog.choose(str(choice))) == spelled


@pytest.mark.parametrize(
    ("catalog", "text", "says"),
    [
        (DATASETS, "csv", "csv needs a file: csv:FILE"),
        (DATASETS, "csv::target=x", "csv needs a file: csv:FILE"),
        (DATASETS, "csv:f:file=g", "csv has no parameter 'file'"),
        (PERTURBATIONS, "gaussian:much", "gaussian: 'much' is not a number"),
    ],
)
def test_what_must_be_given_is_asked_for(catalog: Catalog[Any], text: str, says: str) -> None:
    with pytest.raises(BadValue) as caught:
        catalog.choose(text)
    assert str(caught.value).startswith(says)


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
        ("zzz", f"unknown activation 'zzz': {len(ACTIVATIONS)} are known (relubench list act"),
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


def test_where_few_are_known_they_are_named() -> None:
    with pytest.raises(UnknownName, match="'zzz': known: adam, adamw, muon, rmsprop, sgd "):
        OPTIMIZERS.choose("zzz")


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
