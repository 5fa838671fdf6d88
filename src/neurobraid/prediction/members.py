"""Members beside the linear models, and how a declared model builds the pipeline of each feature set.

What a network cannot read stays with ridge: a model that names ``conv3d`` reads its maps with it, and its tables and
demographics as ever.
"""

from neurobraid.errors import InputError
from neurobraid.prediction.deep import DEEP_GRIDS, INPUT, DeepPath, require_torch
from neurobraid.prediction.estimators import GRIDS, RidgePath, make_pipeline
from neurobraid.prediction.hidden import HIDDEN_GRIDS, HiddenPath
from neurobraid.prediction.steps import Correlations
from neurobraid.prediction.tangent import TangentSpace
from neurobraid.prediction.visit_steps import VisitStep

#: Regularisation tried by every member; for hidden units how many.
MEMBER_GRIDS = {**HIDDEN_GRIDS, **DEEP_GRIDS}


def _reads(record):
    """What the features of a record are to a network: maps, series or a table."""
    return "maps" if record["maps"] else "series" if record["measure"] == "series" else "table"


def check_member(model, where):
    """Refuse networks without what they read, without PyTorch, and steps that have no meaning for series.

    Parameters
    ----------
    model : dict
        Record with its defaults.
    where : str
        For messages.

    Raises
    ------
    InputError
    """
    member, kinds = model["estimator"], [_reads(record) for record in model["features"]]
    wanted = INPUT.get(member, "table")
    if wanted not in kinds and member in INPUT:
        raise InputError(
            where, "features", ", ".join(sorted(set(kinds))), f"{wanted} for the estimator {member}",
            {"maps": "add a record with maps", "series": "add a record with series and measure: series",
             "table": "choose another estimator"}[wanted],
        )  # fmt: skip
    for record, kind in zip(model["features"], kinds, strict=True):
        if kind == "series" and wanted != "series":
            raise InputError(
                where, f"measure of {record['name']}", "series", "tangent, correlation or covariance",
                "choose another measure, or the estimator conv1d or lstm",
            )  # fmt: skip
    if wanted == "series" and (model["confounds"] or model["harmonize"]):
        raise InputError(
            where, "confounds" if model["confounds"] else "harmonize", "given", f"none with {member}",
            "remove it: a time point of one person is not the time point of another",
        )  # fmt: skip
    if wanted != "table" and "early" in model["fusion"]:
        raise InputError(where, "fusion", "early", f"late with {member}", "leave early out")
    if member in INPUT:
        require_torch(member)


def make_member(model, data=None, name=None):
    """Estimator of one feature set for a model that names a member.

    Parameters
    ----------
    model : dict
    data : neurobraid.prediction.dataset.Dataset, optional
    name : str, optional
        Feature set; None for several at once.

    Returns
    -------
    DeepPath, HiddenPath or RidgePath
        Ridge for what the member cannot read.
    """
    member, kind = model["estimator"], model["kind"]
    if member in HIDDEN_GRIDS:
        return HiddenPath(member, kind, tuple(sorted(model["grid"])), seed=model["seed"])
    shape = None
    if INPUT[member] != "table":
        if data is None or data.kinds.get(name, "table") != INPUT[member]:
            return RidgePath(GRIDS["ridge"], kind)
        shape = data.shapes[name]
    grid = tuple(sorted(model["grid"], reverse=True))
    return DeepPath(member, kind, grid, shape=shape, seed=model["seed"], device=model["device"])


def fronts(data, model):
    """First step of the feature sets that are covariances or series, for linear models, or of several visits.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    model : dict

    Returns
    -------
    dict of str to transformer
    """
    out = {}
    for name, kind in data.kinds.items():
        if kind == "table" and data.visits:
            out[name] = VisitStep(data.last, **data.visits)
        elif kind == "tangent":
            out[name] = TangentSpace(last=data.last, min_present=model["min_present"])
        elif kind == "series":
            out[name] = Correlations(data.shapes[name], data.last)
    return out


def member_pipeline(data, model, part, removed, estimator):
    """Pipeline of one or several feature sets, or of the clinical columns.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    model : dict
    part : dict of str to sequence of int
        Columns of every set.
    removed : sequence of int
        Columns at the end that every set needs.
    estimator : object with fit and scores

    Returns
    -------
    sklearn.pipeline.Pipeline
    """
    known = [n for n in part if n in data.kinds]
    member, shaped = model["estimator"], {}
    if getattr(estimator, "needs_groups", False):
        wanted = INPUT[member]
        if wanted != "table":
            shaped = dict.fromkeys(part, wanted)
        elif member == "mlp-dropout" and len(part) > 1:
            # people without a modality stay so, and the network must know which columns are whose
            shaped = dict.fromkeys(part, "table")
            estimator.set_params(modalities=tuple(len(columns) for columns in part.values()))
    how = {}
    if known:
        how = {"harmonize": data.harmonize, "indicator": model["missing_modality"] == "impute"}
    return make_pipeline(
        part, removed, estimator, model["min_present"], fronts=fronts(data, model), shaped=shaped, **how
    )
