"""relubench deadcount of any network, from the shell: weights read safely, data, proofs, gates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import relubench
from relubench.cli import main
from relubench.models.calls import Call, Value
from relubench.neurons import bounds, pruning, weights
from relubench.neurons.batches import batch_of
from relubench.neurons.counting import Asked, count
from relubench.results import COUNTS

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 12), nn.Linear(12, 8), nn.Linear(8, 10)

    def forward(self, x):
        x = torch.relu(self.first(x.flatten(1)))
        return self.last(torch.relu(self.second(x)))

class Raising(Net):
    def forward(self, x):
        raise ValueError("not today")

class Unmade(Net):
    def __init__(self):
        super().__init__()
        self.to("meta")

def batches(part):
    x = torch.randn(30, 64, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(30, dtype=torch.long)
    return [(x[:20], y[:20]), (x[20:], y[20:])]
"""


class Net(nn.Module):
    """As in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, 12), nn.Linear(12, 8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.last(F.relu(self.second(F.relu(self.first(x.flatten(1))))))
        return value


def made(dead: int = 3) -> Net:
    network, generator = Net(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
        network.first.bias[:dead] = -1e3
        network.first.bias[dead:] = 3.0
        network.second.bias[:] = 2.0
    return network


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    torch.save(made().state_dict(), tmp_path / "net.pt")
    return tmp_path


def rows(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[Any]:
    capsys.readouterr()
    assert main(["deadcount", *arguments, "--format", "json", "--no-ledger", "-q"]) == code
    found: list[Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["deadcount", *arguments, "--no-ledger", "-q"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    return told.err


OWN = ("-m", "./net.py:Net", "--data", "./net.py:batches")


def test_a_network_of_ones_own_is_counted_with_its_weights(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _, total = rows(capsys, *OWN, "--weights", "net.pt")
    assert (first["layer"], first["units"], first["dead"]) == ("relu", 12, 0.25)
    assert (total["layer"], total["units"], total["examples"]) == ("total", 20, 30)
    assert first["weights"] == "net.pt"
    begun = rows(capsys, *OWN)
    assert (begun[0]["weights"], begun[0]["dead"]) == ("as it begins", 0.0)


def test_relubenchs_datasets_are_data_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(
        capsys, "-m", "./net.py:Net", "--weights", "net.pt", "-d", "digits", "--split", "both"
    )
    assert found[0]["examples"] + found[0]["examples_test"] == 1797
    assert found[0]["dead_test"] == 0.25
    assert found[0]["dead_in_training_only"] == 0.0
    none = rows(capsys, "-m", "./net.py:Net", "--weights", "none", "-d", "digits", "--limit", "100")
    assert none[0]["examples"] == 100


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model": lambda state: {"model": {f"module.{key}": each for key, each in state.items()}},
    "lightning": lambda state: {
        "state_dict": {f"model.{key}": each for key, each in state.items()}
    },
    "compiled": lambda state: {f"_orig_mod.{key}": each for key, each in state.items()},
    "both": lambda state: {f"module._orig_mod.{key}": each for key, each in state.items()},
    "average": lambda state: (
        {"n_averaged": torch.tensor(4)} | {f"module.{key}": each for key, each in state.items()}
    ),
    "ema": lambda state: {"ema": state, "step": 1},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_weights_are_found_in_what_wraps_them(how: str, tmp_path: Path) -> None:
    wrapped: Any = WRAPPED[how](made().state_dict())
    torch.save(wrapped, tmp_path / "w.pt")
    network = Net()
    notes = weights.load(network, weights.read(tmp_path / "w.pt"))
    for key, tensor in made().state_dict().items():
        assert torch.equal(network.state_dict()[key], tensor)
    assert notes


def test_safetensors_are_read(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.torch")
    library.save_file(made().state_dict(), tmp_path / "w.safetensors")
    assert weights.read(tmp_path / "w.safetensors").state.keys() == made().state_dict().keys()


class Malicious:
    """A pickle that would write a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def test_a_malicious_pickle_is_not_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": made().state_dict(), "x": Malicious()}, "bad.pt")
    told = refused(capsys, *OWN, "--weights", "bad.pt")
    assert "would run code" in told
    assert "system" in told
    assert not Path("ran").exists()


def test_a_whole_pickled_module_is_refused_with_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(made(), "whole.pt")
    assert "torch.save(model.state_dict(), FILE)" in refused(capsys, *OWN, "--weights", "whole.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("length", [0, 7, 700])
def test_a_file_that_is_cut_short_is_refused(
    suffix: str, length: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"cut{suffix}").write_bytes(Path("net.pt").read_bytes()[:length])
    told = refused(capsys, *OWN, "--weights", f"cut{suffix}")
    assert "cut short" in told or "no whole safetensors" in told


def test_weights_of_another_network_are_listed_with_shapes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = made().state_dict()
    state["first.weight"] = torch.zeros(13, 64)
    state["third.weight"] = state.pop("second.weight")
    torch.save(state, "other.pt")
    told = refused(capsys, *OWN, "--weights", "other.pt")
    assert "first.weight 13x64, not 12x64" in told
    assert "not in the file: second.weight 8x12" in told
    assert "only in the file: third.weight 8x12" in told


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("-m", "./net.py:Raising", "--data", "./net.py:batches"), "ValueError: not today"),
        (("-m", "./net.py:Unmade", "--data", "./net.py:batches"), "no numbers"),
        ((*OWN, "--weights", "none.pt"), "there is no such file"),
        ((*OWN, "--split", "all"), "unknown split 'all'"),
        ((*OWN, "--definitions", "deaf"), "did you mean 'dead'?"),
        ((*OWN, "--unit", "chanel"), "did you mean 'channel'?"),
        ((*OWN, "--rare", "2"), "say how many points"),
        ((*OWN, "--fail-above", "x:1%"), "unknown layer 'x'"),
        ((*OWN, "--margin", "dead=1%"), "--margin needs --baseline"),
        ((*OWN, "-d", "digits"), "-d and --data both name data"),
        ((*OWN, "--run", "abc"), "leave --no-ledger out"),
        ((*OWN, "--run", "abc", "--from-ledger"), "give one of them"),
        (("-d", "iris", "--from-ledger", "-a", "relu,elu"), "these flags name 2"),
        (("-m", "./net.py:Net,mlp", "--weights", "net.pt"), "takes one network"),
        (("-m", "timm:resnet_none", "-d", "digits"), "timm"),
        (("-m", "transformers:./nowhere", "-d", "digits"), "config.json"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    arguments: tuple[str, ...], what: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert what in refused(capsys, *arguments)


def test_definitions_and_their_parameters_are_chosen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = rows(
        capsys, *OWN, "--weights", "net.pt", "--definitions", "all", "--tau", "0.1", "--rare", "5%"
    )
    assert {"constant", "always_on", "grama", "near_zero", "effective_rank"} <= {
        key for key, value in found[0].items() if value is not None
    }
    assert "dormant:tau=0.1" in found[0]["definition"]
    assert "rare:fraction=0.05" in found[0]["definition"]


# --- a run of relubench's own ---------------------------------------------------------------------


@pytest.mark.parametrize("model", ["ffnn:hidden=12x8", "./net.py:Net"])
def test_a_run_that_is_saved_and_read_back_counts_as_it_counted(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ("-d", "digits", "-m", model, "-a", "relu", "--lr", "0.3", "--epochs", "1")
    assert main(["train", *recipe, "--save", "w.pt", "-f", "json", "-q"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    code = main(["deadcount", "--run", run["key"][:9], "--weights", "w.pt", "-f", "json", "-q"])
    assert code == 0
    *layers, total = json.loads(capsys.readouterr().out)
    for name in (*COUNTS, "sparsity", "mean_activation"):
        assert total[name] == pytest.approx(run[name], rel=1e-5), name
    assert total["dead"] > 0
    assert main(["deadcount", *recipe, "-f", "json", "-q"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert [row["dead"] for row in before] == [row["dead"] for row in (*layers, total)]


@pytest.mark.parametrize("model", ["ffnn:hidden=12x8", "./net.py:Net"])
def test_weights_that_save_kept_are_found_again(
    model: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ("-d", "digits", "-m", model, "-a", "relu", "--lr", "0.3", "--epochs", "1")
    assert main(["train", *recipe, "--save", "w.pt", "-f", "json", "-q"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    for named in (("--run", run["key"]), (*recipe, "--from-ledger")):
        assert main(["deadcount", *named, "-f", "json", "-q"]) == 0
        *_, total = json.loads(capsys.readouterr().out)
        assert total["dead"] == run["dead"] > 0
        assert Path(total["weights"]).name == "w.pt"
    code = main(["deadcount", *recipe[:-1], "2", "--from-ledger"])  # another run
    assert code == 2
    assert "were not kept" in capsys.readouterr().err
    Path("w.pt").write_bytes(b"another")
    assert main(["deadcount", "--run", run["key"]]) == 2
    assert "has other weights by now" in capsys.readouterr().err
    Path("w.pt").unlink()
    assert main(["deadcount", "--run", run["key"]]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["deadcount", "--run", run["key"], "--no-ledger"]) == 2
    assert "leave --no-ledger out" in capsys.readouterr().err


# --- gates ----------------------------------------------------------------------------------------


def test_a_gate_names_the_layers_that_fail(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (*OWN, "--weights", "net.pt", "--junit", "j.xml")
    found = rows(capsys, *given, "--fail-above", "20%", code=3)
    assert [row["gate"] for row in found] == ["fail", "pass", "fail"]
    suite = next(iter(ElementTree.parse("j.xml").getroot()))
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    found = rows(capsys, *given, "--fail-above", "20%,relu:25%")
    assert [row["gate"] for row in found] == ["pass", "pass", "pass"]
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert main(["deadcount", *given, "--fail-above", "20%", "--no-ledger"]) == 3
    assert "::error title=relubench deadcount::relu: 25.00%25 of 12" in capsys.readouterr().err


def test_two_checkpoints_are_held_against_each_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    later = made(dead=4)
    with torch.no_grad():
        later.first.bias[0] = 3.0
    torch.save(later.state_dict(), "later.pt")
    given = (*OWN, "--weights", "later.pt", "--baseline", "net.pt")
    first, *_ = rows(capsys, *given, "--margin", "dead=1%")
    assert (first["dead"], first["dead_before"]) == (0.25, 0.25)
    assert first["newly_dead"] == pytest.approx(1 / 12)
    assert first["revived"] == pytest.approx(1 / 12)
    torch.save(made(dead=6).state_dict(), "later.pt")
    first, *_ = rows(capsys, *given, code=3)
    assert first["gate"] == "fail"
    rows(capsys, *given, "--margin", "dead=30%")


# --- proofs, ablation, pruning --------------------------------------------------------------------


class Convolutional(nn.Module):
    """A chain with a normalisation, pooling and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.second, self.third = nn.Conv2d(6, 5, 3), nn.Conv2d(5, 5, 1)
        self.last = nn.Linear(5 * 3 * 3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.norm(self.first(x)), inplace=True), 2)
        x = self.second(x)
        x = F.hardswish(x + F.relu6(self.third(F.relu(x))))
        value: Tensor = self.last(F.adaptive_avg_pool2d(x, 3).flatten(1))
        return value


def convolutional(seed: int) -> Convolutional:
    network, generator = Convolutional(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        network.norm.bias[:2] = -60.0
        network.get_parameter("third.bias")[0] = -500.0
    return network


@pytest.mark.parametrize("seed", range(6))
def test_what_is_proven_dead_was_never_seen_active_and_changes_nothing(seed: int) -> None:
    network = convolutional(seed)
    x = torch.rand(24, 2, 10, 10, generator=torch.Generator().manual_seed(seed))
    found = relubench.deadcount(network, x.split(10), proof=True, ablate=True)
    proven, seen = found.masks["proven_dead"], found.masks["dead"]
    for layer, mask in proven.items():
        assert not (mask & ~seen[layer]).any(), layer
    assert sum(int(mask.sum()) for mask in proven.values()) >= 2
    assert found.layers[0].proven_dead == pytest.approx(float(proven["relu"].double().mean()))
    by_name = {row.removed: row for row in found.ablations}
    assert by_name["inactive"].identical
    # Anywhere in the box, not on the data alone.
    anywhere = relubench.deadcount(network, torch.rand(200, 2, 10, 10) * x.amax(0))
    for layer, mask in proven.items():
        assert not (mask & ~anywhere.masks["dead"][layer]).any(), layer


@pytest.mark.parametrize("seed", range(4))
def test_bounds_hold_for_every_call(seed: int) -> None:
    network = made() if seed % 2 else convolutional(seed)
    size = (64,) if seed % 2 else (2, 10, 10)
    x = torch.randn(40, *size, generator=torch.Generator().manual_seed(seed))
    batch = batch_of(x, network)
    plan = count(network, [x], Asked()).plan
    low, high, _ = bounds.box([batch])
    assert torch.equal(low, x.double().amin(0))
    assert torch.equal(high, x.double().amax(0))
    for layer, mask in bounds.proven(network, plan, [batch]).items():
        assert not (mask & ~relubench.deadcount(network, x).masks["dead"][layer]).any()


def test_removing_rare_units_is_told_in_accuracy(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    arguments = [*OWN, "--weights", "net.pt", "--ablate", "--no-ledger", "-q"]
    assert main(["deadcount", *arguments]) == 0
    told = capsys.readouterr().out
    assert "without units, 30 examples" in told
    assert told.count("identical") >= 3


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_units_that_give_0_are_cut_out(
    suffix: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix == ".safetensors":
        pytest.importorskip("safetensors")
    rows(capsys, *OWN, "--weights", "net.pt", "--prune", f"small{suffix}")
    state = weights.read(Path(f"small{suffix}")).state
    assert state["first.weight"].shape == (9, 64)
    assert state["second.weight"].shape == (8, 9)
    smaller = Net()
    smaller.first, smaller.second = nn.Linear(64, 9), nn.Linear(9, 8)
    smaller.load_state_dict(dict(state))
    x = torch.randn(20, 64)
    torch.testing.assert_close(smaller(x), made()(x), rtol=1e-4, atol=1e-4)


def test_channels_are_cut_through_norms_and_pools_and_ties_are_named() -> None:
    network = convolutional(0)
    x = torch.rand(24, 2, 10, 10)
    counted = count(network, [x], Asked())
    masks = relubench.deadcount(network, x).masks["inactive"]
    cut = pruning.prune(network, counted.plan, batch_of(x, network), masks)
    gone = int(masks["relu"].sum())
    assert gone >= 2
    assert cut.network.get_submodule("norm").get_parameter("weight").shape == (6 - gone,)
    assert cut.network.get_submodule("second").get_parameter("weight").shape[1] == 6 - gone
    assert any("relu6" in note and "add" in note for note in cut.notes)
    with torch.no_grad():
        torch.testing.assert_close(cut.network.eval()(x), network.eval()(x), rtol=1e-3, atol=1e-2)
    assert cut.rows[-1].new_parameters < cut.rows[-1].parameters


@pytest.mark.parametrize("deep", [1, 5000])
def test_what_leads_to_a_value_is_found_on_paths_that_branch_and_are_long(deep: int) -> None:
    """Each step has two ways: 2 ** 5000 paths."""

    def call(*inputs: Value) -> Call:
        made = Call(0, torch.add, ((), {}), list(inputs), "")
        made.outputs.append(Value(torch.zeros(1), call=made))
        for value in inputs:
            value.users.append(made)
        return made

    first = value = Value(torch.zeros(1))
    for _ in range(deep):
        ways = [call(value).outputs[0], call(value).outputs[0]]
        value = call(*ways).outputs[0]
    begin = first.users[0]
    assert pruning._leads_to(begin, value)
    call(value)  # behind it, what becomes of it does not matter
    assert pruning._leads_to(begin, value)
    call(first.users[1].outputs[0])  # on the other way of the first step: on none from here
    assert pruning._leads_to(begin, value)
    call(begin.outputs[0])
    assert not pruning._leads_to(begin, value)


def test_a_network_with_nothing_to_cut_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(made(dead=0).state_dict(), "alive.pt")
    told = refused(capsys, *OWN, "--weights", "alive.pt", "--prune", "small.pt")
    assert "no unit always gives 0" in told
    assert not Path("small.pt").exists()


# --- libraries ------------------------------------------------------------------------------------


def test_torchvisions_networks_are_opened_by_name(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = pytest.importorskip("torchvision.models")
    torch.save(models.resnet18(num_classes=7).state_dict(), "resnet.pt")
    Path("images.py").write_text("import torch\nbatches = [torch.randn(2, 3, 64, 64)]\n")
    given = ("-m", "torchvision.resnet18", "--data", "./images.py:batches")
    found = rows(capsys, *given, "--weights", "resnet.pt")
    assert len(found) == 18
    assert {row["unit"] for row in found[:-1]} == {"channel"}
    monkeypatch.setenv("TORCH_HOME", str(folder))
    assert "not there; download" in refused(
        capsys, "-m", "torchvision.resnet18", "--weights", "IMAGENET1K_V1", "-d", "digits"
    )


def test_importing_relubench_loads_no_torch() -> None:
    script = "import sys, relubench; print('torch' in sys.modules, relubench.deadcount.__name__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "deadcount"]
