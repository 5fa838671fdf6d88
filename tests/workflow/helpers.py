"""Running Snakemake as a user would: in a study folder, as a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "workflow", "scripts", "src", "config", "profiles", "envs", "resources", "docs")


def snakemake(*arguments, snakefile=ROOT / "Snakefile", cwd=None, check=True, timeout=1500):
    """Run Snakemake without a terminal; returns the finished process with stdout and stderr as text."""
    environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "NUMBA_CACHE_DIR"}}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=cwd or ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-8000:]}")
    return done


def clone(target):
    """Copy what a fresh clone holds, without results."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__", "scans.*"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / part)
    return target


def planned(directory, *arguments, **options):
    """Rules that would run, with how many jobs each."""
    done = snakemake(
        "--dry-run", "--quiet", "rules", "--cores", 2, "--directory", directory, *arguments, **options
    )
    jobs = {}
    for line in done.stdout.splitlines():
        parts = line.split()
        if len(parts) == 2 and parts[1].isdigit() and parts[0] not in {"total", "job"}:
            jobs[parts[0]] = int(parts[1])
    return jobs


def outputs(directory, *arguments, **options):
    """Every output file of the workflow, with the rule that makes it."""
    done = snakemake("--summary", "--cores", 2, "--directory", directory, *arguments, **options)
    rows = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    header = rows[0]
    at, rule = header.index("output_file"), header.index("rule")
    return {row[at]: row[rule] for row in rows[1:]}
