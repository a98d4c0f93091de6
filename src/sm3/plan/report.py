"""Plans side by side: a table for people, a dict for JSON. Both say what is not counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sm3.errors import ParameterError, SettingError, explain
from sm3.extras import require
from sm3.plan.bytes import Plan, plan_specs
from sm3.plan.optimizers import OPTIMIZERS, Optimizer, optimizer_of, settings_of
from sm3.plan.shapes import ParameterSpec

if TYPE_CHECKING:
    from rich.table import Table

# The rows where none are asked for: each of ours with and without its first moment, then the peers (chosen).
DEFAULT_ROWS = (
    "SMMF",
    "SMMF(beta=None)",
    "SM3",
    "SM3(momentum=0)",
    "AdamW",
    "SGD(momentum=0.9)",
    "Adafactor",
    "Muon",
    "Lion",
    "CAME",
    "AdamW8bit",
    "FlashAdamW",
)
LARGEST_PARAMETER_TABLE = 4  # columns of state that fit beside name and shape in a common terminal (chosen)
NOT_COUNTED = ("activations", "temporaries of the step", "buffers of the model", "the allocator's rounding")


@dataclass(frozen=True)
class Comparison:
    """One model, several optimizers. `adamw` is the yardstick, None where AdamW cannot train the model."""

    model: str
    specs: tuple[ParameterSpec, ...]
    plans: tuple[Plan, ...]  # smallest state first
    adamw: Plan | None
    left_out: tuple[str, ...]  # labels of default rows that cannot train the model

    def percent_of_adamw(self, plan: Plan) -> float | None:
        if self.adamw is None or not self.adamw.state_bytes:
            return None
        return 100 * plan.state_bytes / self.adamw.state_bytes


def optimizers_of(names: Sequence[str], settings: Mapping[str, Any]) -> list[Optimizer]:
    """The optimizers of these names; each setting goes to those that have it, and one that none has is an error.

    Without names: `DEFAULT_ROWS`, or with settings every optimizer once, so that no row says its setting twice.
    """
    chosen = [optimizer_of(name) for name in names or (OPTIMIZERS if settings else DEFAULT_ROWS)]
    accepted = {optimizer.name: [hyper.name for hyper in settings_of(optimizer.name)] for optimizer in chosen}
    if homeless := [key for key in settings if not any(key in keys for keys in accepted.values())]:
        raise SettingError(
            explain(
                f"no optimizer of this table has a setting {homeless[0]!r}.",
                got=", ".join(accepted),
                accepted="; ".join(f"{name}: {', '.join(keys) or 'none'}" for name, keys in accepted.items()),
                do=f"leave {homeless[0]} out, or add the optimizer it belongs to",
            )
        )
    merged = []
    for optimizer in chosen:
        own = {key: value for key, value in settings.items() if key in accepted[optimizer.name]}
        merged.append(optimizer_of(optimizer.name, {**optimizer.settings, **own}))
    return list({optimizer.label: optimizer for optimizer in merged}.values())


def compare(
    model: str, specs: tuple[ParameterSpec, ...], optimizers: Iterable[Optimizer], *, skip: bool = False
) -> Comparison:
    """Every optimizer on the same parameters; `skip` leaves out those that cannot train them, else that is an error."""
    plans, left_out = [], []
    for optimizer in optimizers:
        try:
            plans.append(plan_specs(specs, optimizer))
        except ParameterError:
            if not skip:
                raise
            left_out.append(optimizer.label)
    try:
        adamw = plan_specs(specs, optimizer_of("AdamW"))
    except ParameterError as error:
        if not plans:
            raise error
        adamw = None
    return Comparison(model, specs, tuple(sorted(plans, key=lambda plan: plan.state_bytes)), adamw, tuple(left_out))


def human(size: int) -> str:
    """Bytes as a person reads them, three to five digits, powers of 1024.

    >>> human(512), human(16_718_440), human(54_000_000_000)
    ('512 B', '15.94 MiB', '50.29 GiB')
    """
    if size < 1024:
        return f"{size} B"
    power = min((size.bit_length() - 1) // 10, 4)
    value, unit = size / 1024**power, ("KiB", "MiB", "GiB", "TiB")[power - 1]
    return f"{value:.2f} {unit}" if value < 100 else f"{value:.1f} {unit}"


def headline(comparison: Comparison) -> str:
    """What was planned, in one line."""
    specs = comparison.specs
    total, trained = sum(spec.numel for spec in specs), sum(spec.numel for spec in specs if spec.trainable)
    frozen = "" if trained == total else f" ({trained:,} trained)"
    dtypes = ", ".join(sorted({spec.dtype for spec in specs}))
    return f"{comparison.model}: {total:,} parameters{frozen} in {len(specs):,} tensors, {dtypes}"


def table(comparison: Comparison, *, exact: bool = False) -> Table:
    """One row per optimizer. `exact` prints bytes as integers."""
    require("rich")
    from rich.table import Table

    show = (lambda size: f"{size:,}") if exact else human
    result = Table(box=None, pad_edge=False)  # 80 columns wide for models of GiB and less
    result.add_column("optimizer", no_wrap=True)
    for column in ("weights", "gradients", "state", "total", "B/param", "of AdamW"):
        result.add_column(column, justify="right", no_wrap=True)
    for plan in comparison.plans:
        percent = comparison.percent_of_adamw(plan)
        result.add_row(
            plan.optimizer.label + (" *" if plan.optimizer.evidence == "formula" else ""),
            show(plan.weights_bytes),
            show(plan.gradients_bytes),
            show(plan.state_bytes),
            show(plan.total_bytes),
            f"{plan.bytes_per_parameter:.4f}",
            "-" if percent is None else f"{percent:.2f} %",
        )
    return result


def parameter_table(comparison: Comparison) -> Table:
    """One row per parameter, exact bytes, one column of state per optimizer."""
    require("rich")
    from rich.table import Table

    result = Table(box=None, pad_edge=False)  # 80 columns wide for models of GiB and less
    result.add_column("parameter", overflow="fold")
    result.add_column("shape", no_wrap=True)
    for column in ("weight", "gradient", *(f"state, {plan.optimizer.label}" for plan in comparison.plans)):
        result.add_column(column, justify="right")
    for index, spec in enumerate(comparison.specs):
        rows = [plan.parameters[index] for plan in comparison.plans]
        shape = " x ".join(map(str, spec.shape)) or "scalar"
        gradient = rows[0].gradient_bytes if rows else 0
        sizes = (spec.weight_bytes, gradient, *(row.state_bytes for row in rows))
        result.add_row(spec.name, shape, *(f"{size:,}" for size in sizes))
    return result


def footnotes(comparison: Comparison) -> list[str]:
    """What a reader must know to use the table."""
    largest = human(max((plan.largest_gradient_bytes for plan in comparison.plans), default=0))
    notes = [
        "State is what the optimizer keeps between steps: B/param per trained parameter, and as a part of AdamW's.",
        f"Gradients: all at once, as when step() is called; the largest single one is {largest}.",
        f"Not counted: {', '.join(NOT_COUNTED)}.",
    ]
    optimizers = [plan.optimizer for plan in comparison.plans]
    if any(optimizer.evidence == "formula" for optimizer in optimizers):
        notes.append(
            "* by formula, from that library's source; rows without a star are tested against live optimizers."
        )
    told = {optimizer.name: optimizer.note for optimizer in optimizers if optimizer.note}
    notes += [f"{name}: {note}." for name, note in told.items()]
    if any(spec.trainable and spec.dtype in ("bfloat16", "float16") for spec in comparison.specs):
        notes.append("16-bit weights: what each optimizer holds when given them as they are, without a float32 copy.")
    if comparison.left_out:
        notes.append(f"Left out, they cannot train these dtypes: {', '.join(comparison.left_out)}.")
    return notes


def show(comparison: Comparison, *, parameters: bool = False, exact: bool = False) -> None:
    """Print headline, tables and footnotes to stdout, as wide as they are: a size that is cut says something else."""
    if parameters and len(comparison.plans) > LARGEST_PARAMETER_TABLE:
        raise SettingError(
            explain(
                "a table per parameter has room for few optimizers.",
                got=f"{len(comparison.plans)} optimizers",
                accepted=f"at most {LARGEST_PARAMETER_TABLE}",
                do="name them: --optimizer SMMF --optimizer AdamW; --json holds any number",
            )
        )
    require("rich")
    from rich.console import Console

    tables = [table(comparison, exact=exact), *([parameter_table(comparison)] if parameters else [])]
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = max(console.width, *(Console(width=10_000).measure(each).maximum for each in tables))
    console.print(headline(comparison), end="\n\n", soft_wrap=True)
    for each in tables:
        console.print(each)
        console.print()
    console.print(*footnotes(comparison), sep="\n", soft_wrap=True)


def as_dict(comparison: Comparison, *, parameters: bool = False) -> dict[str, Any]:
    """The comparison as JSON can hold it; every size in bytes."""
    specs = comparison.specs
    return {
        "model": comparison.model,
        "elements": sum(spec.numel for spec in specs),
        "trainable_elements": sum(spec.numel for spec in specs if spec.trainable),
        "tensors": len(specs),
        "dtypes": sorted({spec.dtype for spec in specs}),
        "plans": [_plan_dict(comparison, plan, parameters) for plan in comparison.plans],
        "left_out": list(comparison.left_out),
        "not_counted": list(NOT_COUNTED),
    }


def _plan_dict(comparison: Comparison, plan: Plan, parameters: bool) -> dict[str, Any]:
    optimizer = plan.optimizer
    return {
        "optimizer": optimizer.name,
        "settings": dict(optimizer.settings),
        "library": optimizer.library,
        "evidence": optimizer.evidence,
        "note": optimizer.note,
        "weights_bytes": plan.weights_bytes,
        "gradients_bytes": plan.gradients_bytes,
        "largest_gradient_bytes": plan.largest_gradient_bytes,
        "state_bytes": plan.state_bytes,
        "total_bytes": plan.total_bytes,
        "state_bytes_per_parameter": plan.bytes_per_parameter,
        "percent_of_adamw": comparison.percent_of_adamw(plan),
        **({"parameters": list(plan.rows())} if parameters else {}),
    }
