"""The list of commands. Heavy imports stay inside the commands, so that `sm3 --help` answers at once."""

from __future__ import annotations

import typer

from sm3.cli.compare import compare
from sm3.cli.doctor import doctor
from sm3.cli.plan import plan
from sm3.cli.poly import poly
from sm3.cli.swarm import swarm
from sm3.cli.tune import tune
from sm3.cli.verify import verify

app = typer.Typer(
    name="sm3",
    help="Train with the optimizer memory of a few vectors, known to the byte before you start.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import sm3

        typer.echo(f"sm3 {sm3.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
    ),
) -> None:
    pass


app.command("compare")(compare)
app.command("plan")(plan)
app.add_typer(poly, name="poly")
app.add_typer(swarm, name="swarm")
app.command("doctor")(doctor)
app.command("tune")(tune)
app.command("verify")(verify)
