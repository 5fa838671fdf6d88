"""Peaks of the object-category localizer against the sites its data's README names.

    python benchmarks/localizer.py studies/localizer

The study must have run with ``config/examples/task-localizer``. For every site the highest local maximum of z within
12 mm is looked up. Prints one tab-separated line per figure: name, value, unit, goal, ok or short.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from neurobraid.images.io import data, load
from neurobraid.images.transforms import apply_affine

REACH_MM = 12.0
#: Contrast, region, MNI mm and z as the data's README gives them.
SITES = (
    ("scene", "left parahippocampal place area", (-26, -44, -10), 9.3),
    ("scene", "right parahippocampal place area", (27, -46, -7), 8.2),
    ("scene", "retrosplenial", (22, -62, 13), 8.4),
    ("scene", "left occipital place area", (-38, -84, 30), 8.1),
    ("face", "right occipitotemporal", (40, -66, -7), 6.5),
    ("face", "left occipitotemporal", (-43, -62, -12), 5.2),
    ("body", "left extrastriate body area", (-46, -82, 8), 7.1),
    ("body", "right extrastriate body area", (50, -72, 0), 6.8),
    ("body", "right fusiform body area", (50, -49, -22), 6.1),
)


def maxima(values, affine):
    """Places (mm) and heights of the local maxima of a map."""
    filled = np.where(np.isfinite(values), values, -np.inf)
    top = (filled == ndimage.maximum_filter(filled, size=3)) & (filled > 2.3)
    found = np.argwhere(top)
    return apply_affine(affine, found), filled[top]


def main():
    """Measure a finished study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    options = parser.parse_args()
    for contrast, region, site, published in SITES:
        pattern = f"sub-*_task-objectcategories_space-*_contrast-{contrast}_stat-z_statmap.nii.gz"
        (path,) = (options.study / "results/derivatives").glob(f"sub-*/func/{pattern}")
        image = load(path)
        places, heights = maxima(data(image), image.affine)
        away = np.linalg.norm(places - np.array(site), axis=1)
        near = away <= REACH_MM
        best = np.argmax(np.where(near, heights, -np.inf)) if near.any() else int(np.argmin(away))
        name = f"{contrast}: {region}"
        ok = "ok" if near.any() else "short"
        print(f"{name}, distance\t{away[best]:.1f}\tmm\t<= {REACH_MM:g}\t{ok}")
        ok = "ok" if near.any() and heights[best] >= published else "short"
        print(f"{name}, z\t{heights[best]:.2f}\tz\t>= {published:g}\t{ok}")


if __name__ == "__main__":
    main()
