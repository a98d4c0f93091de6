"""A checkpoint file is intact or it is an error of ours; the old file survives whatever happens to the new one."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys

import pytest
import torch

from cases import CASES, DTYPES, SHAPES, everything, parameters, same, set_gradients
from sm3 import SM3, SMMF
from sm3.errors import CheckpointError, StateMismatchError
from sm3.optim.torch import checkpoint, load, save

EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=str)


ALL_SHAPES = tuple(SHAPES.values())


def stepped(case, dtype=torch.float32, shapes=ALL_SHAPES, steps=2):
    params = parameters(list(shapes), dtype)
    optimizer = case.make(params, rounding="stochastic", seed=3)
    for step in range(steps):
        set_gradients(params, step, zeros=True)
        optimizer.step()
    return params, optimizer


def twin(case, params):
    copies = [param.detach().clone().requires_grad_() for param in params]
    return copies, case.make(copies)


@EVERY_CASE
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_run_resumed_from_a_file_is_bit_equal(tmp_path, case, dtype):
    """Settings, seed, counters and every state tensor come back; the next steps agree."""
    params, optimizer = stepped(case, dtype)
    save(optimizer, tmp_path / "optimizer.safetensors")
    copies, other = twin(case, params)
    load(other, tmp_path / "optimizer.safetensors")
    assert same(everything(optimizer), everything(other))
    for step in range(2, 5):
        set_gradients(params, step)
        set_gradients(copies, step)
        optimizer.step()
        other.step()
    assert same(everything(optimizer), everything(other))
    assert list(tmp_path.iterdir()) == [tmp_path / "optimizer.safetensors"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file with every kind of state tensor: bytes, path, and an optimizer it would load into."""
    folder = tmp_path_factory.mktemp("saved")
    case = CASES[-1]  # SMMF with the cautious mask: factors, signs, counters
    params, optimizer = stepped(case, shapes=((12, 20), (31,), (), (0, 3)))
    path = folder / "optimizer.safetensors"
    save(optimizer, path)
    return path.read_bytes(), folder, twin(case, params)[1]


def test_every_flipped_bit_is_detected(saved):
    """400 random single-bit flips over the whole file and 400 in the header: none loads or changes the optimizer."""
    content, folder, optimizer = saved
    header_end = 8 + struct.unpack("<Q", content[:8])[0]
    generator = random.Random(0)
    places = [(generator.randrange(len(content)), generator.randrange(8)) for _ in range(400)]
    places += [(generator.randrange(header_end), generator.randrange(8)) for _ in range(400)]
    damaged = folder / "flipped.safetensors"
    for position, bit in places:
        flipped = bytearray(content)
        flipped[position] ^= 1 << bit
        damaged.write_bytes(flipped)
        with pytest.raises(CheckpointError, match=r"flipped\.safetensors"):
            load(optimizer, damaged)
    assert not optimizer.state


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"F32"', b'"I32"'), (b'"shape":[16]', b'"shape":[4,4]'), (b"m_row", b"v_row")],
    ids=["dtype", "shape", "name"],
)
def test_a_header_that_describes_its_tensors_otherwise_is_detected(saved, old, new):
    """The bytes of the tensors are untouched: name, dtype and shape are part of the digest."""
    content, folder, optimizer = saved
    length = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + length]
    described = header.replace(old, new) if old == b"m_row" else header.replace(old, new, 1)
    assert described != header
    path = folder / "described.safetensors"
    path.write_bytes(struct.pack("<Q", len(described)) + described + content[8 + length :])
    with pytest.raises(CheckpointError):
        load(optimizer, path)


def test_every_truncation_is_detected(saved):
    """200 lengths, the empty file and one byte short among them."""
    content, folder, optimizer = saved
    generator = random.Random(1)
    lengths = [0, 1, 7, 8, 9, len(content) - 1] + [generator.randrange(len(content)) for _ in range(194)]
    damaged = folder / "short.safetensors"
    for length in lengths:
        damaged.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match=f"{length} bytes"):
            load(optimizer, damaged)
    damaged.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError):
        load(optimizer, damaged)
    assert not optimizer.state


@pytest.mark.parametrize("size", [0, 1, 2**31, 2**63 - 1, 2**64 - 1])
def test_a_header_that_lies_about_its_size_is_an_error_in_no_time(saved, size):
    """Nothing is allocated on its word."""
    content, folder, optimizer = saved
    path = folder / "lying.safetensors"
    path.write_bytes(struct.pack("<Q", size) + content[8:])
    with pytest.raises(CheckpointError):
        load(optimizer, path)


def test_foreign_files_are_refused_by_name(tmp_path):
    """Another program's safetensors, a pickle, text, a folder, nothing at all."""
    import safetensors.torch

    optimizer = SM3(parameters([(3,)]))
    safetensors.torch.save_file({"weight": torch.ones(3)}, tmp_path / "weights.safetensors")
    torch.save({"state": {}}, tmp_path / "pickle.pt")
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name in ("weights.safetensors", "pickle.pt", "text.txt", "folder", "absent"):
        with pytest.raises(CheckpointError, match=name):
            load(optimizer, tmp_path / name)


def test_a_newer_file_says_so(tmp_path, monkeypatch):
    """Both versions are in the message."""
    params = parameters([(3,)])
    monkeypatch.setattr(checkpoint, "FILE_VERSION", 7)
    save(SM3(params), tmp_path / "new.safetensors")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"(?s)file version 7.*up to 1"):
        load(SM3(params), tmp_path / "new.safetensors")


def test_an_intact_file_of_another_model_is_a_state_mismatch(tmp_path):
    """The file is good, the optimizer is another."""
    params = parameters([(3, 4)])
    optimizer = SMMF(params)
    set_gradients(params, 0)
    optimizer.step()
    save(optimizer, tmp_path / "a.safetensors")
    for other in (SMMF(parameters([(5, 4)])), SM3(parameters([(3, 4)])), SMMF(parameters([(3, 4), (2,)]))):
        with pytest.raises(StateMismatchError):
            load(other, tmp_path / "a.safetensors")
        assert not other.state


@pytest.mark.parametrize("fault", ["save_file", "fsync", "replace"])
def test_the_old_file_survives_a_failed_save(tmp_path, monkeypatch, fault):
    """A full disk while writing, flushing or renaming: one error, the old bytes, no temporary file left."""
    params = parameters([(3, 4)])
    optimizer = SMMF(params)
    path = tmp_path / "optimizer.safetensors"
    save(optimizer, path)
    old = path.read_bytes()
    set_gradients(params, 0)
    optimizer.step()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    if fault == "save_file":
        monkeypatch.setattr(checkpoint.safetensors.torch, "save_file", fail)
    else:
        monkeypatch.setattr(checkpoint.os, fault, fail)
    with pytest.raises(CheckpointError, match="No space left"):
        save(optimizer, path)
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_paths_that_cannot_be_written_are_errors(tmp_path):
    """A folder, a missing folder."""
    optimizer = SM3(parameters([(3,)]))
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "missing" / "file"):
        with pytest.raises(CheckpointError):
            save(optimizer, path)


def test_a_symbolic_link_is_followed(tmp_path):
    """The link stays a link; the file it points to is replaced."""
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "optimizer.safetensors", tmp_path / "latest"
    save(SM3(parameters([(3,)])), target)
    link.symlink_to(target)
    save(SM3(parameters([(3,)]), lr=0.75), link)
    assert link.is_symlink()
    other = SM3(parameters([(3,)]))
    load(other, target)
    assert other.param_groups[0]["lr"] == 0.75


def test_group_values_of_schedulers_survive_and_others_are_refused(tmp_path):
    """Numbers, tuples, None and tensors come back as they were; what JSON cannot hold is named."""
    params = parameters([(3,)])
    optimizer = SM3([{"params": params, "betas": (0.9, 0.99), "max_lr": None}], lr=torch.tensor(0.3))
    save(optimizer, tmp_path / "a")
    other = SM3(parameters([(3,)]))
    load(other, tmp_path / "a")
    group = other.param_groups[0]
    assert group["betas"] == (0.9, 0.99)
    assert group["max_lr"] is None
    assert isinstance(group["lr"], torch.Tensor)
    optimizer.param_groups[0]["odd"] = object()
    with pytest.raises(CheckpointError, match="'odd'"):
        save(optimizer, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_floats_in_the_settings_repeat_exactly(tmp_path):
    """0.1 + 0.2 is not 0.3, also after loading."""
    optimizer = SM3(parameters([(3,)]), lr=0.1 + 0.2)
    save(optimizer, tmp_path / "a")
    other = SM3(parameters([(3,)]))
    load(other, tmp_path / "a")
    assert other.param_groups[0]["lr"] == 0.1 + 0.2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_while_saving_the_last_complete_file_loads(tmp_path):
    """A process that saves without pause is killed 100 times; each time the file loads, with all parts of one step."""
    program = tmp_path / "saver.py"
    program.write_text(SAVER)
    path = tmp_path / "optimizer.safetensors"
    # One interpreter that forks: a hundred imports of PyTorch would take minutes. Warnings about forking stay in there.
    result = subprocess.run([sys.executable, program, path], capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["100", "loadable"]
    strays = [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
    assert len(strays) <= 100


SAVER = """
import os, random, signal, sys, time
import torch
from sm3 import SM3
from sm3.optim.torch import load, save

torch.set_num_threads(1)

def save_without_pause(path):
    param = torch.zeros(200, 300, requires_grad=True)
    optimizer = SM3([param])
    param.grad = torch.ones_like(param)
    while True:
        optimizer.step()
        save(optimizer, path)

def check(path):
    param = torch.zeros(200, 300, requires_grad=True)
    optimizer = SM3([param])
    load(optimizer, path)
    steps = int(optimizer.state[param]["step"])
    # All gradients are 1: after t steps of the sum every accumulator is t.
    assert steps >= 1 and torch.equal(optimizer.state[param]["accumulator_1"], torch.full((300,), float(steps)))

path, random_delay = sys.argv[1], random.Random(2)
param = torch.zeros(200, 300, requires_grad=True)
optimizer = SM3([param])
param.grad = torch.ones_like(param)
optimizer.step()
save(optimizer, path)
for _ in range(100):
    child = os.fork()
    if child == 0:
        save_without_pause(path)
    time.sleep(random_delay.uniform(0.01, 0.06))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    check(path)
print("100 loadable")
"""


def test_the_file_is_plain_safetensors_of_the_planned_size(saved):
    """Any reader of the format opens it, and its data is exactly the optimizer's bytes."""
    content, _, _ = saved
    header_end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:header_end])
    _, optimizer = stepped(CASES[-1], shapes=((12, 20), (31,), (), (0, 3)))
    assert len(content) - header_end == optimizer.state_bytes()
    assert "state.0.m_sign" in header
