"""What the tests of the CPU kernels share: the skip where there is no library, instruction sets, exact roots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from cases import Case
from sm3.optim.kernels.cpu import library
from sm3.optim.rules import Rule

needs_library = pytest.mark.skipif(not library.available(), reason=f"no CPU kernels: {library.why_not()}")

# Shapes of this backend, besides those of the conformance table.
FLAT = [(16,), (33,), (1, 40), (40, 1), (1, 40, 1), (4096,)]
MATRICES = [(33, 47), (200, 70), (64, 3, 7, 7), (16, 5, 3, 3), (5, 2050), (2, 3, 4, 5), (3, 4097)]


def available_isas() -> list[str]:
    """The instruction sets of this processor."""
    found = []
    if library.available():
        before = library.isa()
        for name in library.ISAS:
            try:
                library.set_isa(name)
            except ValueError:
                continue
            found.append(name)
        library.set_isa(before)
    return found


@pytest.fixture(params=available_isas() or ["none"])
def every_isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """The test runs once per instruction set."""
    before = library.isa()
    library.set_isa(request.param)
    yield request.param
    library.set_isa(before)


def rule_of(case: Case, **more: Any) -> Rule:
    """The rule of a case."""
    rule = case.optimizer.RULE
    return rule.of({**rule.defaults(), **case.settings, **more})


def fresh_state(rule: Rule, param: Tensor) -> dict[str, Tensor]:
    """State before the first step."""
    declared = rule.state(tuple(param.shape), str(param.dtype).removeprefix("torch."))
    return {tensor.name: torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype)) for tensor in declared}


def equal_bits(a: Tensor, b: Tensor) -> bool:
    """Bit-equality; any NaN equals any NaN, whose payload is the processor's choice."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    both = a.isnan() & b.isnan()
    integer = {8: torch.int64, 4: torch.int32, 2: torch.int16}[a.element_size()]
    return bool((both | (a.contiguous().view(integer) == b.contiguous().view(integer))).all())


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """PyTorch's number of threads, which is ours too."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
