"""The whole of training: split by chip, three members, calibration on wells of their own, and the four files of a
model.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sm3.errors import InputError, explain
from sm3.run_record import RunRecord, append, versions
from sm3.swarm.dataset import LabelledWell, counts, split_by_chip
from sm3.swarm.learn.calibrate import answers, calibrate, learn_distance, limits
from sm3.swarm.learn.prepare import Views, prepare
from sm3.swarm.learn.train import OPTIMIZERS, TrainSettings, train_member
from sm3.swarm.model_file import FORMAT, ModelFile, open_model
from sm3.swarm.network.classifier import Classifier, Member
from sm3.swarm.network.fold import fold_normalisations, round_weights
from sm3.swarm.network.onnx_file import write_onnx

Report = Callable[[str, int, int], None]
PARTS = ("train", "validation", "calibration")
USE = (
    "Tells collective swarming from swimming in round wells of about 74 um, from the mean of ten phase-contrast frames "
    "at 29 a second or one exposure of a third of a second. For research on motility. Not a diagnostic, and blind to "
    "species whose two phenotypes do not differ in wells."
)


def fit(
    wells: Sequence[LabelledWell],
    out: Path,
    *,
    calibration: Sequence[LabelledWell] | None = None,
    settings: TrainSettings | None = None,
    members: int = 3,
    seed: int = 0,
    name: str = "swarm",
    report: Report = lambda *_: None,
) -> ModelFile:
    """Train, calibrate and write a model into `out`; the same command continues a run that was stopped.

    Without `calibration` a quarter of the chips is kept for it. Validation chips (an eighth) train and calibrate
    nothing; their figures are on the card. Raises `InputError` where the chips do not suffice for the split.
    """
    settings = settings or TrainSettings()
    started = time.time()
    shares = (0.875, 0.125) if calibration else (0.625, 0.125, 0.25)
    parts = split_by_chip(wells, shares, seed)
    parts = [*parts, list(calibration)] if calibration else parts
    _check(parts)
    store = out / "training"
    store.mkdir(parents=True, exist_ok=True)
    train, valid, calib = (prepare(part, store, report) for part in parts)
    trained = [train_member(train, settings, seed * 10 + index, store, report) for index in range(members)]
    classifier = Classifier(trained).eval()
    fold_normalisations(classifier)
    round_weights(classifier)
    report("calibration", 0, 4)
    learn_distance(classifier, train)
    report("calibration", 1, 4)
    sample = train.of(np.linspace(0, len(train) - 1, min(1000, len(train))).astype(int))
    of_train, of_calibration, of_valid = (answers(classifier, views) for views in (sample, calib, valid))
    report("calibration", 3, 4)
    card = {
        **_card(wells, parts, trained[0], settings, name, members, seed),
        "calibration": calibrate(of_calibration, calib.positive.numpy().astype(float)),
        "limits": limits(of_train, of_calibration, sample.rim.numpy(), calib.rim.numpy()),
    }
    card["validation"] = _figures(card["calibration"], of_valid.logit, valid)
    model = write_model(classifier, card, out)
    report("calibration", 4, 4)
    append(out / "runs.jsonl", RunRecord("swarm train", seed, card["training"],
           {"seconds": time.time() - started, "validation": card["validation"], "model": model.id}))  # fmt: skip
    return model


def _card(
    wells: Sequence[LabelledWell],
    parts: Sequence[Sequence[LabelledWell]],
    member: Member,
    settings: TrainSettings,
    name: str,
    members: int,
    seed: int,
) -> dict[str, Any]:
    """What is known before calibration: what it is for, what it is, what it learned from."""
    return {
        "format": FORMAT,
        "name": name,
        "use": USE,
        "simulated": all(well.date == "simulated" for well in wells),
        "architecture": settings.architecture,
        "members": members,
        "parameters": sum(parameter.numel() for parameter in member.parameters()),
        "training": {**asdict(settings), "lr": settings.lr or OPTIMIZERS[settings.optimizer][1], "seed": seed},
        "data": {part: counts(listed) for part, listed in zip(PARTS, parts, strict=True)},
        "species": sorted({well.species or "not told" for well in wells}),
        "versions": versions(),
        "blind": None,
    }


def _check(parts: Sequence[Sequence[LabelledWell]]) -> None:
    for part, name in zip(parts, PARTS, strict=True):
        held = counts(part)
        if min(held["swarming"], held["swimming"]) < 2:
            raise InputError(
                explain(
                    f"The chips do not suffice: the {name} part has too few wells of a class.",
                    got=held,
                    accepted="at least two wells of each class in every part; a chip is never cut",
                    do="add chips that hold both classes, or give --calibration DIR",
                )
            )


def _figures(calibration: dict[str, Any], logit: Any, views: Views) -> dict[str, int]:
    called = calibration["slope"] * logit + calibration["offset"] > 0
    truth = views.positive.numpy() == 1
    return {
        "swarming": int(truth.sum()),
        "swarming_found": int((called & truth).sum()),
        "swimming": int((~truth).sum()),
        "swimming_found": int((~called & ~truth).sum()),
    }


def write_model(classifier: Classifier, card: dict[str, Any], out: Path) -> ModelFile:
    """Write the four files; the card comes last, so a folder with a card is whole."""
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    (out / "card.json").unlink(missing_ok=True)
    weights = {key: value.half() for key, value in classifier.state_dict().items() if value.is_floating_point()}
    save_file(weights, out / "model.safetensors")
    write_onnx(classifier, out)
    unfinished = out / "card.json.part"
    unfinished.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, out / "card.json")
    return open_model(out)


def load_classifier(model: ModelFile) -> Classifier:
    """The PyTorch classifier of a model file, with the same numbers as its ONNX."""
    from safetensors.torch import load_file

    classifier = Classifier([Member(model.card["architecture"]) for _ in range(model.card["members"])])
    weights = {key: value.float() for key, value in load_file(model.folder / "model.safetensors").items()}
    fold_normalisations(classifier)
    classifier.load_state_dict(weights)
    return classifier.eval()
