"""No page shows a face: pictures of a head end a little outside the brain."""

import numpy as np

#: What is shown around the brain mask, mm: scalp above, and nothing of the eyes' front, nose or mouth.
MARGIN_MM = 10.0


def near_brain(volume, mask, margin=MARGIN_MM):
    """Set everything farther than `margin` from the brain mask to 0.

    Parameters
    ----------
    volume : Volume
        Head; with a ``matrix``, an image of another space.
    mask : Volume
        Brain mask in the shown space, 0 or 1.
    margin : float
        mm.

    Returns
    -------
    Volume
        On the same grid. What lies outside the grid of the mask counts as far away.
    """
    from scipy.ndimage import distance_transform_edt

    from neurobraid.images.resample import grid_points, sample
    from neurobraid.images.transforms import apply_affine

    voxel = np.linalg.norm(mask.affine[:3, :3], axis=0)
    distance = distance_transform_edt(mask.data <= 0.5, sampling=voxel).astype(np.float32)
    to_shown = volume.affine if volume.matrix is None else np.linalg.inv(volume.matrix) @ volume.affine
    points = apply_affine(np.linalg.inv(mask.affine), grid_points(volume.data.shape, to_shown))
    far = sample(distance, points, 1, fill=2 * margin).reshape(volume.data.shape) > margin
    return volume.with_data(np.where(far, 0, volume.data).astype(np.float32))
