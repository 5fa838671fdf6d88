"""Patterns and importance of a model drawn back on the brain: one value per region, painted into the atlas."""

import numpy as np

from neurobraid.files import read_tsv, write_json, write_tsv
from neurobraid.images.atlas import load_atlas
from neurobraid.images.io import save
from neurobraid.jobs import log
from neurobraid.prediction.importance import EDGE
from neurobraid.provenance import sidecar

REGION_COLUMNS = {
    "index": "Label of the region in the atlas",
    "name": "Region",
    "feature_set": "Feature set of the model",
    "modality": "Modality of the features; n/a for the drop",
    "measure": "Measure of the features; n/a for the drop",
    "statistic": "pattern: mean Haufe pattern of the features of the region; drop: loss of the primary metric when all are permuted",
    "value": "Value painted; n/a for a region without a feature",
    "features": "Features behind it; an edge counts at both of its ends",
    "p_fwe": "Smallest corrected p of these features against patterns of permuted labels",
    "volume": "Volume of the map, from 0",
}


def region_values(pattern, importance, regions):
    """Value of every region of the atlas for every feature set and measure.

    Parameters
    ----------
    pattern, importance : pandas.DataFrame
        Tables of `neurobraid.prediction.importance`.
    regions : pandas.DataFrame
        ``index``, ``name`` and, if the atlas has networks, ``network``.

    Returns
    -------
    pandas.DataFrame
        Columns of `REGION_COLUMNS`, one row per volume and region in the order of the atlas. Features between networks count for all
        regions of these; volumes without a single region of the atlas are left out.
    """
    import pandas as pd

    names = regions["name"].astype(str).to_numpy()
    labels = [{name} for name in names]
    if "network" in regions:
        for own, network in zip(labels, regions["network"], strict=True):
            own |= {network} if isinstance(network, str) and network != "n/a" else set()
    frames = []
    for (name, modality, measure), part in pattern.groupby(
        ["feature_set", "modality", "measure"], sort=False
    ):
        ends = [set(str(region).split(EDGE)) for region in part["region"]]
        values, p = part["pattern"].to_numpy(dtype=float), part["p_fwe"].to_numpy(dtype=float)
        mine = np.array([[bool(own & end) for end in ends] for own in labels]) & np.isfinite(values)
        count = mine.sum(axis=1)
        mean = np.where(mine, np.nan_to_num(values), 0.0).sum(axis=1) / np.maximum(count, 1)
        least = np.where(mine & np.isfinite(p), np.nan_to_num(p), np.inf).min(axis=1, initial=np.inf)
        frames.append((name, modality, measure, "pattern", np.where(count > 0, mean, np.nan), count, least))
    drops = importance[importance["level"] == "region"]
    for name, part in drops.groupby("feature_set", sort=False):
        known = part.set_index(part["name"].astype(str))
        value = known["drop"].reindex(names).to_numpy(dtype=float)
        count = known["features"].reindex(names).fillna(0).to_numpy(dtype=int)
        frames.append((name, np.nan, np.nan, "drop", value, count, np.full(names.size, np.inf)))
    out = []
    for name, modality, measure, statistic, value, count, p in frames:
        if not np.isfinite(value).any():
            continue
        out.append(
            pd.DataFrame(
                {
                    "index": regions["index"].to_numpy(),
                    "name": names,
                    "feature_set": name,
                    "modality": modality,
                    "measure": measure,
                    "statistic": statistic,
                    "value": value,
                    "features": count,
                    "p_fwe": np.where(np.isfinite(p), p, np.nan),
                    "volume": len(out),
                }
            )
        )
    if not out:
        return pd.DataFrame({c: pd.Series(dtype="object") for c in REGION_COLUMNS})
    return pd.concat(out, ignore_index=True)[list(REGION_COLUMNS)]


def paint(values, labels):
    """Map with the value of every region in its voxels.

    Parameters
    ----------
    values : pandas.DataFrame
        From `region_values`.
    labels : numpy.ndarray of int, (X, Y, Z)

    Returns
    -------
    numpy.ndarray of float32, (X, Y, Z, volumes)
        NaN outside the regions that have a value; one empty volume when there is none.
    """
    volumes = []
    for _, part in values.groupby("volume", sort=True):
        lookup = np.full(int(labels.max()) + 1, np.nan, dtype=np.float32)
        index = part["index"].to_numpy(dtype=int)
        inside = index < lookup.size
        lookup[index[inside]] = part["value"].to_numpy(dtype=np.float32)[inside]
        lookup[0] = np.nan
        volumes.append(lookup[labels])
    return np.stack(volumes or [np.full(labels.shape, np.nan, dtype=np.float32)], axis=-1)


def write_map(pattern, importance, image, regions, outputs):
    """Write the map of a model, its sidecar, and the table of its regions.

    Parameters
    ----------
    pattern, importance : path-like
        Tables of the model.
    image, regions : path-like
        Atlas.
    outputs : mapping
        Paths ``map``, ``sidecar``, ``table``, ``table_json``.
    """
    labels, affine, _ = load_atlas(image, regions)
    text = ("feature_set", "modality", "measure", "region", "name")
    tables = [read_tsv(path, text=text) for path in (pattern, importance)]
    found = region_values(*tables, read_tsv(regions, text=("name", "network")))
    save(paint(found, labels), affine, outputs["map"])
    described = [
        {
            "Volume": int(volume),
            "FeatureSet": part["feature_set"].iloc[0],
            "Modality": part["modality"].iloc[0],
            "Measure": part["measure"].iloc[0],
            "Statistic": part["statistic"].iloc[0],
            "Units": "1 (correlation)"
            if part["statistic"].iloc[0] == "pattern"
            else "primary metric of the model",
        }
        for volume, part in found.groupby("volume", sort=True)
    ]
    for one in described:
        one.update({k: None for k, v in one.items() if isinstance(v, float)})
    sources = [pattern, importance, image, regions]
    words = "Haufe pattern of a model, and the loss of its metric with a region permuted, painted into the regions of the atlas."
    write_json(sidecar(words, sources, Volumes=described), outputs["sidecar"])
    write_tsv(found, outputs["table"])
    columns = {c: {"Description": d} for c, d in REGION_COLUMNS.items()}
    write_json(sidecar("Values of the regions of the map.", sources, Columns=columns), outputs["table_json"])
    log.info("%d volumes painted", len(described))
