"""The frame around every job: one log file with messages, warnings and any traceback, and one line of progress."""

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

log = logging.getLogger("neurobraid")

PLAN = Path(".snakemake/neurobraid/plan.json")
DONE = Path(".snakemake/neurobraid/done.tsv")


def set_environment(source):
    """Prepare the environment that jobs inherit.

    The package of this tree comes first on the path, even where another version is installed; compiled
    functions are cached in the study.

    Parameters
    ----------
    source : path-like
        The ``src`` folder.
    """
    before = [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    if str(source) not in before:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(source), *before])
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(".snakemake", "numba").resolve()))


def code_digest(repository, stage):
    """Digest of the modules that the scripts of a stage run, and of the locked versions.

    The scripts lead to the modules they import but do not count themselves: Snakemake re-runs a rule whose script was
    edited.

    Parameters
    ----------
    repository : path-like
        Root of the clone.
    stage : str
        Folder in ``src/neurobraid`` and prefix of its scripts.

    Returns
    -------
    str
        16 hexadecimal digits.
    """
    repository = Path(repository)
    source = repository / "src"
    pattern = re.compile(r"^\s*(?:from|import)\s+(neurobraid[\w.]*)(?:\s+import\s+([\w, ]+))?", re.MULTILINE)
    own = sorted((source / "neurobraid" / stage).rglob("*.py"))
    scripts = set(repository.glob(f"scripts/{stage}_*.py"))
    waiting, seen = [*own, *sorted(scripts)], {}
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen[path] = path.read_bytes()
        for module, names in pattern.findall(seen[path].decode()):
            base = source.joinpath(*module.split("."))
            parts = [part.strip() for part in names.split(",") if part.strip()]
            waiting += [base.with_suffix(".py"), *(base / f"{part}.py" for part in parts)]
    kinds = {".html", ".css", ".tsv", ".j2", ".yaml", ".js"}
    others = [path for path in (source / "neurobraid" / stage).rglob("*") if path.suffix in kinds]
    seen.update({path: path.read_bytes() for path in others})
    lock = repository / "envs/requirements.lock"
    digest = hashlib.sha256(lock.read_bytes() if lock.exists() else b"")
    for path in sorted(set(seen) - scripts):
        for part in (str(path.relative_to(repository)).encode(), seen[path]):
            digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:16]


def start_plan(counts):
    """Note how many jobs of each rule this run has, so that jobs can say how far it is.

    Parameters
    ----------
    counts : dict of str to int
        Jobs per rule.
    """
    PLAN.parent.mkdir(parents=True, exist_ok=True)
    DONE.unlink(missing_ok=True)
    PLAN.write_text(json.dumps({"started": time.time(), "counts": dict(counts)}))


def remaining_minutes(plan, done, now):
    """Estimate the time left from the jobs done so far.

    Parameters
    ----------
    plan : dict
        ``started`` (s) and ``counts`` (jobs per rule).
    done : list of (str, float)
        Rule and duration in s of every finished job.
    now : float
        Time in s on the clock of ``started``.

    Returns
    -------
    float
        Minutes. A rule not seen yet counts as the mean of all jobs; the jobs that ran side by side so far are
        assumed to go on doing so.
    """
    durations = {}
    for rule, seconds in done:
        durations.setdefault(rule, []).append(seconds)
    mean = sum(s for _, s in done) / max(len(done), 1)
    finished = Counter(rule for rule, _ in done)
    work = 0.0
    for rule, count in plan["counts"].items():
        typical = sum(durations[rule]) / len(durations[rule]) if rule in durations else mean
        work += max(count - finished[rule], 0) * typical
    busy = sum(s for _, s in done) / max(now - plan["started"], 1e-3)
    return work / max(busy, 0.2) / 60


def _announce(rule, item, seconds):
    """Print `[12 of 80, about 3 min left] rule item, 4.2 s`; silent where no plan was made."""
    try:
        plan = json.loads(PLAN.read_text())
        # one short line per write: appends of several jobs do not mix
        with open(DONE, "a", encoding="utf-8") as handle:
            handle.write(f"{rule}\t{seconds:.3f}\n")
        done = [line.split("\t") for line in DONE.read_text().splitlines()]
    except (OSError, ValueError):
        return
    total = sum(plan["counts"].values())
    left = remaining_minutes(plan, [(r, float(s)) for r, s in done], time.time())
    when = "under a minute left" if left < 1 else f"about {left:.0f} min left"
    print(
        f"[{len(done):>{len(str(total))}} of {total}, {when}] {rule} {item}, {seconds:.1f} s", file=sys.stderr
    )


@contextlib.contextmanager
def job_log(path):
    """Send messages, warnings and errors of a job to its log file; say on the terminal when it is done.

    On failure the traceback goes into the file and one line naming the log goes to the terminal, so that a
    user of a hundred jobs sees where to look.

    Parameters
    ----------
    path : path-like
        Log file of the job, ``logs/<rule>/…/<item>.log``, relative to the study.

    Yields
    ------
    logging.Logger
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    below = path.parts[path.parts.index("logs") + 1 :] if "logs" in path.parts else path.parts[-2:]
    rule, item = below[0], path.stem
    started = time.time()
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(handler)
    warnings.simplefilter("default")
    # notes from one library to another's developers: nothing a researcher can act on
    for noisy in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=noisy)
    try:
        yield log
    except BaseException as error:
        log.error("%s", "".join(traceback.format_exception(error)))
        summary = str(error).strip() or type(error).__name__
        print(f"FAILED {rule} {item}, log: {os.fspath(path)}\n{summary}", file=sys.stderr)
        raise SystemExit(1) from None
    else:
        log.info("done in %.1f s", time.time() - started)
        _announce(rule, item, time.time() - started)
    finally:
        logging.captureWarnings(False)
        log.removeHandler(handler)
        logging.getLogger("py.warnings").removeHandler(handler)
        handler.close()
