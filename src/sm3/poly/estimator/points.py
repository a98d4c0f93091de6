"""Where to evaluate a function, in the units of its inputs: the samples of design/sampling.py through their maps.

"mc"           independent draws from the inputs' distributions
"lhs"          Latin hypercube: one point in each of n equally probable slices of every input
"sobol"        scrambled Sobol' sequence
"christoffel"  independent draws with weights that suit the terms of a model
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sm3.errors import SettingError, explain
from sm3.poly.basis.one_variable import Basis
from sm3.poly.design import sampling
from sm3.poly.estimator.terms import degree_caps, terms_of
from sm3.poly.index_sets.multi_index import IndexSet
from sm3.poly.inputs.features import is_range, physical, specifications
from sm3.poly.inputs.one_input import Input, input_of

Array = NDArray[np.float64]
KINDS = ("mc", "lhs", "sobol", "christoffel")
_SPACE_FILLING: dict[str, Callable[[Sequence[Basis], int, np.random.Generator], sampling.Sample]] = {
    "mc": sampling.monte_carlo,
    "lhs": sampling.latin_hypercube,
    "sobol": sampling.sobol,
}


def generator(random_state: Any) -> np.random.Generator:
    """A Generator from what scikit-learn calls `random_state`: None, a number, a Generator or a RandomState."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31 - 1, size=4))
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise SettingError(
            explain(
                "random_state has a value that no random numbers can start from.",
                got=f"{random_state!r}"[:80],
                accepted="None, an integer >= 0, a numpy Generator or RandomState",
                do="pass an integer for repeatable results",
            )
        ) from error


def sample(
    inputs: Sequence[Input], n: int, kind: str, rng: np.random.Generator, index_set: IndexSet | None = None
) -> tuple[NDArray[Any], Array]:
    """n points (n, d) and their weights (n,), mean about 1; `index_set`: the terms that "christoffel" suits.

    >>> from sm3.poly.inputs.one_input import box
    >>> x, weight = sample([box(0, 10)], 4, "lhs", np.random.default_rng(0))
    >>> np.sort(x.ravel() // 2.5).tolist(), weight.tolist()
    ([0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0])
    """
    bases = [one.basis for one in inputs]
    if kind in _SPACE_FILLING:
        drawn = _SPACE_FILLING[kind](bases, n, rng)
    elif kind == "christoffel" and index_set is not None:
        drawn = sampling.christoffel(bases, index_set, n, rng)
    else:
        raise SettingError(
            explain(
                "this kind of design is not known.",
                got=repr(kind),
                accepted=", ".join(map(repr, KINDS)),
                do='"mc" is enough for 8 smooth inputs or more, none of them dominant',
            )
        )
    return physical(inputs, drawn.points), drawn.weights


def stated_inputs(inputs: Any, transformation: str, n_features: int | None) -> list[Input]:
    """The inputs that an estimator was given, before it has seen any data. `SettingError` where one is not given."""
    if isinstance(inputs, Mapping):
        names = list(inputs)
    elif isinstance(inputs, list | tuple) and not is_range(inputs):
        names = [f"x{j}" for j in range(len(inputs))]
    else:
        names = [f"x{j}" for j in range(n_features or 0)]
    specs = specifications(inputs, names)
    unknown = [name for name, spec in zip(names, specs, strict=True) if isinstance(spec, str)]
    if not names or unknown:
        raise SettingError(
            explain(
                "there is nothing to draw from: the distributions of the inputs are not known before a fit.",
                got=f"inputs={inputs!r}"[:120] + (f", n_features={n_features}" if not names else ""),
                accepted="a list or a mapping with a distribution for each feature; one for all with n_features",
                do="pass for example inputs=[(0, 1), (0, 1)], or fit first",
            )
        )
    return [input_of(spec, name, transform=transformation) for spec, name in zip(specs, names, strict=True)]


def terms_for(inputs: Sequence[Input], n: int, kind: object, degree: int | None) -> IndexSet:
    """The terms that n points are good for: the largest set of a kind with k log k <= n, or that of the degree."""
    if isinstance(kind, IndexSet):
        return kind
    size = 1
    while (size + 1) * np.log(size + 1) <= n:
        size += 1
    return terms_of(inputs, degree_caps(inputs), kind, degree, size)
