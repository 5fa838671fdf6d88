"""Gradients of connectivity: diffusion maps of the similarity of regions, aligned between people."""

import re
from pathlib import Path

import numpy as np

from neurobraid.connectivity.group import average
from neurobraid.connectivity.matrix import read_matrix
from neurobraid.errors import InputError
from neurobraid.files import write_json, write_tsv
from neurobraid.jobs import log
from neurobraid.provenance import sidecar

SPARSITY, ALPHA, COMPONENTS, DIFFUSION_TIME = 0.9, 0.5, 5, 0


def affinity(matrix, sparsity=SPARSITY):
    """Similarity of the connectivity profiles of regions.

    Every row keeps its strongest edges, the rest become 0; similarity is the cosine of the rows, negative ones 0 (Margulies
    et al. 2016, PNAS 113:12574).

    Parameters
    ----------
    matrix : numpy.ndarray, (R, R)
        Finite correlations.
    sparsity : float
        Share of each row that becomes 0.

    Returns
    -------
    numpy.ndarray, (R, R)
        Symmetric, 0 to 1.
    """
    values = np.array(matrix, np.float64)
    cut = np.quantile(values, sparsity, axis=1, keepdims=True)
    kept = np.where(values >= cut, np.maximum(values, 0), 0.0)
    length = np.linalg.norm(kept, axis=1)
    cosine = kept @ kept.T / np.outer(length, length)
    return np.clip((cosine + cosine.T) / 2, 0.0, 1.0)


def connecting_sparsity(matrix, sparsity=SPARSITY):
    """The largest sparsity, from the one asked for down in steps of 0.1, at which the network does not fall apart.

    Parameters
    ----------
    matrix : numpy.ndarray, (R, R)
        Finite correlations.
    sparsity : float

    Returns
    -------
    float
        0 where it falls apart at every sparsity.
    """
    from scipy.sparse.csgraph import connected_components

    while sparsity > 0 and connected_components(affinity(matrix, sparsity) > 0, directed=False)[0] > 1:
        sparsity = round(max(sparsity - 0.1, 0.0), 6)
    return sparsity


def diffusion_map(similarity, components=COMPONENTS, *, alpha=ALPHA, time=DIFFUSION_TIME):
    """Diffusion map of a similarity matrix (Coifman & Lafon 2006, Appl Comput Harmon Anal 21:5).

    Parameters
    ----------
    similarity : numpy.ndarray, (R, R)
        Symmetric, not negative, connected.
    components : int
    alpha : float
        1: the density of the sampling does not matter; 0: it does.
    time : float
        Diffusion time; 0: eigenvalues are summed over all times, l / (1 - l).

    Returns
    -------
    gradients : numpy.ndarray, (R, components)
        The largest entry in size of each is positive.
    eigenvalues : numpy.ndarray, (components,)

    Raises
    ------
    InputError
        The network falls apart: the eigenvalues then say which part a region is in, not where it lies.
    """
    from scipy.sparse.csgraph import connected_components

    parts, _ = connected_components(similarity > 0, directed=False)
    if parts > 1:
        raise InputError(
            "matrix", "connected parts", parts, "1", "keep more edges (lower sparsity) or leave out regions without data"
        )  # fmt: skip
    degree = similarity.sum(1)
    kernel = similarity / np.outer(degree**alpha, degree**alpha)
    total = kernel.sum(1)
    # the symmetric relative of the transition matrix has the same eigenvalues
    values, vectors = np.linalg.eigh(kernel / np.sqrt(np.outer(total, total)))
    order = np.argsort(-values)[: components + 1]
    values, vectors = values[order], vectors[:, order]
    vectors = vectors / vectors[:, :1]
    values = values[1:]
    weight = values / (1 - values) if time == 0 else values**time
    gradients = vectors[:, 1:] * weight
    peak = np.abs(gradients).argmax(0)
    return gradients * np.sign(gradients[peak, np.arange(gradients.shape[1])]), values


def procrustes(gradients, reference):
    """Rotate gradients onto a reference: order and sign of components are arbitrary in each person.

    Parameters
    ----------
    gradients, reference : numpy.ndarray, (R, C)

    Returns
    -------
    numpy.ndarray, (R, C)
        Centred; rotated and reflected, not scaled.
    """
    moving, fixed = gradients - gradients.mean(0), reference - reference.mean(0)
    u, _, v = np.linalg.svd(moving.T @ fixed)
    return moving @ u @ v


def measure(matrices, components=COMPONENTS, *, sparsity=SPARSITY, alpha=ALPHA, iterations=10):
    """Gradients of the mean matrix, and of every person aligned to them.

    Parameters
    ----------
    matrices : dict of str to pandas.DataFrame, (R, R)
        By person; regions that anybody lacks take no part, n/a stays.
    components : int
    sparsity, alpha : float
    iterations : int
        Rounds of generalised Procrustes: the mean of the aligned gradients becomes the reference.

    Returns
    -------
    group : pandas.DataFrame, (R, components)
    people : dict of str to pandas.DataFrame, (R, components)
    info : dict
        ``Eigenvalues`` of the group, ``Left`` (regions left out), ``NotConnected`` (people whose network falls apart), ``Sparsity``:
        that asked for, or less where the group's network would fall apart.
    """
    import pandas as pd

    matrices = {person: table for person, table in matrices.items() if not table.isna().all(axis=None)}
    if not matrices:
        raise InputError("matrices", "people with data", 0, "1 or more", "see why no scan could be used")
    names = next(iter(matrices.values())).index
    stack = {}
    for person, table in matrices.items():
        values = table.to_numpy(np.float64).copy()
        np.fill_diagonal(values, 0.0)
        stack[person] = np.arctanh(np.clip(values, -1 + 1e-7, 1 - 1e-7))
    used = np.all([np.isfinite(v).sum(1) > 1 for v in stack.values()], 0)
    stack = {p: np.tanh(v[np.ix_(used, used)]) for p, v in stack.items()}
    mean = np.mean([np.arctanh(v) for v in stack.values()], 0)
    sparsity = connecting_sparsity(np.tanh(mean), sparsity)
    reference, values = diffusion_map(affinity(np.tanh(mean), sparsity), components, alpha=alpha)
    reference = reference - reference.mean(0)
    found, apart = {}, []
    for person, matrix in stack.items():
        try:
            found[person] = diffusion_map(affinity(matrix, sparsity), components, alpha=alpha)[0]
        except InputError:
            apart.append(person)
    aligned, target = found, reference
    for _ in range(iterations if found else 0):
        aligned = {person: procrustes(g, target) for person, g in found.items()}
        moved = procrustes(np.mean(list(aligned.values()), 0), reference)
        if np.linalg.norm(moved - target) < 1e-8 * np.linalg.norm(target):
            break
        target = moved
    columns = [f"gradient{k + 1}" for k in range(components)]

    def frame(part):
        filled = np.full((len(names), components), np.nan)
        filled[used] = part
        return pd.DataFrame(filled, index=names, columns=columns)

    info = {
        "Eigenvalues": values,
        "Left": [n for n, u in zip(names, used, strict=True) if not u],
        "NotConnected": apart,
        "Sparsity": sparsity,
    }
    return frame(reference), {person: frame(g) for person, g in aligned.items()}, info


def run(inputs, outputs):
    """Gradients of the matrices of a task: of the group, and of every participant.

    Parameters
    ----------
    inputs : object with attribute matrices
    outputs : object with attributes group, people, sidecar
    """
    import pandas as pd

    by_person = {}
    for path in inputs.matrices:
        by_person.setdefault(re.match(r"sub-[A-Za-z0-9+]+", Path(path).name)[0], []).append(read_matrix(path))
    matrices = {
        person: average(found, [person] * len(found), [1.0] * len(found))[0]
        for person, found in by_person.items()
    }
    group, people, info = measure(matrices)
    write_tsv(group.rename_axis("Node"), outputs.group, index=True, float_format="%.6g")
    listed = [
        frame.rename_axis("Node").reset_index().assign(participant_id=person)
        for person, frame in people.items()
    ]
    joined = pd.concat(
        listed or [group.rename_axis("Node").reset_index().assign(participant_id="n/a").iloc[:0]],
        ignore_index=True,
    )
    write_tsv(
        joined[["participant_id", *joined.columns.drop("participant_id")]],
        outputs.people,
        float_format="%.6g",
    )
    content = sidecar(
        "Gradients of connectivity: diffusion map of the cosine similarity of thresholded rows; participants are rotated onto the group "
        "(Procrustes). Signs and order are those of the group; only differences along a gradient mean something.",
        list(inputs.matrices), Sparsity=info["Sparsity"], SparsityAskedFor=SPARSITY, Alpha=ALPHA, DiffusionTime=DIFFUSION_TIME, Eigenvalues=info["Eigenvalues"],
        RegionsLeftOut=info["Left"], ParticipantsNotConnected=info["NotConnected"], NumberOfParticipants=len(people),
    )  # fmt: skip
    write_json(content, outputs.sidecar)
    log.info("%d participants, %d regions left out", len(people), len(info["Left"]))
