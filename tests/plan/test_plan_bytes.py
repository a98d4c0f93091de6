"""Sums from shapes: figures worked out by hand, published figures, and settings that are refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sm3.errors import InputError, ParameterError, SettingError, SettingTypeError
from sm3.optim.rules import RULES
from sm3.plan import OPTIMIZERS, ParameterSpec, plan
from sm3.plan.bytes import plan_specs
from sm3.plan.optimizers import optimizer_of, read_settings, settings_of
from sm3.plan.peers import PEERS
from sm3.plan.report import DEFAULT_ROWS, as_dict, compare, human, optimizers_of
from sm3.plan.shapes import from_list

MIB = 2**20
# Bytes of state of one float32 matrix (6, 4), a vector (5,) and a scalar (), each worked out on paper from its library.
BY_HAND = {
    "AdamW": (2 * 4 * 30) + 3 * 4,
    "AdamW(amsgrad=True)": (3 * 4 * 30) + 3 * 4,
    "SGD": 0,
    "SGD(momentum=0.9)": 4 * 30,
    "Adafactor": 4 * (6 + 4) + 4 * 5 + 4 * 1 + 3 * 4,
    "Muon": 4 * 24 + (2 * 4 * 6 + 2 * 4),
    "Lion": 4 * 30,
    "CAME": 4 * 30 + 2 * 4 * (6 + 4) + 4 * 6 + 3 * 4,
    "AdamW8bit": 2 * 4 * 30,
    "FlashAdamW": 2 * 30 + 2 * 2 * (1 + 1 + 1) + 3 * 8,
    "SM3(momentum=0)": 4 * (6 + 4 + 5 + 1) + 3 * 8,
    "SM3": 4 * (6 + 4 + 5 + 1) + 4 * 30 + 3 * 8,
    "SMMF": 2 * 4 * ((6 + 4) + (5 + 1) + (1 + 1)) + (3 + 1 + 1) + 3 * 8,
    "SMMF(beta=None)": 4 * ((6 + 4) + (5 + 1) + (1 + 1)) + 3 * 8,
}


@pytest.mark.parametrize("optimizer", BY_HAND)
def test_state_of_three_small_parameters_is_what_paper_gives(optimizer: str) -> None:
    """Matrix, vector and scalar take every branch of every formula but the block sizes."""
    assert plan([(6, 4), (5,), ()], optimizer).state_bytes == BY_HAND[optimizer]


def test_every_optimizer_has_a_figure_by_hand() -> None:
    """An optimizer that joins the list must join the table above, and the default rows of the report."""
    assert {optimizer_of(label).name for label in BY_HAND} == set(OPTIMIZERS) == {*RULES, *PEERS}
    assert {optimizer_of(label).name for label in DEFAULT_ROWS} == set(OPTIMIZERS)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4095,), 8 * 4095),  # below min_8bit_size
        ((4096,), 2 * 4096 + 8 * 16 + 2048),
        ((4097,), 2 * 4097 + 8 * 17 + 2048),  # one element into the next block
    ],
)
def test_adamw8bit_changes_to_bytes_at_4096_elements(shape: tuple[int, ...], expected: int) -> None:
    """A smaller tensor stays in float32, and a block begun counts as a block."""
    assert plan([shape], "AdamW8bit").state_bytes == expected


def test_adamw8bit_shares_its_two_tables_among_all_parameters() -> None:
    """qmap1 and qmap2 are one pair of 1024 bytes however many parameters point to them."""
    one, three = plan([(64, 64)], "AdamW8bit"), plan([(64, 64)] * 3, "AdamW8bit")
    assert three.state_bytes - 3 * (one.state_bytes - 2048) == 2048
    assert sum(row["state_bytes"] for row in three.rows()) == three.state_bytes


def test_16_bit_parameters_keep_float32_state_only_where_the_library_does() -> None:
    """AdamW, Adafactor, Lion follow the parameter's dtype; CAME and ours hold float32; FlashAdamW adds a byte."""
    half, full = (
        {name: plan([(8, 8)], name, dtype=dtype).state_bytes for name in OPTIMIZERS}
        for dtype in ("bfloat16", "float32")
    )
    assert half["AdamW"] == (full["AdamW"] - 4) // 2 + 4
    assert half["Lion"] == full["Lion"] // 2
    assert half["CAME"] == full["CAME"] - 2  # RMS
    assert half["SM3"] == full["SM3"]
    assert half["SMMF"] == full["SMMF"]
    assert half["FlashAdamW"] == full["FlashAdamW"] + 64


# MiB and bytes per parameter without step counters, as published or computed from the papers' definitions (Adafactor
# and CAME factor the last two axes, which is why they exceed AdamW on 1 x 1 convolutions).
PUBLISHED = [
    ("resnet-50", "AdamW", 195.0, 8.0),
    ("resnet-50", "SMMF", 3.54, 0.1453),
    ("resnet-50", "SMMF(beta=None)", 0.25, 0.0102),
    ("resnet-50", "SM3(momentum=0)", 0.41, 0.0167),
    ("resnet-50", "SM3", 97.9, 4.0167),
    ("resnet-50", "Adafactor", 121.5, 4.987),
    ("resnet-50", "CAME", 340.4, 13.96),
    ("gpt2-small", "AdamW", 949.4, 8.0),
    ("gpt2-small", "SMMF", 15.94, 0.1343),
    ("gpt2-small", "SMMF(beta=None)", 0.55, 0.0047),
    ("gpt2-small", "SM3(momentum=0)", 1.23, 0.0103),
    ("gpt2-small", "SM3", 475.9, 4.0103),
    ("gpt2-small", "Adafactor", 1.23, 0.0103),
    ("gpt2-small", "CAME", 476.7, 4.017),
    ("llama-2-7b", "AdamW", 51410, None),
    ("llama-2-7b", "SMMF", 821.7, None),
    ("llama-2-7b", "SMMF(beta=None)", 9.2, None),
    ("llama-2-7b", "Adafactor", 10.8, None),
    ("llama-2-7b", "CAME", 25726, None),
]


def decimals(value: float) -> int:
    """Digits printed behind the point; large figures are printed without."""
    text = repr(value)
    return 0 if text.endswith(".0") and value > 1000 else len(text.partition(".")[2])


@pytest.mark.parametrize(("model", "optimizer", "mib", "per_parameter"), PUBLISHED)
def test_published_figures_come_out_to_their_last_digit(
    model: str, optimizer: str, mib: float, per_parameter: float | None
) -> None:
    """Within half a unit of the last digit printed; step counters (and CAME's one number a tensor) are not in them."""
    planned = plan(model, optimizer)
    state = planned.state_bytes - sum(row.state.get("step", 0) + row.state.get("RMS", 0) for row in planned.parameters)
    assert abs(state / MIB - mib) <= 0.5 * 10 ** -decimals(mib) + 1e-9
    if per_parameter is not None:
        assert abs(state / planned.trainable_elements - per_parameter) <= 0.5 * 10 ** -decimals(per_parameter) + 1e-9


def test_gpt2_small_needs_less_than_the_promised_bytes_per_parameter() -> None:
    """The promise of the package, step counters included."""
    assert plan("gpt2-small", "SMMF").bytes_per_parameter <= 0.135
    assert plan("gpt2-small", "SM3", momentum=0).bytes_per_parameter <= 0.011


def test_a_frozen_parameter_has_weights_and_nothing_else() -> None:
    """A gradient and a state exist for what is trained only; bytes per parameter are per trained number."""
    specs = (ParameterSpec("base", (100, 10), trainable=False), ParameterSpec("head", (10, 10)))
    planned = plan(specs, "AdamW")
    assert planned.weights_bytes == 4 * 1100
    assert planned.gradients_bytes == planned.largest_gradient_bytes == 400
    assert planned.state_bytes == 804
    assert planned.total_bytes == 4400 + 400 + 804
    assert planned.bytes_per_parameter == 8.04


def test_a_model_with_nothing_to_train_has_no_state() -> None:
    """No division by zero, and an integer weight needs no optimizer that could train it."""
    planned = plan((ParameterSpec("table", (7,), "int8", trainable=False),), "SMMF")
    assert (planned.weights_bytes, planned.gradients_bytes, planned.state_bytes) == (7, 0, 0)
    assert planned.bytes_per_parameter == 0.0


def test_largest_gradient_is_one_parameter_not_the_sum() -> None:
    """It is what is left of the gradients where each is freed as soon as it was used."""
    planned = plan([(10,), (3, 7), ()])
    assert (planned.gradients_bytes, planned.largest_gradient_bytes) == (4 * 32, 4 * 21)


def test_a_prime_size_costs_the_published_smmf_a_column_and_ours_a_square() -> None:
    """1,000,003 is prime: the paper's matrix is one column, 8 bytes per parameter."""
    assert plan([(1_000_003,)], "SMMF", published=True).bytes_per_parameter > 8
    assert plan([(1_000_003,)], "SMMF").bytes_per_parameter < 0.15


@pytest.mark.parametrize("optimizer", ["SM3", "SMMF", *PEERS])
def test_a_mistyped_setting_is_refused_and_the_right_one_named(optimizer: str) -> None:
    """A typo that is swallowed would plan something else than what is run."""
    with pytest.raises(SettingError, match="momentun") as caught:
        plan([(3,)], optimizer, momentun=0.5)
    assert all(hyper.name in str(caught.value) for hyper in settings_of(optimizer))
    if optimizer in ("SM3", "SGD"):
        assert "did you mean momentum" in str(caught.value)


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        ("SM3", {"momentum": 1.0}),
        ("SM3", {"cautious": True, "momentum": 0}),
        ("SMMF", {"published": True, "cautious": True}),
        ("SMMF", {"published": True, "update_rms": 0.2}),
        ("SM3", {"update_rms": 0}),
        ("SGD", {"momentum": -1}),
        ("AdamW8bit", {"min_8bit_size": 0}),
    ],
)
def test_a_value_out_of_range_is_refused_as_the_optimizer_would(optimizer: str, settings: dict[str, object]) -> None:
    """The rule that builds the optimizer is the one that checks here, contradictions of two settings included."""
    with pytest.raises(SettingError):
        plan([(3,)], optimizer, **settings)


@pytest.mark.parametrize(
    "name", ["SMM", "", "SM3(", "SM3(0.9)", "SM3(momentum=open('x'))", "os.system('x')", "SM3;SMMF"]
)
def test_an_optimizer_that_cannot_be_read_is_refused_with_the_list(name: str) -> None:
    """A call is read as literals only: nothing in it is run."""
    with pytest.raises(SettingError, match="FlashAdamW"):
        plan([(3,)], name)


def test_a_label_reads_back_to_the_same_optimizer() -> None:
    """What a table prints can be pasted behind --optimizer."""
    for label in (*DEFAULT_ROWS, "SMMF(beta=0.5, rounding='stochastic', published=True)"):
        assert optimizer_of(optimizer_of(label).label).label == optimizer_of(label).label
    assert optimizer_of("adamw").label == "AdamW"


def test_settings_cannot_be_added_to_an_optimizer_already_made() -> None:
    """They would be dropped without a word."""
    made = optimizer_of("SM3(momentum=0)")
    assert plan([(3,)], made) == plan_specs(from_list([(3,)]), made)
    with pytest.raises(SettingTypeError):
        plan([(3,)], made, momentum=0.9)


def test_settings_are_read_as_python_reads_them() -> None:
    """Numbers, None, True; anything else is text, and nothing is lost without a word."""
    assert read_settings(["a=1", "b=1e-3", "c=None", "d=True", "e=II"]) == {
        "a": 1,
        "b": 1e-3,
        "c": None,
        "d": True,
        "e": "II",
    }
    for bad in (["momentum"], ["=1"], ["a b=1"], ["a=1", "a=2"]):
        with pytest.raises(SettingError):
            read_settings(bad)


def test_a_setting_goes_to_every_optimizer_that_has_it_and_to_one_at_least() -> None:
    """`--setting momentum=0.5` changes SM3 and SGD, leaves AdamW alone, and alone with AdamW is an error."""
    labels = [optimizer.label for optimizer in optimizers_of(["SM3", "SGD", "AdamW"], {"momentum": 0.5})]
    assert labels == ["SM3(momentum=0.5)", "SGD(momentum=0.5)", "AdamW"]
    with pytest.raises(SettingError, match="momentum"):
        optimizers_of(["AdamW"], {"momentum": 0.5})


@pytest.mark.parametrize("dtype", ["int32", "float8_e4m3fn"])
def test_a_dtype_that_cannot_be_trained_is_refused_by_name_of_the_parameter(dtype: str) -> None:
    """Integers have no gradient and float8 too few bits for a step to land."""
    with pytest.raises(ParameterError, match=r"'encoder\.weight'"):
        plan({"encoder.weight": {"shape": [3], "dtype": dtype}}, "SMMF")


def test_dtype_recasts_floating_weights_and_leaves_integers_alone() -> None:
    """As `module.to(torch.bfloat16)` does."""
    specs = (ParameterSpec("w", (4,), "float8_e5m2"), ParameterSpec("i", (4,), "int64", trainable=False))
    assert [row.spec.dtype for row in plan(specs, dtype="bfloat16").parameters] == ["bfloat16", "int64"]
    with pytest.raises(SettingError, match="int8"):
        plan(specs, dtype="int8")


def test_a_default_row_that_cannot_train_a_dtype_is_left_out_and_named() -> None:
    """float64 is none of AdamW8bit's and FlashAdamW's dtypes; asked for by name, that is an error."""
    specs = from_list({"w": {"shape": [4], "dtype": "float64"}})
    comparison = compare("m", specs, optimizers_of([], {}), skip=True)
    assert comparison.left_out == ("AdamW8bit", "FlashAdamW")
    assert len(comparison.plans) == len(DEFAULT_ROWS) - 2
    with pytest.raises(ParameterError, match="FlashAdamW"):
        compare("m", specs, optimizers_of(["FlashAdamW"], {}))


def test_the_report_is_ordered_by_state_and_measured_against_adamw() -> None:
    """Smallest first, AdamW 100 %, whether or not it is a row."""
    report = as_dict(compare("gpt2-small", from_list([(64, 64)]), optimizers_of(["AdamW", "SMMF"], {})))
    assert [row["optimizer"] for row in report["plans"]] == ["SMMF", "AdamW"]
    assert report["plans"][1]["percent_of_adamw"] == 100.0
    alone = as_dict(compare("gpt2-small", from_list([(64, 64)]), optimizers_of(["SMMF"], {})))
    assert alone["plans"][0]["percent_of_adamw"] == report["plans"][0]["percent_of_adamw"]


def test_sizes_are_printed_in_the_unit_they_fit() -> None:
    """Powers of 1024, and bytes as they are below."""
    sizes = (0, 1023, 1024, 1024**2 - 1, 16_718_944, 5 * 1024**4)
    assert [human(size) for size in sizes] == ["0 B", "1023 B", "1.00 KiB", "1024.0 KiB", "15.94 MiB", "5.00 TiB"]


def test_planning_needs_neither_torch_nor_rich() -> None:
    """The arithmetic of an 8 B model is done on a laptop without PyTorch."""
    code = (
        "import sys; from sm3.plan import plan; import sm3.plan.report; assert plan('llama-3.1-8b').state_bytes > 0; "
        "assert not {'torch', 'rich', 'numpy', 'typer'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_the_package_are_those_it_lists() -> None:
    """Each lazy name resolves, and an unknown one is an AttributeError."""
    import sm3.plan

    assert sm3.plan.__all__ == sorted(sm3.plan.__all__)
    assert all(getattr(sm3.plan, name) is not None for name in sm3.plan.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sm3.plan.no_such_name


def test_an_input_that_is_no_model_is_refused() -> None:
    """Numbers, None and empty lists are not models."""
    for model in (3, None, object(), [], {}):
        with pytest.raises(InputError):
            plan(model)
