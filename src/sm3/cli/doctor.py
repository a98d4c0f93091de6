"""`sm3 doctor`: what is installed here, and which kernels step which parameters, and why."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """What is installed here, and which kernels step which parameters, and why."""
    import json
    from dataclasses import asdict

    from sm3 import run_record
    from sm3.extras import require

    require("torch")
    from sm3.optim.kernels.dispatch import services

    found = services()
    machine, versions = run_record.machine(), run_record.versions()
    if as_json:
        kernels = [asdict(service) for service in found]
        typer.echo(json.dumps({"machine": machine, "versions": versions, "kernels": kernels}))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(f"{machine['processor']}, {machine['cores']} cores, {machine['system']}")
    console.print(", ".join(f"{name} {version}" for name, version in versions.items()), end="\n\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("device", "dtype", "kernels", "why"):
        table.add_column(heading)
    for service in found:
        table.add_row(service.device, service.dtype, service.backend, service.why)
    console.print(table)
