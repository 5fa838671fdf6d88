"""Members beside the linear models, and how a declared model builds the pipeline of each feature set.

What a network cannot read stays with ridge: a model that names ``conv3d`` reads its maps with it, and its tables and
demographics as ever.
"""

from neurobraid.prediction.declared import INPUT
from neurobraid.prediction.deep import DEEP_GRIDS, DeepPath
from neurobraid.prediction.estimators import GRIDS, RidgePath, make_pipeline
from neurobraid.prediction.hidden import HIDDEN_GRIDS, HiddenPath
from neurobraid.prediction.steps import Correlations
from neurobraid.prediction.tangent import TangentSpace
from neurobraid.prediction.visit_steps import VisitStep

#: Regularisation tried by every member; for hidden units how many.
MEMBER_GRIDS = {**HIDDEN_GRIDS, **DEEP_GRIDS}


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
