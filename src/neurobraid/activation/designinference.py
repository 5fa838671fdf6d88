"""Permutation inference for contrasts of group designs: the design is built again, the tests are those of plain group maps."""

from types import SimpleNamespace

import pandas as pd

from neurobraid.activation import inference
from neurobraid.activation.group import participants_of
from neurobraid.activation.groupdesign import build, read_participants

OLS_NOTE = "ordinary least squares over participants, which is what permutations rearrange; the maps of the design used"


def tested(node, contrast, inputs):
    """Maps, design and contrast of one test, in one order.

    Parameters
    ----------
    node : dict
        Dataset node of a Stats Model.
    contrast : str
        One of the node's.
    inputs : object with attributes effect, participants
        Effect maps of one contrast of participants; participants.tsv in a list, empty where a dataset has none.

    Returns
    -------
    paths : list of path-like, (N,)
        Maps of those whom the design holds, in the order of its rows.
    design : groupdesign.GroupDesign
    rows : numpy.ndarray, (Q, P)

    Raises
    ------
    InputError
        See `groupdesign.build`.
    """
    paths = list(inputs.effect)
    people = participants_of(paths)
    table = next(iter(inputs.participants), None)
    design = build(node, read_participants(table) if table else pd.DataFrame(), people)
    by_person = dict(zip(people, paths, strict=True))
    return [by_person[person] for person in design.matrix.index], design, design.contrast(contrast)


def permute(node, contrast, inputs, outputs, part, **settings):
    """Compute one part of the permutations of a design's contrast; see `inference.permute`."""
    paths, design, rows = tested(node, contrast, inputs)
    given = SimpleNamespace(effect=paths, participants=inputs.participants)
    inference.permute(given, outputs, part, design=design.matrix.to_numpy(), contrast=rows, **settings)


def run(node, contrast, inputs, outputs, name, **settings):
    """Apply every method to a design's contrast and write what `inference.run` writes, with the design named.

    Parameters
    ----------
    node, contrast
        See `tested`.
    inputs, outputs, name, **settings
        See `inference.run`; inputs also has participants.
    """
    paths, design, rows = tested(node, contrast, inputs)
    names = ("null", "reached", "notes", "atlas_image", "atlas_table")
    given = SimpleNamespace(effect=paths, **{key: getattr(inputs, key) for key in names})
    weights = [dict(zip(design.matrix, row, strict=True)) for row in rows.tolist()]
    record = {"Design": node["Name"], "Weights": weights, "Missing": design.missing, "Estimator": "ols"}
    if design.estimator != "ols":
        record["EstimatorNote"] = f"{OLS_NOTE} {design.estimator} effects"
    inference.run(
        given, outputs, name, design=design.matrix.to_numpy(), contrast=rows, record=record, **settings
    )
