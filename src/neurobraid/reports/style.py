"""Look of every figure: one palette, one set of sizes, and files that are the same bytes each time.

Colours are the eight of Okabe and Ito (2008), which stay apart for the common kinds of colour blindness; signed
maps run blue to orange, unsigned maps follow perceptually even scales.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from neurobraid.files import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

INK = "#1c2733"
SOFT = "#5b6875"
LINE = "#d5dbe1"
ACCENT = "#0b6477"
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, BLACK = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#f0e442",
    "#000000",
)
#: a light green for lines on dark pictures, where GREEN is lost
LIME = "#4ade80"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY, SOFT)

#: width of a full-width figure in inches; the pages show it at about 1000 CSS pixels
WIDTH = 10.0
DPI = 125
#: greys in the palette of a PNG figure; the rest of the 256 entries are colours
GREYS = 96

SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.3,
    "image.interpolation": "nearest",
    "figure.facecolor": "white",
    "svg.hashsalt": "neurobraid",
    "svg.fonttype": "path",
}


@contextmanager
def look() -> Iterator[None]:
    """Draw with this project's settings, and with no display, whatever a user's matplotlibrc says."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def new_figure(width: float = WIDTH, height: float = 3.0, **kwargs) -> Figure:
    """Return an empty figure that pyplot does not keep (nothing to close, nothing leaks).

    Parameters
    ----------
    width, height : float
        Size in inches.
    **kwargs
        Passed to `matplotlib.figure.Figure`, such as ``layout="constrained"``.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **kwargs)


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG or SVG (by extension) so that equal figures give equal bytes.

    PNG images are reduced to 256 colours, which makes them a third of the size (see `_few_colours`).

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path-like
        Ends in ``.png`` or ``.svg``.

    Returns
    -------
    pathlib.Path
        The path written.

    Raises
    ------
    ValueError
        For another extension.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with look():
        if path.suffix == ".svg":
            with atomic(path) as temporary:
                figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
        elif path.suffix == ".png":
            canvas = FigureCanvasAgg(figure)
            figure.set_dpi(DPI)
            canvas.draw()
            picture = _few_colours(_rgb(canvas.buffer_rgba()))
            with atomic(path) as temporary:
                picture.save(temporary, format="PNG", compress_level=7)
        else:
            raise ValueError(f"figures are .png or .svg, not {path.name}")
    return path


def _rgb(buffer):
    import numpy as np

    return np.ascontiguousarray(np.asarray(buffer)[..., :3])


def _few_colours(rgb):
    """Reduce a picture to greys and up to 150 colours.

    An ordinary palette follows the number of pixels, so that slices of grey anatomy would leave a handful of steps for
    the colour bar. Here greys have their own entries, and a colour counts by the square root of its pixels.

    Parameters
    ----------
    rgb : (H, W, 3) ndarray of uint8

    Returns
    -------
    PIL.Image.Image
        With a palette.
    """
    import numpy as np
    from PIL import Image

    value = rgb.astype(np.int32)
    packed = (value[..., 0] << 16) | (value[..., 1] << 8) | value[..., 2]
    vivid = np.ptp(value, axis=-1) > 10
    exact = [int(colour[1:], 16) for colour in (INK, SOFT, ACCENT, LIME, YELLOW, *CYCLE[:6])]
    room = 256 - GREYS - len(exact)
    index = np.round(value.mean(axis=-1) * (GREYS - 1) / 255).astype(np.uint8)
    ramp = np.round(np.linspace(0, 255, GREYS)).astype(np.uint8)
    palette = np.repeat(ramp[:, None], 3, axis=1)
    if vivid.any():
        found, count = np.unique(packed[vivid], return_counts=True)
        strip = np.stack([found >> 16, (found >> 8) & 255, found & 255], axis=1).astype(np.uint8)
        # the square root: neither do broad areas take every entry, nor do stray blends of edges
        weight = np.ceil(np.sqrt(count)).astype(int)
        strip, first = np.repeat(strip, weight, axis=0)[None], np.cumsum(weight) - weight
        reduced = Image.fromarray(np.ascontiguousarray(strip)).quantize(
            room, method=Image.Quantize.MEDIANCUT, kmeans=8, dither=Image.Dither.NONE
        )
        colours = np.array(reduced.getpalette(), dtype=np.uint8).reshape(-1, 3)[:room]
        index[vivid] = GREYS + np.asarray(reduced)[0][first][np.searchsorted(found, packed[vivid])]
        palette = np.concatenate([palette, colours])
    # lines and words keep their very colour, or a legend would not match what it explains
    for code in exact:
        index[packed == code] = len(palette)
        palette = np.concatenate([palette, np.array([[code >> 16, (code >> 8) & 255, code & 255]], np.uint8)])
    picture = Image.fromarray(index).convert("P")
    picture.putpalette(palette.ravel().tolist())
    return picture


def signed_map() -> ListedColormap:
    """Colours for signed statistics over grey anatomy: light blue to blue, then red-orange to light yellow."""
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap

    cold = LinearSegmentedColormap.from_list("cold", ["#c9f0ff", "#56b4e9", "#0058a8"])
    warm = LinearSegmentedColormap.from_list("warm", ["#b33c00", "#ee8a00", "#fff3a0"])
    steps = np.linspace(0, 1, 128)
    return ListedColormap(np.vstack([cold(steps), warm(steps)]), name="cold_warm")
