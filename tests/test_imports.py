"""The house rules: who may import whom, and what each folder says of itself."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "emergectl"

# Left may import what stands to its right, never the reverse.
ORDER = [
    "cli",
    "sweeps",
    "reports",
    "training",
    "probes",
    "evaluation",
    "analysis",
    "tasks",
    "inference",
    "runtime",
    "models",
    "data",
    "store",
    "config",
]
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE)


def imported_modules(path: Path) -> set[str]:
    """Every module named in an import statement of a file, wherever it stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imported_folders(path: Path) -> set[str]:
    """The folders of emergectl that a file imports from."""
    parts = (name.split(".") for name in imported_modules(path))
    return {p[1] for p in parts if p[0] == "emergectl" and len(p) > 1 and p[1] in ORDER}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_its_own_folder_and_folders_to_its_right(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0]
    allowed = set(ORDER[ORDER.index(own) :])
    if own == "analysis":
        allowed = {"analysis", "store"}
    assert imported_folders(path) <= allowed


@pytest.mark.parametrize("folder", ["config", "store", "analysis"])
def test_folders_that_must_answer_at_once_never_import_torch(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert not roots & {"torch", "transformers", "datasets"}, path


def test_every_folder_says_what_lives_there_and_what_it_may_import() -> None:
    folders = [p for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))]
    assert folders
    for folder in folders:
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
        assert "mport" in docstring, f"{folder.name}: says nothing about its imports"


def test_every_folder_stands_in_the_order() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders <= set(ORDER)
