"""One seed, a matched pair: every nuisance drawn once, two wells that differ in the alignment range alone."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sm3.errors import InputError, SettingError, explain
from sm3.swarm.simulate import render
from sm3.swarm.simulate import species as table
from sm3.swarm.simulate.camera import Camera, photograph
from sm3.swarm.simulate.order import vortex_order
from sm3.swarm.simulate.species import SWARMING, SWIMMING
from sm3.swarm.simulate.zonal import Agents, simulate

Label = Literal["swarming", "swimming"]
FORMAT = 1


@dataclass(frozen=True)
class Well:
    """A simulated well: `pixels` (rows, columns) uint16, its sidecar, and the vortex order of its true motion."""

    pixels: NDArray[np.uint16]
    sidecar: dict[str, Any]
    vortex_order: float


def names_of_sets() -> tuple[str, ...]:
    """The sets that can be simulated."""
    return tuple(table.SETS)


def seed_of(set_name: str, seed: int, *parts: int | str) -> int:
    """An independent 63-bit seed for each pair, chip or purpose: a hash, so neighbouring seeds share nothing."""
    text = "/".join(str(part) for part in (set_name, seed, *parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def pair_sidecars(set_name: str, seed: int, pair: int) -> dict[Label, dict[str, Any]]:
    """What the two wells of pair number `pair` are made of: JSON-ready, and enough to make each of them again.

    >>> both = pair_sidecars("sm3-like", 0, 0)
    >>> sorted(key for key in both["swarming"] if both["swarming"][key] != both["swimming"][key])
    ['alignment_radius', 'label']
    """
    if set_name not in table.SETS:
        raise SettingError(
            explain(
                "Unknown set of wells.", got=repr(set_name), accepted=", ".join(table.SETS), do="choose one of these"
            )
        )
    kind, optics = table.SETS[set_name]
    chip = pair * 2 // table.WELLS_PER_CHIP
    shared = {
        "format": FORMAT,
        "set": set_name,
        "seed": seed,
        "pair": pair,
        "chip": chip,
        **_chip_draw(optics, np.random.default_rng(seed_of(set_name, seed, "chip", chip))),
        **_pair_draw(kind, optics, np.random.default_rng(seed_of(set_name, seed, "pair", pair))),
    }
    shift = shared["radius_shift"]
    return {
        SWARMING: {**shared, "label": SWARMING, "alignment_radius": kind.swarming_radius + shift},
        SWIMMING: {**shared, "label": SWIMMING, "alignment_radius": kind.swimming_radius + shift},
    }


def _chip_draw(optics: table.Optics, random: np.random.Generator) -> dict[str, Any]:
    """What all wells of one chip share: the microscope on that day, the camera, the wall's look."""
    draw = random.uniform
    phone = bool(random.random() < optics.jpeg)
    return {
        "um_per_px": draw(*optics.um_per_px),
        "defocus_chip": draw(*optics.defocus),
        "absorption": draw(*optics.absorption),
        "halo": draw(*optics.halo),
        "phase": -1.0 if random.random() < optics.negative_phase else 1.0,
        "rim": draw(*optics.rim) * (1.0 if random.random() < 0.5 else -1.0),
        "rim_width": draw(0.8, 2.0),
        "rim_glow": draw(-0.12, 0.12),
        "electrons": draw(*optics.electrons),
        "read_noise": draw(2.0, 8.0),
        "exposure_level": draw(0.3, 0.7),
        "hot_pixels": 10 ** draw(-6.0, -3.5),
        "bits": 8 if random.random() < optics.eight_bit else int(random.choice([12, 16])),
        "jpeg_quality": int(random.integers(88, 98)) if phone else None,
        "long_exposure": bool(random.random() < table.LONG_EXPOSURE),
        "shutter": draw(*table.SHUTTER),
        "sliding_wall": bool(random.random() < table.SLIDING_WALL),
    }


def _pair_draw(kind: table.Species, optics: table.Optics, random: np.random.Generator) -> dict[str, Any]:
    draw = random.uniform
    diameter = draw(*table.DIAMETER_UM)
    field = draw(*table.FIELD)
    spare = (field - 1.1) / 2 * diameter  # the well stays inside its image
    direction = 2 * np.pi * random.random()
    return {
        "diameter_um": diameter,
        "speed": draw(*kind.speed),
        "density": draw(*kind.density),
        "turn_noise": draw(*kind.turn_noise),
        "radius_shift": draw(-kind.radius_jitter, kind.radius_jitter),
        "circling": draw(*table.CLOCKWISE_BIAS),
        "seconds": draw(*table.SECONDS),
        "cell_length": draw(*kind.cell_length),
        "cell_width": draw(*table.CELL_WIDTH),
        "defocus_change": draw(0.9, 1.1),
        "field_um": field * diameter,
        "offset_um": [draw(-spare, spare), draw(-spare, spare)],
        "shading": [draw(*optics.shading) * float(np.cos(direction)), draw(*optics.shading) * float(np.sin(direction))],
        "vignetting": draw(0.0, 0.08),
        "neighbours": [
            [float(a), float(d)] for a, d in zip(random.uniform(0, 6.283, 3), random.uniform(1.25, 1.5, 3), strict=True)
        ],
        "dust": [
            [draw(-55, 55), draw(-55, 55), draw(0.6, 2.0), draw(-0.2, 0.2)] for _ in range(int(random.poisson(1.5)))
        ],
    }


def make_well(sidecar: dict[str, Any]) -> Well:
    """The well a sidecar describes, the same pixels to the bit wherever the same NumPy and SciPy run.

    Memory: about 10 MB. Raises `InputError` for a sidecar of another format or with a key missing.
    """
    if sidecar.get("format") != FORMAT:
        raise InputError(
            explain(
                "The sidecar has another format.",
                got=repr(sidecar.get("format")),
                accepted=str(FORMAT),
                do="simulate the set again with this version, or install the version that wrote it",
            )
        )
    try:
        return _make(sidecar)
    except KeyError as missing:
        raise InputError(
            explain(
                "The sidecar is incomplete.",
                got=f"no {missing}",
                accepted="a sidecar as sm3 writes it",
                do="simulate the well again",
            )
        ) from missing


def _make(s: dict[str, Any]) -> Well:
    agents = Agents(
        s["diameter_um"], s["density"], s["speed"], s["turn_noise"], s["alignment_radius"],
        s["circling"], s["sliding_wall"], s["seconds"],
    )  # fmt: skip
    motion = simulate(agents, seed_of(s["set"], s["seed"], "physics", s["pair"]))
    # The same stream for both wells of a pair: where dust lies and how noise falls cannot tell them apart.
    random = np.random.Generator(np.random.PCG64(seed_of(s["set"], s["seed"], "optics", s["pair"])))
    light = _light(s, agents, motion, random)
    pixels = render.to_pixels(light, s["um_per_px"], s["field_um"], (s["offset_um"][0], s["offset_um"][1]))
    camera = Camera(s["electrons"], s["read_noise"], s["bits"], s["exposure_level"], s["hot_pixels"], s["jpeg_quality"])
    return Well(photograph(pixels, camera, random), s, vortex_order(motion, agents.diameter))


def _light(s: dict[str, Any], agents: Agents, motion: Any, random: np.random.Generator) -> NDArray[np.float32]:
    side = 2 * round((s["field_um"] / 2 + max(abs(o) for o in s["offset_um"])) / render.STEP + 4)
    # `single_frame` is no nuisance of a set: the audit asks what is left when nothing moves during the exposure
    instants = np.zeros(1) if s.get("single_frame") else render.moments(s["long_exposure"], s["shutter"])
    blur, wall = s["defocus_chip"] * s["defocus_change"], agents.diameter / 2
    layers = [(*render.at(motion, instants), blur)]
    for wider, share in render.LAYERS:
        number = round(share * agents.number)
        layers.append((*render.advected(motion, instants, number, wall - 0.5, agents.speed, random), blur * wider))
    dark = render.cells(layers, side, length=s["cell_length"], width=s["cell_width"], halo=s["halo"])
    distance = render.radii(side)
    light = 1 - np.float32(s["phase"] * s["absorption"]) * dark * (distance < wall + 2)
    light += render.rim(distance, wall, strength=s["rim"], width=s["rim_width"], glow=s["rim_glow"])
    for angle, far in s["neighbours"]:
        centre = (far * agents.diameter * np.cos(angle), far * agents.diameter * np.sin(angle))
        light += np.float32(0.7) * render.rim(
            render.radii(side, centre), wall, strength=s["rim"], width=s["rim_width"], glow=0.0
        )
    for x, y, size, strength in s["dust"]:
        light += np.float32(strength) * np.exp(-((render.radii(side, (x, y)) / np.float32(size)) ** 2))
    axis = (np.arange(side, dtype=np.float32) - side / 2) * np.float32(render.STEP / agents.diameter)
    slope = 1 + np.float32(s["shading"][0]) * axis[None, :] + np.float32(s["shading"][1]) * axis[:, None]
    return np.asarray(
        light * slope * (1 - np.float32(s["vignetting"]) * (distance / np.float32(agents.diameter)) ** 2), np.float32
    )


def describe(sidecar: dict[str, Any]) -> dict[str, Any]:
    """The sidecar with the constants of the model that it leaves implicit, as written beside an image."""
    return {**sidecar, "model": "zonal, Chen et al. 2021, eLife 10:e64176", "interaction": asdict(table.Interaction())}
