"""The door: `sm3 COMMAND`, one file per command, which parses, calls and prints; there is no logic here.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 an error of ours (one message, no traceback),
2 wrong usage, 130 interrupted. With --json, stdout is one JSON object, also for an error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from sm3.errors import Sm3Error


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `sm3` command."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        from sm3.extras import require

        require("typer")
        from sm3.cli.app import app

        app(arguments, standalone_mode=False)
    except Sm3Error as error:
        _say(type(error).__name__, str(error), arguments)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader left (`sm3 plan ... | head`): nothing to say, and nobody to say it to
        sys.exit(0)
    except Exception as error:
        _exit_on_usage(error, arguments)
        raise


def _say(kind: str, message: str, arguments: Sequence[str], *, on_stderr: bool = True) -> None:
    """An error for people on stderr, and with --json also for machines on stdout."""
    if "--json" in arguments:
        print(json.dumps({"error": kind, "message": message}))
    if on_stderr:
        print(f"{kind}: {message}", file=sys.stderr)


def _exit_on_usage(error: Exception, arguments: Sequence[str]) -> None:
    """Typer's own errors know how to show themselves; its abort is the user's Ctrl-C at a prompt."""
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if callable(show) and isinstance(code, int):
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        _say("UsageError", text, arguments, on_stderr=False)
        show()
        sys.exit(code)
    if type(error).__name__ == "Abort":
        sys.exit(130)
