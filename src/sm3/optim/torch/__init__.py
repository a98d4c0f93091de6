"""SM3 and SMMF for PyTorch: drop-in replacements for `torch.optim.AdamW`.

sm3, smmf     the two classes and their documentation
loop          the only step loop
inputs        what is refused, one message each
state_dict    lossless and validated loading
checkpoint    save and load: one file, a digest per tensor, never half-written
schedule      SM3's warm-up and cool-down as a scheduler
release       each parameter steps inside backward, and its gradient is freed
convert       another optimizer in the middle of a run, with the old one's state
lean          bfloat16 weights, stochastic rounding and gradient release in one call
"""

from sm3.extras import require

require("torch")  # first, so that what is missing is said with its install line
require("safetensors")

from sm3.optim.torch.checkpoint import load, save  # noqa: E402
from sm3.optim.torch.conversion import Conversion  # noqa: E402
from sm3.optim.torch.convert import convert_adagrad_state, convert_adamw_state  # noqa: E402
from sm3.optim.torch.lean import Lean, lean  # noqa: E402
from sm3.optim.torch.release import GradientRelease  # noqa: E402
from sm3.optim.torch.schedule import warmup_cooldown  # noqa: E402
from sm3.optim.torch.sm3 import SM3  # noqa: E402
from sm3.optim.torch.smmf import SMMF  # noqa: E402

__all__ = [
    "SM3",
    "SMMF",
    "Conversion",
    "GradientRelease",
    "Lean",
    "convert_adagrad_state",
    "convert_adamw_state",
    "lean",
    "load",
    "save",
    "warmup_cooldown",
]
