"""Lightning: `configure_optimizers`, automatic optimization, accumulation, clipping, checkpoint and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from doors.same import assert_same_run, is_whole
from sm3 import SM3, SMMF

CASES = {
    "SM3": (lambda p: SM3(p, lr=0.1), "32-true"),
    "SMMF": (lambda p: SMMF(p, lr=3e-3), "32-true"),
    "SMMF bfloat16 stochastic": (lambda p: SMMF(p, lr=3e-3, rounding="stochastic"), "bf16-true"),
    "SM3 autocast": (lambda p: SM3(p, lr=0.1, momentum=0.0), "bf16-mixed"),
}


class Network(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 3))
        self.losses: list[float] = []

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        features, labels = batch
        loss = nn.functional.cross_entropy(self.layers(features).float(), labels)
        self.losses.append(float(loss.detach()))
        return loss


def batches() -> DataLoader:
    """48 points in a fixed order: what order a resumed run sees is Lightning's affair, not the optimizer's."""
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(48, 6, generator=generator)
    return DataLoader(TensorDataset(features, features[:, :3].argmax(1)), batch_size=8)


def trainer_in(folder: Path, epochs: int, **more: Any) -> lightning.Trainer:
    return lightning.Trainer(
        default_root_dir=folder,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(dirpath=folder, save_last=True)],
        **more,
    )


def test_the_page_trains_by_its_recipe(run_page, tmp_path):
    """Warm-up and cool-down of SM3 per step, over the length that Lightning estimates; the loss falls."""

    class Whole(run_page("lightning")["Classifier"], Network):
        pass

    model, trainer = Whole(), trainer_in(tmp_path, epochs=8)
    trainer.fit(model, batches())
    optimizer = trainer.optimizers[0]
    assert type(optimizer) is SM3
    assert len(model.losses) == trainer.estimated_stepping_batches == 48
    assert optimizer.param_groups[0]["param_names"][0] == "layers.0.weight"
    assert optimizer.param_groups[0]["lr"] == 0.0  # cooled down
    assert model.losses[-1] < 0.7 * model.losses[0]
    assert is_whole(optimizer)


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_equals_one_without_a_stop(case, tmp_path):
    """6 epochs against 3, a checkpoint, a new trainer, 3; with accumulation and clipping: the difference is 0."""
    make, precision = CASES[case]

    class Model(Network):
        def configure_optimizers(self) -> Any:
            optimizer = make(self.named_parameters())
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]

    def run(folder: Path, epochs: int, checkpoint: Path | None = None) -> tuple[Model, Any]:
        lightning.seed_everything(3 if checkpoint is None else 4)
        trainer = trainer_in(folder, epochs, precision=precision, gradient_clip_val=0.5, accumulate_grad_batches=2)
        model = Model()
        if checkpoint is not None:  # Lightning does not save PyTorch's generator, which dropout draws from
            torch.set_rng_state(torch.load(folder / "generator"))
        trainer.fit(model, batches(), ckpt_path=checkpoint and str(checkpoint), weights_only=True)
        torch.save(torch.get_rng_state(), folder / "generator")
        return model, trainer.optimizers[0]

    whole, whole_optimizer = run(tmp_path / "whole", 6)
    run(tmp_path / "half", 3)
    resumed, resumed_optimizer = run(tmp_path / "half", 6, tmp_path / "half" / "last.ckpt")
    assert len(resumed.losses) == len(whole.losses) / 2
    assert int(resumed_optimizer.state[resumed.layers[0].weight]["step"]) == 6 * 3
    assert_same_run(whole, whole_optimizer, resumed, resumed_optimizer)
    assert is_whole(resumed_optimizer)
