"""Every number of the simulator with its unit and origin; nothing else in the package sets one.

Physics: Chen et al., "Confinement discerns swarmers from planktonic bacteria", eLife 2021;10:e64176 (zonal model
after Grossmann et al., PRL 113, 258104). `SM3` holds its printed values. The rows DB10-like and H6-like are
assumptions of ours, fixed before any training: no kinetics of these strains were found in print. Ranges of optics,
camera and wall are assumptions too. Both classes draw from the same ranges; only the alignment range differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SWARMING: Final = "swarming"
SWIMMING: Final = "swimming"
LABELS = (SWIMMING, SWARMING)  # index = class number: 1 is the positive class

WELL_DIAMETER_UM = 74.0  # published chip
FRAMES, FRAME_SECONDS = 10, 1 / 29  # published: ten frames at 29 a second are averaged

Range = tuple[float, float]


@dataclass(frozen=True)
class Interaction:
    """The printed constants of the zonal model that both phenotypes share. Lengths um, rates rad/s unless said."""

    repulsion_turn: float = 5.0  # k_r
    repulsion_turn_radius: float = 6.0  # r_r
    alignment: float = 0.3  # mu+
    anti_alignment: float = 0.1  # mu-
    anti_alignment_radius: float = 30.0  # r_aa
    exclusion: float = 0.02  # k_ex; unit unstated in print, taken as 1/s
    exclusion_radius: float = 3.5  # d_ex


@dataclass(frozen=True)
class Species:
    """Kinetics of one strain: ranges are drawn uniformly once per pair of wells."""

    speed: Range  # um/s
    density: Range  # agents of the focal layer per um^2
    turn_noise: Range  # D_r, rad^2/s
    cell_length: Range  # um
    swarming_radius: float  # r_a of the swarming phenotype, um
    swimming_radius: float  # r_a of the planktonic phenotype, um
    radius_jitter: float = 0.3  # um, the same shift for both wells of a pair


@dataclass(frozen=True)
class Optics:
    """One family of microscopes: drawn once per chip, with a small change per well."""

    um_per_px: Range
    defocus: Range  # um, standard deviation of the focal layer's blur
    absorption: Range  # a: darkness of a cell body
    halo: Range  # b: brightness of its halo, as a share of a
    negative_phase: float  # probability of bright cells on dark
    rim: Range  # strength of the wall's ring, in units of the background
    electrons: Range  # per pixel and frame
    shading: Range  # slope of the illumination over the image
    jpeg: float  # probability that the picture came as 8-bit JPEG
    eight_bit: float  # probability of an 8-bit camera


SM3 = Species((33, 41), (0.045, 0.055), (0.25, 0.35), (2.2, 3.0), 20.0, 15.0)
DB10_LIKE = Species((26, 34), (0.051, 0.061), (0.35, 0.45), (1.6, 2.2), 19.3, 14.5)
H6_LIKE = Species((40, 48), (0.040, 0.050), (0.30, 0.40), (2.8, 3.6), 20.7, 15.5)
# Training only: ranges wider than any one strain, so that speed, length and density cannot be relied on.
ANY = Species((24, 50), (0.040, 0.062), (0.22, 0.48), (1.5, 3.8), 20.0, 15.0, radius_jitter=0.8)

CKX = Optics((0.30, 0.42), (0.5, 0.9), (0.10, 0.18), (0.3, 0.6), 0.0, (0.15, 0.45), (4e3, 12e3), (0.0, 0.10), 0.0, 0.3)
RIG_B = Optics(
    (0.24, 0.34), (0.6, 1.0), (0.08, 0.16), (0.2, 0.5), 0.0, (0.10, 0.40), (4e3, 10e3), (0.0, 0.12), 0.0, 0.5
)
RIG_C = Optics(
    (0.36, 0.50), (0.5, 0.8), (0.12, 0.20), (0.4, 0.7), 0.0, (0.20, 0.50), (6e3, 12e3), (0.0, 0.10), 0.0, 0.2
)
# Held out as a rig: negative phase and phones appear here and in `ANY_OPTICS`, with other blur and pixel sizes.
UNSEEN = Optics(
    (0.42, 0.58), (0.8, 1.15), (0.07, 0.13), (0.5, 0.8), 0.5, (0.08, 0.30), (2.5e3, 6e3), (0.05, 0.2), 0.5, 0.8
)
ANY_OPTICS = Optics(
    (0.24, 0.52), (0.45, 1.1), (0.07, 0.20), (0.2, 0.75), 0.3, (0.08, 0.5), (3e3, 12e3), (0.0, 0.18), 0.25, 0.4
)

SETS: dict[str, tuple[Species, Optics]] = {
    "sm3-like": (SM3, CKX),
    "db10-like": (DB10_LIKE, RIG_B),
    "h6-like": (H6_LIKE, RIG_C),
    "sm3-unseen-optics": (SM3, UNSEEN),
    "wide": (ANY, ANY_OPTICS),
}

# Drawn alike in every set, once per pair.
DIAMETER_UM: Range = (71.0, 77.0)
SECONDS: Range = (15.0, 22.0)  # below 15 s a swarm's single swirl has not formed yet
SLIDING_WALL = 0.35  # probability; the wall's law is the least certain part of the model
LONG_EXPOSURE = 0.3  # probability of one open shutter instead of ten averaged frames
SHUTTER: Range = (0.3, 1.0)  # share of a frame during which its shutter is open
CLOCKWISE_BIAS: Range = (-0.10, 0.02)  # rad/s, the near-surface turn of every cell
CELL_WIDTH: Range = (0.7, 1.0)  # um
FIELD: Range = (1.25, 1.55)  # side of the image in well diameters
WELLS_PER_CHIP = 24
