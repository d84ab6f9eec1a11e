"""Sentences read by a transformer: tokens of a column, padding, tasks where order matters."""

from __future__ import annotations

import json
from dataclasses import replace
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
from relubench.neurons.counting import count as count_units
from relubench.plan import Cell, Machine, Recipe, Stack
from relubench.results import DORMANT, SATURATED
from relubench.training import engine
from relubench.training.examples import Examples
from relubench.training.heads import HEADS
from relubench.training.networks import Networks
from relubench.training.prediction import predict
from relubench.training.splits import split
from relubench.training.tracking import Probe

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


# --- units over words alone -----------------------------------------------------------------------


def woken_by_padding(given: str, x: torch.Tensor) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """A reader, a unit of whose first layer padding alone moves; its pre-activations, and `kept`.

    Biases make it so: they move no unit of that layer by more than they say.
    """
    network: Any = reader(given)
    layer = network.block1.feed_forward.widen
    found: list[torch.Tensor] = []
    handle = layer.register_forward_hook(lambda m, i, value: found.append(value))
    kept = network.kept(x)
    with torch.no_grad():
        network(x)
        z = found.pop()
        words, padding = z[kept].amax(dim=0), z[~kept].amax(dim=0)
        unit = int((padding - words).argmax())
        assert padding[unit] > words[unit]
        layer.bias[unit] -= (words[unit] + padding[unit]) / 2
        network(x)
    handle.remove()
    return network, found.pop(), kept


def padded() -> torch.Tensor:
    """Sentences of one to seven words of twelve, and one without any."""
    x = torch.randint(1, 30, (40, 12), generator=torch.Generator().manual_seed(4))
    lengths = torch.arange(40) % 8
    return x * (torch.arange(12) < lengths.unsqueeze(1))


def check_against_brute_force(
    count: Any, z: torch.Tensor, kept: torch.Tensor, examples: int
) -> None:
    active = z[kept] > 0
    assert bool((z > 0).flatten(0, 1).any(dim=0)[~active.any(dim=0)].any()), "padding wakes none"
    outputs = z[kept].relu()
    assert count.units == z.shape[-1]
    assert count.dead == int((~active).all(dim=0).sum()) > 0
    assert count.inactive == count.dead
    assert count.rare == int((active.double().mean(dim=0) < 0.01).sum())
    assert count.sparsity == pytest.approx(1 - active.double().mean().item())
    assert count.mean_activation == pytest.approx(outputs.mean().item())
    means = outputs.mean(dim=0)
    assert count.dormant == int((means <= DORMANT * means.mean()).sum())
    flat = (~active).double().mean(dim=0)
    assert count.saturated == int((flat >= SATURATED).sum())
    assert count.examples == examples


@pytest.mark.parametrize("given", ["", ":pool=cls"])
def test_padding_wakes_no_unit_of_a_run(given: str) -> None:
    x = padded()
    network, z, kept = woken_by_padding(given, x)
    networks = Networks([network])
    counters = engine._counters(networks, 1, x.device)
    examples = Examples.of([x], [torch.zeros(len(x), dtype=torch.int64)])
    predict(networks, HEADS.choose("softmax"), examples, counters)
    (count,) = counters[0].counts()
    check_against_brute_force(count, z, kept, len(x))


def test_padding_wakes_no_unit_of_a_stack() -> None:
    """Sentences of other lengths in each: units have other numbers of words."""
    shorter = torch.cat((padded()[:, 1:], torch.zeros(40, 1, dtype=torch.int64)), dim=1)
    xs = [padded(), shorter]
    made = [woken_by_padding("", x) for x in xs]
    networks = Networks([network for network, _, _ in made])
    assert networks.stacked
    counters = engine._counters(networks, 2, xs[0].device)
    examples = Examples.of(xs, [torch.zeros(40, dtype=torch.int64) for _ in xs])
    predict(networks, HEADS.choose("softmax"), examples, counters)
    for count, (_, z, kept) in zip(counters[0].counts(), made, strict=True):
        check_against_brute_force(count, z, kept, 40)


def test_padding_wakes_no_unit_of_a_probe() -> None:
    """From the third look on its kernels alone are called."""
    x = padded()
    network, z, kept = woken_by_padding("", x)
    cell = Cell(dataset="none", model="encoder", activation="relu")
    probe = Probe([cell], Networks([network]), [x])
    for _ in range(4):
        (looked,) = probe.look()
        (count,) = looked.counters[0].counts()
        check_against_brute_force(count, z, kept, len(x))


@pytest.mark.parametrize("given", ["", ":pool=cls"])
def test_padding_wakes_no_unit_of_any_network(given: str) -> None:
    x = padded()
    network, z, kept = woken_by_padding(given, x)
    found = count_units(network, x.split(7))
    (_, seen), *_ = found.sites
    (count,) = seen.counts()
    check_against_brute_force(replace(count, examples=found.examples), z, kept, len(x))


@pytest.mark.parametrize("track", [[], ["--track-neurons", "1"]])
def test_classes_of_sentences_from_end_to_end(
    track: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four classes, each of which has words of its own; sentences of several lengths."""
    draws = np.random.default_rng(0)
    lines = ["text,y"]
    for number in range(240):
        words = [f"w{number % 4}{draws.integers(3)}" for _ in range(draws.integers(1, 12))]
        lines.append(f"{' '.join(words)},class {number % 4}")
    (tmp_path / "s.csv").write_text("\n".join(lines) + "\n")
    arguments = ["-d", f"csv:{tmp_path / 's.csv'}:target=y:text=text:words=20:context=8"]
    arguments += ["-m", "encoder:layers=1:heads=2:width=16:tokens=22:context=8", "--lr", "0.01"]
    arguments += ["-a", "relu,gelu", "--seeds", "2", "--epochs", "15", "--no-ledger", "--quiet"]
    assert main(["compare", *arguments, *track, "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["metric"] for row in rows} == {"accuracy"}
    assert all(row["accuracy"] > 0.95 for row in rows)
    assert all(row["dead"] is not None for row in rows)


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
