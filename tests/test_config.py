"""benchmarks.toml and flags: what is refused, and which cells a plan holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relubench import config
from relubench.cli import main
from relubench.commands import CATALOGS
from relubench.config import kinds
from relubench.errors import BadValue, UnknownName
from relubench.plan import Plan, Split


def read(text: str, tmp_path: Path) -> config.Benchmarks:
    path = tmp_path / "b.toml"
    path.write_text(text, encoding="utf-8")
    return config.read(path, CATALOGS)


def settings(**flags: Any) -> config.Settings:
    return config.resolve(config.Benchmarks("b.toml", {}), None, flags, CATALOGS)


def plan(command: str = "train", quick: bool = False, **flags: Any) -> Plan:
    return config.plan(settings(**flags), command, quick, CATALOGS["model"])


BROKEN = """
[benchmark.a]
epcohs = 3
activation = ["relu", "mihs", "gelo"]
lr = [0.1, -1]
folds = 1

[benchmark.b]
dataset = "digit"
seed = 1
seeds = 3
epochs = "many"
"""


def test_every_problem_of_a_file_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadValue) as caught:
        read(BROKEN, tmp_path)
    lines = str(caught.value).splitlines()
    table_a, table_b = f"{tmp_path}/b.toml, [benchmark.a]: ", f"{tmp_path}/b.toml, [benchmark.b]: "
    expected = [
        table_a + "unknown key 'epcohs': did you mean 'epochs'?",
        table_a + "activation: unknown activation 'mihs': did you mean 'mish'?",
        table_a + "lr: got -1, must be greater than 0",
        table_a + "folds: got 1, must be greater than or equal to 2",
        table_b + "dataset: unknown dataset 'digit': did you mean 'digits'?",
        table_b + "seed: give one seed or a number of seeds, not both",
        table_b + "epochs: got many, must be a valid integer",
    ]
    for start in expected:
        assert any(line.startswith(start) for line in lines), start
    assert len(lines) == len(expected)
    assert "'gelo': did you mean 'gelu'?" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[benchmark", "not valid TOML"),
        ("[bench.a]", r"unknown table \[bench\]"),
        ("benchmark = 3", "every benchmark is a table"),
        ("[benchmark]\na = 3", "every benchmark is a table"),
    ],
)
def test_a_file_of_another_shape_is_refused(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(BadValue, match=says):
        read(text, tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="cannot read"):
        config.read(tmp_path / "none.toml", CATALOGS)


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path.name)])
def test_what_is_no_file_is_refused_and_not_waited_for(
    make: Callable[[Path], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.toml"
    make(path)
    for flags in (["--config", str(path)], ["--scheduler-file", str(path)]):
        assert main(["train", "-d", "iris", "--no-ledger", *flags]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert main(["compare", "-d", "iris", "--no-ledger", "--baseline", str(path)]) == 4
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("epochs", -1),
        ("batch_size", 0),
        ("lr", ["-1"]),
        ("lr", ["nan"]),
        ("lr", ["inf"]),
        ("lr", ["fast"]),
        ("lr", [","]),
        ("weight_decay", -0.1),
        ("folds", 1),
        ("repeats", 0),
        ("seeds", 0),
        ("seed", -1),
        ("pca", 0),
        ("limit", 0),
        ("threads", 0),
        ("activation", ["relu,"]),
        ("optimizer", "adma"),
        ("reference", "rleu"),
    ],
)
def test_a_bad_flag_is_named_with_what_was_got(flag: str, value: Any) -> None:
    with pytest.raises(BadValue) as caught:
        settings(**{flag: value})
    assert str(caught.value).startswith(f"--{flag.replace('_', '-')}: ")
    assert "\n" not in str(caught.value)


def test_a_flag_wins_over_the_table_and_seed_over_seeds(tmp_path: Path) -> None:
    benchmarks = read("[benchmark.a]\nepochs = 3\nseeds = 4\nlr = 0.5\n", tmp_path)
    found = config.resolve(benchmarks, "a", {"epochs": 7, "seed": 2}, CATALOGS)
    assert (found.epochs, found.lr, found.seed, found.seeds) == ((7,), (0.5,), 2, None)


def test_an_unknown_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'smoke'"):
        config.resolve(read("[benchmark.smoke]", tmp_path), "smok", {}, CATALOGS)


def test_comma_lists_and_repeated_flags_are_the_same() -> None:
    assert settings(activation=["relu,gelu", "tanh"]) == settings(activation=["relu", "gelu,tanh"])
    assert settings(lr=["0.1,0.01"]).lr == (0.1, 0.01)
    assert settings(activation=["relu", "relu"]).activation == ("relu",)


def test_a_comma_after_a_backslash_is_part_of_a_name() -> None:
    (name,) = kinds._comma_list(r"csv:a\,b.csv:target=y")
    assert name == "csv:a,b.csv:target=y"


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no descriptors by name here")
def test_a_pipe_that_the_shell_has_opened_is_read() -> None:
    reading, writing = os.pipe()
    os.write(writing, b'[benchmark.mine]\ndataset = "iris"\n')
    os.close(writing)
    try:
        found = config.read(Path(f"/dev/fd/{reading}"), CATALOGS)
    finally:
        os.close(reading)
    assert dict(found.tables) == {"mine": {"dataset": "iris"}}


def test_the_plan_is_the_product_and_pairs_activations() -> None:
    cells = plan(
        "compare", dataset=["iris,wine"], activation=["gelu"], lr=["0.1,0.2"], seeds=3
    ).cells
    assert len(set(cells)) == len(cells) == 2 * 2 * 3 * 2  # relu, the reference, joins gelu
    for first, second in zip(cells[::2], cells[1::2], strict=True):
        assert (first.activation, second.activation) == ("relu", "gelu")
        assert (first.seed, first.recipe) == (second.seed, second.recipe)


def test_any_flag_of_the_recipe_sweeps() -> None:
    flags: dict[str, Any] = {"optimizer": ["adam,sgd"], "lr": ["0.1,0.2"], "epochs": ["1,2"]}
    more: dict[str, Any] = {"batch_size": ["8,16,8"], "weight_decay": ["0,0.1"]}
    inits = [cell.init for cell in plan("train", init=["he,gain", "he"]).cells]
    assert inits == ["he", "gain"]
    recipes = [cell.recipe for cell in plan("train", **flags, **more).cells]
    assert len(set(recipes)) == len(recipes) == 2**5


def test_seeds_by_command() -> None:
    assert [cell.seed for cell in plan("train").cells] == [0]
    assert [cell.seed for cell in plan("train", seed=7).cells] == [7]
    assert [cell.seed for cell in plan("train", seeds=3).cells] == [0, 1, 2]
    assert [cell.seed for cell in plan("compare").cells] == list(range(10))


def test_cv_has_every_fold_of_every_repeat() -> None:
    splits = [cell.split for cell in plan("cv", folds=3, repeats=2).cells]
    assert splits == [Split(folds=3, fold=f, repeat=r) for r in range(2) for f in range(3)]


def test_quick_only_shrinks() -> None:
    small = plan("compare", quick=True, epochs=1, seeds=5)
    assert {cell.recipe.epochs for cell in small.cells} == {1}
    assert {cell.seed for cell in small.cells} == {0, 1}
    assert {cell.seed for cell in plan("compare", quick=True).cells} == {0, 1}
    assert small.quick


def test_a_key_depends_on_everything_in_the_cell() -> None:
    base = plan("train").cells[0]
    flags: dict[str, Any] = {
        "dataset": ["iris"],
        "model": ["cnn"],
        "activation": ["gelu"],
        "head": ["relu"],
        "init": ["gain"],
        "match_parameters": True,
        "lr": ["0.5"],
        "epochs": 2,
        "batch_size": 7,
        "weight_decay": 0.1,
        "optimizer": "sgd",
        "standardise": False,
        "pca": 3,
        "limit": 50,
        "seed": 1,
    }
    others = [plan("train", **{flag: value}).cells[0] for flag, value in flags.items()]
    keys = [cell.key for cell in (base, *others)]
    assert len(set(keys)) == len(keys)
    assert plan("train").cells[0].key == base.key
    assert base.key == "54ed537a32729461"  # scripts join rows by it: it must not drift


def test_a_flag_replaces_all_that_a_table_says_of_where_to_train() -> None:
    table = {"executor": "dask", "scheduler": "tcp://host:1", "lr": [0.1]}
    benchmarks = config.Benchmarks("b.toml", {"far": table})
    near = config.resolve(benchmarks, "far", {"jobs": "2"}, CATALOGS)
    assert (near.executor, near.jobs, near.scheduler, near.lr) == (None, 2, None, (0.1,))
    far = config.resolve(benchmarks, "far", {"epochs": "2"}, CATALOGS)
    assert (far.executor, far.scheduler) == ("dask", "tcp://host:1")


def test_a_model_brings_its_own_activation_where_none_is_chosen() -> None:
    models = ["ffnn", "lenet5"]
    assert [c.activation for c in plan(model=models).cells] == ["relu", "tanh"]
    assert [c.activation for c in plan(model=models, activation="elu").cells] == ["elu", "elu"]
    compared = plan("compare", model="lenet5", seeds=1)
    assert [cell.activation for cell in compared.cells] == ["relu", "tanh"]


OWN_TABLES = """
[benchmark.mine]
dataset = ["iris"]
activation = ["./mine.py:f"]
epochs = [1]
[benchmark.theirs]
activation = ["./theirs.py:f"]
model = ["./theirs.py:build"]
reference = "./theirs.py:g"
published = [{activation = "./theirs.py:f", source = "x", confirmed = false}]
quick = {activation = ["./theirs.py:f"]}
"""
ASKED = {
    "list": (["list", "benchmarks"], set(), True),
    "list, as json": (["list", "benchmarks", "--format", "json"], set(), True),
    "a dry run of nothing of it": (["train", "-d", "iris", "--dry-run"], set(), False),
    "a dry run of one": (["train", "mine", "--dry-run"], {"mine"}, True),
    "a flag instead": (["train", "mine", "-a", "relu", "--dry-run"], set(), True),
    "a nameless one": (["compare", "-d", "iris", "-a", "gelu", "--dry-run"], set(), False),
    "one": (["compare", "mine", "--seeds", "2", "--epochs", "1"], {"mine"}, True),
}


@pytest.mark.parametrize("case", ASKED)
def test_own_code_runs_only_when_it_is_named(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, ran, told = ASKED[case]
    monkeypatch.chdir(tmp_path)
    Path("benchmarks.toml").write_text(OWN_TABLES, encoding="utf-8")
    for name in ("mine", "theirs"):
        source = f"open({name!r}, 'w').close()\ndef f(x):\n    return x.tanh()\n"
        Path(f"{name}.py").write_text(source, encoding="utf-8")
    assert main(arguments) == 0
    assert {name for name in ("mine", "theirs") if Path(name).exists()} == ran
    err = capsys.readouterr().err
    assert ("benchmarks: those of benchmarks.toml" in err.splitlines()) == told


def test_a_shipped_benchmark_needs_no_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "smoke", "--dry-run"]) == 0
    assert "benchmarks: " not in capsys.readouterr().err
    Path("deep.toml").write_text("a = " + "[" * 100_000, encoding="utf-8")
    assert main(["train", "smoke", "--config", "deep.toml"]) == 2
