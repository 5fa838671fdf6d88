"""The command ``neurobraid``: the BIDS-App form of the workflow, and helpers for finished studies."""

import argparse
import subprocess
import sys
from pathlib import Path

from neurobraid import __version__

ROOT = Path(__file__).resolve().parents[2]


def _run(options):
    import yaml

    study = Path(options.output_dir)
    (study / "config").mkdir(parents=True, exist_ok=True)
    target = study / "config" / "config.yaml"
    if options.config:
        content = yaml.safe_load(Path(options.config).read_text(encoding="utf-8")) or {}
    elif target.exists():
        content = yaml.safe_load(target.read_text(encoding="utf-8")) or {}
    else:
        content = {}
    content["bids"] = str(Path(options.bids_dir).resolve())
    index = content.setdefault("index", {})
    for key, value in (
        ("participants", options.participant_label),
        ("sessions", options.session_label),
        ("tasks", options.task_id),
    ):
        if value:
            index[key] = value
    target.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    rule = {"participant": ["participants"], "group": []}[options.analysis_level]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(study), "--cores", str(options.cores), *rule, *options.snakemake]
    return subprocess.call(command)


def _verify(options):
    from neurobraid.provenance import compare_trees

    rows = compare_trees(options.first, options.second)
    for status, name in rows:
        if status != "same":
            print(f"{status}\t{name}")
    counts = {status: sum(s == status for s, _ in rows) for status in ("same", "different", "only in one")}
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return int(counts["same"] != len(rows))


def main(arguments=None):
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.

    Returns
    -------
    int
        Exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["verify"]:
        parser = argparse.ArgumentParser(
            "neurobraid verify", description="Compare the results of two runs, byte by byte."
        )
        parser.add_argument("first", help="results folder of one run")
        parser.add_argument("second", help="results folder of the other")
        return _verify(parser.parse_args(arguments[1:]))
    parser = argparse.ArgumentParser(
        "neurobraid",
        description="Multimodal fMRI/PET analysis of a BIDS dataset. `neurobraid verify A B` compares two finished runs.",
        epilog="What follows -- goes to Snakemake, e.g. -- --dry-run",
    )
    parser.add_argument("bids_dir", help="raw BIDS dataset")
    parser.add_argument("output_dir", help="study folder; made if absent")
    parser.add_argument("analysis_level", choices=["participant", "group"], help="group runs everything")
    parser.add_argument(
        "--config", help="configuration to start from, e.g. config/examples/task-fmri/config.yaml"
    )
    parser.add_argument(
        "--participant-label", "--participant_label", nargs="+", help="only these participants"
    )
    parser.add_argument("--session-label", nargs="+", help="only these sessions")
    parser.add_argument("--task-id", nargs="+", help="only these tasks")
    parser.add_argument("--cores", default="2", help="processor cores (default 2)")
    parser.add_argument("--version", action="version", version=f"neurobraid {__version__}")
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    own, further = arguments[:cut], arguments[cut + 1 :]
    options = parser.parse_args(own)
    options.snakemake = further
    return _run(options)


if __name__ == "__main__":
    sys.exit(main())
