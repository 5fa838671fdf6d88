"""A fitted model as numbers in a file that runs nothing when it is read, and is the same bytes for the same model.

A stored model is a ZIP archive of ``model.json`` (what the model is, as plain JSON), arrays (``.npy`` without pickled
objects) and ``digest.json`` (SHA-256 of every other member). The JSON names steps, and `STEPS` says which class each name
stands for and which values that class may hold: a file cannot name anything else. Linear estimators are kept as their
weights, so that no training person's row is stored (a fitted support vector machine would hold such rows) and a later
scikit-learn reads the model alike.
"""

import hashlib
import io
import json
import math
import zipfile
import zlib
from importlib import import_module
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator

from neurobraid.errors import InputError
from neurobraid.files import atomic

#: Layout of the file; a reader refuses any other.
FORMAT = 1
#: Size of all members together that a reader takes, bytes: beyond it lies no model but a trap.
LARGEST = 4 << 30
MEMBER, HEADER, DIGEST = "arrays/{:04d}.npy", "model.json", "digest.json"

_HERE = "neurobraid.prediction"
#: Name in the file: module and class, settings (constructor), fitted values. A step that holds anything else is refused,
#: or a value that shapes its result would be lost; those in `ALSO` may be there or not.
STEPS = {
    "KeepCovered": (f"{_HERE}.steps", ("confounds", "min_present"), ("keep_",)),
    "FillMedian": (f"{_HERE}.steps", ("confounds", "indicator"), ("median_",)),
    "ConfoundRemover": (f"{_HERE}.steps", ("confounds",), ("model_",)),
    "Standardize": (f"{_HERE}.steps", (), ("mean_", "scale_")),
    "HarmonizeTable": (
        f"{_HERE}.harmonize",
        ("confounds", "covariates", "unseen", "names"),
        ("harmonizer_",),
    ),
    "SiteHarmonizer": (
        f"{_HERE}.harmonize",
        ("unseen", "shrink"),
        ("sites_", "alpha_", "sigma_", "center_", "beta_", "shift_", "scale_"),
    ),
    "TangentSpace": (f"{_HERE}.tangent", ("people", "iterations"), ("whitening_",)),
    "Calibrator": (f"{_HERE}.estimators", ("kind", "linear"), ("map_",)),
    "Linear": (f"{_HERE}.store", (), ("weights_", "intercept_")),
}
ALSO = {
    "HarmonizeTable": (("method",), ()),
    "SiteHarmonizer": (
        ("method",),
        ("middle_", "components_", "component_shift_", "component_scale_", "spread_"),
    ),
}
#: Values that say how a step was fitted and shape nothing.
IDLE = ("n_samples_seen_",)


class Linear(BaseEstimator):
    """A linear score, which is what a stored linear estimator comes down to.

    Attributes
    ----------
    weights_ : numpy.ndarray, (features,)
        Empty where there was nothing to learn from and the score is the intercept.
    intercept_ : float
    """

    def scores(self, X):
        """Scores, (people, 1)."""
        if not self.weights_.size:
            return np.full((len(X), 1), self.intercept_)
        return (X @ self.weights_ + self.intercept_)[:, None]

    @classmethod
    def of(cls, estimator, choice, features, where):
        """The linear score that a fitted path of estimators gives at one value of its grid.

        The weights are read off its scores of unit rows, so that any learner that is linear can be kept whatever it
        is made of, and one that is not linear is noticed.

        Parameters
        ----------
        estimator : object
            With ``scores(X)``, (people, grid).
        choice : int
        features : int
        where : str
            For the message.

        Raises
        ------
        InputError
            The score is not linear: kernels and trees would keep training people's values in the file.
        """
        out, step = cls(), 512

        def score(X):
            return estimator.scores(X)[:, choice]

        out.intercept_ = float(score(np.zeros((1, features)))[0])
        weights = [
            score(np.eye(min(step, features - start), features, start)) for start in range(0, features, step)
        ]
        out.weights_ = np.concatenate(weights) - out.intercept_ if weights else np.zeros(0)
        trial = np.random.default_rng(0).normal(size=(8, features)) * 3
        found, wanted = out.scores(trial)[:, 0], score(trial)
        if not np.allclose(found, wanted, rtol=1e-7, atol=1e-7 * max(np.abs(wanted).max(), 1e-12)):
            raise InputError(
                where,
                "estimator",
                getattr(estimator, "estimator", type(estimator).__name__),
                "a learner that is a weighted sum of features (ridge, ridge-logistic, linear svm, elastic-net)",
                "set save: false; kernels and trees would keep training people's values in the file",
            )
        return out


# --------------------------------------------------------------- objects to plain numbers and back


def _pack(value, arrays):
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufU":
            raise TypeError(f"an array of type {value.dtype} has no safe form")
        arrays.append(np.ascontiguousarray(value))
        return {"array": len(arrays) - 1}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple):
        return {"tuple": [_pack(v, arrays) for v in value]}
    if isinstance(value, list):
        return [_pack(v, arrays) for v in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _pack(np.array(value), arrays)
    return pack(value, arrays)


def pack(step, arrays):
    """A fitted step as plain JSON, its arrays appended to a list.

    Parameters
    ----------
    step : object
        Of a class named in `STEPS`.
    arrays : list of numpy.ndarray
        Grows.

    Returns
    -------
    dict
        ``step``, ``settings``, ``fitted``.

    Raises
    ------
    TypeError
        Another class: its values have not been looked at.
    """
    name = type(step).__name__
    if name not in STEPS or type(step).__module__ != STEPS[name][0]:
        raise TypeError(f"{type(step).__module__}.{name} is not among the steps that can be stored")
    _, settings, fitted = STEPS[name]
    more = ALSO.get(name, ((), ()))
    held = vars(step)
    odd = sorted(set(held) - {*settings, *fitted, *more[0], *more[1], *IDLE})
    if odd:
        raise TypeError(f"{name} holds {', '.join(odd)}, which this version cannot store")
    settings = [*settings, *(key for key in more[0] if key in held)]
    fitted = [*fitted, *(key for key in more[1] if key in held)]
    return {
        "step": name,
        "settings": {key: _pack(getattr(step, key), arrays) for key in settings},
        "fitted": {key: _pack(getattr(step, key), arrays) for key in fitted},
    }


def _unpack(value, arrays):
    if isinstance(value, dict):
        if set(value) == {"array"}:
            return arrays[value["array"]]
        if set(value) == {"tuple"}:
            return tuple(_unpack(v, arrays) for v in value["tuple"])
        return unpack(value, arrays)
    if isinstance(value, list):
        return [_unpack(v, arrays) for v in value]
    return value


def unpack(content, arrays):
    """The step that `pack` wrote.

    Parameters
    ----------
    content : dict
    arrays : list of numpy.ndarray

    Returns
    -------
    object

    Raises
    ------
    ValueError
        The content names another class or another value than `STEPS` allows.
    """
    if not isinstance(content, dict) or set(content) != {"step", "settings", "fitted"}:
        raise ValueError("a step has another layout")
    if content["step"] not in STEPS:
        raise ValueError(f"unknown step {content['step']!r}")
    module, settings, fitted = STEPS[content["step"]]
    more = ALSO.get(content["step"], ((), ()))
    known = all(
        set(need) <= set(content[part]) <= {*need, *may}
        for part, need, may in (("settings", settings, more[0]), ("fitted", fitted, more[1]))
    )
    if not known:
        raise ValueError(f"the step {content['step']} has other values than this version knows")
    make = getattr(import_module(module), content["step"])
    step = make(**{key: _unpack(value, arrays) for key, value in content["settings"].items()})
    for key, value in content["fitted"].items():
        setattr(step, key, _unpack(value, arrays))
    return step


# ------------------------------------------------------------------------------------ the file


def _member(archive, name, content):
    # a fixed date: the same model is the same bytes
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content, compresslevel=6)


def write_archive(header, arrays, path):
    """Write a stored model.

    Parameters
    ----------
    header : dict
        Plain JSON; ``format`` is added.
    arrays : list of numpy.ndarray
        Numbers, booleans or text; never objects.
    path : path-like
    """
    members = {
        HEADER: json.dumps(
            {"format": FORMAT, **header}, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False
        ).encode()
    }
    for number, array in enumerate(arrays):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=False)
        members[MEMBER.format(number)] = buffer.getvalue()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    members[DIGEST] = json.dumps(digests, indent=1, sort_keys=True).encode()
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members.items():
            _member(archive, name, content)


def read_archive(path):
    """Read a stored model without running anything from it.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    header : dict
    arrays : list of numpy.ndarray

    Raises
    ------
    InputError
        Not such a file (a pickle, a truncated download), a member that was changed or does not belong, another
        version of the layout.
    """
    name = Path(path).name

    def refuse(found, fix="get the file again from where it was made"):
        return InputError(name, "stored model", found, "a file that prediction_final wrote, unchanged", fix)

    if not Path(path).is_file():
        raise refuse("missing", "name the model file, …_model.zip")
    with open(path, "rb") as handle:
        start = handle.read(2)
    if start[:1] == b"\x80" or start[:2] in (b"\x1f\x8b", b"\x78\x9c"):
        raise refuse(
            "a pickle or a compressed pickle, which could run anything and was not opened",
            "write the model with save: true; pickles are never read",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise refuse("larger than any model")
            if len(set(archive.namelist())) < len(archive.namelist()):
                raise refuse("an archive with a member twice")
            members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        digests = json.loads(members.pop(DIGEST))
        found = {key: hashlib.sha256(content).hexdigest() for key, content in members.items()}
        if digests != found:
            odd = sorted(key for key in {*digests, *found} if digests.get(key) != found.get(key))
            raise refuse(f"changed after it was written ({', '.join(odd)})")
        header = json.loads(members.pop(HEADER))
        version = header.get("format")
        if version != FORMAT:
            raise InputError(
                name,
                "format",
                version,
                str(FORMAT),
                f"read it with the neurobraid that wrote it ({header.get('versions', {}).get('neurobraid', '?')})",
            )
        order = [MEMBER.format(number) for number in range(len(members))]
        if sorted(members) != order:
            raise refuse(f"an archive with the member {sorted(set(members) ^ set(order))[0]}")
        arrays = [np.lib.format.read_array(io.BytesIO(members[key]), allow_pickle=False) for key in order]
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise refuse(f"no whole archive ({error})") from None
    except (KeyError, UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise refuse(f"an archive with another content ({type(error).__name__})") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise refuse(f"an archive whose arrays cannot be read ({error})") from None
    return header, arrays
