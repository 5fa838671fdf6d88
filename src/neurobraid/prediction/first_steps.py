"""The first step of a feature set that is no table of features yet: covariances, series, several visits."""

from neurobraid.prediction.steps import Correlations
from neurobraid.prediction.tangent import TangentSpace
from neurobraid.prediction.visit_steps import VisitStep


def first_steps(data, model):
    """Unfitted first steps, for every reader of features but those that read series themselves.

    Parameters
    ----------
    data : neurobraid.prediction.dataset.Dataset
    model : dict

    Returns
    -------
    dict of str to transformer
        By feature set; a plain table has none.
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
