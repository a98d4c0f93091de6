"""The table of hyper-parameters, written from the rules: the same data that makes the checks and the messages."""

from __future__ import annotations

from pathlib import Path

from sm3.optim.rules import RULES


def settings_page() -> str:
    lines = ["# Settings", "", "Written from the rules; each row is also the check and the error message.", ""]
    for name, rule in RULES.items():
        lines += [f"## {name}", "", "| setting | default | accepted | meaning |", "|---|---|---|---|"]
        for hyper in rule.HYPERPARAMETERS:
            lines.append(f"| `{hyper.name}` | `{hyper.default!r}` | {hyper.accepted()} | {hyper.about} |")
        lines.append("")
    return "\n".join(lines)


def write_settings_page(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(settings_page(), encoding="utf-8")
