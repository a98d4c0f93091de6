"""timm: the registry makes the optimizer; its groups, schedulers, Lookahead and checkpoints work with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from timm.models import resume_checkpoint
from timm.optim import create_optimizer, create_optimizer_v2, get_optimizer_class
from timm.scheduler import CosineLRScheduler
from timm.utils import CheckpointSaver
from torch import nn

from doors.same import assert_same_run, is_whole
from sm3 import SM3, SMMF
from sm3.errors import StateMismatchError

# What the commands of timm's train.py become; `opt_eps` and `momentum` are always there.
TRAIN = {"lr": 3e-3, "weight_decay": 0.05, "momentum": 0.8, "opt_eps": 1e-8, "opt_args": {}}


def transformer(dtype: torch.dtype = torch.float32) -> nn.Module:
    """A vision transformer of two small blocks: a convolution, a class token, a 3-d position embedding, norms."""
    torch.manual_seed(0)
    size = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, **size).to(dtype)


def train(model: nn.Module, optimizer: Any, scheduler: Any, updates: range) -> list[float]:
    dtype, losses = next(model.parameters()).dtype, []
    for update in updates:
        generator = torch.Generator().manual_seed(update % 4)
        images, labels = torch.randn(8, 3, 16, 16, generator=generator).to(dtype), torch.arange(8) % 5
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        scheduler.step_update(update + 1)
        losses.append(float(loss.detach()))
    return losses


def schedule(optimizer: Any) -> CosineLRScheduler:
    return CosineLRScheduler(optimizer, t_initial=16, warmup_t=3, warmup_lr_init=1e-5, t_in_epochs=False)


def test_the_page_registers_both_and_groups_by_layer(run_page):
    """SMMF with a rate per layer and no decay for biases; both names are found, with their classes."""
    model = transformer()
    optimizer = run_page("timm", model=model)["optimizer"]
    assert type(optimizer) is SMMF
    assert get_optimizer_class("sm3") is SM3
    scales = {group["lr_scale"] for group in optimizer.param_groups}
    assert max(scales) == 1.0
    assert min(scales) == pytest.approx(0.75**3)  # the embedding, two blocks below the head
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 0.05}
    losses = train(model, optimizer, schedule(optimizer), range(16))
    assert sum(losses[-4:]) < sum(losses[:4])  # the same four batches
    assert is_whole(optimizer)


def test_the_arguments_of_timm_s_own_train_script_are_understood(run_page):
    """`--opt sm3` gets the momentum and no eps; `--opt smmf` gets eps and no momentum."""
    run_page("timm", model=transformer())
    third = create_optimizer(SimpleNamespace(opt="sm3", **TRAIN), transformer())
    other = create_optimizer(SimpleNamespace(opt="smmf", **TRAIN), transformer())
    assert third.param_groups[0]["momentum"] == 0.8
    assert other.param_groups[0]["eps"] == 1e-8
    assert "momentum" not in other.param_groups[0]
    with pytest.raises(TypeError, match="foreach"):
        create_optimizer_v2(transformer(), "smmf", foreach=True)


def begin(name: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Any, CosineLRScheduler]:
    model = transformer(dtype)
    options = {"rounding": "stochastic"} if dtype == torch.bfloat16 else {}
    optimizer = create_optimizer_v2(model, name, lr=3e-3, weight_decay=0.05, layer_decay=0.75, **options)
    return model, optimizer, schedule(optimizer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["sm3", "smmf"])
def test_a_resumed_run_equals_one_without_a_stop(name, dtype, run_page, tmp_path):
    """16 updates against 8, timm's CheckpointSaver and `resume_checkpoint`, 8: the difference is 0."""
    run_page("timm", model=transformer())
    whole, whole_optimizer, scheduler = begin(name, dtype)
    train(whole, whole_optimizer, scheduler, range(16))
    half, half_optimizer, scheduler = begin(name, dtype)
    train(half, half_optimizer, scheduler, range(8))
    CheckpointSaver(half, half_optimizer, checkpoint_dir=str(tmp_path)).save_checkpoint(epoch=0)
    resumed, resumed_optimizer, scheduler = begin(name, dtype)
    assert resume_checkpoint(resumed, str(tmp_path / "last.pth.tar"), resumed_optimizer) == 1
    train(resumed, resumed_optimizer, scheduler, range(8, 16))
    assert_same_run(whole, whole_optimizer, resumed, resumed_optimizer)
    assert is_whole(resumed_optimizer)


def test_lookahead_trains_and_its_state_is_refused_not_lost(run_page):
    """timm's Lookahead keeps a tensor of its own among our state: it steps, but what it saved is no state of ours."""
    run_page("timm", model=transformer())
    model, optimizer, scheduler = begin("lookahead_smmf")
    losses = train(model, optimizer, scheduler, range(16))
    assert sum(losses[-4:]) < sum(losses[:4])
    with pytest.raises(StateMismatchError, match="lookahead_slow_buff"):
        begin("lookahead_smmf")[1].load_state_dict(optimizer.state_dict())
