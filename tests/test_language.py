"""Language: texts as windows, a GPT against torch's own modules, scores, counts, refusals."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from relubench import datasets, seeds
from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.datasets import DATASETS
from relubench.datasets.language import of_text
from relubench.errors import BadValue, DataError
from relubench.execution import step_timing
from relubench.models import MODELS, layers, weights
from relubench.models.attention import Form, Language, attend, continued, rotated
from relubench.plan import Cell, Machine, Recipe, Stack
from relubench.training import building, engine, examples, learning, prediction
from relubench.training.examples import Examples
from relubench.training.heads import HEADS
from relubench.training.networks import Networks

TEXT = "".join(
    chr(97 + (7 * n * n + n // 3) % 11) + (" " if n % 5 == 0 else "") for n in range(3000)
)
MACHINE = Machine(data_dir="unused", threads=1)
EXACT = dataclasses.replace(MACHINE, dtype="float64")
TINY = "gpt:layers=2:heads=2:width=8:context=6"


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    path = tmp_path / "t.txt"
    path.write_text(TEXT)
    return Cell(
        dataset=f"text:{path}:context=6:windows=40",
        model=TINY,
        activation="gelu",
        head="next_token",
        recipe=Recipe(lr=0.01, epochs=2, batch_size=8),
    )


def built(model: str, tokens: int = 13, positions: int = 6, activation: str = "gelu") -> nn.Module:
    network: nn.Module = MODELS.choose(model)((positions,), tokens, ACTIVATIONS.choose(activation))
    weights.initialise(network, torch.Generator().manual_seed(0), init="gpt2")
    assert isinstance(network, Language)
    network.settle(torch.Generator().manual_seed(1), scaled=True)
    return network.double().eval()


def tokens(*shape: int, kinds: int = 13) -> torch.Tensor:
    return torch.randint(kinds, shape, generator=torch.Generator().manual_seed(2))


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["char", "byte", "word"])
def test_windows_are_the_text_and_what_follows(unit: str) -> None:
    data = of_text("t", TEXT, unit, 10, 0)
    train = slice(None, data.n_train)
    flat, after = data.x[train].flatten(), data.y[train].flatten()
    assert np.array_equal(flat[1:], after[:-1])
    assert len(data.y) - data.n_test == data.drawn
    assert data.task == "language"
    if unit == "char":
        assert "".join(data.classes[n] for n in flat) == TEXT[: len(flat)]
        begin = len(TEXT) - len(TEXT) // 10
        test = data.x[-data.n_test :].flatten()
        assert "".join(data.classes[n] for n in test) == TEXT[begin : begin + len(test)]


def test_the_vocabulary_is_that_of_the_training_part() -> None:
    data = of_text("t", "ab" * 500 + "abcabc" * 10, "char", 4, 0)
    assert data.classes == ("a", "b", "<unknown>")
    assert 2 not in data.x[: data.n_train]
    assert 2 in data.x[data.n_train :]


def test_bytes_know_how_many_of_them_a_character_has() -> None:
    assert of_text("t", "é" * 200 + "a" * 200, "byte", 4, 0).letters == pytest.approx(2 / 3)
    assert math.isnan(of_text("t", "one two " * 200, "word", 4, 0).letters)


@pytest.mark.parametrize(
    ("content", "given", "says"),
    [
        (b"", "", "it is empty"),
        (b"short", "", "it has 5 tokens"),
        (b"a" * 3000, "", "one kind of token only"),
        (b"\xff\xfe\x00a" * 900, "", "it is not UTF-8 text"),
        (b"ab\x00" * 900, "", "bytes of 0"),
        (b"ab" * 900, ":unit=letter", "unit=letter: known: char, byte, word"),
        (b"ab" * 900, ":context=0", "context must be at least 1"),
    ],
)
def test_a_text_that_cannot_be_used_is_one_line(
    content: bytes, given: str, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    with pytest.raises((DataError, BadValue), match=says) as refused:
        DATASETS.choose(f"text:{path}{given}")(tmp_path)
    assert "\n" not in str(refused.value)


def test_tinyshakespeare_is_the_published_text_or_refused(tmp_path: Path) -> None:
    home = tmp_path / "tinyshakespeare"
    home.mkdir()
    (home / "input.txt.gz").write_bytes(gzip.compress(b"another text"))
    with pytest.raises(DataError, match="another text than the published one"):
        DATASETS.choose("tinyshakespeare")(tmp_path)
    (home / "input.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="is damaged"):
        DATASETS.choose("tinyshakespeare")(tmp_path)


def test_batches_are_windows_at_random_places_from_the_cell_s_own_stream(cell: Cell) -> None:
    data = examples.tensors(cell, MACHINE)
    (part,) = examples.parts({cell: data})
    stream = torch.cat((data.x_train.flatten(), data.y_train.flatten()[-1:]))
    orders = [part.examples.order(40, seeds.stream(cell, "batches")) for _ in range(2)]
    assert torch.equal(orders[0], orders[1])
    assert (
        len(set((orders[0] % 6).tolist())) == 6
    )  # not the places of the windows beside each other
    x, y = part.examples.at(orders[0].unsqueeze(0))
    for row, begin in enumerate(orders[0].tolist()):
        assert torch.equal(x[0, row], stream[begin : begin + 6])
        assert torch.equal(y[0, row], stream[begin + 1 : begin + 7])


# --- the network ----------------------------------------------------------------------------------


def of_torch(network: Any, x: torch.Tensor, heads: int) -> torch.Tensor:
    """The same weights in torch's own modules."""
    width, positions = network.tokens.weight.shape[1], x.shape[1]

    def normed(layer: nn.Module, h: torch.Tensor) -> torch.Tensor:
        if isinstance(layer, nn.LayerNorm):
            return F.layer_norm(h, (width,), layer.weight, layer.bias)
        return F.rms_norm(h, (width,), layer.get_parameter("weight"), eps=1e-5)

    def dense(layer: nn.Linear, h: torch.Tensor) -> torch.Tensor:
        return F.linear(h, layer.weight, layer.bias)

    mask = torch.full((positions, positions), -math.inf, dtype=torch.float64).triu(1)
    h = F.embedding(x, network.tokens.weight) + network.positions.weight[:positions]
    for block in network.blocks:
        asked, projection = block.attention.asked, block.attention.projection
        biased = asked.bias is not None
        attention = nn.MultiheadAttention(width, heads, bias=biased, batch_first=True).double()
        attention.in_proj_weight, attention.in_proj_bias = asked.weight, asked.bias
        attention.out_proj.weight, attention.out_proj.bias = projection.weight, projection.bias
        a = normed(block.norm1, h)
        h = h + attention(a, a, a, attn_mask=mask, need_weights=False)[0]
        hidden = F.gelu(dense(block.feed_forward.widen, normed(block.norm2, h)))
        h = h + dense(block.feed_forward.narrow, hidden)
    tied = network.tokens if network.output is None else network.output
    return F.linear(normed(network.norm, h), tied.weight)


@pytest.mark.parametrize("given", ["", ":tied=false", ":bias=true", ":norm=rms", ":hidden=24"])
def test_logits_are_those_of_torchs_own_modules(given: str) -> None:
    model = f"gpt:layers=3:heads=4:width=32:context=16{given}"
    network, x = built(model, positions=16), tokens(5, 16)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(5)  # not near 0, where all would be linear
        assert_close(network(x), of_torch(network, x, 4), rtol=1e-6, atol=1e-9)


def test_tied_weights_learn_at_both_ends() -> None:
    tied, apart = built(TINY), built(f"{TINY}:tied=false")
    own = tied.state_dict()
    apart.load_state_dict(own | {"output.weight": own["tokens.weight"].clone()})
    x, y = tokens(4, 6), tokens(4, 6).flip(0).flatten()
    found = []
    for network in (tied, apart):
        loss = F.cross_entropy(network(x).flatten(0, 1), y)
        loss.backward()
        found.append(loss.detach())
    gradients: dict[str, Any] = {name: each.grad for name, each in apart.named_parameters()}
    at_both = gradients["tokens.weight"] + gradients["output.weight"]
    assert_close(found[0], found[1])
    assert_close(tied.get_parameter("tokens.weight").grad, at_both)


@pytest.mark.parametrize(
    "given", ["", ":norm=rms", ":position=rotary", ":tied=false", ":bias=true"]
)
def test_a_token_changes_nothing_before_it(given: str) -> None:
    network, x = built(TINY + given), tokens(3, 6)
    with torch.no_grad():
        before = network(x)
        for place in range(6):
            other = x.clone()
            other[:, place] = (x[:, place] + 1) % 13
            after = network(other)
            assert torch.equal(after[:, :place], before[:, :place])
            assert not torch.allclose(after[:, place], before[:, place])
            # A shorter text is the beginning of a longer one.
            assert_close(network(x[:, : place + 1]), before[:, : place + 1])


@pytest.mark.parametrize(
    ("model", "count"),
    [
        # nanoGPT's: 0.80 M without positions, and its larger form's 10.65 M.
        ("gpt", 795_904 + 64 * 128),
        ("gpt:layers=6:heads=6:width=384:context=256", 10_646_784 + 256 * 384),
        ("gpt:tied=false", 795_904 + 64 * 128 + 65 * 128),
        ("gpt:position=rotary", 795_904),
        ("gpt:norm=rms", 795_904 + 64 * 128),
    ],
)
def test_parameter_counts(model: str, count: int) -> None:
    with torch.device("meta"):
        network = MODELS.choose(model)((64,), 65, ACTIVATIONS.choose("gelu"))
    assert layers.parameter_count(network) == count


def test_a_gated_feed_forward_layer_is_narrowed_to_as_many_parameters(cell: Cell) -> None:
    wide = dataclasses.replace(cell, model="gpt:layers=2:heads=2:width=48:context=6")
    plain = building.build(wide, (6,), MACHINE)
    gated = dataclasses.replace(wide, activation="swiglu", match_parameters=True)
    narrowed = building.build(gated, (6,), MACHINE)
    counts = [layers.parameter_count(each) for each in (plain, narrowed)]
    assert counts[1] == pytest.approx(counts[0], rel=0.03)
    (_, act), *_ = layers.activations(narrowed)
    assert act.units == pytest.approx(2 / 3 * 4 * 48, rel=0.05)  # 8/3 of the width


def test_weights_begin_as_gpt_2_s() -> None:
    network: Any = built("gpt:layers=8:heads=4:width=64:context=32", tokens=50, positions=32)
    for name, parameter in network.named_parameters():
        if "norm" in name:
            assert (parameter == 1).all()
            continue
        sd = 0.02 / math.sqrt(16) if name.endswith(("projection.weight", "narrow.weight")) else 0.02
        assert parameter.std().item() == pytest.approx(sd, rel=0.06)


def test_the_same_numbers_whatever_the_activation(cell: Cell) -> None:
    """Gated ones too: their further pieces are drawn after everything else."""
    plain = building.build(cell, (6,), MACHINE).state_dict()
    gated = building.build(
        dataclasses.replace(cell, activation="swiglu"), (6,), MACHINE
    ).state_dict()
    for name, tensor in plain.items():
        other = gated[name]
        if tensor.ndim == 2:
            other = other[: len(tensor)]
        assert torch.equal(tensor, other)


def test_attention_of_a_stack_is_that_of_each() -> None:
    draws = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(3, 5, 2, 7, 4, generator=draws, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    )
    mask = torch.rand(3, 5, 1, 1, 7, generator=draws) < 0.8
    mask[..., 0] = True
    for causal, masks in ((True, None), (False, mask)):
        if masks is None:
            stacked = torch.vmap(lambda q, k, v: attend(q, k, v, None, True))(q, k, v)
        else:
            stacked = torch.vmap(lambda q, k, v, m: attend(q, k, v, m, False))(q, k, v, masks)
        scores = q @ k.mT / 2
        seen = torch.ones(7, 7, dtype=torch.bool).tril() if causal else mask
        expected = scores.masked_fill(~seen, -math.inf).softmax(-1) @ v
        assert_close(stacked, expected)
        found = torch.autograd.grad(stacked.square().sum(), (q, k, v))
        assert_close(found, torch.autograd.grad(expected.square().sum(), (q, k, v)))


def test_rotated_pairs_know_only_how_far_apart_they_are() -> None:
    draws = torch.Generator().manual_seed(0)
    q, k = (torch.randn(6, generator=draws, dtype=torch.float64) for _ in range(2))
    turned = [rotated(each.expand(9, 6)) for each in (q, k)]
    products = turned[0] @ turned[1].T
    assert_close(products.diagonal(2), products[0, 2].expand(7))
    assert_close(products[3, 3], q @ k)


def test_a_sample_is_drawn_as_the_network_says() -> None:
    network, begin = built(TINY), tokens(4)
    made = [
        continued(network, begin, 30, 6, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert torch.equal(made[0][:4], begin)
    assert len(made[0]) == 34
    certain = torch.zeros(13, dtype=torch.float64)
    certain[5] = 1e3
    said = continued(lambda x: certain.expand(1, x.shape[1], 13), begin, 3, 6, torch.Generator())
    assert said[4:].tolist() == [5, 5, 5]


# --- trained --------------------------------------------------------------------------------------


def test_training_is_a_plain_loop(cell: Cell) -> None:
    (result,) = engine.fit(Stack((cell,)), EXACT)
    network = building.build(cell, (6,), EXACT)
    data = examples.tensors(cell, EXACT)
    stream = torch.cat((data.x_train.flatten(), data.y_train.flatten()[-1:]))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    places = seeds.stream(cell, "batches")
    network.train()
    for epoch in range(2):
        losses = 0.0
        for rows in torch.randint(len(stream) - 6, (40,), generator=places).split(8):
            windows = torch.stack([stream[begin : begin + 7] for begin in rows.tolist()])
            loss = F.cross_entropy(network(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item() * len(rows)
        assert result.curve[epoch].loss == pytest.approx(losses / 40, rel=1e-9)
    network.eval()
    with torch.no_grad():
        scores = network(data.x_test)
        held = F.cross_entropy(scores.flatten(0, 1), data.y_test.flatten()).item()
        right = (scores.argmax(-1) == data.y_test).double().mean().item()
    assert result.scores["loss"] == pytest.approx(held, rel=1e-9)
    assert result.scores["perplexity"] == pytest.approx(math.exp(held), rel=1e-9)
    assert result.scores["bits_per_character"] == pytest.approx(held / math.log(2), rel=1e-9)
    assert result.scores["token_accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("activation", ["relu", "swiglu", "polynorm"])
@pytest.mark.parametrize("given", ["", ":dropout=0.2", ":norm=rms:position=rotary:tied=false"])
def test_a_stack_of_three_is_three_alone(cell: Cell, activation: str, given: str) -> None:
    cells = [
        dataclasses.replace(cell, activation=activation, seed=seed, model=TINY + given)
        for seed in range(3)
    ]
    together = engine.fit(Stack(tuple(cells)), EXACT)
    assert together[0].environment.stack == 3
    for each, stacked in zip(cells, together, strict=True):
        (alone,) = engine.fit(Stack((each,)), EXACT)
        own = {name: value for name, value in alone.scores.items() if name != "tokens_per_second"}
        assert {name: stacked.scores[name] for name in own} == pytest.approx(own, rel=1e-8)


@pytest.mark.parametrize("activation", ["gelu", "swiglu", "polynorm"])
@pytest.mark.parametrize("given", ["", ":dropout=0.2", ":norm=rms:position=rotary:tied=false"])
@pytest.mark.parametrize("count", [1, 2])
def test_replayed_steps_are_the_steps(
    cell: Cell, activation: str, given: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, recipe = TINY + given, Recipe(epochs=2, batch_size=4, lr=0.01, clip_norm=1.0)
    long = dataclasses.replace(cell, activation=activation, model=model, recipe=recipe)
    cells = tuple(dataclasses.replace(long, seed=seed) for seed in range(count))
    curves = []
    for warmup in (3, 1000):
        monkeypatch.setattr(learning, "WARMUP_STEPS", warmup)
        curves.append([result.curve for result in engine.fit(Stack(cells), MACHINE)])
    assert curves[0] == curves[1]


def test_counts_are_those_of_brute_force(cell: Cell) -> None:
    """Over all tokens of the training part; one token that moves a unit is enough."""
    relu = dataclasses.replace(cell, activation="relu", recipe=Recipe(epochs=0))
    network: Any = building.build(relu, (6,), EXACT)
    data = examples.tensors(relu, EXACT)
    seen: list[torch.Tensor] = []
    for block in network.blocks:
        block.feed_forward.widen.register_forward_hook(lambda m, i, value: seen.append(value))
    with torch.no_grad():
        network(data.x_train)
    (result,) = engine.fit(Stack((relu,)), EXACT)
    for layer, z in zip(result.layers, seen, strict=True):
        active = z.flatten(0, 1) > 0
        assert layer.units == z.shape[-1]
        assert layer.dead == int((~active).all(dim=0).sum())
        assert layer.rare == int((active.double().mean(dim=0) < 0.01).sum())
        assert layer.sparsity == pytest.approx(1 - active.double().mean().item())


def test_a_unit_that_fires_on_one_token_is_not_dead(cell: Cell) -> None:
    relu = dataclasses.replace(cell, activation="relu", recipe=Recipe(epochs=0))
    network: Any = building.build(relu, (6,), EXACT)
    x = examples.tensors(relu, EXACT).x_train
    with torch.no_grad():
        h = network.tokens(x) + network.positions.weight
        h = h + network.block1.attention(network.block1.norm1(h))
        normed = network.block1.norm2(h).flatten(0, 1)
        direction = normed[17]
        weight = network.block1.feed_forward.widen.weight
        weight[0] = direction
        products = (normed @ direction).sort(descending=True).values
    assert products[0] > products[-1]
    networks = Networks([network])
    counters = engine._counters(networks, 1, torch.device("cpu"))
    with torch.no_grad():
        _, values = networks.observe(x.unsqueeze(0))
    for counter, (value, derivative) in zip(counters, values, strict=True):
        counter.see(value, derivative)
    (first,) = counters[0].counts()
    active = (normed @ network.block1.feed_forward.widen.weight.detach().T > 0).any(dim=0)
    assert first.dead == int((~active).sum())
    assert bool(active[0])


def test_a_unit_that_fires_on_one_token_of_a_million_is_not_dead() -> None:
    """A token of its own kind: no other has its pre-activation, which is the largest there is."""
    model = "gpt:layers=1:heads=1:width=4:hidden=8:context=64:bias=true"
    network: Any = built(model, positions=64, activation="relu")
    x = tokens(2**14, 64, kinds=12)
    x[777, 30] = 12
    widen, taken = network.block1.feed_forward.widen, []
    handle = widen.register_forward_hook(lambda m, i, value: taken.append(i[0].flatten(0, 1)))
    with torch.no_grad():
        for part in x.split(1024):
            network(part)
        handle.remove()
        normed = torch.cat(taken)
        widen.weight[0] = normed[777 * 64 + 30]
        first, second = (normed @ widen.weight[0]).topk(2).values
        assert first > second
        widen.bias[0] = -(first + second) / 2
        widen.bias[1] = -(normed @ widen.weight[1]).max() - 1
        active = normed @ widen.weight.T + widen.bias > 0
    networks = Networks([network])
    counters = engine._counters(networks, 1, torch.device("cpu"))
    prediction.predict(networks, HEADS.choose("next_token"), Examples.of([x], [x]), counters)
    assert len(active) == 2**20
    assert active.sum(dim=0)[:2].tolist() == [1, 0]
    assert torch.equal(counters[0].active[0], active.sum(dim=0).double())
    assert torch.equal(counters[0].dead[0], ~active.any(dim=0))


def test_a_curve_has_the_loss_on_the_same_windows_and_steps_end_the_training(cell: Cell) -> None:
    """18 steps are three epochs of five and a part of one; only --report best chooses of them."""
    recipe = Recipe(lr=0.3, epochs=0, steps=18, batch_size=8)
    watched = dataclasses.replace(cell, recipe=recipe, validation="test")
    (last,) = engine.fit(Stack((watched,)), EXACT)
    losses = [epoch.held_out_loss or 0 for epoch in last.curve]
    assert len(losses) == 4
    assert last.scores["loss"] == pytest.approx(losses[-1])
    best = dataclasses.replace(watched, recipe=dataclasses.replace(recipe, report="best"))
    (chosen,) = engine.fit(Stack((best,)), EXACT)
    assert chosen.curve == last.curve
    assert chosen.scores["loss"] == pytest.approx(min(losses))
    assert min(losses) < losses[-1]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["-m", "ffnn"], "takes numbers, and examples of"),
        (["-d", "iris"], "--model gpt:heads=2:layers=2:width=8"),
        (["--folds", "3"], "--folds"),
        (["--limit", "9"], "--limit"),
        (["--pca", "3"], "--pca"),
        (["--validation", "0.1"], "--validation 0.1"),
        (["--head", "softmax"], "has a text, not classes"),
        (["--confusion"], "--confusion counts classes"),
        (["-m", "gpt:context=4"], "context=4 is less than the 6 tokens"),
        (["-m", "gpt:heads=3"], "width=128 is not a multiple of heads=3"),
        (["-m", "gpt:norm=batch"], "norm=batch: known: layer, rms"),
        (["-m", "gpt:position=none"], "position=none: known: learned, rotary"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_what_makes_no_sense_of_a_text_is_one_line(
    cell: Cell, more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "cv" if "--folds" in more else "train"
    arguments = [command, "-d", cell.dataset, "-m", "gpt:layers=2:heads=2:width=8:context=6", *more]
    assert main([*arguments, "--no-ledger", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    if "iris" not in more:
        assert says in error


def test_train_and_compare_show_a_text(cell: Cell, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["-d", cell.dataset, "-m", TINY, "--steps", "7", "--batch-size", "4", "--no-ledger"]
    assert main(["train", *tiny, "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "perplexity" in shown
    assert "accuracy" not in shown
    command = ["compare", *tiny, "-a", "relu,gelu", "--seeds", "2", "--format", "jsonl", "--quiet"]
    assert main(command) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["metric"] for row in rows} == {"perplexity"}
    assert all(row["accuracy"] is None for row in rows)
    assert all(row["bits_per_character"] and row["tokens_per_second"] for row in rows)


def test_forms_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Form(width=4, heads=2, hidden=8).width = 5  # type: ignore[misc]


def test_the_text_is_known_without_being_read_again(cell: Cell) -> None:
    facts = datasets.facts(cell.dataset, "unused")
    assert facts.language
    assert facts.respected == ""
    assert facts.outputs == len(facts.classes)


def test_steps_are_timed_as_any_other(cell: Cell) -> None:
    for model in ("gpt:layers=1:heads=1:width=4:context=6", TINY):
        timed = dataclasses.replace(cell, model=model)
        assert step_timing.step_seconds(timed, (6,), 4, MACHINE) > 0
