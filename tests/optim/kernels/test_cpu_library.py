"""The shared library as a citizen of a process: threads, forks, interpreter lock, environment, exported names."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from cases import everything, parameters, same, set_gradients
from native import available_isas, needs_library, with_threads
from sm3 import SM3, SMMF
from sm3.errors import SettingError
from sm3.optim.kernels.cpu import library

SHAPES = [(700, 600), (64, 3, 7, 7), (24,), (90_001,)]


def run(optimizer_class, steps=3, seed=0, **settings):
    """Everything of an optimizer after some steps."""
    params = parameters(SHAPES, seed=seed)
    optimizer = optimizer_class(params, lr=0.01, **settings)
    for step in range(steps):
        set_gradients(params, step)
        optimizer.step()
    return everything(optimizer)


def digest(params):
    """Of the bytes, by NumPy alone."""
    return hashlib.sha256(b"".join(param.detach().numpy().tobytes() for param in params)).hexdigest()


@needs_library
def test_it_says_which_instruction_set_it_uses():
    """One of those it knows, and an empty reason for absence."""
    assert library.available()
    assert library.why_not() == ""
    assert library.isa() in library.ISAS


@needs_library
def test_an_unknown_instruction_set_is_refused():
    """And the one in use stays."""
    before = library.isa()
    with pytest.raises(SettingError, match="SM3_ISA=avx1024"):
        library.set_isa("avx1024")
    assert library.isa() == before


@needs_library
@pytest.mark.parametrize("name", available_isas())
def test_the_environment_chooses_the_instruction_set(name):
    """SM3_ISA, in a fresh interpreter."""
    code = "from sm3.optim.kernels.cpu import library; print(library.isa())"
    environment = {**os.environ, "SM3_ISA": name}
    shown = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == name


@needs_library
@pytest.mark.parametrize("optimizer_class", [SM3, SMMF])
def test_a_child_of_a_fork_steps_on_its_own_threads(optimizer_class):
    """The pool's threads do not exist in the child; it makes new ones, and gets the same bits."""
    with with_threads(2):
        params = parameters(SHAPES)
        optimizer = optimizer_class(params, lr=0.01)
        set_gradients(params, 0)
        optimizer.step()
        # The child must not enter PyTorch's parallel loops: their threads do not survive a fork.
        set_gradients(params, 1)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                optimizer.step()
                os.write(writer, digest(params).encode())
            finally:
                os._exit(0)
        os.close(writer)
        deadline = time.monotonic() + 60
        while os.waitpid(child, os.WNOHANG)[0] == 0:
            if time.monotonic() > deadline:
                os.kill(child, 9)
                pytest.fail("the child hangs")
            time.sleep(0.01)
        optimizer.step()
        assert os.read(reader, 100).decode() == digest(params)
        os.close(reader)


@needs_library
def test_two_python_threads_step_two_optimizers():
    """The pool serves one list at a time; whoever finds it busy works alone. Same bits as one after the other."""
    with with_threads(2):
        expected = [run(SM3, steps=12, seed=1), run(SMMF, steps=12, seed=2)]
        results = [None, None]

        def work(place, optimizer_class, seed):
            results[place] = run(optimizer_class, steps=12, seed=seed)

        threads = [threading.Thread(target=work, args=(0, SM3, 1)), threading.Thread(target=work, args=(1, SMMF, 2))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(same(mine, other) for mine, other in zip(results, expected, strict=True))


@needs_library
@pytest.mark.parametrize("optimizer_class", [SM3, SMMF])
def test_flushing_denormals_means_the_same_on_every_thread(optimizer_class):
    """Workers take over the caller's control word: with set_flush_denormal too, threads change no bit."""
    results = []
    try:
        torch.set_flush_denormal(True)
        for threads in (1, 3):
            with with_threads(threads):
                params = parameters([(700, 600)])
                optimizer = optimizer_class(params, lr=0.01)
                for step in range(3):
                    set_gradients(params, step)
                    params[0].grad.mul_(1e-20)
                    optimizer.step()
                results.append(everything(optimizer))
    finally:
        torch.set_flush_denormal(False)
    assert same(*results)


@needs_library
def test_bad_arguments_are_refused_and_change_nothing():
    """Unknown dtypes, no threads, null pointers: a negative result, not a crash."""
    native = library.library()
    settings = library.Hyper(lr=0.1, grad_scale=1.0, param_dtype=9)
    assert native.sm3k_sm3_step(None, 0, ctypes.byref(settings), 1) == library.BAD_ARGUMENT
    settings.param_dtype = 0
    assert native.sm3k_sm3_step(None, 1, ctypes.byref(settings), 1) == library.BAD_ARGUMENT
    assert native.sm3k_sm3_step(None, 0, ctypes.byref(settings), 0) == library.BAD_ARGUMENT
    assert native.sm3k_sm3_step(None, 0, ctypes.byref(settings), 1) == 0
    zeros = (ctypes.c_int64 * 32)()
    zeros[6] = 2  # rank
    zeros[15] = zeros[16] = 3  # shape
    assert native.sm3k_sm3_step(ctypes.addressof(zeros), 1, ctypes.byref(settings), 1) == library.BAD_ARGUMENT
    assert native.sm3k_smmf_step(ctypes.addressof(zeros), 1, ctypes.byref(settings), 1) == library.BAD_ARGUMENT


@needs_library
@pytest.mark.parametrize("optimizer_class", [SM3, SMMF])
def test_an_empty_list_is_nothing_to_do(optimizer_class):
    """No parameter has a gradient."""
    optimizer = optimizer_class(parameters([(3,)]))
    optimizer.step()
    assert not optimizer.state


@needs_library
def test_no_function_of_one_instruction_set_is_visible_to_the_linker():
    """Only sm3k_* and weak templates of the standard library, which the baseline files alone bring in."""
    try:
        listing = subprocess.run(
            ["nm", "-DC", "--defined-only", library.PATH], capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        pytest.skip("no nm on this machine")
    for line in listing.stdout.splitlines():
        name = line.split(maxsplit=2)[2]
        assert name.startswith(("sm3k_", "std::", "void std::", "operator", "__", "_")), line
