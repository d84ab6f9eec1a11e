"""The manual's examples of Python, its callbacks as they stand there, and libraries' networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import relubench
from relubench.cli import main

PAGE = (Path(relubench.__file__).parent / "manual" / "dead-neurons.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
FIGURES = ("units", "dead", "inactive", "rare", "dormant", "sparsity")
LOUD = "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
quietly = [pytest.mark.filterwarnings(each) for each in LOUD]
pytestmark = quietly


def defined(name: str, **known: Any) -> Any:
    """What an example of the manual defines under a name."""
    space: dict[str, Any] = {"relubench": relubench, **known}
    exec(EXAMPLES[name], space)
    return space


def same_as_deadcount(watch: Any, model: nn.Module, probe: Any) -> None:
    """The last count of a watch is what deadcount counts now."""
    last = [row for row in watch.rows if row.step == watch.rows[-1].step]
    for row, other in zip(last, relubench.deadcount(model, [probe]).rows, strict=True):
        assert row.layer == other.layer
        for name in FIGURES:
            assert row.get(name) == pytest.approx(other.get(name), rel=1e-5), name


def test_the_examples_of_python_run(capsys: pytest.CaptureFixture[str]) -> None:
    space = defined("count")
    assert "units" in capsys.readouterr().out
    watch = defined("watch", network=space["network"], batches=space["batches"])["watch"]
    assert [row.step for row in watch.rows[::2]] == [0, 100, 200, 300]
    found = defined("gate", network=space["network"], batches=space["batches"])["found"]
    assert found.passed


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 5, generator=generator), torch.arange(40) % 3


def test_lightnings_callback(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    x, y = data()

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def forward(self, x: torch.Tensor) -> Any:
            return self.network(x)

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1.0)

    module = Module()
    callback = defined("lightning", lightning=lightning)["DeadNeurons"](x, every=3)
    trainer = lightning.Trainer(
        max_epochs=2, callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        default_root_dir=tmp_path,
    )  # fmt: skip
    examples = torch.utils.data.TensorDataset(x, y)
    trainer.fit(module, torch.utils.data.DataLoader(examples, batch_size=10))
    assert [row.step for row in callback.watch.rows[::3]] == [0, 3, 6, 8]
    same_as_deadcount(callback.watch, module, x)


def opt() -> Any:
    """A tiny OPT, and a batch of which some is padding."""
    transformers = pytest.importorskip("transformers")
    generator = torch.Generator().manual_seed(0)
    config = transformers.OPTConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, ffn_dim=32, num_attention_heads=2,
        max_position_embeddings=32, word_embed_proj_dim=16, dropout=0.1,
    )  # fmt: skip
    model = transformers.OPTForCausalLM(config)
    ids = torch.randint(5, 50, (4, 7), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    return model, {"input_ids": ids, "attention_mask": mask}


def test_transformers_trainers_callback(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model, batch = opt()
    rows = [{"input_ids": ids, "labels": ids} for ids in batch["input_ids"]]
    callback = defined("trainer", transformers=transformers)["DeadNeurons"](batch, every=2)
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=5, per_device_train_batch_size=2, report_to=[],
        use_cpu=True, disable_tqdm=True, save_strategy="no", logging_strategy="no",
    )  # fmt: skip
    trainer = transformers.Trainer(
        model=model, args=arguments, train_dataset=rows, callbacks=[callback]
    )
    trainer.train()
    assert [row.step for row in callback.watch.rows[::3]] == [0, 2, 4, 5]
    same_as_deadcount(callback.watch, model, batch)


def test_keras_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    x, y = data()
    layers = [keras.layers.Dense(8, activation="relu"), keras.layers.ReLU(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((5,)), *layers])
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    callback = defined("keras", keras=keras)["DeadNeurons"](x, every=3)
    model.fit(x.numpy(), y.numpy(), epochs=2, batch_size=10, callbacks=[callback], verbose=0)
    assert [row.step for row in callback.watch.rows[::3]] == [0, 3, 6, 8]
    same_as_deadcount(callback.watch, model, x)


# --- other people's networks ----------------------------------------------------------------------


def test_a_tiny_opt_counts_feed_forward_units_without_padding() -> None:
    model, batch = opt()
    with torch.no_grad():
        for layer in model.model.decoder.layers:
            layer.fc1.bias[:3] = -1e3
    found = relubench.deadcount(model, [batch])
    assert [(row.units, row.function) for row in found.layers] == [(32, "relu")] * 2
    assert all({0, 1, 2} <= set(units) for units in found.units().values())
    tokens = int(batch["attention_mask"].sum())
    for layer, row in zip(model.model.decoder.layers, found.layers, strict=True):
        seen: list[torch.Tensor] = []
        hook = layer.fc1.register_forward_hook(
            lambda module, args, out, seen=seen: seen.append(out.detach().reshape(28, 32))
        )
        with torch.no_grad():
            model.eval()(**batch)
        hook.remove()
        kept = seen[0][batch["attention_mask"].bool().flatten()].relu()
        assert kept.shape == (tokens, 32)
        assert row.sparsity == pytest.approx(float((kept == 0).double().mean()), abs=1e-6)


def test_a_tiny_vit_counts_feed_forward_units() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24,
        image_size=16, patch_size=4,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    batch = {"pixel_values": torch.randn(3, 3, 16, 16), "labels": torch.tensor([0, 1, 0])}
    found = relubench.deadcount(model, [batch], definitions=["all"])
    assert [(row.units, row.function, row.unit) for row in found.layers] == [
        (24, "gelu", "feature")
    ] * 3
    assert found.total.grama is not None


def test_a_saved_folder_of_transformers_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = opt()
    with torch.no_grad():
        model.model.decoder.layers[0].fc1.bias[:8] = -1e3
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("opt")
    Path("text.py").write_text(
        "import torch\nbatches = [{'input_ids': torch.arange(5, 15)[None]}]\n"
    )
    capsys.readouterr()
    given = ["-m", "transformers:./opt", "--data", "./text.py:batches", "--fail-above", "20%"]
    assert main(["deadcount", *given, "-f", "csv", "--no-ledger", "-q"]) == 3
    assert "model.decoder.layers.0" in capsys.readouterr().out


def test_a_network_of_timm_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timm = pytest.importorskip("timm")
    monkeypatch.chdir(tmp_path)
    torch.save(timm.create_model("resnet10t", num_classes=7).state_dict(), "w.pt")
    Path("images.py").write_text("import torch\nbatches = [torch.randn(2, 3, 64, 64)]\n")
    given = ["-m", "timm:resnet10t", "--weights", "w.pt", "--data", "./images.py:batches"]
    capsys.readouterr()
    assert main(["deadcount", *given, "-f", "csv", "--no-ledger", "-q"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 13
