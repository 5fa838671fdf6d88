"""Reading and writing images: whole or not at all, and the same bytes for the same voxels."""

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

from neurobraid.errors import InputError
from neurobraid.files import atomic

# level 1 is four times as fast as 6 and 5 % larger on masked float images
COMPRESSION = 1


def load(path):
    """Open a NIfTI image.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    nibabel image
        Data are not read yet: see `data`.

    Raises
    ------
    InputError
        The file is not there or is no image.
    """
    try:
        return nib.load(path)
    except FileNotFoundError:
        raise InputError(path, "file", "missing", "an existing NIfTI image", "check the path") from None
    except (nib.filebasedimages.ImageFileError, EOFError, zlib.error, OSError) as error:
        raise InputError(
            path, "format", str(error), "a NIfTI image", "copy or convert the file again"
        ) from error


def data(image, dtype=np.float32):
    """Voxel values, scaled, in the type asked for.

    Parameters
    ----------
    image : nibabel image or path-like
    dtype : numpy dtype
        Default float32.

    Returns
    -------
    numpy.ndarray, C order, shape of the image (a trailing axis of one volume is kept)

    Raises
    ------
    InputError
        The file ends early or is damaged.
    """
    image = image if hasattr(image, "dataobj") else load(image)
    try:
        values = np.asarray(image.dataobj)
    except (EOFError, OSError, ValueError, zlib.error, gzip.BadGzipFile) as error:
        name = image.get_filename() or "image"
        raise InputError(
            name, "voxel data", f"truncated ({error})", "a complete file", "copy the file again"
        ) from None
    return np.ascontiguousarray(values, dtype=dtype)


def save(array, affine, path, *, tr=None, dtype=np.float32, descrip="neurobraid"):
    """Write a NIfTI-1 image atomically; ``.nii.gz`` carries neither time nor file name in its gzip header.

    Parameters
    ----------
    array : numpy.ndarray, 3D or 4D
    affine : numpy.ndarray, (4, 4)
        Voxel to RAS millimetres; written as both sform and qform (code 4 for MNI is left to the sidecar).
    path : path-like
    tr : float, optional
        Repetition time in s for 4D images.
    dtype : numpy dtype
        Type on disk, default float32.
    """
    image = nib.Nifti1Image(np.asarray(array, dtype=dtype), affine)
    image.header.set_data_dtype(dtype)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = descrip.encode()[:79]
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    if tr is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], float(tr)))
    raw = image.to_bytes()
    path = Path(path)
    with atomic(path) as temporary:
        if path.suffix == ".gz":
            with (
                open(temporary, "wb") as handle,
                gzip.GzipFile("", "wb", compresslevel=COMPRESSION, fileobj=handle, mtime=0) as packed,
            ):
                packed.write(raw)
        else:
            temporary.write_bytes(raw)
