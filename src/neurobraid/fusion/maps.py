"""Contrast maps of all participants regressed on their own binding maps, voxel by voxel."""

import numpy as np

from neurobraid.files import read_tsv, write_json
from neurobraid.fusion.coupling import FEWEST_PEOPLE, covariate_design
from neurobraid.fusion.table import name_entities
from neurobraid.fusion.voxelwise import cross_modal_glm
from neurobraid.jobs import log
from neurobraid.provenance import sidecar


def first_of_each(paths):
    """First file of every participant, in the order of the names: ``sub-<label>`` to path."""
    found = {}
    for path in sorted(map(str, paths)):
        found.setdefault(f"sub-{name_entities(path)['sub']}", path)
    return found


def write_voxelwise(targets, regressors, participants, record, outputs):
    """Estimate one declared voxelwise model and write its maps.

    Parameters
    ----------
    targets, regressors : list of path-like
        Maps in template space; 0 and NaN mark voxels without a value. Regressors are brought to the grid of the targets by
        linear interpolation; of several sessions the first is taken.
    participants : path-like or None
        participants.tsv.
    record : mapping
        One record of ``fusion.voxelwise`` with its defaults.
    outputs : mapping
        ``effect``, ``t``, ``logp`` and ``sidecar``.
    """
    from neurobraid.images.io import data, load, save
    from neurobraid.images.resample import resample_image

    first, second = first_of_each(targets), first_of_each(regressors)
    people = [p for p in first if p in second]
    table = read_tsv(participants) if participants else None
    design, used = covariate_design(table, people, record["covariates"])
    kept = np.isfinite(design).all(1)
    people, design = [p for p, ok in zip(people, kept, strict=True) if ok], design[kept]
    grid = load(next(iter(first.values())))
    shape, affine = grid.shape[:3], grid.affine
    noted = {
        "Participants": people,
        "Covariates": used,
        "Permutations": record["permutations"],
        "Seed": record["seed"],
    }
    if len(people) < design.shape[1] + FEWEST_PEOPLE:
        noted["Reason"] = (
            f"{len(people)} participants have both maps and the covariates; at least {design.shape[1] + FEWEST_PEOPLE} are needed"
        )
        log.warning("%s: %s", record["name"], noted["Reason"])
        maps = dict.fromkeys(("effect", "t", "logp"), np.zeros(shape))
    else:
        y, x = [], []
        for person in people:
            own, other = load(first[person]), load(second[person])
            y.append(data(own, np.float64).reshape(shape))
            x.append(resample_image(other, shape, affine, fill=np.nan))
        y, x = (
            np.where(np.isfinite(a) & (a != 0), a, np.nan).reshape(len(people), -1)
            for a in map(np.array, (y, x))
        )
        inside = np.isfinite(y).all(0) & np.isfinite(x).all(0)
        within = None
        if record["within"] and table is not None and record["within"] in table:
            within = (
                table.set_index("participant_id").reindex(people)[record["within"]].astype(str).to_numpy()
            )
        found = cross_modal_glm(
            y[:, inside],
            x[:, inside],
            design,
            permutations=record["permutations"],
            seed=record["seed"],
            within=within,
        )
        maps = {}
        for name, values in (
            ("effect", found["slope"]),
            ("t", found["t"]),
            ("logp", -np.log10(found["p_fwe"])),
        ):
            volume = np.zeros(inside.shape)
            volume[inside] = np.nan_to_num(values)
            maps[name] = volume.reshape(shape)
        noted |= {
            "DegreesOfFreedom": found["df"],
            "Voxels": int(inside.sum()),
            "VoxelsFWE05": int((found["p_fwe"] <= 0.05).sum()),
            "ThresholdT": float(np.quantile(found["max_t"], 0.95)) if found["max_t"].size else None,
        }
    for name, volume in maps.items():
        save(volume, affine, outputs[name], dtype=np.float32)
    write_json(
        sidecar(
            f"Contrast {record['contrast']} of task {record['task']} regressed on each participant's own binding, voxel by voxel.",
            [*(first[p] for p in people), *(second[p] for p in people)],
            Units={
                "effect": "percent signal change per unit of BPND",
                "t": "t statistic with DegreesOfFreedom",
                "logp": "-log10 of p corrected over voxels, from the permutation distribution of the largest absolute t",
                "background": "0 means outside the analysed voxels",
            },
            PermutedWithin=record["within"] or None,
            **noted,
        ),
        outputs["sidecar"],
    )
