"""The graph: the well is found, the logit is the evidence's mean, turned images give the same answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from sm3.swarm.network.classifier import ARCHITECTURES, Classifier, Member, copies, structure, undo
from sm3.swarm.network.finder import Finder
from sm3.swarm.network.fold import fold_normalisations, round_weights
from sm3.swarm.network.sampling import enlarging, sample, smoothing
from sm3.swarm.network.view import BACKGROUND_UM, UM_PER_PX, View
from sm3.swarm.simulate.wells import make_well, pair_sidecars


def image_of(pixels):
    return torch.from_numpy(np.ascontiguousarray(pixels).astype(np.float32))[None, None]


@pytest.fixture(scope="module")
def well():
    return make_well(pair_sidecars("sm3-like", 11, 0)["swarming"])


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return Classifier([Member() for _ in range(2)]).eval()


@pytest.mark.parametrize("set_name", ["sm3-like", "db10-like", "h6-like"])
def test_wells_are_found_where_they_are(set_name):
    """Centre within half a micrometre, radius within one and a half: the rim itself is 1 to 2 um wide."""
    finder = Finder().eval()
    for pair in range(8):
        made = make_well({**pair_sidecars(set_name, 12, pair)["swimming"], "seconds": 1.0})
        s = made.sidecar
        circle, rim = finder(image_of(made.pixels))
        middle = (made.pixels.shape[0] - 1) / 2
        expected = [middle - offset / s["um_per_px"] for offset in s["offset_um"]]
        assert abs(float(circle[0]) - expected[0]) * s["um_per_px"] < 0.5
        assert abs(float(circle[1]) - expected[1]) * s["um_per_px"] < 0.5
        assert abs(float(circle[2]) * s["um_per_px"] - s["diameter_um"] / 2) < 1.5
        assert rim > 0.9


@pytest.mark.parametrize("shape", [(16, 16), (61, 200), (640, 17)])
def test_images_without_a_well_have_no_rim_and_no_nan(shape):
    """Noise has an uneven ring; constant images give numbers, too."""
    finder = Finder().eval()
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))[None, None]
    circle, rim = finder(noise)
    assert torch.isfinite(circle).all()
    assert rim < 0.6
    circle, rim = finder(torch.full((1, 1, *shape), 5.0))
    assert torch.isfinite(circle).all()
    assert rim < 0.01


def test_the_mean_of_the_evidence_is_the_logit(classifier, well):
    """Exactly, up to the rounding of sums: the map is no approximation."""
    s = well.sidecar
    circle, _ = Finder().eval()(image_of(well.pixels))
    with torch.no_grad():
        judged = classifier(image_of(well.pixels), circle, torch.tensor([s["um_per_px"]]))
    assert float(judged.evidence.mean()) == pytest.approx(float(judged.logits.mean()), abs=1e-5)
    assert judged.logits.shape == (2, 8)
    assert judged.evidence.shape == (16, 16)
    assert judged.normalised.shape == (128, 128)


def test_turned_and_mirrored_views_give_the_same_answer(classifier):
    """The eight copies are a group: turning the view permutes them and moves the map along."""
    torch.manual_seed(1)
    view = torch.randn(1, 1, 128, 128)
    with torch.no_grad():
        logits, evidence, distance = classifier.judge_view(view)
        for turned, back in (
            (view.rot90(1, (2, 3)), lambda m: m.rot90(-1, (0, 1))),
            (view.flip(3), lambda m: m.flip(1)),
            (view.transpose(2, 3), lambda m: m.T),
        ):
            other, moved, apart = classifier.judge_view(turned)
            assert torch.allclose(logits.sort(dim=1).values, other.sort(dim=1).values, atol=1e-5)
            assert torch.allclose(evidence, back(moved), atol=1e-5)
            assert torch.allclose(distance, apart, atol=1e-5)


def test_copies_are_eight_different_ones_and_undo_brings_them_back():
    """All of the group of the square."""
    picture = torch.arange(36.0).reshape(1, 1, 6, 6)
    all_copies = copies(picture)
    assert len({tuple(copy.ravel().tolist()) for copy in all_copies}) == 8
    assert torch.equal(undo(all_copies[:, 0]), picture[0].expand(8, 6, 6))


def test_brightness_contrast_and_slopes_do_not_matter(well):
    """The view is the same for any gain and offset, and nearly so under a slope across the image."""
    eyes, s = View(), well.sidecar
    circle, _ = Finder().eval()(image_of(well.pixels))
    radius = (circle[2] * s["um_per_px"]).reshape(1)

    def seen(pixels):
        return eyes.normalise(eyes.cut(image_of(pixels), circle, torch.tensor(s["um_per_px"]))[0], eyes.mask(radius))[0]

    plain = seen(well.pixels)
    assert torch.allclose(plain, seen(well.pixels * 0.25 + 100), atol=2e-2)
    slope = np.linspace(0.97, 1.03, well.pixels.shape[1])[None]
    assert np.corrcoef(plain.ravel(), seen(well.pixels * slope).ravel())[0, 1] > 0.98
    outside = eyes.radius > float(radius)
    assert float(plain[0, 0][outside].abs().max()) == 0


def test_nothing_outside_the_wall_reaches_the_view(well):
    """Changing every pixel beyond the rim changes no pixel of the view."""
    eyes, um = View(), well.sidecar["um_per_px"]
    circle, _ = Finder().eval()(image_of(well.pixels))
    rows, columns = np.indices(well.pixels.shape)
    outside = np.hypot(rows - float(circle[1]), columns - float(circle[0])) > float(circle[2])
    changed = well.pixels.copy()
    changed[outside] = well.pixels[outside].max()
    extremes = [well.pixels.min(), well.pixels.max()]
    changed[0, :2] = extremes  # the scale of the whole image stays
    both = []
    for pixels in (well.pixels, changed):
        cut, _ = eyes.cut(image_of(pixels), circle, torch.tensor(um))
        both.append(eyes.normalise(cut, eyes.mask((circle[2] * um).reshape(1)))[0])
    assert torch.allclose(*both, atol=1e-5)


def test_sampling_agrees_with_scipy():
    """Bilinear, whole numbers at the centres, the border goes on."""
    picture = np.random.default_rng(0).normal(size=(9, 13)).astype(np.float32)
    rows, columns = np.random.default_rng(1).uniform(-3, 15, size=(2, 5, 7)).astype(np.float32)
    expected = ndimage.map_coordinates(picture, [rows, columns], order=1, mode="nearest")
    found = sample(image_of(picture), torch.from_numpy(columns), torch.from_numpy(rows))[0, 0]
    assert np.abs(found.numpy() - expected).max() < 1e-5


def test_matrices_of_smoothing_and_enlarging():
    """Rows sum to one, so a constant stays one; a step widens by the Gaussian's own width."""
    sigma = BACKGROUND_UM / UM_PER_PX / 4
    for matrix in (smoothing(32, sigma), enlarging(32, 4)):
        assert matrix.sum(dim=1) == pytest.approx(torch.ones(matrix.shape[0]), abs=1e-6)
    impulse = torch.zeros(32)
    impulse[16] = 1
    answer = smoothing(32, 2.0) @ impulse
    place = torch.arange(32.0)
    assert float(((place - 16) ** 2 * answer).sum() ** 0.5) == pytest.approx(2.0, rel=0.01)


def test_structure_of_known_stripes():
    """Stripes along x have their gradient along y: xx - yy is minus the energy."""
    stripes = torch.sin(torch.arange(128.0) * 0.5)[:, None].expand(128, 128)[None, None]
    along, across, energy = structure(stripes, torch.ones(1, 1, 128, 128))
    assert torch.allclose(along[2:-2, 2:-2], -energy[2:-2, 2:-2], atol=1e-5)
    assert float(across[2:-2, 2:-2].abs().max()) < 1e-5


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_folding_changes_nothing_and_rounding_little(architecture):
    """A folded member is the same function; in half precision within its rounding; under a quarter million
    parameters.
    """
    torch.manual_seed(2)
    member = Member(architecture)
    assert sum(parameter.numel() for parameter in member.parameters()) <= 250_000
    view = torch.randn(16, 1, 128, 128)
    with torch.no_grad():
        for _ in range(8):
            member(view)  # statistics other than the initial ones
        member.eval()
        before = member(view)[0]
        fold_normalisations(member)
        assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in member.modules())
        assert torch.allclose(before, member(view)[0], atol=1e-4)
        round_weights(member)
        assert torch.allclose(before, member(view)[0], atol=0.02)
        assert all(torch.equal(p, p.half().float()) for p in member.parameters())
