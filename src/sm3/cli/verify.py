"""`sm3 verify`: the promises of sm3, proved on the user's own model and machine.

The function is long because a command's options are its signature and its help is its docstring.
"""

from __future__ import annotations

from typing import Annotated

import typer


def verify(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODULE:FUNCTION", help="Your model, see below. Default: a small byte-level GPT."),
    ] = None,
    task: Annotated[str, typer.Option(metavar="NAME", help="The built-in model: bytegpt.")] = "bytegpt",
    optimizer: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help='SM3, SMMF, or with settings: "SM3(momentum=0)". Repeat it. Default: both.'),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="float32, or bfloat16 with stochastic rounding. Repeat it. Default: both."),
    ] = None,
    ranks: Annotated[int, typer.Option(metavar="N", help="Processes that share the parameters.")] = 4,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads held against one.")] = 4,
    steps: Annotated[int, typer.Option(metavar="N", help="Steps of every run.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the table.")] = False,
) -> None:
    """Does it give the same result, whatever you do to it? Run on your model, on this machine.

    A stopped and resumed run, N processes with sharded parameters, k threads, gradients released in backward, planned
    bytes, C++ kernels, and the papers' formulas: each is held against an ordinary run, bit by bit, and the largest
    difference is printed. Exit status 1 if a promise is broken, 0 if all hold (or are refused, with the reason).

    \b
    Examples:
      sm3 verify
      sm3 verify my_job:job --ranks 2
      sm3 verify my_job:job --optimizer "SMMF(beta=None)" --precision bfloat16

    \b
    Your model: job(seed) returns (model, batches, loss), as for `sm3 compare`:
      model    a torch.nn.Module on the CPU
      batches  an endless iterator of batches
      loss     loss(model, batch) -> scalar tensor
    The same seed must give the same weights, batches and gradients.
    An example to copy: python -m pydoc sm3.compare.user
    """
    if model is not None and task != "bytegpt":
        raise typer.BadParameter("choose one of MODULE:FUNCTION and --task")
    if task != "bytegpt":
        raise typer.BadParameter("the only built-in task is bytegpt")
    import sys

    from sm3.extras import require

    for module in ("torch", "rich"):
        require(module)
    from rich.console import Console

    from sm3.verify import report
    from sm3.verify.progress import ProgressBar
    from sm3.verify.run import verify as run
    from sm3.verify.variant import variants

    chosen = variants(optimizer or (), precision or ())
    with ProgressBar(Console(stderr=True)) as bar:
        certificate = run(model or task, chosen, steps=steps, world=ranks, thread_count=threads, watch=bar)
    if as_json:
        import json

        typer.echo(json.dumps(report.as_dict(certificate)))
    else:
        report.show(certificate)
    if not certificate.holds:
        sys.exit(1)
