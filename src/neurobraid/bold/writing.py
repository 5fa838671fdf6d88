"""4D output written volume by volume: 16-bit integers with a scale, no whole series in memory."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path

import numpy as np

from neurobraid.files import atomic

_TOP = 32000


@contextlib.contextmanager
def series_writer(path, shape, affine, tr, peak, *, space_code=1):
    """Open a 4D NIfTI file for writing one volume after the other.

    Parameters
    ----------
    path : path-like
        ``….nii.gz``.
    shape : tuple of int
        X, Y, Z, T.
    affine : (4, 4) array
    tr : float
        Repetition time, s.
    peak : float
        Largest value to expect: it becomes 32000, so a step is ``peak / 32000``, some hundred times finer than
        the noise of one voxel. Values up to 2 % above pass, higher ones are clipped.
    space_code : int
        NIfTI form code: 1 scanner or subject, 4 MNI152.

    Yields
    ------
    callable
        ``write(volume)`` for a (X, Y, Z) float array, T times.

    Raises
    ------
    ValueError
        Not exactly T volumes were written; the file is then not made.
    """
    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header.set_xyzt_units("mm", "sec")
    header["descrip"] = b"neurobraid"
    header.set_sform(affine, space_code)
    header.set_qform(affine, space_code)
    header.set_zooms((*header.get_zooms()[:3], float(tr)))
    slope = float(peak) / _TOP if peak > 0 else 1.0
    header.set_slope_inter(slope, 0.0)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    slope = float(header["scl_slope"])  # as the file will say it, in 32 bits
    written = 0
    with atomic(Path(path)) as temporary, open(temporary, "wb") as handle:
        # wbits 31: gzip frame without time and name. Run-length matching is enough for the zeros around the
        # brain, and noise does not compress any better with a search.
        packer = zlib.compressobj(1, zlib.DEFLATED, 31, 9, zlib.Z_RLE)
        handle.write(packer.compress(header.binaryblock + b"\0\0\0\0"))

        def write(volume):
            nonlocal written
            steps = np.clip(np.rint(volume / slope), -32767, 32767).astype(np.int16)
            handle.write(packer.compress(steps.tobytes(order="F")))
            written += 1

        yield write
        if written != shape[3]:
            raise ValueError(f"{path}: {written} volumes written, {shape[3]} announced")
        handle.write(packer.flush())
