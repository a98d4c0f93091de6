"""What other optimizers allocate: one function per optimizer, from a parameter's shape and dtype to bytes by tensor.

Each names its source. "measured": our tests step the library's optimizer and compare, byte for byte. "formula": written
down from the library's source; where that library is installed, the same tests compare it too (Lion, CAME, AdamW8bit:
done with the versions named). FlashAdamW needs a CUDA device for its small state: it was read, not run.

Counted is every tensor in `optimizer.state`, step counters included; Python numbers are not tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, prod
from typing import Literal

from sm3.optim.rules.hyperparameters import Flag, Hyperparameter, Integer, Real
from sm3.optim.rules.storage import BYTES_PER_ELEMENT, PARAMETER_DTYPES

Evidence = Literal["measured", "formula"]
# bytes of each state tensor of one parameter, by the name the library gives it
StateBytes = dict[str, int]


def adamw(shape: tuple[int, ...], dtype: str, *, amsgrad: bool = False) -> StateBytes:
    """torch.optim.AdamW, torch 2.13: two moments in the parameter's dtype, a float32 step.

    (Where float64 is PyTorch's default dtype, the step is float64: 8 bytes.)
    """
    moment = prod(shape) * BYTES_PER_ELEMENT[dtype]
    state = {"step": 4, "exp_avg": moment, "exp_avg_sq": moment}
    return {**state, "max_exp_avg_sq": moment} if amsgrad else state


def sgd(shape: tuple[int, ...], dtype: str, *, momentum: float = 0.0) -> StateBytes:
    """torch.optim.SGD, torch 2.13: with momentum one buffer like the gradient, else nothing; there is no step."""
    return {"momentum_buffer": prod(shape) * BYTES_PER_ELEMENT[dtype]} if momentum else {}


def adafactor(shape: tuple[int, ...], dtype: str) -> StateBytes:
    """torch.optim.Adafactor, torch 2.13 (Shazeer & Stern 2018): no first moment, state in the gradient's dtype.

    From two dimensions on the second moment is a row and a column factor over the *last two*: of a 1 x 1 convolution
    each factor has as many elements as the parameter.
    """
    size = BYTES_PER_ELEMENT[dtype]
    if len(shape) < 2:
        return {"step": 4, "variance": prod(shape) * size}
    return {"step": 4, "row_var": prod(shape[:-1]) * size, "col_var": prod((*shape[:-2], shape[-1])) * size}


def muon(shape: tuple[int, ...], dtype: str) -> StateBytes:
    """torch.optim.Muon, torch 2.13 (Jordan 2024): one momentum, and matrices only; AdamW for every other parameter.

    All two-dimensional parameters are counted as Muon's. Its author gives embedding and output head to AdamW as well:
    then each of these has one more tensor of its size, and a step.
    """
    if len(shape) != 2:
        return adamw(shape, dtype)
    return {"momentum_buffer": prod(shape) * BYTES_PER_ELEMENT[dtype]}


def lion(shape: tuple[int, ...], dtype: str) -> StateBytes:
    """lion-pytorch 0.2.5 (Chen et al. 2023): one momentum in the parameter's dtype, no step."""
    return {"exp_avg": prod(shape) * BYTES_PER_ELEMENT[dtype]}


def came(shape: tuple[int, ...], dtype: str) -> StateBytes:
    """came-pytorch 0.1.3 (Luo et al. 2023): a momentum, and factors of two second moments over the last two dimensions.

    The gradient is taken to float32 first, so the state is float32 for 16-bit parameters too; RMS is one number in the
    parameter's dtype.
    """
    size, numel = max(4, BYTES_PER_ELEMENT[dtype]), prod(shape)
    state = {"exp_avg": numel * size, "RMS": BYTES_PER_ELEMENT[dtype]}
    if len(shape) < 2:
        return {**state, "exp_avg_sq": numel * size}
    rows, columns = prod(shape[:-1]) * size, prod((*shape[:-2], shape[-1])) * size
    return {
        **state,
        "exp_avg_sq_row": rows,
        "exp_avg_sq_col": columns,
        "exp_avg_res_row": rows,
        "exp_avg_res_col": columns,
    }


def adamw8bit(shape: tuple[int, ...], dtype: str, *, min_8bit_size: int = 4096) -> StateBytes:  # noqa: ARG001
    """bitsandbytes 0.50.2, optim.AdamW8bit (Dettmers et al. 2022): one byte per moment, a float32 scale per 256.

    Parameters below `min_8bit_size` elements keep both moments in float32. The two tables of 256 float32 values
    (qmap1, qmap2) are one pair for all parameters.
    """
    numel = prod(shape)
    if numel < min_8bit_size:
        return {"state1": 4 * numel, "state2": 4 * numel}
    scales = 4 * ceil(numel / 256)
    return {"state1": numel, "state2": numel, "absmax1": scales, "absmax2": scales, "qmap1": 1024, "qmap2": 1024}


def flash_adamw(shape: tuple[int, ...], dtype: str) -> StateBytes:
    """flashoptim 0.1.4, FlashAdamW on CUDA (Databricks 2026, arXiv 2602.23349): int8 moments, a float16 scale per 32.

    A 16-bit parameter gets one more byte per element, to 24 bits (`master_weight_bits=24`, the default): part of the
    state, and of the comparison, for it stands in for a float32 copy of the weights.
    """
    numel = prod(shape)
    scales = 2 * ceil(numel / 32)
    state = {"step": 8, "exp_avg": numel + scales, "exp_avg_sq": numel + scales}
    return {**state, "error_bits": numel} if BYTES_PER_ELEMENT[dtype] == 2 else state


@dataclass(frozen=True)
class Peer:
    """One optimizer of another library."""

    name: str
    library: str
    evidence: Evidence
    state: Callable[..., StateBytes]  # (shape, dtype, **settings)
    hyperparameters: tuple[Hyperparameter, ...] = ()  # those that change the bytes, no others
    dtypes: tuple[str, ...] = PARAMETER_DTYPES
    shared: tuple[str, ...] = ()  # state tensors that are one and the same for all parameters
    note: str = ""


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("AdamW", "torch 2.13", "measured", adamw, (Flag("amsgrad", False),)),
        Peer("SGD", "torch 2.13", "measured", sgd, (Real("momentum", 0.0, low=0.0),)),
        Peer("Adafactor", "torch 2.13", "measured", adafactor, note="without a first moment"),
        Peer("Muon", "torch 2.13", "measured", muon, note="for matrices; AdamW for every other parameter"),
        Peer("Lion", "lion-pytorch 0.2.5", "formula", lion),
        Peer("CAME", "came-pytorch 0.1.3", "formula", came),
        Peer(
            "AdamW8bit",
            "bitsandbytes 0.50.2",
            "formula",
            adamw8bit,
            # the ceiling only keeps a mistyped number out (chosen)
            (Integer("min_8bit_size", 4096, low=1, high=2**40),),
            dtypes=("float32", "bfloat16", "float16"),
            shared=("qmap1", "qmap2"),
        ),
        Peer(
            "FlashAdamW",
            "flashoptim 0.1.4",
            "formula",
            flash_adamw,
            dtypes=("float32", "bfloat16", "float16"),
            note="CUDA only; with 16-bit weights it holds 8 more bits of each, counted as state",
        ),
    )
}
