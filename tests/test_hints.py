"""Typical mistakes, each with what was meant: one line, exit code 2, nothing trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torchvision

from relubench.activations import ACTIVATIONS
from relubench.cli import main
from relubench.cli.hints import INSTEAD, MEANT
from relubench.datasets import DATASETS
from relubench.errors import slips, suggestion
from relubench.guesses import torchvision_models
from relubench.models import MODELS

A, D, M, OPTIMIZER = ("train", "-a"), ("train", "-d"), ("train", "-m"), ("train", "--optimizer")
NAMES = {
    A: "reul=relu rleu=relu rel=relu reluu=relu rlu=relu relux=relu geul=gelu gel=gelu "
    "gleu=gelu silo=silu siul=silu swihs=swish tahn=tanh thanh=tanh tnah=tanh sigmoud=sigmoid "
    "sigmiod=sigmoid sigmod=sigmoid logistic=sigmoid mihs=mish msih=mish mihsh=mish sleu=selu "
    "leakyrelus=leaky_relu lekyrelu=leaky_relu lrelu=leaky_relu leaky=leaky_relu perlu=prelu "
    "linear=identity softpluss=softplus sofplus=softplus softsgin=softsign hardtahn=hard_tanh "
    "hardswhish=hard_swish",
    D: "digit=digits digts=digits dgits=digits mnst=mnist minst=mnist mnits=mnist irs=iris "
    "iri=iris wien=wine wines=wine wdcb=wdbc cancer=wdbc cifar=cifar10 cifra10=cifar10 "
    "cifar-10x=cifar10 fashion=fashion_mnist fmnist=fashion_mnist fashionmnst=fashion_mnist "
    "data.csv=csv:data.csv data.tsv=csv:data.tsv ./data.csv=csv:./data.csv "
    "d.parquet=parquet:d.parquet d.npz=npz:d.npz images/=folder:images/ a/b=folder:a/b "
    "csv:data.csv:label=target=label csv:d.csv:y=target=y csv:d.csv:targt=target",
    M: "fnn=ffnn fffn=ffnn fnfn=ffnn ffn=ffnn cn=cnn cnnn=cnn mpl=mlp lenet=lenet5 lenet6=lenet5 "
    "resnet=resnet18 resnet19=resnet18 alexnt=alexnet vg=vgg dnn=ffnn dense=ffnn "
    "ffnn:hiden=8=hidden ffnn:hiddn=8=hidden ffnn:drop=0.1=dropout "
    "mlp:dept=3=depth mlp:widht=3=width",
    OPTIMIZER: "adm=adam adma=adam Adamm=adam sdg=sgd sg=sgd rmsprob=rmsprop rmsprp=rmsprop "
    "admw=adamw sgd:momentm=0.9=momentum sgd:nestrov=true=nesterov",
    ("train", "--head"): "sofmax=softmax softmx=softmax sotfmax=softmax",
    ("list",): "acts=activations activatons=activations actvations=activations modles=models "
    "nets=models data=datasets datsets=datasets optimisers=optimizers hedas=heads "
    "benchmraks=benchmarks formts=formats",
    ("list", "heads", "--format"): "tex=latex md=github markdown=github txt=text jsn=json "
    "htm=html ndjson=jsonl csvs=csv lates=latex",
    (
        "compare",
        "--metric",
    ): "acuracy=accuracy acc=accuracy accurracy=accuracy los=loss time=seconds",
    ("compare",): "smok=smoke smoek=smoke defualt=default digits=-d gelu=-a mnist=-d ffnn=-m "
    "dying-rleu=dying-relu",
    ("show",): "reul=relu tahn=tanh",
    ("help",): "statstics=statistics stats=statistics trian=train getting-start=getting-started",
}
LINES = {
    "list models --no-ledger": "other commands have it",
    "cost --seeds 3": "other commands have it",
    "train -m ffnn:hidden=64,32": "hidden=64x32",
    "compare -a relu gelu": "-a relu,gelu",
    "compare -a relu, gelu": "-a relu,gelu",
    "compare -d iris digits": "-d iris,digits",
    "train -a relu;gelu": "'relu,gelu'",
    "train -a relu/gelu": "'relu,gelu'",
    "train -a ReLU|tanh": "'relu,tanh'",
    "train -m resnet50": "'torchvision.resnet50'",
    "train -m torchvision:resnet18": "'torchvision.resnet18'",
    "train -m mlp:layers=64x32": "'ffnn:hidden=64x32'",
    "train -m ffnn:64": "hidden",
    "train --lr 0,001": "did you mean 0.001?",
    "train --seeds 0,1,2": "3 means seeds 0, 1 and 2",
    "train --optimizer adam:lr=0.1": "--lr 0.1",
    "train --init kaiming": "'he'",
    "train --init xavier_uniform": "'glorot'",
    "train -d mnist:10000": "'mnist' with --limit 10000",
    "train -d iris.csv:y": "'csv:iris.csv:target=y'",
    "train -d data.csv:target=y": "'csv:data.csv:target=y'",
    "train -a elu(alpha=0.5)": "'elu:alpha=0.5'",
    "train -a leaky_relu(negative_slope=0.1)": "'leaky_relu:negative_slope=0.1'",
    "train -a LeakyReLU(negative_slope=0.1)": "'leaky_relu:negative_slope=0.1'",
    "train smoke digits": "commas",
    "cv smoke -a relu gelu": "commas",
    "ledger shwo": "'show'",
    "ledger exprot": "'export'",
    "trian": "'train'",
    "comapre": "'compare'",
    "lst": "'list'",
    "deadcout": "'deadcount'",
}
FLAGS = {
    "--epoch": "--epochs",
    "--seed-s": "--seeds",
    "--optimiser": "--optimizer",
    "--activations": "--activation",
    "--models": "--model",
    "--datasets": "--dataset",
    "--batch_size": "--batch-size",
    "--weight_decay": "--weight-decay",
    "--devic": "--device",
    "--thread": "--threads",
    "--job": "--jobs",
    "--outptu": "--output",
    "--quite": "--quiet",
    **MEANT,
}
ALL = {
    **{
        " ".join([*start, pair.partition("=")[0]]): pair.partition("=")[2]
        for start, pairs in NAMES.items()
        for pair in pairs.split()
        if ":" not in pair.partition("=")[0] or start[1:] == ("-d",)
    },
    **{
        " ".join([*start, *pair.rsplit("=", 1)[:1]]): pair.rsplit("=", 1)[1]
        for start, pairs in NAMES.items()
        for pair in pairs.split()
        if ":" in pair.partition("=")[0] and start[1:] != ("-d",)
    },
    **LINES,
    **{f"train {flag} 1": meant for flag, meant in FLAGS.items()},
    **INSTEAD,
}


def test_there_are_as_many_as_people_make() -> None:
    assert len(ALL) >= 170


@pytest.mark.parametrize("line", ALL)
def test_a_mistake_gets_what_was_meant(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    noisy = line not in INSTEAD and not line.startswith("help ")
    assert main([*line.split(), *(["--quiet"] if noisy else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert ALL[line] in err.replace("'", "") or ALL[line] in err, err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("catalog", "text", "meant"),
    [
        (ACTIVATIONS, "ReLU", "relu"),
        (ACTIVATIONS, "relu()", "relu"),
        (ACTIVATIONS, "LeakyReLU", "leaky_relu"),
        (ACTIVATIONS, "leaky-relu:negative_slope=0.2", "leaky_relu:negative_slope=0.2"),
        (ACTIVATIONS, "GELU()", "gelu"),
        (DATASETS, "MNIST", "mnist"),
        (DATASETS, "fashion-mnist", "fashion_mnist"),
        (DATASETS, "FashionMNIST", "fashion_mnist"),
        (DATASETS, "CIFAR-10", "cifar10"),
        (MODELS, "LeNet-5", "lenet5"),
        (MODELS, "ResNet18", "resnet18"),
    ],
)
def test_a_name_is_taken_as_what_it_can_only_mean(catalog: object, text: str, meant: str) -> None:
    assert str(catalog.choose(text)) == meant  # type: ignore[attr-defined]


def test_names_joined_by_blanks_are_joined_by_commas(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-a", "relu gelu", "--quiet"]) == 2
    assert "did you mean 'relu,gelu'?" in capsys.readouterr().err


def test_the_networks_that_torchvision_has_are_known_without_its_import() -> None:
    assert torchvision_models() == {
        name
        for name in torchvision.models.list_models()
        if torchvision.models.get_model_builder(name).__module__.count(".") == 2
    }


def test_a_slip_is_a_letter_or_two_that_changed_places() -> None:
    assert [slips("relu", other) for other in ("relu", "reul", "elu", "gelu", "rleux")] == [
        *(0, 1, 1, 1, 2)
    ]
    assert suggestion("reul", ["reu", "relu"]) == "did you mean 'relu'?"
    assert suggestion("zzz", ["relu"]) == ""
