"""The rules of the house: layout, layers, style, and documents in step with code."""

import ast
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from docs.generate import parse_rules

ROOT = Path(__file__).resolve().parents[2]
RULE_FILES = sorted((ROOT / "workflow/rules").glob("*.smk"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))


def tool(*command):
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def rules():
    found = {}
    for path in RULE_FILES:
        for name, body in parse_rules(path.read_text()):
            if "script:" in body or name not in found:
                found[name] = (path, body)
    return found


def working_rules():
    return {name: body for name, (_, body) in rules().items() if "script:" in body}


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("snakefmt", "--check", "Snakefile", "workflow"),
        ("snakemake", "--lint"),
    ],
    ids=lambda c: " ".join(c[:2]),
)
def test_style(command):
    done = tool(*command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_import_layers():
    executable = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [executable], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr


def test_every_rule_has_its_parts():
    assert len(working_rules()) >= 20
    for name, body in working_rules().items():
        assert body.lstrip().startswith(('"""', "output:")) and '"""' in body, f"{name}: docstring"
        for part in (
            "output:",
            "log:",
            "benchmark:",
            "conda:",
            "threads:",
            "resources:",
            "params:",
            "code=code_digest(",
        ):
            assert part in body, f"{name}: {part}"
        assert "mem_mb" in body and "runtime" in body, f"{name}: resources"
        assert f"scripts/{name}.py" in body, f"{name}: script of the same name"
        assert f'"logs/{name}/' in body or f'"logs/{name}.' in body, f"{name}: log folder of the same name"


def test_scripts_and_rules_have_the_same_names():
    assert {path.stem for path in SCRIPTS} == set(working_rules())
    # rules that are made in a loop have longer names: one target of the script's own name stands for all of them
    written = "".join(path.read_text() for path in RULE_FILES)
    assert [p.stem for p in SCRIPTS if not re.search(rf"^\s*rule {p.stem}:", written, re.M)] == []


def test_scripts_only_join():
    for path in SCRIPTS:
        text = path.read_text()
        assert len(text.splitlines()) <= 40, path.name
        assert "snakemake.config" not in text, path.name
        assert "job_log(" in text, path.name
        for node in ast.walk(ast.parse(text)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef), f"{path.name} defines {node.name}"


def test_entry_point_is_a_table_of_contents():
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 80
    assert len((ROOT / "workflow/rules/common.smk").read_text().splitlines()) < 250
    for path in RULE_FILES:
        assert "lambda" not in path.read_text(), path.name


def test_package_never_imports_snakemake():
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.split(".")[0] == "snakemake" for n in names), path


def test_benchmarks_name_what_the_package_has():
    """No test runs the benchmarks, so that a function that moved would break them unseen."""
    missing = []
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("neurobraid"):
                continue
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                below = hasattr(module, "__path__") and importlib.util.find_spec(f"{node.module}.{name}")
                if not hasattr(module, name) and not below:
                    missing.append(f"{path.name}: {node.module}.{name}")
    assert missing == []


def test_public_functions_are_documented():
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path}: module docstring"
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path.name}: {node.name}"


def normal(name):
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~ ;\[]", name)[0]).lower()


def test_environments_are_in_step():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {normal(d): d for d in project["dependencies"]}
    conda = yaml.safe_load((ROOT / "envs/environment.yaml").read_text())["dependencies"]
    renamed = {"snakemake-minimal": "snakemake", "matplotlib-base": "matplotlib"}
    listed = {renamed.get(normal(d), normal(d)): d for d in conda}
    assert set(listed) == {*wanted, "python"}
    for name, spec in wanted.items():
        assert spec[len(name) :] == listed[name][re.match(r"[\w.-]+", listed[name]).end() :], name
    for lock in ("requirements.lock", "requirements-test.lock"):
        text = (ROOT / "envs" / lock).read_text()
        pinned = {normal(line) for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)}
        assert set(wanted) <= pinned
        assert "http" not in text, "a lock names no host"
        blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
        assert all("--hash=sha256:" in block for block in blocks)
    assert "requirements.lock" in (ROOT / "envs/apptainer.def").read_text()
    run = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "envs/requirements.lock").read_text(), re.MULTILINE))
    test = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "envs/requirements-test.lock").read_text(), re.MULTILINE)
    )
    assert {n: v for n, v in run.items() if test.get(n) != v} == {}, "both locks pin the same versions"


def test_generated_documents_are_in_step():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_machine_path_is_tracked():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("no git checkout")
    pattern = re.compile(r"(^|[^A-Za-z0-9_./-])/(work|root|home/[a-z]+)/")
    for name in listed:
        path = ROOT / name
        if path.is_file() and path.suffix not in {".lock", ".png", ".gz"}:
            assert not pattern.search(path.read_text(errors="ignore")), name
