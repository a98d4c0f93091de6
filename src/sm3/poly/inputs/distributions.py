"""A frozen distribution of scipy.stats -> its polynomials and its map; and as data: a name and numbers.

Which distribution has which polynomials is the table of one_input.py. What may be read back from a file is the list
below: names of distributions whose parameters are numbers, so that a file can name nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from sm3.errors import SettingError, explain
from sm3.poly.basis.classical import Chebyshev1, Chebyshev2, Hermite, Jacobi, Laguerre, Legendre
from sm3.poly.basis.density import FromDensity
from sm3.poly.basis.one_variable import Basis
from sm3.poly.inputs.maps import Affine, LogAffine, Map, Probability

TRANSFORMS = ("rosenblatt", "basis")
# Continuous distributions of scipy 1.13 with numbers as parameters; discrete ones are stored as their points.
_NAMES = """
    alpha anglit arcsine argus beta betaprime bradford burr burr12 cauchy chi chi2 cosine dgamma dweibull erlang
    expon exponnorm exponpow exponweib f fatiguelife fisk foldcauchy foldnorm gamma genexpon genextreme gengamma
    genhalflogistic genlogistic gennorm genpareto gibrat gompertz gumbel_l gumbel_r halfcauchy halfgennorm
    halflogistic halfnorm hypsecant invgamma invgauss invweibull johnsonsb johnsonsu kappa3 kappa4 laplace
    laplace_asymmetric levy levy_l loggamma logistic loglaplace lognorm loguniform lomax maxwell mielke moyal
    nakagami ncf nct ncx2 norm norminvgauss pareto pearson3 powerlaw powerlognorm powernorm rayleigh rdist
    reciprocal recipinvgauss rice semicircular skewcauchy skewnorm t trapezoid triang truncexpon truncnorm
    truncpareto truncweibull_min tukeylambda uniform vonmises_line wald weibull_max weibull_min
"""
STORABLE = frozenset(_NAMES.split())


def polynomials_of(frozen: Any, transform: str) -> tuple[Basis, Map]:
    """The rows of the table in one_input.py for a continuous distribution.

    >>> polynomials_of(stats.gamma(2.5, scale=3.0), "rosenblatt")
    (Laguerre(a=1.5), Affine(shift=0.0, scale=3.0))
    """
    named = parameters(frozen)
    loc, scale = named["loc"], named["scale"]
    middle = Affine(loc + 0.5 * scale, 0.5 * scale)
    match frozen.dist.name:
        case "uniform":
            return Legendre(), middle
        case "arcsine":
            return Chebyshev1(), middle
        case "semicircular":
            return Chebyshev2(), Affine(loc, scale)
        case "beta":
            return Jacobi(named["b"] - 1.0, named["a"] - 1.0), middle
        case "norm":
            return Hermite(), Affine(loc, scale)
        case "lognorm":
            return Hermite(), LogAffine(loc, float(np.log(scale)), named["s"])
        case "gamma" | "erlang":
            return Laguerre(named["a"] - 1.0), Affine(loc, scale)
        case "expon":
            return Laguerre(0.0), Affine(loc, scale)
        case "chi2":
            return Laguerre(0.5 * named["df"] - 1.0), Affine(loc, 2.0 * scale)
    if transform == "basis":
        return FromDensity(frozen), Affine(0.0, 1.0)
    return Legendre(), Probability(frozen)


def parameters(frozen: Any) -> dict[str, float]:
    """Name -> value, as scipy would bind them: shape parameters in order, then loc and scale.

    >>> parameters(stats.beta(2, 5, scale=3))
    {'loc': 0.0, 'scale': 3.0, 'a': 2.0, 'b': 5.0}
    """
    shapes = [name.strip() for name in (frozen.dist.shapes or "").split(",") if name.strip()]
    named: dict[str, Any] = {"loc": 0.0, "scale": 1.0}
    named |= dict(zip([*shapes, "loc", "scale"], frozen.args, strict=False)) | dict(frozen.kwds)
    if any(np.ndim(value) for value in named.values()):
        raise invalid(frozen, named)
    return {name: float(value) for name, value in named.items()}


def record_of(frozen: Any) -> dict[str, Any]:
    """The distribution as data: name, positional and named parameters."""
    return {
        "name": frozen.dist.name,
        "args": [float(value) for value in frozen.args],
        "kwds": {key: float(value) for key, value in frozen.kwds.items()},
    }


def frozen_of(record: Mapping[str, Any]) -> Any:
    """The distribution that a record describes. `SettingError` for a name that is not in the list, nothing is run then.

    >>> float(frozen_of({"name": "norm", "args": [5.0], "kwds": {"scale": 2.0}}).mean())
    5.0
    """
    name = record["name"]
    if name not in STORABLE:
        raise SettingError(
            explain(
                "this distribution cannot stand in a file.",
                got=repr(name)[:80],
                accepted="continuous distributions of scipy.stats whose parameters are numbers",
                do="describe the input by (lo, hi), by one of those, or by Discrete(values, probabilities)",
            )
        )
    kwds = {str(key): float(value) for key, value in record["kwds"].items()}
    return getattr(stats, name)(*map(float, record["args"]), **kwds)


def invalid(frozen: Any, named: Mapping[str, Any]) -> SettingError:
    """The error for parameters that scipy has frozen without a word and cannot use."""
    return SettingError(
        explain(
            "the parameters of a distribution are not ones it can have.",
            got=f"{frozen.dist.name} with {', '.join(f'{name}={value}' for name, value in named.items())}",
            accepted="one valid number per parameter",
            do="freeze one distribution per feature, for example scipy.stats.norm(loc=0, scale=1)",
        )
    )
