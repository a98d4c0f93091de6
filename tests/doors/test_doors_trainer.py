"""Hugging Face Trainer: the optimizer comes by `optimizer_cls_and_kwargs`, a resumed run equals one without a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from doors.same import assert_same_run, is_whole
from sm3 import SM3, SMMF


def tiny_gpt(dtype: torch.dtype = torch.float32) -> GPT2LMHeadModel:
    """Two layers with tied embeddings and the usual dropout, whose noise a resumed run must repeat, too."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=37, n_positions=16, n_embd=24, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config).to(dtype)


def sentences() -> list[dict[str, torch.Tensor]]:
    """Sequences that count up, so that there is something to learn."""
    rows = [(start + torch.arange(16)) % 37 for start in range(64)]
    return [{"input_ids": row, "labels": row} for row in rows]


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    settings = {"max_steps": 10, "save_steps": 5, "per_device_train_batch_size": 8, "warmup_steps": 3, "seed": 1}
    quiet = {"report_to": "none", "disable_tqdm": True, "logging_steps": 1, "use_cpu": True}
    return TrainingArguments(str(folder), **{**settings, **quiet, **more})


CASES = {
    "SM3": (SM3, {"lr": 0.1}, torch.float32),
    "SM3 without momentum": (SM3, {"lr": 0.1, "momentum": 0.0}, torch.float32),
    "SMMF": (SMMF, {"lr": 3e-3}, torch.float32),
    "SMMF bfloat16 stochastic": (SMMF, {"lr": 3e-3, "rounding": "stochastic"}, torch.bfloat16),
}


def test_the_page_trains_and_its_sentences_hold(run_page):
    """lr is the one of the kwargs, scheduled; biases and norms do not decay; the loss falls."""
    trainer = run_page("trainer", model=tiny_gpt(), dataset=sentences())["trainer"]
    decaying, others = trainer.optimizer.param_groups
    assert decaying["weight_decay"] == 0.01
    assert others["weight_decay"] == 0.0
    assert {param.ndim for param in others["params"]} == {1}
    assert decaying["initial_lr"] == 3e-3 != trainer.args.learning_rate
    assert decaying["lr"] == 0.0  # the end of the linear schedule
    assert is_whole(trainer.optimizer.optimizer)


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_equals_one_without_a_stop(case, tmp_path):
    """10 steps against 5 steps, a checkpoint, a new model and trainer, 5 steps: the difference is 0."""
    cls, settings, dtype = CASES[case]
    runs = []
    for place in (None, tmp_path / "whole" / "checkpoint-5"):
        trainer = Trainer(
            model=tiny_gpt(dtype),
            args=arguments(tmp_path / ("whole" if place is None else "resumed"), max_grad_norm=0.5),
            train_dataset=sentences(),
            optimizer_cls_and_kwargs=(cls, settings),
        )
        trainer.train(resume_from_checkpoint=place and str(place))
        runs.append(trainer)
    whole, resumed = runs
    assert resumed.state.global_step == 10
    assert_same_run(whole.model, whole.optimizer, resumed.model, resumed.optimizer)
    assert is_whole(resumed.optimizer.optimizer)
    losses = [entry["loss"] for entry in whole.state.log_history if "loss" in entry]
    assert len(losses) == 10
    assert losses[-1] < losses[0]
