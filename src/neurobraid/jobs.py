"""The frame around every job: one log file with progress, warnings and, when it fails, the traceback."""

import contextlib
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path

log = logging.getLogger("neurobraid")


@contextlib.contextmanager
def job_log(path):
    """Send messages, warnings and errors of a job to its log file.

    On failure the traceback goes into the file and one line naming the log goes to the terminal, so that a
    user of a hundred jobs sees where to look.

    Parameters
    ----------
    path : path-like
        Log file of the job, relative to the study.

    Yields
    ------
    logging.Logger
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
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
        summary = str(error).strip().splitlines() or [type(error).__name__]
        print(
            f"FAILED {path.parent.name} {path.stem}: {summary[0]} (log: {os.fspath(path)})", file=sys.stderr
        )
        for line in summary[1:]:
            print(line, file=sys.stderr)
        raise SystemExit(1) from error
    finally:
        logging.captureWarnings(False)
        log.removeHandler(handler)
        logging.getLogger("py.warnings").removeHandler(handler)
        handler.close()
