"""The simulator against what is published and against itself: vortex order, walls, symmetry, pairs, files, seeds."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from sm3.errors import InputError, SettingError
from sm3.swarm.simulate import species
from sm3.swarm.simulate.folder import simulate_folder
from sm3.swarm.simulate.order import correlation_length, tangential_order, vortex_order
from sm3.swarm.simulate.render import moments
from sm3.swarm.simulate.wells import make_well, names_of_sets, pair_sidecars
from sm3.swarm.simulate.zonal import TIME_STEP, Agents, simulate

PUBLISHED = Agents(diameter=74.0, density=0.05, speed=37.0, turn_noise=0.3, alignment_radius=20.0)
SWIMMING = replace(PUBLISHED, alignment_radius=15.0)


def orders(agents: Agents, number: int = 16, dt: float = TIME_STEP) -> np.ndarray:
    return np.array([vortex_order(simulate(agents, seed, dt=dt), agents.diameter) for seed in range(number)])


def test_published_contrast_at_74_um():
    """Chen et al. 2021: one swirl of swarmers, none of swimmers, with nothing changed but the alignment range."""
    assert orders(PUBLISHED).mean() >= 0.75
    assert orders(SWIMMING).mean() <= 0.15


def test_halving_the_time_step_changes_little():
    """Swarming within 0.03, swimming within 0.05 (0.043 on 240 wells); four standard errors of 24 wells on top."""
    for agents, bound in ((PUBLISHED, 0.03), (SWIMMING, 0.05)):
        whole, half = orders(agents, 24), orders(agents, 24, TIME_STEP / 2)
        noise = math.hypot(whole.std(), half.std()) / math.sqrt(24)
        assert abs(whole.mean() - half.mean()) < bound + 4 * noise


def test_the_swirl_breaks_in_wide_wells():
    """Published break-up near 98 um; at 112 um several swirls."""
    wide = replace(PUBLISHED, diameter=112.0, seconds=18.0)
    assert orders(wide, 6).mean() < 0.7 < orders(PUBLISHED, 6).mean()


def test_without_turns_a_cell_swims_straight():
    """No neighbours in reach, no noise: displacement is speed times time, exactly up to rounding."""
    alone = Agents(diameter=1000.0, density=1e-6, speed=30.0, turn_noise=1e-12, alignment_radius=20.0, seconds=1.0)
    motion = simulate(alone, 3)
    span = motion.times[-1] - motion.times[0]
    moved = np.linalg.norm(motion.position[-1] - motion.position[0], axis=1)
    assert alone.number == 1
    assert moved == pytest.approx(30.0 * span, rel=1e-6)


@pytest.mark.parametrize("sliding", [False, True])
def test_no_cell_leaves_its_well(sliding):
    """Both walls keep every snapshot inside."""
    motion = simulate(replace(PUBLISHED, sliding_wall=sliding, seconds=2.0), 0)
    assert np.hypot(motion.position[..., 0], motion.position[..., 1]).max() <= 37.0 + 1e-9


def test_a_seed_gives_the_same_bits():
    """And another seed another well."""
    first, again, other = (simulate(replace(PUBLISHED, seconds=1.0), seed) for seed in (4, 4, 5))
    assert np.array_equal(first.position, again.position)
    assert np.array_equal(first.heading, again.heading)
    assert not np.array_equal(first.position, other.position)


def test_a_lone_circling_cell_turns_at_its_rate():
    """omega t of heading, exactly; a clockwise bias is negative."""
    alone = Agents(1000.0, 1e-6, 30.0, 1e-12, 20.0, circling=-0.5, seconds=1.0)
    motion = simulate(alone, 3)
    turned = motion.heading[-1] - motion.heading[0]
    assert turned == pytest.approx(-0.5 * (motion.times[-1] - motion.times[0]), rel=1e-4)


def test_orders_of_known_flows():
    """A rotor is 1, a radial flow -2/pi / (1 - 2/pi), and rest is not a number."""
    place = np.random.default_rng(0).normal(size=(500, 2))
    assert tangential_order(place, np.c_[-place[:, 1], place[:, 0]]) == pytest.approx(1.0)
    assert tangential_order(place, place) == pytest.approx(-2 / math.pi / (1 - 2 / math.pi))
    assert math.isnan(tangential_order(place, np.zeros_like(place)))


def test_swarmers_correlate_further_than_swimmers():
    """Published first zeros in 500 um wells: about 28 and 23 um; here 150 um wells, so the order alone is tested."""
    wide = replace(PUBLISHED, diameter=150.0, seconds=15.0)
    far = np.mean([correlation_length(simulate(wide, seed)) for seed in range(2)])
    near = np.mean([correlation_length(simulate(replace(wide, alignment_radius=15.0), seed)) for seed in range(2)])
    assert far > near


@pytest.mark.parametrize(
    "change",
    [{"speed": math.nan}, {"density": 0.0}, {"diameter": -1.0}, {"alignment_radius": 30.0}, {"seconds": 0.1}],
)
def test_impossible_wells_are_refused(change):
    """With an error that says what is accepted."""
    with pytest.raises(SettingError, match="accepted"):
        simulate(replace(PUBLISHED, **change), 0)


@pytest.mark.parametrize("set_name", names_of_sets())
def test_a_pair_shares_everything_but_the_alignment_range(set_name):
    """Every nuisance is drawn once; every drawn value lies in its set's range."""
    for pair in range(20):
        both = pair_sidecars(set_name, 1, pair)
        differing = {key for key in both["swarming"] if both["swarming"][key] != both["swimming"][key]}
        assert differing == {"label", "alignment_radius"}
        kind, optics = species.SETS[set_name]
        drawn = both["swimming"]
        assert kind.speed[0] <= drawn["speed"] <= kind.speed[1]
        assert optics.um_per_px[0] <= drawn["um_per_px"] <= optics.um_per_px[1]
        assert json.loads(json.dumps(drawn)) == drawn


def test_a_sidecar_makes_its_well_again():
    """Through JSON, to the bit; a sidecar of another format or cut short is refused."""
    sidecar = pair_sidecars("wide", 0, 3)["swarming"]
    first, again = make_well(sidecar), make_well(json.loads(json.dumps(sidecar)))
    assert np.array_equal(first.pixels, again.pixels)
    assert first.pixels.dtype == np.uint16
    assert make_well({**sidecar, "phase": -sidecar["phase"]}).pixels.tobytes() != first.pixels.tobytes()
    with pytest.raises(InputError, match="format"):
        make_well({**sidecar, "format": 0})
    with pytest.raises(InputError, match="incomplete"):
        make_well({key: value for key, value in sidecar.items() if key != "speed"})


def test_an_exposure_is_a_third_of_a_second():
    """Ten frames at 29 a second; a shutter that is half open leaves gaps."""
    whole, frames = moments(True, 1.0), moments(False, 0.5)
    assert whole.min() >= -10 / 29
    assert whole.max() <= 0
    assert np.diff(frames).max() > 1.5 * np.diff(frames).min()


def test_a_folder_can_be_stopped_and_continued(tmp_path):
    """The same bytes as without a stop; names do not tell the class; another request for the folder is refused."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert list(simulate_folder(whole, "sm3-like", 8, 3, workers=1))[-1] == 8
    run = simulate_folder(stopped, "sm3-like", 8, 3, workers=1)
    next(run), next(run)
    run.close()
    assert not (stopped / "wells.csv").exists()
    list(simulate_folder(stopped, "sm3-like", 8, 3, workers=1))
    names = sorted(path.name for path in (whole / "wells").iterdir())
    assert len(names) == 16
    for name in names:
        assert (whole / "wells" / name).read_bytes() == (stopped / "wells" / name).read_bytes()
    assert (whole / "wells.csv").read_text() == (stopped / "wells.csv").read_text()
    with pytest.raises(InputError, match="another set"):
        next(simulate_folder(whole, "sm3-like", 8, 4))
    with pytest.raises(SettingError, match="even"):
        next(simulate_folder(tmp_path / "odd", "sm3-like", 7))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(InputError, match="not empty"):
        next(simulate_folder(tmp_path / "full", "sm3-like", 8))
