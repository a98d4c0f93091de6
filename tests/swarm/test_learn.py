"""Training: the same bits after a stop, calibration by its own theorems, the whole path on wells of one's own."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from sm3.errors import CheckpointError, InputError, SettingError
from sm3.swarm.dataset import read_wells
from sm3.swarm.learn.augment import augment
from sm3.swarm.learn.calibrate import calibrate, label_quantiles, platt
from sm3.swarm.learn.fit import fit, load_classifier
from sm3.swarm.learn.prepare import Views, prepare
from sm3.swarm.learn.train import OPTIMIZERS, TrainSettings, train_member
from sm3.swarm.model_file import FILES, open_model
from sm3.swarm.predict import SwarmClassifier
from sm3.swarm.simulate.folder import simulate_folder

FEW = pytest.mark.filterwarnings("ignore:.*Below 30")


@pytest.fixture(scope="module")
def wells(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wells") / "wide"
    list(simulate_folder(folder, "wide", 120, 21))
    return folder


@pytest.fixture(scope="module")
def views(wells, tmp_path_factory):
    return prepare(read_wells(wells), tmp_path_factory.mktemp("store"))


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_stopped_training_ends_with_the_same_bits(views, tmp_path, optimizer):
    """Two epochs at once, or one and one in a new call: every weight equal to the bit."""
    settings = TrainSettings(optimizer=optimizer, epochs=2, batch=16)
    part = views.of(range(48))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir(), stopped.mkdir()
    once = train_member(part, settings, 1, whole)
    train_member(part, settings, 1, stopped, stop_after=1)
    torch.rand(7)  # whatever else draws random numbers in between
    again = train_member(part, settings, 1, stopped)
    for name, value in once.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_another_training_is_not_continued(views, tmp_path):
    """A checkpoint of other settings, or a damaged one, is an error with an action."""
    settings, part = TrainSettings(epochs=1, batch=16), views.of(range(32))
    train_member(part, settings, 1, tmp_path)
    with pytest.raises(CheckpointError, match="another training"):
        train_member(part, TrainSettings(epochs=1, batch=8), 1, tmp_path)
    (tmp_path / "member-1.pt").write_bytes(b"half a check")
    with pytest.raises(CheckpointError, match="delete it"):
        train_member(part, settings, 1, tmp_path)


@pytest.mark.parametrize("wrong", [{"architecture": "huge"}, {"optimizer": "sgd"}, {"epochs": 0}, {"lr": float("nan")}])
def test_impossible_settings(wrong):
    """Named, with what is accepted."""
    with pytest.raises(SettingError, match="accepted"):
        TrainSettings(**wrong)


def test_views_are_kept_and_made_anew_when_wells_change(wells, tmp_path):
    """One file for one list of wells."""
    listed = read_wells(wells)[:6]
    first = prepare(listed, tmp_path)
    assert torch.equal(first.cut, prepare(listed, tmp_path).cut)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    prepare(listed[:5], tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 2
    assert first.cut.shape == (6, 128, 128)
    assert ((first.radius_um > 34) & (first.radius_um < 40)).all()


def test_augmentation_keeps_the_distance_to_the_wall_and_repeats():
    """A ring at the wall stays at the wall that is returned; the generator alone decides."""
    place = (torch.arange(128) + 0.5 - 64) * 0.65
    distance = torch.hypot(place[:, None], place[None])
    ring = torch.exp(-(((distance - 30.0) / 1.5) ** 2))[None, None].repeat(32, 1, 1, 1) + 0.1
    changed, radius = augment(ring, torch.full((32,), 30.0), torch.Generator().manual_seed(0))
    again, _ = augment(ring, torch.full((32,), 30.0), torch.Generator().manual_seed(0))
    assert torch.equal(changed, again)
    apart = (changed - changed.flatten(1).median(dim=1).values[:, None, None, None]).abs()
    weight = (apart / apart.amax(dim=(2, 3), keepdim=True)) ** 8 * (distance < 38)  # beyond, the border is mirrored
    found = (weight * distance).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))
    assert (found - radius).abs().max() < 1.5


def test_conformal_sets_cover():
    """With exchangeable wells the label is missed with probability at most alpha: here 2000 calibrations of 99
    wells.
    """
    random = np.random.default_rng(0)
    missed = []
    for _ in range(2000):
        positive = np.repeat([1.0, 0.0], 99)
        probability = random.beta(2, 2, size=198)
        quantile = label_quantiles(probability, positive, alpha=0.1)["swarming"]
        missed.append(1 - random.beta(2, 2) > quantile)
    # the mean of 2000 draws with expectation at most 0.1: four standard errors
    assert np.mean(missed) <= 0.1 + 4 * np.sqrt(0.09 / 2000)
    assert label_quantiles(np.array([0.9]), np.array([1.0]))["swarming"] == 1.0  # too few wells: nothing is left out


def test_calibration_recovers_a_known_slope_and_offset():
    """Logits drawn from a logistic law: Platt's two numbers are its own, within four standard errors."""
    random = np.random.default_rng(1)
    logit = random.normal(scale=2, size=20_000)
    positive = (random.random(20_000) < 1 / (1 + np.exp(-(0.7 * logit - 0.4)))).astype(float)
    slope, offset = platt(logit, positive)
    assert slope == pytest.approx(0.7, abs=0.05)
    assert offset == pytest.approx(-0.4, abs=0.08)


@pytest.fixture(scope="module")
def own_model(wells, tmp_path_factory):
    """What a laboratory does: its own wells in, a model out; one epoch of one member, for speed."""
    out = tmp_path_factory.mktemp("own")
    return fit(read_wells(wells), out, settings=TrainSettings(epochs=1, batch=16), members=1, name="own")


def test_a_model_is_four_files_under_a_megabyte(own_model):
    """With its split by chip on the card, and a record of the run."""
    assert sorted(p.name for p in own_model.folder.iterdir() if p.is_file() and p.name != "runs.jsonl") == sorted(FILES)
    assert sum((own_model.folder / name).stat().st_size for name in FILES) < 1_000_000
    data = own_model.card["data"]
    assert sum(part["swarming"] + part["swimming"] for part in data.values()) == 120
    assert own_model.card["simulated"] is True
    assert json.loads((own_model.folder / "runs.jsonl").read_text())["kind"] == "swarm train"


def test_the_saved_weights_and_the_onnx_files_agree(own_model, wells):
    """PyTorch from safetensors against ONNX Runtime: every output within 1e-4, on images of several sizes."""
    classifier, judge = load_classifier(own_model), SwarmClassifier(own_model.folder)
    for well in read_wells(wells)[:6]:
        told = judge.assess(well.path)
        with torch.no_grad():
            pixels = torch.from_numpy(told.image.pixels)[None, None]
            mine = classifier(pixels, torch.tensor(told.circle), torch.tensor([told.um_per_px]))
        assert np.abs(mine.logits.numpy() - told.logits).max() < 1e-4
        assert np.abs(mine.evidence.numpy() - told.evidence).max() < 1e-4
        assert np.abs(mine.normalised.numpy() - told.normalised).max() < 1e-3


def test_the_whole_is_resumed(own_model, wells):
    """A second call trains nothing and writes the same model."""
    before = own_model.id
    again = fit(read_wells(wells), own_model.folder, settings=TrainSettings(epochs=1, batch=16), members=1, name="own")
    assert again.id == before


@FEW
def test_too_few_chips(wells, tmp_path):
    """Nothing is trained on a split that cannot be made."""
    few = [well for well in read_wells(wells) if well.chip.endswith("-0")]
    with pytest.raises(InputError, match="chips do not suffice"):
        fit(few, tmp_path, settings=TrainSettings(epochs=1))


def test_folders_that_hold_no_model(own_model, tmp_path):
    """Absent, without a file, with a broken or a foreign card."""
    with pytest.raises(InputError, match="holds no model"):
        open_model(tmp_path)
    shutil.copytree(own_model.folder, tmp_path / "m")
    for text in ("{", "[]", '{"format": 99}'):
        (tmp_path / "m" / "card.json").write_text(text)
        with pytest.raises(InputError, match="holds no model"):
            open_model(tmp_path / "m")


def test_calibration_is_what_the_card_says(views):
    """Probabilities of the calibrated logits agree with the classes on the mean."""
    random = np.random.default_rng(0)
    positive = views.positive.numpy().astype(float)
    logit = np.where(positive == 1, 1.0, -1.0) + random.normal(scale=1.0, size=len(positive))

    class Found:
        pass

    found = Found()
    found.logit = logit
    card = calibrate(found, positive)
    probability = 1 / (1 + np.exp(-(card["slope"] * logit + card["offset"])))
    assert probability.mean() == pytest.approx(positive.mean(), abs=0.02)
    assert isinstance(views, Views)
