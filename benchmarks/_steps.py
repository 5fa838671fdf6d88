"""One measured step of `preprocessing.py`, in a process of its own: ours, or a peer's with the peers' interpreter.

    python benchmarks/_steps.py NAME FOLDER

Reads FOLDER/inputs.npz, writes FOLDER/NAME.npz: the step's results, the CPU seconds of the work alone (without imports,
reading, and compilation: every step warms up first) and the peak memory of the whole process.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

# before any library is imported: one thread for everybody
os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")})
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"

import numpy as np

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


class Clock:
    """CPU seconds (user and system, with children) between entering and leaving."""

    seconds = 0.0

    def __enter__(self):
        self.start = self._now()
        return self

    def __exit__(self, *error):
        self.seconds += self._now() - self.start

    @staticmethod
    def _now():
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(u.ru_utime + u.ru_stime for u in used)


def idle_speed():
    """CPU seconds of a fixed loop: tells how loaded the machine is."""
    start = time.process_time()
    total = 0
    for n in range(2_000_000):
        total += n & 7
    return time.process_time() - start


def peak_megabytes():
    """Largest resident memory of this process. (ru_maxrss starts with that of the parent, which may be larger.)"""
    try:
        line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(line.split()[1]) / 1024


# --------------------------------------------------------------------------- head motion


def motion_ours(inputs, clock, options):
    from neurobraid.bold.motion import head_motion

    data = np.asfortranarray(inputs["data"])
    few = np.asfortranarray(data[..., :2])
    head_motion(few, inputs["affine"], inputs["reference"], inputs["mask"])
    with clock:
        matrices = head_motion(data, inputs["affine"], inputs["reference"], inputs["mask"])
    return {"matrices": matrices}


def motion_ants(inputs, clock, options):
    import ants

    reference = ants_image(inputs["reference"], inputs["affine"])
    series = ants_image(inputs["data"], inputs["affine"])
    with clock:
        found = ants.motion_correction(series, fixed=reference, type_of_transform="BOLDRigid")
    matrices = []
    for names in found["motion_parameters"]:
        names = [names] if isinstance(names, str) else names
        assert len(names) == 1
        transform = ants.read_transform(names[0])
        matrices.append(lps_matrix(lambda p, t=transform: t.apply_to_point(p)))
    return {"matrices": np.array(matrices)}


def motion_sitk(inputs, clock, options):
    import SimpleITK as sitk

    fixed = sitk_image(inputs["reference"], inputs["affine"])
    inside = sitk.Cast(sitk_image(inputs["mask"].astype(np.float32), inputs["affine"]) > 0.5, sitk.sitkUInt8)
    matrices = []
    for t in range(inputs["data"].shape[3]):
        moving = sitk_image(inputs["data"][..., t], inputs["affine"])
        with clock:
            centre = fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
            transform = sitk.Euler3DTransform()
            transform.SetCenter(centre)
            method = sitk.ImageRegistrationMethod()
            method.SetMetricAsMeanSquares()
            method.SetMetricFixedMask(inside)
            method.SetInterpolator(sitk.sitkLinear)
            method.SetOptimizerAsGradientDescentLineSearch(
                learningRate=1.0, numberOfIterations=60, convergenceMinimumValue=1e-7
            )
            method.SetOptimizerScalesFromPhysicalShift()
            method.SetShrinkFactorsPerLevel([2, 1])
            method.SetSmoothingSigmasPerLevel([2.0, 2.0])
            method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
            method.SetInitialTransform(transform, inPlace=True)
            method.Execute(fixed, moving)
        matrices.append(lps_matrix(transform.TransformPoint))
    return {"matrices": np.array(matrices)}


def motion_dipy(inputs, clock, options):
    from dipy.align import affine_registration

    matrices = []
    for t in range(inputs["data"].shape[3]):
        with clock:
            _, matrix = affine_registration(
                inputs["data"][..., t],
                inputs["reference"],
                moving_affine=inputs["affine"],
                static_affine=inputs["affine"],
                pipeline=["translation", "rigid"],
                level_iters=[100, 50, 20],
            )
        matrices.append(matrix)
    return {"matrices": np.array(matrices)}


# --------------------------------------------------------------------------- normalisation


def normalise_ours(inputs, clock, options):
    from neurobraid.anat.normalize import normalize
    from neurobraid.images.resample import sample, sample_vector

    some = np.zeros((5, 6, 7, 3), np.float32)
    sample_vector(some, np.ones((2, 3)))
    for order in (0, 1, 3):
        sample(some[..., 0], np.ones((2, 3)), order)
    with clock:
        forward, _ = normalize(
            inputs["moving"], inputs["moving_affine"], inputs["moving"] > 0, quality=options["quality"]
        )
    return {"points": forward.apply(inputs["points"])}


def normalise_ants(inputs, clock, options):
    import ants

    fixed = ants_image(inputs["fixed"], inputs["fixed_affine"])
    moving = ants_image(inputs["moving"], inputs["moving_affine"])
    with clock:
        found = ants.registration(fixed, moving, type_of_transform=options["type"], random_seed=1)
    # where each voxel of the template comes from: warp three images that hold the world coordinates
    index = np.indices(inputs["moving"].shape).reshape(3, -1)
    world = inputs["moving_affine"][:3, :3] @ index + inputs["moving_affine"][:3, 3:]
    parts = [
        ants.apply_transforms(
            fixed,
            ants_image(axis.reshape(inputs["moving"].shape).astype(np.float32), inputs["moving_affine"]),
            found["fwdtransforms"],
            interpolator="linear",
        ).numpy()
        for axis in world
    ]
    where = np.rint(
        (inputs["points"] - inputs["fixed_affine"][:3, 3]) @ np.linalg.inv(inputs["fixed_affine"][:3, :3]).T
    )
    where = tuple(where.astype(int).T)
    points = np.stack([p[where] for p in parts], 1).astype(np.float64)
    check_points(points, inputs["points"], found["fwdtransforms"])
    return {"points": points}


def check_points(points, template_points, transforms):
    """Fail unless ANTs' own mapping of points agrees with the warped coordinates."""
    import ants
    import pandas as pd

    some = slice(None, None, max(1, len(points) // 300))
    table = pd.DataFrame(template_points[some] * [-1, -1, 1], columns=list("xyz"))
    own = ants.apply_transforms_to_points(3, table, transforms)[["x", "y", "z"]].to_numpy() * [-1, -1, 1]
    gap = np.linalg.norm(own - points[some], axis=1)
    assert gap.mean() < 0.02, f"the two ways to map points differ by {gap.mean():.3f} mm"


# --------------------------------------------------------------------------- resampling


def resample_ours(inputs, clock, options):
    from neurobraid.bold.resample import make_target
    from neurobraid.bold.sampling import Sampler
    from neurobraid.images.transforms import Warp

    data = np.asfortranarray(inputs["data"])
    warp = Warp(np.eye(4), inputs["warp"], inputs["warp_affine"])
    coreg, motion = inputs["coreg"], inputs["motion"]

    def chain():
        shape = tuple(inputs["fixed"].shape)
        return make_target(
            "MNI", shape, inputs["fixed_affine"], [warp, coreg], inputs["mask"], inputs["affine"]
        )

    target = chain()
    Sampler(data[..., :1], inputs["affine"]).volume(0, target.points[:50])
    with clock:
        target = chain()
        sampler = Sampler(data, inputs["affine"])
        volume = np.zeros(target.shape, np.float32)
        for t in range(data.shape[3]):
            volume[target.mask] = sampler.volume(t, target.points, motion[t])
    return {"last": volume, "voxels": len(target.points)}


def resample_ants(inputs, clock, options):
    import ants

    folder = Path(options["folder"])
    fixed = ants_image(inputs["fixed"], inputs["fixed_affine"])
    names = [str(folder / "warp.nii.gz"), str(folder / "coreg.mat"), str(folder / "motion.mat")]
    lps = FLIP @ inputs["warp_affine"]
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    field = ants.from_numpy(
        np.ascontiguousarray(inputs["warp"] * [-1, -1, 1]).astype(np.float32),
        origin=lps[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=lps[:3, :3] / spacing,
        has_components=True,
    )
    ants.image_write(field, names[0])
    for t in range(inputs["data"].shape[3]):
        for name, matrix in zip(names[1:], (inputs["coreg"], inputs["motion"][t]), strict=True):
            itk = FLIP @ matrix @ FLIP
            transform = ants.create_ants_transform(
                transform_type="AffineTransform", matrix=itk[:3, :3], translation=itk[:3, 3]
            )
            ants.write_transform(transform, name)
        moving = ants_image(inputs["data"][..., t], inputs["affine"])
        with clock:
            # the first of the list is the last applied to the image: points go warp, coregistration, motion
            out = ants.apply_transforms(fixed, moving, names, interpolator=options["interpolator"])
    return {"last": out.numpy(), "voxels": int(np.prod(inputs["fixed"].shape))}


def resample_nilearn(inputs, clock, options):
    import nibabel as nib
    from nilearn.image import resample_img

    image = nib.Nifti1Image(inputs["data"], inputs["affine"])
    with clock:
        out = resample_img(
            image,
            target_affine=inputs["fixed_affine"],
            target_shape=inputs["fixed"].shape,
            interpolation="continuous",
            copy_header=True,
            force_resample=True,
        )
    return {"last": np.asarray(out.dataobj)[..., -1], "voxels": int(np.prod(inputs["fixed"].shape))}


# --------------------------------------------------------------------------- between libraries


def ants_image(values, affine):
    """Array with an RAS affine as an ANTs image (3D or 4D)."""
    import ants

    lps = FLIP @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction, origin, step = lps[:3, :3] / spacing, lps[:3, 3].tolist(), spacing.tolist()
    if values.ndim == 4:
        wide = np.eye(4)
        wide[:3, :3] = direction
        direction, origin, step = wide, [*origin, 0.0], [*step, 2.0]
    return ants.from_numpy(
        np.ascontiguousarray(values, np.float32), origin=origin, spacing=step, direction=direction
    )


def sitk_image(values, affine):
    """Array with an RAS affine as a SimpleITK image."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    lps = FLIP @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0), np.float32))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def lps_matrix(move):
    """RAS matrix of an affine map of LPS points."""
    origin = np.array(move((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    for axis in range(3):
        matrix[:3, axis] = np.array(move(tuple(np.eye(3)[axis]))) - origin
    return FLIP @ matrix @ FLIP


def main():
    name, folder = sys.argv[1], Path(sys.argv[2])
    if name.endswith("_ours"):
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
        # the package's compiled code stays out of the source tree
        os.environ.setdefault("NUMBA_CACHE_DIR", str(folder / "numba"))
    options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    options["folder"] = str(folder)
    with np.load(folder / "inputs.npz") as stored:
        inputs = dict(stored)
    before, clock = idle_speed(), Clock()
    results = globals()[name](inputs, clock, options)
    peak = peak_megabytes()
    loop = (before + idle_speed()) / 2
    np.savez(folder / f"{name}.npz", cpu_s=clock.seconds, peak_mb=peak, loop_s=loop, **results)


if __name__ == "__main__":
    main()
