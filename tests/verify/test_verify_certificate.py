"""The command: a table, one JSON object, exit status 1 for a broken promise, and none blamed for a noisy model."""

from __future__ import annotations

import json

import pytest
import torch

from awkward import AWKWARD, broken_step
from sm3.cli import main
from sm3.errors import SettingError
from sm3.verify.difference import Difference, difference
from sm3.verify.outcome import BROKEN, HOLDS, REFUSED, SKIPPED, Outcome
from sm3.verify.report import as_dict, cell, sentences
from sm3.verify.run import Certificate, verify
from sm3.verify.variant import Variant, variants

SMALL = ["--steps", "4", "--ranks", "2", "--threads", "3"]


def command(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of `sm3 verify`, in this process."""
    code = 0
    try:
        main(["verify", *arguments])
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_table_has_a_row_per_promise_and_a_column_per_variant(module, capsys):
    """All hold: exit status 0."""
    code, out, _ = command(capsys, module(), *SMALL, "--optimizer", "SM3")
    assert code == 0, out
    lines = out.splitlines()
    assert lines[0].startswith("verified_module_")
    assert lines[2].split("  ")[0] == "promise"
    assert "SM3 float32" in lines[2]
    assert "SM3 bfloat16" in lines[2]
    promises = ["resume == no stop", "1 == 2 ranks", "1 == 3 threads", "release == step", "planned == measured"]
    promises += ["C++ == PyTorch", "kernel == formulas"]
    assert [line[:20].strip() for line in lines[3:10]] == promises
    assert "0 broken" in lines[-1]


def test_a_broken_kernel_makes_it_say_which_promise_broke(module, capsys, monkeypatch):
    """Off by one unit in the last place, and only where three threads are."""
    broken_step(monkeypatch, "SM3", when=lambda: torch.get_num_threads() == 3)
    arguments = [module(), *SMALL, "--optimizer", "SM3", "--precision", "float32"]
    code, out, _ = command(capsys, *arguments, "--json")
    found = json.loads(out)
    assert code == 1
    assert found["holds"] is False
    assert [o["promise"] for o in found["outcomes"] if o["verdict"] == "broken"] == ["1 == 3 threads"]
    (said,) = [o for o in found["outcomes"] if o["verdict"] == "broken"]
    assert said["where"]
    assert 0.0 < said["largest"] < 1e-5
    code, out, _ = command(capsys, *arguments)
    assert code == 1
    assert "BROKEN: 1 == 3 threads, SM3 float32: differs by" in out


def test_a_model_that_stops_repeating_later_is_not_taken_for_a_broken_promise(module, capsys):
    """The run is made once more, without a stop, before a promise is blamed."""
    noisy = AWKWARD.replace("def job(seed):", "calls = 0\n\ndef job(seed):").replace(
        "        return nn.functional.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())",
        "        global calls\n        calls += 1\n        found = nn.functional.cross_entropy(model(text[:, :-1])"
        ".flatten(0, 1), text[:, 1:].flatten())\n        return found * (1 + (calls > 9) * calls)",
    )
    code, out, err = command(capsys, module(noisy), *SMALL, "--optimizer", "SM3", "--json")
    assert code == 1
    assert json.loads(out)["error"] == "InputError"
    assert "cannot be verified" in err
    assert "gradients that repeat bit for bit" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere:job"], 1, "ModuleNotFoundError"),
        (["--optimizer", "AdamW"], 1, "only our own optimizers"),
        (["--optimizer", "SMMF", "--optimizer", "SMMF(beta=None)"], 1, "named twice"),
        (["--optimizer", "SMMF(beta=2)"], 1, "beta=2"),
        (["--precision", "float8"], 1, "'float8'"),
        (["--ranks", "0"], 1, "ranks=0"),
        (["--steps", "1"], 1, "steps=1"),
        (["--threads", "0"], 1, "threads=0"),
        (["--task", "nope"], 2, "bytegpt"),
        (["a:b", "--task", "nope"], 2, "choose one"),
        (["--nope"], 2, "nope"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_trained(capsys, arguments, code, said):
    """Ours with 1, wrong usage with 2; no traceback."""
    found, _, err = command(capsys, *arguments)
    assert found == code
    assert said in err
    assert "Traceback" not in err


def test_variants_are_the_optimizers_times_the_precisions():
    """bfloat16 is rounded stochastically, unless the user says otherwise."""
    assert [v.label for v in variants((), ())] == ["SM3 float32", "SM3 bfloat16", "SMMF float32", "SMMF bfloat16"]
    (only,) = variants(["SMMF(beta=None, lr=0.5)"], ["bfloat16"])
    assert only.settings == {"lr": 0.5, "rounding": "stochastic", "beta": None}
    (nearest,) = variants(["SM3(rounding='nearest')"], ["bfloat16"])
    assert nearest.rule().rounding == "nearest"
    with pytest.raises(SettingError, match="steps=10001"):
        verify("bytegpt", variants((), ()), steps=10001)


def test_differences_are_of_bits():
    """NaN equals NaN, -0.0 is not 0.0, another dtype or a missing tensor is infinitely far, integers count."""
    nan = torch.tensor([float("nan"), 1.0])
    assert difference({"a": nan}, {"a": nan.clone()}) == Difference(tensors=1)
    zeros = difference({"a": torch.tensor([0.0])}, {"a": torch.tensor([-0.0])})
    assert (zeros.largest, zeros.unequal) == (0.0, 1)
    assert difference({"a": nan}, {"a": torch.ones(2)}).largest == float("inf")
    assert difference({"a": nan}, {}).largest == float("inf")
    assert difference({"a": torch.ones(2)}, {"a": torch.ones(2).double()}).largest == float("inf")
    assert difference({"a": torch.ones(2)}, {"a": torch.ones(3)}).largest == float("inf")
    found = difference(
        {"s": torch.tensor([1, 9], dtype=torch.uint8), "w": torch.ones(2), "e": torch.zeros(0)},
        {"s": torch.tensor([4, 9], dtype=torch.uint8), "w": torch.tensor([1.0, 0.5]), "e": torch.zeros(0)},
    )
    assert found == Difference(3.0, "s", 2, 3)


def certificate(*outcomes: Outcome) -> Certificate:
    """With one variant."""
    return Certificate("m:f", 1234, 4, 2, 3, (Variant("SM3", {}, "float32"),), outcomes)


def test_refused_and_skipped_promises_are_not_broken_and_give_their_reason():
    """Exit status 0: they were not given."""
    found = certificate(
        Outcome("a", "SM3 float32", HOLDS),
        Outcome("b", "SM3 float32", REFUSED, reason="no\n  do this"),
        Outcome("c", "SM3 float32", SKIPPED, reason="no compiler"),
    )
    assert found.holds
    assert [cell(outcome) for outcome in found.outcomes] == ["0", "refused", "not here"]
    said = sentences(found)
    assert "b, SM3 float32: refused: no do this" in said
    assert "c, SM3 float32: not verified here: no compiler" in said
    assert said[-1] == "1 of 3 hold, 0 broken."


def test_cells_show_zero_a_bound_or_the_break():
    """And JSON has no infinity."""
    star = Outcome("a", "v", HOLDS, 2.25e-7, 9.6e-7)
    assert cell(star) == "2.2e-07 *"
    assert cell(Outcome("a", "v", BROKEN, 0.001, 1e-6)) == "BROKEN 1.0e-03 *"
    assert cell(Outcome("a", "v", BROKEN, 0.25)) == "BROKEN 0.25"
    assert cell(Outcome("planned == measured", "v", HOLDS)) == "0 B"
    found = as_dict(certificate(Outcome("a", "SM3 float32", BROKEN, float("inf"))))
    assert found["outcomes"][0]["largest"] is None
    assert found["holds"] is False
    json.dumps(found, allow_nan=False)
    assert any("9.6e-07" in line for line in sentences(certificate(star)))
