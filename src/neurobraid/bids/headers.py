"""What a NIfTI header may say wrongly about an image that opens without complaint."""

import itertools

#: sform and qform that place a corner farther apart than this (mm) are reported
FORM_GAP_MM = 1.0
#: a voxel beyond this overflows float32 as soon as squares are summed; no scanner writes it
LARGEST_VALUE = 1e12


def form_gap(header):
    """How far the two coordinate systems of a NIfTI header place the same voxel from each other.

    Parameters
    ----------
    header : nibabel NIfTI header

    Returns
    -------
    float or None
        Largest distance over the corners of the image, mm. None unless both sform and qform are set and the qform can
        be read; nibabel, and so every stage, then uses the sform.
    """
    import numpy as np

    if int(header["sform_code"]) <= 0 or int(header["qform_code"]) <= 0:
        return None
    try:
        difference = header.get_sform() - header.get_qform()
    except ValueError:
        # a quaternion longer than 1 describes no rotation
        return None
    ends = [max(int(n) - 1, 0) for n in header.get_data_shape()[:3]]
    corners = np.array(list(itertools.product(*[(0, n) for n in ends])))
    return float(np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max())
