"""Raw images as a scanner export has them: 16-bit integers with a slope."""

import gzip

import nibabel as nib
import numpy as np

from neurobraid.files import atomic


def save_scaled(array, affine, path, *, slope, tr=None, descrip="neurobraid synth"):
    """Write a NIfTI-1 image as int16 with a scaling slope, atomically and byte-reproducibly.

    Parameters
    ----------
    array : numpy.ndarray, 3D or 4D
        Real values; rounded to multiples of `slope` and clipped to the range of int16. Fortran order is
        written without a copy.
    affine : numpy.ndarray, (4, 4)
    path : path-like
        ``….nii.gz``.
    slope : float
        Value of one integer step (``scl_slope``).
    tr : float, optional
        Repetition time in s.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(array.shape)
    zooms = np.sqrt((np.asarray(affine)[:3, :3] ** 2).sum(0))
    header.set_zooms((*zooms, *([1.0 if tr is None else float(tr)] if array.ndim == 4 else [])))
    header.set_xyzt_units("mm", "sec")
    header.set_sform(affine, 1)
    header.set_qform(affine, 1)
    header.set_slope_inter(slope, 0.0)
    header["descrip"] = descrip.encode()[:79]
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    levels = np.multiply(array, 1.0 / slope, dtype=np.float32)
    np.rint(levels, out=levels)
    np.clip(levels, -32768, 32767, out=levels)
    # level 1: noise hardly compresses, and these files are written and read once per run
    with (
        atomic(path) as temporary,
        open(temporary, "wb") as handle,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=handle, mtime=0) as packed,
    ):
        packed.write(header.binaryblock + b"\0" * 4)
        packed.write(np.asfortranarray(levels, dtype=np.int16).tobytes(order="F"))
