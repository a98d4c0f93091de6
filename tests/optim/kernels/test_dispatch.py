"""Which backend serves: None, "eager", "cpu", with and without the library."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from cases import parameters
from native import needs_library
from sm3 import SM3, SMMF
from sm3.errors import MissingExtraError, SettingError
from sm3.optim.kernels import dispatch
from sm3.optim.kernels.cpu import library
from sm3.optim.kernels.eager.sm3 import sm3_step_
from sm3.optim.kernels.eager.smmf import smmf_step_

EAGER = {"SM3": sm3_step_, "SMMF": smmf_step_}


@pytest.fixture
def no_library(monkeypatch):
    """As after an installation without a compiler."""
    monkeypatch.setattr(library, "PATH", Path("nowhere") / "libsm3_cpu.so")
    monkeypatch.delenv("SM3_REQUIRE_NATIVE", raising=False)
    library._load.cache_clear()
    dispatch._say_once.cache_clear()
    yield
    monkeypatch.undo()
    library._load.cache_clear()
    dispatch._say_once.cache_clear()


@pytest.mark.parametrize("name", ["SM3", "SMMF"])
def test_eager_is_eager(name):
    """Whatever is installed."""
    assert dispatch.kernel_for(name, "eager") is EAGER[name]


@needs_library
@pytest.mark.parametrize("name", ["SM3", "SMMF"])
@pytest.mark.parametrize("backend", [None, "cpu"])
def test_the_library_serves_tensors_on_the_cpu(name, backend):
    """By default, and when asked for."""
    assert dispatch.kernel_for(name, backend) is not EAGER[name]


@needs_library
def test_a_group_on_other_devices_is_stepped_by_the_eager_kernel(monkeypatch):
    """In one list, each tensor by who can: here a tensor that says it is not on the CPU."""
    seen = []
    monkeypatch.setitem(dispatch._EAGER, "SM3", lambda params, *rest: seen.append(("eager", len(params), rest[-1])))
    monkeypatch.setitem(dispatch._CPU, "SM3", lambda params, *rest: seen.append(("cpu", len(params), rest[-1])))
    here, elsewhere = torch.zeros(2), torch.zeros(3, device="meta")
    dispatch.kernel_for("SM3", None)([elsewhere, here], [None, None], [{}, {}], None, [4, 5])
    assert seen == [("cpu", 1, [5]), ("eager", 1, [4])]


@pytest.mark.parametrize("optimizer_class", [SM3, SMMF])
def test_without_the_library_steps_run_and_it_is_said_once(no_library, caplog, optimizer_class):
    """One line on the logger "sm3", no warning."""
    with caplog.at_level(logging.INFO, logger="sm3"):
        for _ in range(2):
            param = parameters([(3, 4)])[0]
            param.grad = torch.ones_like(param)
            before = param.detach().clone()
            optimizer = optimizer_class([param])
            optimizer.step()
            optimizer.step()
            assert not torch.equal(before, param)
    assert [record.name for record in caplog.records] == ["sm3"]
    assert "libsm3_cpu.so is not installed" in caplog.text
    assert not library.available()


@pytest.mark.parametrize("name", ["SM3", "SMMF"])
def test_without_the_library_asking_for_it_says_what_to_do(no_library, name):
    """An ImportError with four parts."""
    with pytest.raises(MissingExtraError, match="install a wheel, or a C") as caught:
        dispatch.kernel_for(name, "cpu")
    assert isinstance(caught.value, ImportError)
    assert "no C++ compiler was found" in str(caught.value)


def test_require_native_makes_absence_an_error(no_library, monkeypatch):
    """SM3_REQUIRE_NATIVE=1, for those who would rather fail than be slow; an explicit "eager" is still obeyed."""
    monkeypatch.setenv("SM3_REQUIRE_NATIVE", "1")
    with pytest.raises(MissingExtraError):
        dispatch.kernel_for("SM3", None)
    assert dispatch.kernel_for("SM3", "eager") is sm3_step_


@needs_library
def test_a_library_of_another_version_is_refused(monkeypatch):
    """It could read the tables in another way."""
    monkeypatch.setattr(library, "ABI", 999)
    library._load.cache_clear()
    try:
        assert not library.available()
        assert "another version" in library.why_not()
    finally:
        monkeypatch.undo()
        library._load.cache_clear()


def test_a_file_that_is_no_library_is_refused(no_library, monkeypatch, tmp_path):
    """Damaged or for another machine: the loader's own words are passed on."""
    broken = tmp_path / "libsm3_cpu.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(library, "PATH", broken)
    library._load.cache_clear()
    assert not library.available()
    assert "cannot be loaded" in library.why_not()


def test_an_unknown_backend_is_refused():
    """By the rule's own ranges."""
    with pytest.raises(SettingError, match="'eager' or 'cpu'"):
        SM3(parameters([(3,)]), backend="gpu")


@pytest.mark.parametrize("optimizer", [SM3, SMMF])
def test_triton_is_for_cuda_and_says_so_before_anything_moves(optimizer):
    """On the CPU it is refused, and neither parameter nor state exists differently afterwards."""
    pytest.importorskip("triton")
    param = torch.ones(3, requires_grad=True)
    param.grad = torch.ones(3)
    with pytest.raises(SettingError, match="parameters on CUDA"):
        (built := optimizer([param], backend="triton")).step()
    assert torch.equal(param, torch.ones(3))
    assert not built.state
