"""Naming a model: built-in shapes to the last parameter, shape lists, checkpoints, and every kind of damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sm3.errors import InputError
from sm3.plan import MODELS, ParameterSpec, plan
from sm3.plan.models import specs_of
from sm3.plan.safetensors_header import from_safetensors
from sm3.plan.shapes import from_json, from_list

# What the authors' code counts: (elements, tensors).
COUNTS = {
    "bert-base": (109_482_240, 199),
    "bert-large": (335_141_888, 391),
    "gpt2-small": (124_439_808, 148),
    "gpt2-medium": (354_823_168, 292),
    "gpt2-large": (774_030_080, 436),
    "gpt2-xl": (1_557_611_200, 580),
    "llama-2-7b": (6_738_415_616, 291),
    "llama-3.1-8b": (8_030_261_248, 291),
    "resnet-50": (25_557_032, 161),
}


@pytest.mark.parametrize("name", MODELS)
def test_built_in_model_has_its_published_number_of_parameters(name: str) -> None:
    """One wrong shape changes the count, and every built-in model is in the table."""
    specs = specs_of(name)
    assert (sum(spec.numel for spec in specs), len(specs)) == COUNTS[name]
    assert len({spec.name for spec in specs}) == len(specs)


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_shape_lists_as_object_list_and_file_name_the_same_parameters(tmp_path: Path) -> None:
    """Names where there are some, positions where there are none; dtype and trainable where they are told."""
    told = {"w": [3, 4], "b": {"shape": [3], "dtype": "bfloat16", "trainable": False}, "s": []}
    specs = from_json(write(tmp_path / "m.json", told))
    assert specs == from_list(told) == specs_of(tmp_path / "m.json") == specs_of(str(tmp_path / "m.json"))
    assert specs == (
        ParameterSpec("w", (3, 4)),
        ParameterSpec("b", (3,), "bfloat16", trainable=False),
        ParameterSpec("s", ()),
    )
    assert [spec.name for spec in from_list([[3, 4], {"name": "b", "shape": [3]}, ()])] == ["0", "b", "2"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "nonsense",
        "[" * 100_000,
        '{"a": [1], "a": [2]}',
        '{"a": NaN}',
        "[1e999]",
        "3",
        "null",
        '"text"',
        "[]",
        "{}",
        "[3, 4]",
        "[[3.0]]",
        "[[-1]]",
        "[[true]]",
        '[["3"]]',
        "[[[3]]]",
        "[null]",
        '["34"]',
        "[[9223372036854775807, 2]]",
        '{"a": {"dtype": "float32"}}',
        '{"a": {"shape": [3], "dtypo": "float32"}}',
        '{"a": {"shape": [3], "dtype": "float33"}}',
        '{"a": {"shape": [3], "dtype": 32}}',
        '{"a": {"shape": [3], "trainable": "no"}}',
        '[{"name": "a", "shape": [3]}, {"name": "a", "shape": [3]}]',
        '{"model_type": "llama", "hidden_size": 4096}',
    ],
)
def test_a_damaged_shape_list_is_refused_in_four_parts(content: str, tmp_path: Path) -> None:
    """Not JSON, the wrong form, or a shape that cannot be: what happened, got, accepted, what to do."""
    with pytest.raises(InputError) as caught:
        plan(write(tmp_path / "damaged.json", content))
    assert all(f"\n  {part}" in str(caught.value) for part in ("got ", "accepted ", "do "))


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """Absent, a folder, or not text."""
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.json", "folder.json", "binary.json", "absent.safetensors"):
        with pytest.raises(InputError, match=name):
            specs_of(tmp_path / name)


def save(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def tensor(shape: list[int], dtype: str, size: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}


def test_a_checkpoint_of_the_library_is_read_without_its_weights(tmp_path: Path) -> None:
    """Names, shapes and dtypes are those of the module; statistics and integers are weights that are not trained."""
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).to(torch.bfloat16)
    path = tmp_path / "model.safetensors"
    save_file(module.state_dict(), path, metadata={"format": "pt"})
    path.write_bytes(path.read_bytes()[:-100])  # the data is cut short, the header is whole
    by_name = {spec.name: spec for spec in from_safetensors(path)}
    assert by_name.keys() == module.state_dict().keys()
    assert by_name["0.weight"] == ParameterSpec("0.weight", (8, 3, 3, 3), "bfloat16")
    frozen = {name for name, spec in by_name.items() if not spec.trainable}
    assert frozen == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert plan(path).state_bytes == plan(module).state_bytes


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x01\x02"),
        lambda path: path.write_bytes(b"\xff" * 64),
        lambda path: path.write_bytes((1000).to_bytes(8, "little") + b"{}"),
        lambda path: save(path, b"{]"),
        lambda path: save(path, b"\xff\xff\xff"),
        lambda path: save(path, [1]),
        lambda path: save(path, {}),
        lambda path: save(path, {"__metadata__": {"format": "pt"}}),
        lambda path: save(path, {"a": [3]}),
        lambda path: save(path, {"a": {"dtype": "F32", "shape": [3]}}),
        lambda path: save(path, {"a": tensor([3], "F31", 12)}),
        lambda path: save(path, {"a": tensor([-3], "F32", 12)}),
        lambda path: save(path, {"a": tensor([3], "F32", 8)}),
        lambda path: save(path, {"a": {**tensor([3], "F32", 12), "data_offsets": [0]}}),
        lambda path: save(path, {"a": {**tensor([3], "F32", 12), "data_offsets": ["0", "12"]}}),
    ],
)
def test_a_damaged_checkpoint_is_refused(damage: Callable[[Path], object], tmp_path: Path) -> None:
    """Cut short, not JSON, or a header that contradicts itself; a garbage length allocates nothing."""
    damage(tmp_path / "m.safetensors")
    with pytest.raises(InputError) as caught:
        specs_of(tmp_path / "m.safetensors")
    assert "\n  do " in str(caught.value)


def test_a_checkpoint_in_several_files_is_read_through_its_index(tmp_path: Path) -> None:
    """In the order of the index; a part that is missing, or elsewhere on the disk, is refused."""
    save(tmp_path / "one.safetensors", {"b": tensor([2], "F32", 8)})
    save(tmp_path / "two.safetensors", {"a": tensor([3], "BF16", 6)})
    index = tmp_path / "model.safetensors.index.json"
    write(index, {"metadata": {}, "weight_map": {"a": "two.safetensors", "b": "one.safetensors"}})
    assert specs_of(index) == (ParameterSpec("a", (3,), "bfloat16"), ParameterSpec("b", (2,)))
    for broken in ({"a": "three.safetensors"}, {"c": "one.safetensors"}, {"a": "../one.safetensors"}, {"a": 1}):
        write(index, {"weight_map": broken})
        with pytest.raises(InputError):
            specs_of(index)


def test_an_unknown_name_lists_the_built_in_models() -> None:
    """Without a name, too: the list is what a newcomer needs."""
    for name in ("", "gpt3"):
        with pytest.raises(InputError, match=r"gpt2-small.*llama-3\.1-8b.*resnet-50"):
            specs_of(name)
