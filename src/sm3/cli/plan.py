"""`sm3 plan`: exact bytes of weights, gradients and optimizer state, before anything is trained.

The function is long because a command's options are its signature and its help is its docstring.
"""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A built-in name (gpt2-small, llama-3.1-8b, resnet-50, ...); a .json shape list; a .safetensors file; "
            "or module:function, a function of yours that returns a torch.nn.Module.",
            show_default=False,
        ),
    ] = "",
    optimizer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help='Repeat it for more. Settings may follow: "SM3(momentum=0)". Default: all.'),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="DTYPE", help="Plan all floating weights in float32, bfloat16, float16 or float64."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A setting, for every optimizer of the table that has it."),
    ] = None,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="Also one row per parameter, for up to four optimizers.")
    ] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Print whole bytes instead of KiB, MiB, GiB.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; sizes in bytes.")] = False,
) -> None:
    """How much memory training takes: weights, gradients and optimizer state, to the byte, before you start.

    No weights are loaded and no step is run: the bytes follow from the shapes. Activations are not counted.

    \b
    Examples:
      sm3 plan gpt2-small
      sm3 plan llama-3.1-8b --dtype bfloat16 --optimizer SMMF --optimizer AdamW
      sm3 plan gpt2-small --optimizer "SM3(momentum=0)" --optimizer SM3 --parameters
      sm3 plan model.safetensors
      sm3 plan train:build_model        (train.py here has a function build_model)

    A shape list is JSON such as {"head.weight": [1000, 2048], "head.bias": [1000]}.
    """
    from sm3.plan import report
    from sm3.plan.models import specs_of
    from sm3.plan.optimizers import read_settings
    from sm3.plan.shapes import with_dtype

    optimizers = report.optimizers_of(optimizer or [], read_settings(setting or []))
    specs = specs_of(model) if dtype is None else with_dtype(specs_of(model), dtype)
    comparison = report.compare(model, specs, optimizers, skip=not optimizer)
    if as_json:
        import json

        typer.echo(json.dumps(report.as_dict(comparison, parameters=parameters)))
    else:
        report.show(comparison, parameters=parameters, exact=exact)
