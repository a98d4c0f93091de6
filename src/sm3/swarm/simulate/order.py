"""Diagnostics of the motion: vortex order, net rotation, correlation. They test the simulator; no classifier sees
them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sm3.swarm.simulate.zonal import Motion

GRID_UM = 8.0  # side of the cells over which velocities are averaged


def flow(motion: Motion, diameter: float, grid: float = GRID_UM) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean velocity on square cells of `grid` um: places (cells, 2) in um and velocities (cells, 2) in um/s."""
    place = motion.position[len(motion.times) // 2]
    column = np.floor((place + diameter / 2) / grid).astype(int)
    across = math.ceil(diameter / grid)
    index = np.clip(column[:, 0], 0, across - 1) * across + np.clip(column[:, 1], 0, across - 1)
    count = np.bincount(index, minlength=across**2)
    filled = count > 0
    velocity = motion.velocity
    mean = [np.bincount(index, velocity[:, axis], across**2)[filled] / count[filled] for axis in (0, 1)]
    x, y = np.divmod(np.flatnonzero(filled), across)
    centre = (np.stack([x, y], axis=1) + 0.5) * grid - diameter / 2
    return centre, np.stack(mean, axis=1)


def vortex_order(motion: Motion, diameter: float, grid: float = GRID_UM) -> float:
    """VOP = (sum abs(v . t) / sum norm(v) - 2/pi) / (1 - 2/pi), Wioland et al., PRL 110, 268102: 1 one rotor, about 0
    isotropic.
    """
    place, velocity = flow(motion, diameter, grid)
    return tangential_order(place, velocity)


def tangential_order(place: NDArray[np.float64], velocity: NDArray[np.float64]) -> float:
    """The vortex order of velocities (n, 2) at places (n, 2) from the centre; NaN where nothing moves.

    >>> angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    >>> round(tangential_order(np.c_[np.cos(angle), np.sin(angle)], np.c_[-np.sin(angle), np.cos(angle)]), 6)
    1.0
    """
    distance = np.hypot(place[:, 0], place[:, 1])
    off_centre = distance > 0
    place, velocity, distance = place[off_centre], velocity[off_centre], distance[off_centre]
    along = np.abs(velocity[:, 1] * place[:, 0] - velocity[:, 0] * place[:, 1]) / distance
    total = np.hypot(velocity[:, 0], velocity[:, 1]).sum()
    return float((along.sum() / total - 2 / math.pi) / (1 - 2 / math.pi)) if total > 0 else math.nan


def net_rotation(motion: Motion) -> float:
    """<r x v> / <|r| |v|> over the agents, in [-1, 1]; positive is counter-clockwise with y upwards."""
    place, velocity = motion.position[len(motion.times) // 2], motion.velocity
    turn = place[:, 0] * velocity[:, 1] - place[:, 1] * velocity[:, 0]
    size = np.hypot(place[:, 0], place[:, 1]) * np.hypot(velocity[:, 0], velocity[:, 1])
    return float(turn.sum() / size.sum())


def correlation_length(motion: Motion, *, bin_um: float = 2.0, reach: float = 60.0) -> float:
    """First zero of the velocity correlation <v_i . v_j>(r), um, by linear interpolation; infinity if it has none."""
    place, velocity = motion.position[len(motion.times) // 2], motion.velocity
    i, j = np.triu_indices(len(place), 1)
    distance = np.hypot(*(place[i] - place[j]).T)
    product = (velocity[i] * velocity[j]).sum(axis=1)
    near = distance < reach
    index = (distance[near] / bin_um).astype(int)
    count = np.bincount(index)
    curve = np.bincount(index, product[near]) / np.maximum(count, 1)
    negative = np.flatnonzero((curve <= 0) & (count > 0))
    if len(negative) == 0 or negative[0] == 0:
        return math.inf if len(negative) == 0 else 0.0
    last = negative[0]
    share = curve[last - 1] / (curve[last - 1] - curve[last])
    return float((last - 0.5 + share) * bin_um)
