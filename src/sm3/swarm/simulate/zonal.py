"""The zonal model of Chen et al. 2021 (eLife 10:e64176, appendix) in a round well, one compiled Euler loop.

    dr_i/dt  = v0 p_i - sum_j k_ex r_ij [r < d_ex]
    dth_i/dt = sum_j k_r sin(th_i - th_ij) [r < r_r] + mu(r) sin(th_j - th_i)  + omega + sqrt(2 D_r) noise
    mu(r)    = mu+ (1 - (r / r_a)^2)                               r <= r_a
             = -mu- 4 (r - r_a)(r_aa - r) / (r_aa - r_a)^2         r_a < r <= r_aa

r_ij points from i to j, th_ij is its angle. sin(th_j - th_i) is a cross product of unit headings, so the pair loop
holds one square root and no trigonometry, and every neighbour is met in a loop that vectorises without reassociation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sm3.errors import SettingError, explain
from sm3.extras import require
from sm3.swarm.simulate.species import Interaction

numba = require("numba")

PRINTED = Interaction()
TIME_STEP = 0.005  # s; halved, the mean vortex order moves by 0.004 (swarming) and 0.043 (swimming): LOG.md, 2026-12-01
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Agents:
    """What one well is made of. Units: um, s, rad; `alignment_radius` is the one number the phenotypes differ in."""

    diameter: float
    density: float
    speed: float
    turn_noise: float
    alignment_radius: float
    circling: float = 0.0
    sliding_wall: bool = False
    seconds: float = 15.0
    interaction: Interaction = PRINTED

    @property
    def number(self) -> int:
        """Agents in the focal layer."""
        return max(1, round(self.density * math.pi * self.diameter**2 / 4))


@dataclass(frozen=True)
class Motion:
    """The last moments of a well: `position` (snapshots, agents, 2) in um from the centre, `heading` (snapshots,
    agents)
    in rad, `times` (snapshots,) in s, the last being zero."""

    position: Array
    heading: Array
    times: Array

    @property
    def velocity(self) -> Array:
        """Velocity of each agent between neighbours of the middle snapshot, (agents, 2) in um/s, as velocimetry of
        two frames.
        """
        after, before = len(self.times) // 2 + 1, len(self.times) // 2 - 1
        span = self.times[after] - self.times[before]
        return np.asarray((self.position[after] - self.position[before]) / span)


def simulate(agents: Agents, seed: int, *, record: float = 0.36, dt: float = TIME_STEP) -> Motion:
    """Let the agents move and return the last `record` seconds, a snapshot every `dt`.

    The start and the noise come from NumPy's PCG64 with `seed`, so the same seed gives the same bits; two values of
    `alignment_radius` with one seed start from the same places and feel the same noise.

    >>> from sm3.swarm.simulate.order import vortex_order
    >>> well = dict(diameter=74.0, density=0.05, speed=37.0, turn_noise=0.3)
    >>> swarm = simulate(Agents(**well, alignment_radius=20.0), seed=1)
    >>> swim = simulate(Agents(**well, alignment_radius=15.0), seed=1)
    >>> vortex_order(swarm, 74.0) > 0.7 > 0.4 > vortex_order(swim, 74.0)
    True
    """
    _check(agents, record, dt)
    random = np.random.Generator(np.random.PCG64(seed))
    number, wall = agents.number, agents.diameter / 2
    radius = wall * np.sqrt(random.random(number))
    angle = 2 * math.pi * random.random(number)
    position = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    heading = 2 * math.pi * random.random(number)
    steps, kept = round(agents.seconds / dt), round(record / dt) + 1
    noise = random.standard_normal((steps, number), dtype=np.float32) * np.float32(
        math.sqrt(2 * agents.turn_noise * dt)
    )
    law = agents.interaction
    constants = np.array(
        [agents.speed, agents.circling, law.repulsion_turn, law.repulsion_turn_radius, law.alignment,
         agents.alignment_radius, law.anti_alignment, law.anti_alignment_radius, law.exclusion, law.exclusion_radius]
    )  # fmt: skip
    positions, headings = np.empty((kept, number, 2)), np.empty((kept, number))
    _run(position, heading, noise, constants, wall, agents.sliding_wall, dt, positions, headings)
    return Motion(positions, headings, np.arange(1 - kept, 1, dtype=np.float64) * dt)


def _check(agents: Agents, record: float, dt: float) -> None:
    numbers = (
        agents.diameter,
        agents.density,
        agents.speed,
        agents.turn_noise,
        agents.alignment_radius,
        agents.seconds,
    )
    reach = agents.interaction.anti_alignment_radius
    if (
        not all(math.isfinite(number) and number > 0 for number in (*numbers, dt, record))
        or agents.alignment_radius >= reach
    ):
        raise SettingError(
            explain(
                "The well cannot be simulated.",
                got=agents,
                accepted=f"finite positive numbers, alignment_radius below {reach:g} um",
                do="start from the printed values: speed 37, density 0.05, turn_noise 0.3, alignment_radius 20 or 15",
            )
        )
    if record + dt > agents.seconds:
        raise SettingError(
            explain(
                "The record is longer than the run.",
                got=f"record={record}, seconds={agents.seconds}",
                accepted="record + dt <= seconds",
                do="let the well run for 15 s or more: a swarm needs them to form its swirl",
            )
        )


@numba.njit(cache=True, error_model="numpy")
def _turn_and_push(x, y, cosine, sine, constants, turn, push_x, push_y):  # type: ignore[no-untyped-def]
    """Sums over all neighbours: `turn` in rad/s, `push` in um/s, everything float32.

    The inner loop runs over the agents that feel, not over those that are felt: nothing is reduced, so the compiler may
    use any vector width and the sums keep their order and their bits.
    """
    k_r, r_r, plus, r_a, minus, r_aa, k_ex, d_ex = constants
    zero, one, tiny = np.float32(0.0), np.float32(1.0), np.float32(1e-6)
    scale = np.float32(4.0) * minus / ((r_aa - r_a) * (r_aa - r_a))
    inverse = one / (r_a * r_a)
    turn[:] = zero
    push_x[:] = zero
    push_y[:] = zero
    for j in range(len(turn)):
        xj, yj, cj, sj = x[j], y[j], cosine[j], sine[j]
        for i in range(len(turn)):
            dx, dy = xj - x[i], yj - y[i]
            squared = dx * dx + dy * dy
            r = np.sqrt(squared)
            mu = plus * (one - squared * inverse) if r <= r_a else -scale * (r - r_a) * (r_aa - r)
            mu = mu if r <= r_aa else zero
            away = k_r / max(r, tiny) if r < r_r else zero
            # sin(th_j - th_i), and sin(th_i - th_ij), which turns i away from j
            turn[i] += mu * (cosine[i] * sj - sine[i] * cj) + away * (sine[i] * dx - cosine[i] * dy)
            near = k_ex if r < d_ex else zero
            push_x[i] -= near * dx
            push_y[i] -= near * dy


@numba.njit(cache=True)
def _meet_wall(position, heading, wall, sliding):  # type: ignore[no-untyped-def]
    """Specular: place and heading are mirrored. Sliding: the cell stays on the wall and swims along it."""
    for i in range(len(heading)):
        x, y = position[i, 0], position[i, 1]
        r = math.sqrt(x * x + y * y)
        if r <= wall:
            continue
        nx, ny = x / r, y / r
        c, s = math.cos(heading[i]), math.sin(heading[i])
        outward = c * nx + s * ny
        back = wall if sliding else max(2.0 * wall - r, 0.0)
        position[i, 0], position[i, 1] = back * nx, back * ny
        if outward <= 0.0:
            continue
        if sliding:
            along = s * nx - c * ny
            side = 1.0 if along >= 0.0 else -1.0
            heading[i] = math.atan2(side * nx, -side * ny)
        else:
            heading[i] = math.atan2(s - 2.0 * outward * ny, c - 2.0 * outward * nx)


@numba.njit(cache=True)
def _run(position, heading, noise, constants, wall, sliding, dt, positions, headings):  # type: ignore[no-untyped-def]
    steps, number = noise.shape
    kept = len(headings)
    speed, circling, law = constants[0], constants[1], constants[2:].astype(np.float32)
    law_of = (law[0], law[1], law[2], law[3], law[4], law[5], law[6], law[7])
    x, y, cosine, sine, turn, push_x, push_y = [np.empty(number, np.float32) for _ in range(7)]
    for step in range(steps):
        for i in range(number):
            x[i], y[i] = position[i, 0], position[i, 1]
            cosine[i], sine[i] = math.cos(heading[i]), math.sin(heading[i])
        _turn_and_push(x, y, cosine, sine, law_of, turn, push_x, push_y)
        for i in range(number):
            position[i, 0] += dt * (speed * cosine[i] + push_x[i])
            position[i, 1] += dt * (speed * sine[i] + push_y[i])
            heading[i] += dt * (turn[i] + circling) + noise[step, i]
        _meet_wall(position, heading, wall, sliding)
        place = step - (steps - kept)
        if place >= 0:
            positions[place] = position
            headings[place] = heading
