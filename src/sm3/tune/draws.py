"""The settings of trial 0, 1, 2, ...: row i is decided by (sampler, seed, i) alone, never by what ran before.

So a study that was killed goes on with the rows it would have had, and a longer one begins with those of the shorter.
Sampling by Optuna itself was tried: `RandomSampler(seed)` draws the same first trials again after a restart, and
`QMCSampler` takes its first trial from outside the sequence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from sm3.tune.space import Space, Value


def settings(space: Space, count: int) -> list[dict[str, Value]]:
    """The hyper-parameters of the first `count` rows.

    >>> from sm3.tune.space import parse
    >>> space = parse('function = "m:f"\\nseed = 1\\n[parameters]\\nx = { kind = "int", low = 1, high = 6 }')
    >>> settings(space, 6) == settings(space, 600)[:6]
    True
    """
    names = [parameter.name for parameter in space.parameters]
    return [space.settings(dict(zip(names, row, strict=True))) for row in uniform(space, len(names), count).tolist()]


def uniform(space: Space, dimension: int, count: int) -> NDArray[np.float64]:  # (count, dimension), in [0, 1)
    """The uniform draws behind the settings; a hyper-parameter that is absent in a row has used its draw up."""
    if space.sampler == "random":
        # one generator for each row: a row is the same however many come before it in one go
        return np.array([np.random.default_rng([space.seed, row]).random(dimension) for row in range(count)])
    # A Sobol' sequence is balanced in blocks of powers of two, so a whole block is made and cut: Sobol' 1967; the
    # scrambling (Owen 1998, as in SciPy) makes each point uniform.
    sequence = qmc.Sobol(dimension, scramble=True, seed=np.random.default_rng(space.seed))
    block: NDArray[np.float64] = sequence.random_base2(max(count - 1, 0).bit_length())
    return block[:count]
