"""Our fits of the curves in ``pet-tacs``: kinfitr's simref with kinfitr's own results, and exact curves with truth."""

import numpy as np
import pandas as pd

from neurobraid.pet import kinetics, srtm, srtm2
from neurobraid.pet import linear_models as lm
from neurobraid.pet import plasma_models as pm
from neurobraid.pet.frames import Frames

from .curves import plasma as feng

TSTAR = {"refLogan": 30.0, "refmlLogan": 30.0}


def _frames(rows):
    start = rows["frame_start_s"].to_numpy(float)
    return Frames(start, start + rows["frame_duration_s"].to_numpy(float), np.ones(len(rows)), 1.0, 20.364)


def exact(folder):
    """Relative error of BPND on every exact curve: ``framing, set, model, kind, error``.

    Every model by region, and by voxel in single precision; all with the true k2' where it is given to the model.
    """
    curves = pd.read_csv(folder / "pet-tacs/exact_tacs.tsv", sep="\t", na_values="n/a")
    truth = pd.read_csv(folder / "pet-tacs/exact_truth.tsv", sep="\t", na_values="n/a")
    truth = truth[truth["model"] == "srtm"].set_index("set")
    out = []
    for (framing, number), rows in curves[curves["model"] == "srtm"].groupby(["framing", "set"]):
        at, true = _frames(rows), truth.loc[number]
        reference, target = rows["reference"].to_numpy(), rows[["target"]].to_numpy().T
        single = target.astype(np.float32)
        one, two = srtm.basis(at, reference), srtm2.basis(at, reference, true["k2prime"])
        found = {
            ("SRTM", "region"): srtm.fit_regions(target, one)["BPND"][0],
            ("SRTM", "voxel"): srtm.fit_voxels(single, one)["BPND"][0],
            ("SRTM2", "region"): srtm2.fit_regions(target, two)["BPND"][0],
            ("SRTM2", "voxel"): srtm2.fit_voxels(single, two)["BPND"][0],
        }
        for model in ("MRTM1", "MRTM2", "refLogan", "refmlLogan"):
            shared = lm.prepare(
                model, at, reference, k2prime=true["k2prime"], tstar_min=TSTAR.get(model, 0.0)
            )
            found[model, "region"] = lm.fit_regions(target, shared)[0]["BPND"][0]
            found[model, "voxel"] = lm.fit_voxels(single, shared)["BPND"][0]
        out += [
            {"framing": framing, "set": number, "model": m, "kind": k, "error": abs(v / true["BPND"] - 1)}
            for (m, k), v in found.items()
        ]
    return pd.DataFrame(out)


def plasma(folder):
    """Error of VT or Ki on the exact 2TCM curves with the exact input: ``framing, set, model, vb, kind, error``.

    The compartment models by region and voxel with vB fitted and given; Patlak of the trapped tracer after vB.
    """
    curves = pd.read_csv(folder / "pet-tacs/exact_tacs.tsv", sep="\t", na_values="n/a")
    truth = pd.read_csv(folder / "pet-tacs/exact_truth.tsv", sep="\t", na_values="n/a")
    truth = truth[truth["model"] == "2tcm_vB0.05"].set_index("set")
    given = exact_input()
    out = []
    for (framing, number), rows in curves[curves["model"] == "2tcm_vB0.05"].groupby(["framing", "set"]):
        at, true = _frames(rows), truth.loc[number]
        target = rows[["target"]].to_numpy().T
        name = "2TCMirr" if number == 5 else "2TCM"
        main = pm.MAIN[name]
        found = {}
        for vb in (None, true["vB"]):
            shared = pm.prepare(name, at, given, vb=vb)
            table, _ = pm.fit_regions(target, shared)
            found[name, vb is None, "region"] = table[main][0]
            found[name, vb is None, "voxel"] = pm.fit_voxels(target, shared, steps=40)[main][0]
        if number == 5:
            tissue = pm.blood_corrected(target, at, given, true["vB"])
            shared = pm.prepare_linear("Patlak", at, given, tstar_min=30.0)
            found["Patlak", False, "region"] = lm.fit_regions(tissue, shared)[0]["Ki"][0]
        out += [
            {
                "framing": framing,
                "set": number,
                "model": m,
                "fitted_vb": v,
                "kind": k,
                "error": abs(value / true[main] - 1),
            }
            for (m, v, k), value in found.items()
        ]
    return pd.DataFrame(out)


def mc1(folder, out, end_min=90.0):
    """Cortex/cerebellum ratio of VT of real scans: series over model, participant_id and session_id.

    Logan and MA1 from t* = 30 min to the 90 min that all scans have (or `end_min`, None for the whole scan), without
    correction for blood volume.
    """
    table = kinetics.run(
        folder / "ds004869-pet-mc1/derivatives/petprep", out, models=["Logan", "MA1"], end_min=end_min,
        groups={"cortex": ["ctx-*"], "cerebellum": ["*-Cerebellum-Cortex"]}, options={"tstar_min": 30.0, "vb": 0.0},
    )  # fmt: skip
    rows = table[table["parameter"].eq("VT") & table["region"].isin(["cortex", "cerebellum"])]
    wide = rows.pivot(index=["model", "participant_id", "session_id"], columns="region", values="value")
    return (wide["cortex"] / wide["cerebellum"]).dropna()


def exact_input():
    """The input of the exact curves on a grid so fine that straight lines between its points do not count."""
    t = np.unique(
        np.concatenate([np.arange(0, 4, 0.1 / 60), np.arange(4, 10, 1 / 60), np.arange(10, 91, 5 / 60)])
    )
    return pm.Input(t, feng(t), feng(t))


def simref(folder):
    """Kinfitr's expected values with ``found`` (ours) and ``error`` (difference over tolerance)."""
    curves = pd.read_csv(folder / "pet-tacs/simref_tacs.tsv", sep="\t")
    expected = pd.read_csv(folder / "pet-tacs/simref_expected_kinfitr.tsv", sep="\t", na_values="n/a")
    found = {}
    for subject, rows in curves[curves["frame_duration_s"] > 0].groupby("subject"):
        found.update(_simref_subject(subject, rows))
    keys = expected[["subject", "region", "model", "variant", "parameter"]].itertuples(index=False, name=None)
    values = np.array([found[key] for key in keys])
    return expected.assign(found=values, error=np.abs(values - expected["value"]) / expected["abs_tol"])


def _simref_subject(subject, rows):
    """Our value for every row of the table of one person."""
    at = _frames(rows)
    regions = ["ROI1", "ROI2", "ROI3"]
    reference, w, curves = rows["Reference"].to_numpy(), rows["weight"].to_numpy(), rows[regions].to_numpy().T
    found = {}

    def put(model, variant, table, **more):
        table = table.assign(**more)
        for i, region in enumerate(regions):
            found.update({(subject, region, model, variant, name): table[name][i] for name in table})
        return table

    def linear(model, weight=None, k2prime=None, integrals="midpoint", last=None):
        tstar = at.mid[-last] / 60 if last else 0.0
        shared = lm.prepare(
            model, at, reference, weight, k2prime=k2prime, tstar_min=tstar, integrals=integrals
        )
        return lm.fit_regions(curves, shared)[0]

    weighted = put("srtm", "weighted", srtm.fit_regions(curves, srtm.basis(at, reference, w)))
    put("srtm", "uniform", srtm.fit_regions(curves, srtm.basis(at, reference)))
    from_srtm = weighted["k2prime"][0]
    found[subject, "Reference", "k2prime", "from_srtm_ROI1_weighted", "k2prime"] = from_srtm
    shared = srtm2.basis(at, reference, from_srtm, w)
    put("srtm2", "weighted_k2prime_srtm_ROI1", srtm2.fit_regions(curves, shared), k2prime=from_srtm)
    one = put("mrtm1", "weighted_trapz", linear("MRTM1", w))
    put("mrtm1", "uniform_trapz", linear("MRTM1"))
    put("mrtm1", "weighted_framesum", linear("MRTM1", w, integrals="frame_sum"))
    from_mrtm1 = one["k2prime"][0]
    found[subject, "Reference", "k2prime", "from_mrtm1_ROI1_weighted", "k2prime"] = from_mrtm1
    for name, k2prime in (("_mrtm1_ROI1", from_mrtm1), ("0.1", 0.1)):
        two = linear("MRTM2", w, k2prime)
        put("mrtm2", f"weighted_trapz_k2prime{name}", two, DVR=1 + two["BPND"])
        put("reflogan", f"uniform_trapz_last10_k2prime{name}", linear("refLogan", None, k2prime, last=10))
    put(
        "reflogan",
        "uniform_framesum_last10_k2prime0.1",
        linear("refLogan", None, 0.1, "frame_sum", last=10),
    )
    multilinear = linear("refmlLogan", None, 0.1, last=10)
    # kinfitr calls k2 what is -1/b, the target's k2a
    put("refmllogan", "uniform_trapz_last10_k2prime0.1", multilinear, k2=multilinear["k2a"])
    return found
