"""Sentences read by a transformer: tokens of a column, padding, tasks where order matters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.testing import assert_close

from relubench import datasets
from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.datasets.language import sequences
from relubench.models import MODELS, weights
from relubench.models.attention import Reader
from relubench.plan import Cell, Machine, Recipe, Stack
from relubench.training import engine
from relubench.training.splits import split

MACHINE = Machine(data_dir="unused", threads=1)
WORDS = ["red", "green", "blue", "tall", "small", "old", "new", "cold"]


def sentences(order: bool) -> list[tuple[str, str]]:
    """Whether `before` comes first of two words; or, without order, which of two there is."""
    draws = np.random.default_rng(3)
    made = []
    for number in range(400):
        words = list(draws.choice(WORDS, size=8))
        places = sorted(draws.choice(8, size=2, replace=False))
        kind = number % 2
        pair = ("first", "second") if order else ("this", "this") if kind else ("that", "that")
        for place, word in zip(places, pair[::-1] if order and kind else pair, strict=True):
            words[place] = word
        made.append((" ".join(words), "yes" if kind else "no"))
    return made


def written(folder: Path, order: bool) -> str:
    path = folder / "s.csv"
    lines = [f'"{text}",{label}' for text, label in sentences(order)]
    path.write_text("\n".join(["text,y", *lines]) + "\n")
    return f"csv:{path}:target=y:text=text:words=20:context=8"


@pytest.mark.parametrize("order", [True, False])
def test_an_encoder_reads_order_where_a_bag_of_words_does_not(order: bool, tmp_path: Path) -> None:
    cell = Cell(
        dataset=written(tmp_path, order),
        model="encoder:layers=2:heads=2:width=32:tokens=22:context=8",
        activation="gelu",
        recipe=Recipe(lr=0.003, epochs=40, batch_size=32),
    )
    (result,) = engine.fit(Stack((cell,)), MACHINE)
    dataset = datasets.load(cell.dataset, "unused")
    train, test = split(cell, dataset)
    counts = CountVectorizer().fit(dataset.x[train])
    bag = LogisticRegression(max_iter=500).fit(counts.transform(dataset.x[train]), dataset.y[train])
    of_bag = bag.score(counts.transform(dataset.x[test]), dataset.y[test])
    accuracy = result.scores["accuracy"]
    assert accuracy is not None
    if order:
        assert of_bag < 0.65
        assert accuracy > 0.9
    else:
        assert abs(accuracy - of_bag) < 0.03


def test_the_known_words_are_those_of_the_training_part() -> None:
    train, test = sequences(["a b a c", "a b"], ["c d a", "", "b " * 9], words=2, context=4)
    assert train.tolist() == [[2, 3, 2, 1], [2, 3, 0, 0]]
    assert test.tolist() == [[1, 1, 2, 0], [0, 0, 0, 0], [3, 3, 3, 3]]


def reader(given: str = "") -> nn.Module:
    model = "encoder:layers=2:heads=2:width=8:tokens=30:context=12" + given
    network: nn.Module = MODELS.choose(model)((12,), 3, ACTIVATIONS.choose("relu"))
    weights.initialise(network, torch.Generator().manual_seed(0))
    assert isinstance(network, Reader)
    network.settle(torch.Generator().manual_seed(1), scaled=False)
    return network.double().eval()


@pytest.mark.parametrize("given", ["", ":pool=cls"])
def test_padding_changes_nothing(given: str) -> None:
    network = reader(given)
    x = torch.randint(1, 30, (5, 7), generator=torch.Generator().manual_seed(2))
    padded = torch.cat((x, torch.zeros(5, 5, dtype=torch.int64)), dim=1)
    with torch.no_grad():
        assert_close(network(padded), network(x))
        assert not torch.allclose(network(x), network(x.flip(1)))
        assert network(torch.zeros(2, 12, dtype=torch.int64)).isfinite().all()


@pytest.mark.parametrize("given", ["", ":pool=cls", ":dropout=0.1"])
def test_a_stack_of_readers_is_each_alone(given: str, tmp_path: Path) -> None:
    cells = [
        Cell(
            dataset=written(tmp_path, True),
            model="encoder:layers=1:heads=2:width=8:tokens=22:context=8" + given,
            activation="relu",
            recipe=Recipe(epochs=2),
            seed=seed,
        )
        for seed in range(2)
    ]
    exact = Machine(data_dir="unused", threads=1, dtype="float64")
    together = engine.fit(Stack(tuple(cells)), exact)
    assert together[0].environment.stack == 2
    for cell, stacked in zip(cells, together, strict=True):
        (alone,) = engine.fit(Stack((cell,)), exact)
        own = {name: score for name, score in alone.scores.items() if score is not None}
        assert {name: stacked.scores[name] for name in own} == pytest.approx(own, rel=1e-8)


@pytest.mark.parametrize(
    ("data", "more", "says"),
    [
        ("", ["-m", "encoder"], ""),
        (":words=5000", ["-m", "encoder:context=8"], "say tokens=5002"),
        ("", ["-m", "ffnn"], "are sentences: known for these: encoder"),
        ("", ["-m", "gpt"], "are sentences: known for these: encoder"),
        ("", ["-m", "encoder", "--pca", "2"], "tokens have no components"),
        (":context=9", ["-m", "encoder:context=8"], "context=8 is less than the 9 words"),
        (":text=y", ["-m", "encoder"], "target and text are one column"),
        ("", ["-m", "encoder:pool=max"], "pool=max: known: mean, cls"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_one_line(
    data: str, more: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = written(tmp_path, True)
    for part in filter(None, data.split(":")):
        key = part.partition("=")[0]
        name = ":".join(p for p in name.split(":") if not p.startswith(f"{key}=")) + f":{part}"
    code = main(["train", "-d", name, *more, "--epochs", "1", "--no-ledger", "--quiet"])
    error: Any = capsys.readouterr().err
    assert code == (2 if says else 0)
    assert says in error
    assert len(error.strip().splitlines()) == bool(says)
