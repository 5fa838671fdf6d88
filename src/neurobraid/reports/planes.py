"""Cut volumes along planes in millimetres and lay the cuts side by side.

Everything is done in world coordinates (RAS, mm), so images on different grids are overlaid without being resampled
first: a registration matrix is simply put between the plane and the volume. Left is shown on the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

AXES = {"x": 0, "y": 1, "z": 2}
#: how far from the brain a head is shown, mm: skull and scalp over the brain, but neither eyes, nose nor mouth
SHOWN_MM = 12.0


@dataclass(frozen=True)
class Volume:
    """A 3D image in memory.

    Attributes
    ----------
    data : (I, J, K) ndarray
    affine : (4, 4) ndarray of float64
        Voxel index to world RAS, mm.
    matrix : (4, 4) ndarray or None
        Points of the shown space to points of this volume's space (an ``xfm`` read as RAS matrix); None if the
        volume lives in the shown space.
    """

    data: np.ndarray
    affine: np.ndarray
    matrix: np.ndarray | None = None

    @classmethod
    def read(cls, path, matrix: np.ndarray | None = None) -> Volume:
        """Read a 3D image file (a 4D file of one volume is accepted)."""
        from neurobraid.images import io

        return cls.of(io.load(path), matrix)

    @classmethod
    def of(cls, image, matrix: np.ndarray | None = None) -> Volume:
        """Take a nibabel image."""
        data = np.asarray(image.dataobj, dtype=np.float32)
        if data.ndim == 4 and data.shape[3] == 1:
            data = data[..., 0]
        return cls(data, np.asarray(image.affine, dtype=float), matrix)

    def with_data(self, data: np.ndarray) -> Volume:
        """Return the same grid with other values."""
        return Volume(np.asarray(data), self.affine, self.matrix)


@dataclass(frozen=True)
class Cut:
    """One plane: ``axis`` 'x', 'y' or 'z' at ``at`` mm."""

    axis: str
    at: float

    @property
    def label(self) -> str:
        """Text such as ``z = −12``, with a true minus sign."""
        return f"{self.axis} = {round(self.at)}".replace("-", "\N{MINUS SIGN}")


def bounding_box(mask: Volume, margin: float = 6.0) -> np.ndarray:
    """Return the box around a mask in world space.

    Parameters
    ----------
    mask : Volume
        Voxels above 0.5 count.
    margin : float
        Added on every side, mm.

    Returns
    -------
    (2, 3) ndarray
        Lower and upper corner, mm. The whole image if the mask is empty.
    """
    found = np.argwhere(np.nan_to_num(mask.data) > 0.5)
    if not len(found):
        found = np.array([[0, 0, 0], np.array(mask.data.shape) - 1])
    low, high = found.min(axis=0), found.max(axis=0)
    corners = np.array(
        [
            [(low, high)[a][0], (low, high)[b][1], (low, high)[c][2], 1]
            for a in (0, 1)
            for b in (0, 1)
            for c in (0, 1)
        ]
    )
    world = (mask.affine @ corners.T).T[:, :3]
    if mask.matrix is not None:
        world = (np.linalg.inv(mask.matrix) @ np.c_[world, np.ones(8)].T).T[:, :3]
    return np.array([world.min(axis=0) - margin, world.max(axis=0) + margin])


def distance_from(mask: Volume, reach: float = SHOWN_MM, spacing: float = 2.0) -> Volume:
    """Return the distance from a brain mask around it, by which figures leave out the face.

    Parameters
    ----------
    mask : Volume
        Voxels above 0.5 count.
    reach : float
        The distance is known at least this far from the mask, mm.
    spacing : float
        Voxel edge of the result, mm; half of it is the accuracy.

    Returns
    -------
    Volume
        float32, mm, 0 in the mask, on a grid of the shown space that holds mask and reach; infinite everywhere if the
        mask is empty, so that a figure without a known brain shows no head at all.
    """
    from scipy.ndimage import distance_transform_edt

    box = bounding_box(mask, reach + 2 * spacing)
    shape = np.ceil((box[1] - box[0]) / spacing).astype(int) + 1
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = box[0]
    where = np.stack(np.meshgrid(*(np.arange(n) * spacing for n in shape), indexing="ij"), -1) + box[0]
    inside = sample(mask, where, fill=0.0) > 0.5
    if not inside.any():
        return Volume(np.full(shape, np.inf, np.float32), affine)
    return Volume(distance_transform_edt(~inside, sampling=spacing).astype(np.float32), affine)


def even_cuts(box: np.ndarray, axis: str, count: int, trim: tuple[float, float] = (0.12, 0.12)) -> list[Cut]:
    """Spread cuts evenly along an axis of a box, leaving out a share at either end.

    Parameters
    ----------
    box : (2, 3) ndarray
        mm.
    axis : str
    count : int
    trim : (float, float)
        Share of the box left out below the first and above the last cut.
    """
    low, high = box[:, AXES[axis]]
    length = high - low
    return [
        Cut(axis, float(np.round(at)))
        for at in np.linspace(low + trim[0] * length, high - trim[1] * length, count)
    ]


def plane(cut: Cut, box: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return how pixels of one plane lie in the world, row 0 at the top of the picture.

    Axial and coronal planes have left on the left; sagittal planes have anterior on the right.

    Returns
    -------
    matrix : (3, 2) ndarray
        mm per row and per column.
    origin : (3,) ndarray
        World point of pixel (0, 0), mm.
    shape : (int, int)
        Rows and columns.
    """
    across, down = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}[cut.axis]
    matrix = np.zeros((3, 2))
    matrix[down, 0], matrix[across, 1] = -spacing, spacing
    origin = np.zeros(3)
    origin[AXES[cut.axis]], origin[across], origin[down] = cut.at, box[0, across], box[1, down]
    size = np.ceil((box[1] - box[0]) / spacing - 1e-9).astype(int)
    return matrix, origin, (int(size[down]), int(size[across]))


def sample_plane(
    volume: Volume, cut: Cut, box: np.ndarray, spacing: float, order: int = 1, fill: float = np.nan
) -> np.ndarray:
    """Read a volume over one plane; (H, W) float32 with ``fill`` outside the image."""
    from scipy.ndimage import affine_transform

    matrix, origin, shape = plane(cut, box, spacing)
    to_voxel = _to_voxel(volume)
    step = np.zeros((3, 3))
    step[:, :2] = to_voxel[:3, :3] @ matrix
    start = to_voxel[:3, :3] @ origin + to_voxel[:3, 3]
    # the plane is a box one voxel thick, so scipy can step through it without a list of points
    values = affine_transform(
        np.asarray(volume.data, dtype=np.float32), step, offset=start, output_shape=(*shape, 1), order=order,
        mode="grid-constant", cval=np.nan, prefilter=False,
    )[..., 0]  # fmt: skip
    return np.where(np.isnan(values), np.float32(fill), values)


def _to_voxel(volume: Volume) -> np.ndarray:
    to_voxel = np.linalg.inv(volume.affine)
    return to_voxel if volume.matrix is None else to_voxel @ volume.matrix


def sample(volume: Volume, where: np.ndarray, order: int = 1, fill: float = np.nan) -> np.ndarray:
    """Read a volume at world points of the shown space.

    Parameters
    ----------
    volume : Volume
    where : (..., 3) ndarray
        mm.
    order : {0, 1}
        Nearest for labels, linear otherwise.
    fill : float
        Value outside the image.

    Returns
    -------
    (...) ndarray of float32
    """
    from scipy.ndimage import map_coordinates

    to_voxel = _to_voxel(volume)
    ijk = where.reshape(-1, 3) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    values = map_coordinates(
        np.asarray(volume.data, dtype=np.float32),
        ijk.T,
        order=order,
        mode="grid-constant",
        cval=np.nan,
        prefilter=False,
    )
    # linear interpolation towards the outside gives NaN in the last half voxel: fill there as outside
    values = np.where(np.isnan(values), np.float32(fill), values)
    return values.reshape(where.shape[:-1]).astype(np.float32)


@dataclass(frozen=True)
class Sheet:
    """Rows of cuts on one canvas.

    Attributes
    ----------
    shape : (int, int)
        Pixels of the canvas.
    places : list of (row, column, Cut)
        Upper left corner of each cut.
    box : (2, 3) ndarray
        Part of space shown, mm.
    spacing : float
        Pixel size, mm.
    """

    shape: tuple[int, int]
    places: list[tuple[int, int, Cut]]
    box: np.ndarray
    spacing: float

    def read(self, volume: Volume, order: int = 1, fill: float = np.nan) -> np.ndarray:
        """Read a volume over the whole canvas; (H, W) float32 with ``fill`` outside image and cuts."""
        canvas = np.full(self.shape, fill, dtype=np.float32)
        for top, left, cut in self.places:
            part = sample_plane(volume, cut, self.box, self.spacing, order, fill)
            canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
        return canvas

    def near(self, distance: Volume, reach: float = SHOWN_MM) -> np.ndarray:
        """Pixels no farther from the brain than ``reach`` mm; (H, W) bool (see `distance_from`)."""
        return self.read(distance, fill=np.inf) <= reach

    def rows(self) -> list[tuple[int, int, int]]:
        """Bottom, left and right pixel of every row of cuts that has cuts showing left and right."""
        found: dict[int, list[int]] = {}
        for top, left, cut in self.places:
            if cut.axis != "x":
                height, width = plane(cut, self.box, self.spacing)[2]
                ends = found.setdefault(top, [top + height, left, left + width])
                ends[0], ends[2] = max(ends[0], top + height), left + width
        return [tuple(ends) for ends in found.values()]


def sheet(rows: Sequence[Sequence[Cut]], box: np.ndarray, spacing: float = 1.0, gap: int = 3) -> Sheet:
    """Lay rows of cuts on one canvas, each row centred.

    Parameters
    ----------
    rows : sequence of sequences of Cut
    box : (2, 3) ndarray
        Part of space shown, mm.
    spacing : float
        Pixel size, mm.
    gap : int
        Pixels between cuts.
    """
    sizes = [[plane(cut, box, spacing)[2] for cut in row] for row in rows]
    widths = [sum(w for _, w in row) + gap * (len(row) - 1) for row in sizes]
    heights = [max(h for h, _ in row) for row in sizes]
    places = []
    top = 0
    for row, cuts, width, height in zip(sizes, rows, widths, heights, strict=True):
        left = (max(widths) - width) // 2
        for (_, w), cut in zip(row, cuts, strict=True):
            places.append((top, left, cut))
            left += w + gap
        top += height + gap
    return Sheet((sum(heights) + gap * (len(rows) - 1), max(widths)), places, np.asarray(box), spacing)
