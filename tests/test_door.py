"""The Python door: what a call does is what the command does, in a process that lives on."""

from __future__ import annotations

import html
import inspect
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from generated import TYPED, typed_options
from sklearn.datasets import load_wine
from test_house import SLOW
from torch import nn
from torch.testing import assert_close

import relubench
from relubench import compiled, datasets
from relubench.cli import main
from relubench.config.options import declared
from relubench.door import UnknownOption, notebook
from relubench.errors import BadValue, DataError, RelubenchError
from relubench.user_code import UserCodeError

SMALL: dict[str, Any] = {"model": "ffnn:hidden=4", "epochs": 1, "threads": 1}
CALLS = (relubench.train, relubench.cv, relubench.compare, relubench.suggest)


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of the test's own; pictures need no display."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


# --- the same as the commands ---------------------------------------------------------------------


@pytest.mark.parametrize("command", ["train", "cv", "compare"])
def test_rows_are_those_of_the_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    call: Callable[..., Any] = getattr(relubench, command)
    more = {} if command == "compare" else {"activation": ["relu", "gelu"]}
    result = call(dataset="iris", lr=[0.01, 0.1], seeds=2, **more, **SMALL)
    flags = "-d iris -m ffnn:hidden=4 --lr 0.01,0.1 --seeds 2 --epochs 1 --threads 1 --json"
    names = [] if command == "compare" else ["-a", "relu,gelu"]
    assert main([command, *flags.split(), *names]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == result.tables[0].records  # all of it taken from the same ledger
    assert "taken from" in err


def test_a_benchmark_is_run_by_its_name(tmp_path: Path) -> None:
    text = '[benchmark.mine]\ndataset = "iris"\nmodel = "ffnn:hidden=4"\nepochs = 1\nseeds = 2\n'
    (tmp_path / "benchmarks.toml").write_text(text, encoding="utf-8")
    result = relubench.compare("mine", activation="gelu", threads=1)
    assert [(row.dataset, row.activation, row.n) for row in result.rows] == [
        ("iris", "relu", 2),
        ("iris", "gelu", 2),
    ]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_every_option_is_a_keyword_with_its_default(call: Callable[..., Any]) -> None:
    parameters = inspect.signature(call).parameters
    for option in declared():
        if call.__name__ in option.commands:
            assert parameters[option.key].default == option.default
        else:
            assert option.key not in parameters


def test_type_checkers_know_every_option(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        TYPED.write_text(typed_options(), encoding="utf-8")
    assert TYPED.read_text(encoding="utf-8") == typed_options()


@pytest.mark.parametrize(
    "given",
    [
        {"activation": "mihs"},
        {"activation": ["relu", "mihs"], "lr": -1},
        {"epochs": 0.5},
        {"dataset": "csv:none.csv:target=y"},
        {"model": "./none.py:Net"},
        {"seed": 1, "seeds": 2},
        {"device": "tpu"},
        {"best_lr": True},
    ],
    ids=str,
)
def test_errors_say_what_the_command_says(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RelubenchError) as error:
        relubench.train(**given)
    flags = []
    for key, value in given.items():
        names = ",".join(value) if isinstance(value, list) else str(value)
        flags += [f"--{key.replace('_', '-')}", *([] if value is True else [names])]
    assert main(["train", *flags, "--quiet"]) == 2
    said = [line.removeprefix("relubench: ") for line in capsys.readouterr().err.splitlines()]
    assert said == str(error.value).splitlines()


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(
        TypeError, match=r"train\(\) has no option 'epoch': did you mean 'epochs'"
    ) as e:
        relubench.train(epoch=3)  # type: ignore[call-arg]
    assert isinstance(e.value, UnknownOption)
    with pytest.raises(TypeError, match="other calls have it"):
        relubench.train(folds=3)  # type: ignore[call-arg]


def test_values_may_be_numpy_s_or_ranges(tmp_path: Path) -> None:
    lr = np.array([0.01, 0.1])
    result = relubench.train(
        dataset=Path("iris"),
        activation=("relu",),
        lr=lr,
        **{**SMALL, "epochs": range(1, 3), "seeds": np.int64(2)},
    )
    assert {(row.lr, row.epochs, row.seed) for row in result.rows} == {
        (rate, epochs, seed) for rate in lr for epochs in (1, 2) for seed in (0, 1)
    }


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    result = relubench.train(dataset="iris", **SMALL)
    assert capfd.readouterr() == ("", "")
    assert any(note.startswith("device: ") for note in result.notes)


def test_weights_are_saved(tmp_path: Path) -> None:
    relubench.train(dataset="iris", save=tmp_path / "w.pt", **SMALL)
    assert torch.load(tmp_path / "w.pt", weights_only=True)


# --- quick, and typed -----------------------------------------------------------------------------


def loaded(script: str, folder: Path) -> set[str]:
    """The modules of a fresh process that has run this."""
    script = f"{script}\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, check=True
    )
    return set(done.stdout.split())


def test_to_import_it_loads_nothing_slow(tmp_path: Path) -> None:
    modules = loaded("import relubench; relubench.compare.__name__", tmp_path)
    assert not {"torch", "scipy", "sklearn", "matplotlib"} & modules
    assert not {*SLOW, "numpy", "pydantic"} & loaded("import relubench; dir(relubench)", tmp_path)


def test_a_ledger_is_read_without_torch(tmp_path: Path) -> None:
    relubench.train(dataset="iris", ledger="one.db", **SMALL)
    script = "import relubench\nassert len(relubench.load('one.db').frame()) == 1"
    assert "torch" not in loaded(script, tmp_path)


# --- data in memory -------------------------------------------------------------------------------

X, Y = load_wine(return_X_y=True)
FRAME = load_wine(as_frame=True).frame
NAMES = load_wine().target_names
WAYS: dict[str, Any] = {
    "arrays": (X, Y),
    "tensors": (torch.tensor(X, requires_grad=True), torch.tensor(Y)),
    "lists": (X.tolist(), Y.tolist()),
    "one column of classes": (X, Y.reshape(-1, 1)),
    "frame and column": (FRAME, "target"),
    "frame": FRAME,
    "frame of another index": FRAME.set_index(FRAME.index[::-1] + 7),
    "frame and series": (FRAME.drop(columns="target"), FRAME["target"].sample(frac=1).sort_index()),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_data_are_the_same_however_they_are_given(way: Any) -> None:
    np.savez("wine.npz", x=X, y=Y)
    (row,) = relubench.train(dataset=way, no_ledger=True, **SMALL).rows
    (expected,) = relubench.train(dataset="npz:wine.npz", no_ledger=True, **SMALL).rows
    assert row.dataset.startswith("memory:")
    assert (row.accuracy, row.loss, row.parameters) == (
        expected.accuracy,
        expected.loss,
        expected.parameters,
    )


def test_a_test_set_may_be_given() -> None:
    given = (X[:100], Y[:100], X[100:], Y[100:])
    with pytest.raises(DataError, match="every example is of class '0'"):
        relubench.train(dataset=(X[:50], Y[:50]), **SMALL)
    (row,) = relubench.train(dataset=given, **SMALL).rows
    assert (row.n_train, row.n_test) == (100, 78)


def test_classes_may_be_words_and_gaps_are_refused() -> None:
    frame = FRAME.assign(target=NAMES[Y])
    result = relubench.train(dataset=frame, **SMALL)
    assert any("'class_1' the most" in note for note in result.notes)
    frame.iloc[3, 0] = np.nan
    with pytest.raises(DataError, match="1 value is missing, first in column 'alcohol', example 4"):
        relubench.train(dataset=frame, **SMALL)


def test_other_data_are_other_runs() -> None:
    changed = X.copy()
    changed[7, 3] += 1e-9
    relubench.train(dataset=[(X, Y), (changed, Y)], ledger="one.db", **SMALL)
    again = relubench.train(dataset=(X, Y), ledger="one.db", **SMALL)
    assert "1 of 1 run taken from" in again.notes[-1]
    assert len(relubench.load("one.db").rows) == 2


def test_data_may_have_a_label() -> None:
    rows = relubench.train(dataset={"wine-1": (X, Y), "mine": "iris"}, **SMALL).rows
    assert rows[0].dataset == f"memory:wine-1-{datasets.in_memory.dataset((X, Y)).digest}"
    assert rows[1].dataset == "iris"
    with pytest.raises(BadValue, match="a label is made of letters"):
        relubench.train(dataset={"a:b": (X, Y)})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "got an object of type int, must be a name, arrays"),
        ((X,), "got 1 of them"),
        (FRAME.rename(columns={"target": "z"}), "say which column is the class"),
        ((FRAME, "z"), "no column 'z'"),
        ((X, Y[:3]), "y must be (178,) like x, got (3,)"),
        ((FRAME, Y[:3]), "y must be (178,) like X, got (3,)"),
        (([[1, 2], [3]], [0, 1]), "rows are not of one length"),
        ((X * np.nan, Y), "not finite in float32"),
        ((X, np.arange(len(X))), "as in regression"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_data_that_cannot_be_used_are_refused(given: Any, said: str) -> None:
    with pytest.raises(RelubenchError) as error:
        relubench.train(dataset=given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_was_given_is_gone_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = relubench.train(dataset=(X, Y), **SMALL).rows
    assert not datasets.in_memory.LENT
    assert main(["train", "-d", row.dataset, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"relubench: {row.dataset}: these data were given to a Python call")


# --- objects --------------------------------------------------------------------------------------

FILE = """
import torch
from torch import nn

SLOPE = 0.3

def leaky(x):
    return torch.where(x > 0, x, SLOPE * x)

class Net(nn.Module):
    def __init__(self, shape, classes, activation, width: int = 6):
        super().__init__()
        self.first, self.act = nn.Linear(shape[0], width), activation(width)
        self.last = nn.Linear(width, classes)

    def forward(self, x):
        return self.last(self.act(self.first(x)))
"""


def own(name: str) -> Any:
    space: dict[str, Any] = {"__name__": "__notebook__"}
    exec(compile(FILE, "a cell", "exec"), space)
    return space[name]


def test_objects_train_as_files_do() -> None:
    Path("net.py").write_text(FILE, encoding="utf-8")
    options = SMALL | {"dataset": "wine"}
    by_name = options | {"model": "./net.py:Net", "activation": "./net.py:leaky"}
    (row,) = relubench.train(**options | {"model": own("Net"), "activation": own("leaky")}).rows
    (expected,) = relubench.train(**by_name).rows
    assert (row.accuracy, row.loss) == (expected.accuracy, expected.loss)
    assert row.model == f"python.{compiled.digest(own('Net'))}:Net"
    assert row.activation == f"python.{compiled.digest(own('leaky'))}:leaky"


def test_an_object_that_is_another_is_trained_again() -> None:
    options = SMALL | {"dataset": "wine", "ledger": "one.db"}
    leaky = own("leaky")
    relubench.train(activation=leaky, **options)
    assert "taken from" in relubench.train(activation=own("leaky"), **options).notes[-1]
    leaky.__globals__["SLOPE"] = 0.2
    assert "taken from" not in relubench.train(activation=leaky, **options).notes[-1]
    assert len(relubench.load("one.db").rows) == 2


def test_a_network_is_left_as_it_was() -> None:
    last: Any = torch.compile(nn.Linear(4, 3))
    net = nn.Sequential(nn.Linear(13, 4), nn.ReLU(), last)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    digest = compiled.digest(net)
    relubench.train(**SMALL | {"dataset": "wine", "model": net})
    assert_close(dict(net.state_dict()), before, rtol=0, atol=0)
    assert net[2] is last
    assert net.training
    assert compiled.digest(net) == digest


def test_what_has_no_digest_is_trained_without_a_ledger() -> None:
    handle = iter([1.0])

    def odd(x: torch.Tensor) -> torch.Tensor:
        assert handle
        return torch.tanh(x)

    with pytest.raises(
        BadValue, match=r"^activation odd has no digest, since handle is an object of"
    ):
        relubench.train(activation=odd, **SMALL)
    (row,) = relubench.train(dataset="wine", activation=odd, no_ledger=True, **SMALL).rows
    (tanh,) = relubench.train(dataset="wine", activation="tanh", no_ledger=True, **SMALL).rows
    assert (row.loss, row.accuracy) == (tanh.loss, tanh.accuracy)


def test_what_is_no_code_is_refused() -> None:
    with pytest.raises(BadValue, match="model: got int, must be a name, a function, a class"):
        relubench.train(**SMALL | {"model": 3})


def test_what_an_object_raises_is_said_in_one_line() -> None:
    def bad(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("ouch")

    with pytest.raises(UserCodeError, match="bad fails the check 'runs': RuntimeError: ouch"):
        relubench.train(activation=bad, **SMALL)


def test_a_name_of_an_object_is_refused_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = relubench.train(**SMALL | {"dataset": "wine", "model": own("Net")}).rows
    assert main(["train", "-d", "wine", "-m", row.model, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{row.model} is an object that a Python call was given" in line
    assert main(["ledger", "show", "--json"]) == 0  # what is finished is shown all the same
    assert json.loads(capsys.readouterr().out)[0]["model"] == row.model


# --- workers --------------------------------------------------------------------------------------

SCRIPT = """
import relubench
from sklearn.datasets import load_wine

result = relubench.train(
    dataset=load_wine(return_X_y=True), model="ffnn:hidden=4", activation=["relu", "gelu"],
    epochs=1, threads=1, stack=1, no_ledger=True, JOBS
)
print(*(row.loss for row in result.rows))
"""


def test_workers_have_the_data_and_run_no_script_again(tmp_path: Path) -> None:
    """Without `if __name__ == "__main__"`: multiprocessing would begin the script anew."""
    printed = []
    for jobs in ("jobs=1", "jobs=2"):
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.replace("JOBS", jobs), encoding="utf-8")
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        printed.append(done.stdout)
    assert printed[0] == printed[1]


def test_objects_stay_in_this_process() -> None:
    with pytest.raises(BadValue, match=r"--executor pool: python\.\w+:Net is an object of this"):
        relubench.train(jobs=2, **SMALL | {"model": own("Net")})


# --- a process that lives on ----------------------------------------------------------------------


def test_a_file_of_data_that_changes_is_read_again() -> None:
    frame = FRAME.copy()
    losses = []
    for _ in range(2):
        frame.to_csv("wine.csv", index=False)
        (row,) = relubench.train(dataset="csv:wine.csv:target=target", **SMALL).rows
        losses.append(row.loss)
        frame["alcohol"] = frame["alcohol"].to_numpy()[::-1]  # as many rows, of the same split
    assert losses[0] != losses[1]


@pytest.mark.parametrize("match_parameters", [False, True])
def test_a_file_of_code_that_changes_is_run_again(match_parameters: bool) -> None:
    counts = []
    for width in (6, 7):
        Path("net.py").write_text(FILE.replace("= 6", f"= {width}"), encoding="utf-8")
        options = SMALL | {"dataset": "wine", "model": "./net.py:Net"}
        (row,) = relubench.train(match_parameters=match_parameters, **options).rows
        counts.append(row.parameters)
    assert counts == [(13 + 1) * width + (width + 1) * 3 for width in (6, 7)]


def test_random_state_and_threads_stay() -> None:
    def drawing(x: torch.Tensor) -> torch.Tensor:
        random.random()
        np.random.random()  # noqa: NPY002
        torch.rand(1)
        return torch.tanh(x)

    def state() -> tuple[Any, ...]:
        numpy: Any = np.random.get_state()  # noqa: NPY002
        return random.getstate(), numpy[1].tolist(), torch.get_rng_state().tolist()

    before, threads = state(), torch.get_num_threads()
    relubench.train(dataset="wine", activation=drawing, **SMALL | {"threads": 2})
    assert state() == before
    assert torch.get_num_threads() == threads


def test_an_interrupt_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relubench.training.engine.fit", stopped)
    with pytest.raises(KeyboardInterrupt, match="interrupted after 0 of 1 run"):
        relubench.train(dataset="iris", **SMALL)


# --- results --------------------------------------------------------------------------------------


@pytest.fixture
def comparison() -> relubench.Comparison:
    return relubench.compare(dataset="wine", activation=["relu", "gelu"], seeds=4, **SMALL)


def test_a_comparison_is_a_frame_a_text_and_html(comparison: relubench.Comparison) -> None:
    frame = comparison.frame()
    assert frame["accuracy"].tolist() == [row.accuracy for row in comparison.rows]
    assert repr(comparison) == str(comparison) == comparison.table().rstrip("\n")
    assert comparison._repr_html_() == comparison.table("html")
    assert "<table>" in comparison._repr_html_()
    (line,) = comparison.table("csv", columns=["activation"]).splitlines()[1:2]
    assert line in ("relu", "gelu")
    by_name = comparison.table("jsonl", columns=["activation"], sort="activation")
    assert by_name == '{"activation": "gelu"}\n{"activation": "relu"}\n'


def test_verdicts_name_what_varies() -> None:
    result = relubench.compare(dataset=["iris", "wine"], activation=["relu", "gelu"], **SMALL)
    verdicts = result.verdicts
    assert verdicts.columns[:3].tolist() == ["dataset", "activation", "verdict"]
    assert verdicts["verdict"].tolist() == [row.verdict for row in result.rows]
    assert verdicts["difference"].isna().sum() == 2  # of the references


def test_a_comparison_is_drawn_as_intervals(comparison: relubench.Comparison) -> None:
    axes: Any = comparison.plot()
    (gelu,) = [row for row in comparison.rows if row.activation == "gelu"]
    x = axes.lines[-1].get_xdata()
    assert (x.min(), x.max()) == (gelu.difference_low, gelu.difference_high)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["gelu"]
    assert axes.get_xlabel()


def test_runs_are_drawn_as_learning_curves() -> None:
    from matplotlib.figure import Figure

    options = SMALL | {"epochs": 3, "ledger": "one.db"}
    result = relubench.train(dataset="iris", activation=["relu", "gelu"], seeds=2, **options)
    given = Figure().add_subplot()
    assert result.plot(given) is given
    assert [line.get_label() for line in given.lines[-2:]] == ["relu (n = 2)", "gelu (n = 2)"]
    of_relu = [table.frame()["loss"] for table in result.curves[::2]]
    drawn: Any = given.lines[-2].get_ydata()
    np.testing.assert_allclose(drawn, np.mean(of_relu, axis=0))
    kept: Any = relubench.load("one.db").plot()
    assert len(kept.lines) == len(given.lines)
    with pytest.raises(BadValue, match="no learning curves"):
        relubench.train(dataset="iris", **SMALL | {"epochs": 0}).plot()


PLAN: dict[str, Any] = {
    **SMALL,
    "dataset": "wine",
    "model": ["ffnn:hidden=4", "ffnn:hidden=4x4"],
    "activation": ["relu", "gelu", "tanh"],
    "lr": [0.01, 0.1],
    "budget": "1h",
    "ledger": "one.db",
}


def test_a_suggestion_is_that_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    found = relubench.suggest(**PLAN)
    flags = "-d wine -m ffnn:hidden=4,ffnn:hidden=4x4 -a relu,gelu,tanh --lr 0.01,0.1 --epochs 1"
    rest = "--threads 1 --budget 1h --ledger one.db"
    assert main(["suggest", *flags.split(), *rest.split(), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == found.tables[0].records
    assert main(["suggest", *flags.split(), *rest.split(), "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == found.answer
    assert str(found).startswith(found.answer)
    assert f"<strong>{html.escape(found.answer)}</strong>" in found._repr_html_()
    assert found.frame()["activation"].tolist() == [row.activation for row in found.rows]
    (chosen,) = [row.activation for row in found.rows if row.verdict == "suggested"]
    assert found.activation == chosen
    assert found.decided == (found.rows[0].stopped == "decided")
    assert not any("Methods" in note for note in found.tables[0].notes)
    assert any(
        "Methods" in note for note in relubench.suggest(**PLAN, explain=True).tables[0].notes
    )


def test_a_suggestion_is_drawn_as_intervals() -> None:
    found = relubench.suggest(**PLAN)
    axes: Any = found.plot()
    others = [row for row in found.rows if row.activation != "relu"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        row.activation for row in others
    ]
    for row, line in zip(others, axes.lines[-len(others) :], strict=True):
        x = line.get_xdata()
        assert (x.min(), x.max()) == (row.difference_low, row.difference_high)


def test_a_suggestion_keeps_to_its_budget() -> None:
    with pytest.raises(
        BadValue, match=r"--budget 0\.5s: the first look, \d+ runs, would end after"
    ):
        relubench.suggest(**{**PLAN, "budget": 0.5, "ledger": "other.db"})


def test_one_activation_has_no_differences_to_draw() -> None:
    result = relubench.compare(dataset="iris", activation="relu", **SMALL)
    with pytest.raises(BadValue, match="no differences to draw"):
        result.plot()


def test_a_ledger_is_loaded_with_the_rows_of_train() -> None:
    options = SMALL | {"ledger": "one.db"}
    trained = relubench.train(dataset="iris", activation=["relu", "gelu"], **options)
    loaded = relubench.load("one.db")
    # Without the names of the classes, which only the data have.
    frames = [each.frame().drop(columns="classes") for each in (loaded, trained)]
    one, other = (frame.set_index("key").sort_index() for frame in frames)
    pd.testing.assert_frame_equal(one, other)
    assert [row.activation for row in relubench.load("one.db", activation="gelu").rows] == ["gelu"]
    assert not relubench.load("one.db", since="2999-01-01").rows
    with pytest.raises(BadValue, match="there is no such file"):
        relubench.load("none.db")


# --- progress -------------------------------------------------------------------------------------


class Shown:
    """IPython's display module, and the handle that it gives."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def HTML(self, text: str) -> str:
        return text

    def display(self, text: str, display_id: bool) -> Shown:
        self.update(text)
        return self

    def update(self, text: str) -> None:
        self.texts.append(text)


def test_a_notebook_shows_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown()
    monkeypatch.setattr(notebook, "display", lambda: shown)
    options = SMALL | {"dataset": "iris", "stack": 1}
    relubench.train(activation=["relu", "gelu"], **options)
    first, *middle, last = shown.texts
    assert 'value="0" max="2"' in first
    assert ["1 of 2 runs" in middle[0], "2 of 2 runs" in middle[1]] == [True, True]
    assert last == ""
    shown.texts.clear()
    relubench.train(activation=["relu", "gelu"], **options)  # all of it is in the ledger
    relubench.train(activation="tanh", quiet=True, **options)
    assert shown.texts == []


def test_only_a_notebook_has_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebook.display() is None
    shell = SimpleNamespace(get_ipython=lambda: SimpleNamespace())  # of a terminal
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert notebook.display() is None
