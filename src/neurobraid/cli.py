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


def _kinetics(arguments):
    from neurobraid.errors import InputError, InputErrors
    from neurobraid.pet import kinetics

    parser = argparse.ArgumentParser(
        "neurobraid kinetics",
        description="Kinetic parameters from time-activity curves of PETPrep or PETFit, without images.",
    )
    parser.add_argument("source", help="derivatives folder with _tacs.tsv tables")
    parser.add_argument("output_dir", help="folder for the tables")
    parser.add_argument("--models", nargs="+", required=True, help=f"of {', '.join(kinetics.MODELS)}")
    parser.add_argument(
        "--raw", default="", help="raw PET-BIDS dataset (default: the one around derivatives/)"
    )
    parser.add_argument("--bloodstream", default="", help="folder with _inputfunction.tsv of bloodstream")
    parser.add_argument("--seg", default="", help="only this segmentation")
    parser.add_argument(
        "--reference", nargs="+", default=[], help="regions of the reference; * stands for anything"
    )
    parser.add_argument(
        "--combine",
        nargs="+",
        default=[],
        help="further regions by volume, e.g. 'cortex=ctx-*' 'cb=*-Cerebellum-Cortex'",
    )
    parser.add_argument("--unit", help="unit of tables that have no sidecar, e.g. kBq/mL")
    parser.add_argument("--nuclide", default="", help="radionuclide of tables that have no sidecar, e.g. C11")
    parser.add_argument("--end-min", type=float, help="leave out frames that end later, min after injection")
    parser.add_argument("--tstar-min", help="t* of Logan, MA1 and Patlak in min, or auto (default)")
    parser.add_argument("--vb", help="fraction of blood, or fit (default 0.05)")
    parser.add_argument("--delay", help="delay of the blood in s, or fit (default)")
    options = parser.parse_args(arguments)
    chosen = {"tstar_min": options.tstar_min, "vb": options.vb, "delay": options.delay}
    settings = {
        key: value if value in ("auto", "fit") else float(value)
        for key, value in chosen.items()
        if value is not None
    }
    groups = {
        name: patterns.split(",") for name, _, patterns in (text.partition("=") for text in options.combine)
    }
    try:
        table = kinetics.run(
            options.source, options.output_dir, models=options.models, raw=options.raw, bloodstream=options.bloodstream,
            segmentation=options.seg, reference=options.reference, groups=groups, unit=options.unit,
            nuclide=options.nuclide, end_min=options.end_min, options=settings,
        )  # fmt: skip
    except (InputError, InputErrors) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{table['scan'].nunique()} scans, {table['region'].nunique()} regions: {options.output_dir}")
    return 0


def _predict(arguments):
    from neurobraid.errors import InputError, InputErrors
    from neurobraid.prediction.apply import predict_study

    parser = argparse.ArgumentParser(
        "neurobraid predict",
        description="Apply a stored model to the fusion table of another study. For research, not for clinical use.",
    )
    parser.add_argument("--model", required=True, help="…_model.zip of a model with save: true")
    parser.add_argument("--features", nargs="+", required=True, help="fusion table, or several of one study")
    parser.add_argument(
        "--participants", help="participants.tsv: confounds and sites, where the model has them"
    )
    parser.add_argument(
        "--atlas", help="region table (_dseg.tsv) of the atlas, to be compared with the model's"
    )
    parser.add_argument(
        "--output", required=True, help="table of predictions (.tsv); a .json is written beside it"
    )
    options = parser.parse_args(arguments)
    try:
        table = predict_study(
            options.model,
            options.features,
            options.output,
            participants=options.participants,
            atlas=options.atlas,
        )
    except (InputError, InputErrors) as error:
        print(error, file=sys.stderr)
        return 1
    odd, new = (table["ood_flag"] == "yes").sum(), (table["site_known"] == "no").sum()
    print(f"{len(table)} rows, {table['prediction'].notna().sum()} predicted: {options.output}")
    print(
        f"{odd} unlike the training people, {new} of sites unknown to the model. Research only; not for clinical use."
    )
    return 0


def _plan(arguments):
    from neurobraid.errors import InputError, InputErrors
    from neurobraid.prediction.plan import LOCK, lock

    parser = argparse.ArgumentParser(
        "neurobraid plan",
        description="Lock the plans of a study's confirmatory models before they are run (config/plan.yaml): settings, "
        "people held back, and digests of code and data.",
        epilog="What follows -- goes to Snakemake, which makes the feature tables first where they are missing.",
    )
    parser.add_argument("study", help="folder of the study")
    parser.add_argument(
        "--replace", metavar="REASON", default="", help="lock a changed plan anew; stays on record"
    )
    parser.add_argument("--cores", default="2", help="processor cores (default 2)")
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:cut])
    study = Path(options.study)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--directory",
        str(study),
    ]
    command += ["--cores", str(options.cores), *arguments[cut + 1 :], "--", "prediction_plans"]
    if code := subprocess.call(command):
        return code
    proposals = sorted((study / "results/derivatives/group").glob("model-*_plan.yaml"))
    if not proposals:
        print("The configuration has no model with profile: confirmatory.", file=sys.stderr)
        return 1
    try:
        print("\n".join(lock(proposals, study / LOCK, reason=options.replace)))
    except (InputError, InputErrors) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


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
    if arguments[:1] == ["kinetics"]:
        return _kinetics(arguments[1:])
    if arguments[:1] == ["predict"]:
        return _predict(arguments[1:])
    if arguments[:1] == ["plan"]:
        return _plan(arguments[1:])
    parser = argparse.ArgumentParser(
        "neurobraid",
        description="Multimodal fMRI/PET analysis of a BIDS dataset. `neurobraid verify A B` compares two finished "
        "runs; `neurobraid kinetics A B` fits the curves of PETPrep; `neurobraid plan` locks confirmatory models; "
        "`neurobraid predict` applies a stored model.",
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
