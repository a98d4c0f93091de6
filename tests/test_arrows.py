"""Which part may import which: the arrows of docs/concept/architecture.md, held over the syntax trees."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "sm3"

BELOW_A_FIT = {"sm3.poly.inputs", "sm3.poly.design", "sm3.poly.index_sets", "sm3.poly.basis"}
# part -> parts of ours it may import; the longest matching prefix counts. errors, extras and run_record are everyone's.
ALLOWED = {
    "sm3": {"sm3.optim.torch"},
    "sm3.errors": set(),
    "sm3.extras": set(),
    "sm3.run_record": set(),
    "sm3.optim": set(),
    "sm3.optim.rules": {"sm3.optim.rules"},
    "sm3.optim.reference": {"sm3.optim.reference"},
    "sm3.optim.kernels": {"sm3.optim.kernels", "sm3.optim.rules"},
    "sm3.optim.torch": {"sm3.optim.torch", "sm3.optim.kernels", "sm3.optim.rules"},
    "sm3.plan": {"sm3.plan", "sm3.optim.rules"},
    "sm3.plan.measure": {"sm3.plan", "sm3.optim.rules", "sm3.optim.torch"},
    "sm3.compare": {"sm3", "sm3.compare", "sm3.optim.torch", "sm3.optim.rules", "sm3.plan"},
    # held against the kernels and the judge, so it may see both
    "sm3.verify": {"sm3", "sm3.verify", "sm3.compare", "sm3.plan", "sm3.optim"},
    "sm3.poly": {"sm3.poly"},
    "sm3.poly.basis": {"sm3.poly.basis"},
    "sm3.poly.index_sets": {"sm3.poly.index_sets", "sm3.poly.basis"},
    "sm3.poly.design": {"sm3.poly.design", "sm3.poly.index_sets", "sm3.poly.basis"},
    "sm3.poly.inputs": {"sm3.poly.inputs", "sm3.poly.basis"},
    "sm3.poly.solvers": {"sm3.poly.solvers", "sm3.poly.design", "sm3.poly.index_sets", "sm3.poly.basis"},
    "sm3.poly.estimator": {"sm3.poly.estimator", "sm3.poly.sensitivity.indices", "sm3.poly.solvers", *BELOW_A_FIT},
    "sm3.poly.sensitivity": {"sm3.poly.sensitivity", "sm3.poly.estimator", *BELOW_A_FIT},
    "sm3.poly.sensitivity.indices": {"sm3.poly.index_sets"},
    "sm3.poly.tables": {"sm3.poly.tables", "sm3.poly.estimator", *BELOW_A_FIT},
    "sm3.poly.report": {"sm3.poly"},
    "sm3.tune": {"sm3.tune", "sm3.poly"},
    "sm3.tune.compare_trial": {"sm3.compare"},
    "sm3.swarm": {"sm3", "sm3.swarm", "sm3.optim.torch"},
    "sm3.swarm.simulate": {"sm3.swarm.simulate", "sm3.swarm.ome_tiff"},
    "sm3.cli": {"sm3"},
}
EVERYONE = {"sm3.errors", "sm3.extras", "sm3.run_record"}
# The judge stands apart: it may not use even our errors.
NOTHING_OF_OURS = {"sm3.errors", "sm3.optim.reference"}
FRAMEWORKS = {"torch", "jax", "sklearn", "matplotlib", "rich", "typer", "numpy", "safetensors"}
# parts that must be importable without a framework, at the top of their files
PURE = ("sm3.errors", "sm3.extras", "sm3.run_record", "sm3.optim.rules", "sm3.plan.bytes", "sm3.plan.peers")

FILES = sorted(SOURCE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Names of all imported modules; with `top_level_only` not those inside functions or TYPE_CHECKING blocks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def longest(module: str, table: object) -> str:
    prefixes = [prefix for prefix in table if module == prefix or module.startswith(prefix + ".")]
    return max(prefixes, key=len)


@pytest.mark.parametrize("path", FILES, ids=[module_name(path) for path in FILES])
def test_no_arrow_points_upwards(path):
    """A file imports only parts that its own part may import."""
    module = module_name(path)
    allowed = ALLOWED[longest(module, ALLOWED)] | {module}
    if longest(module, ALLOWED) not in NOTHING_OF_OURS:
        allowed |= EVERYONE
    for name in imports(path):
        if name.split(".")[0] != "sm3" or name in ("sm3.SM3", "sm3.SMMF", "sm3.__version__"):
            continue
        inside = any(name == part or (name.startswith(part + ".") and part != "sm3") for part in allowed)
        assert inside or "sm3" in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("part", PURE)
def test_pure_parts_import_no_framework_at_the_top(part):
    """They are integers and strings."""
    for path in FILES:
        if module_name(path) == part or module_name(path).startswith(part + "."):
            top = {name.split(".")[0] for name in imports(path, top_level_only=True)}
            assert not top & FRAMEWORKS, path


def test_only_measure_imports_pytorch_in_plan():
    """An arrow is visible as a file name."""
    for path in (SOURCE / "plan").glob("*.py"):
        if path.name != "measure.py":
            assert "torch" not in {name.split(".")[0] for name in imports(path)}, path


def test_files_have_a_header_and_no_drawer_names():
    """Every file says what it is; utils, helpers, common and base are not names of anything."""
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
        assert path.stem not in ("utils", "helpers", "common", "base"), path


def test_files_and_functions_stay_readable():
    """300 lines a file, 40 a function without its docstring; more needs a sentence `Long because ...` in the header."""
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        if "Long because" in (ast.get_docstring(tree) or ""):
            continue
        assert text.count("\n") <= 300, path
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                # A signature is data (a command's options, an optimizer's settings); the body is what is read.
                docstring = (ast.get_docstring(node) or "").count("\n")
                assert node.end_lineno - node.body[0].lineno + 1 - docstring <= 40, f"{path}: {node.name}"


def test_there_are_no_init_files_under_tests():
    """They would shadow the package's own folders."""
    assert not list((SOURCE.parents[1] / "tests").rglob("__init__.py"))
