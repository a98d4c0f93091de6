"""What an optimizer is, as integers and strings; needs neither NumPy nor PyTorch.

hyperparameters   a value's range stated once: it makes the check, the message, the docs row, the tests' bad values
storage           formats of a state tensor and their bytes
shapes            covers (SM3), near-square pair and packed signs (SMMF)
state             StateTensor, and what a rule must offer
sm3, smmf         one optimizer per file
schedule          SM3's learning-rate recipe
"""

from sm3.optim.rules.sm3 import SM3Rule
from sm3.optim.rules.smmf import SMMFRule
from sm3.optim.rules.state import Rule, StateTensor

__all__ = ["RULES", "Rule", "SM3Rule", "SMMFRule", "StateTensor"]

RULES: dict[str, type[Rule]] = {"SM3": SM3Rule, "SMMF": SMMFRule}
