"""Pages to turn and click through: a statistic in slices of the template, a connectome in a brain of glass.

The viewers are nilearn's (brainsprite for slices, plotly for the connectome). Their scripts stand in the page itself, and
the page carries a policy by which the browser refuses every address outside of it: it works from a file, offline, and
tells nobody that it was opened. No name of a file or person goes into it beyond what its caption says.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np

from neurobraid.reports import style
from neurobraid.reports.connectome import read, shown, strongest
from neurobraid.reports.gather import entities_of
from neurobraid.reports.pages import number, private

#: What the browser may do: run and show what the page holds, and nothing else.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; base-uri 'none'; form-action 'none'"
)
#: Voxel edge of the background, mm: half a megabyte a page; at 1 mm it is eight times as much.
SPACING_MM = 2.0
_STYLE = """
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: #1c2733; background: #fff; }
header, figure { max-width: 62rem; margin: 0 auto; padding: 1rem 1.2rem 0; }
header p { margin: .2rem 0; } h1 { font-size: 1.25rem; margin: .3rem 0; }
a { color: #0b6477; } figcaption, header p { color: #5b6875; font-size: .92rem; }
figure { padding-bottom: 1.5rem; } .hidden { display: none; } canvas { max-width: 100%; }
figure.whole { max-width: none; padding: 0; overflow: hidden; }
figure.whole select, figure.whole input, figure.whole figcaption { margin-left: 1.2rem; }
figure.whole figcaption { max-width: 62rem; padding: .8rem 0 1.5rem; }
"""


def _framed(html: str, *, title: str, caption: str, back: str, hint: str, kind: str = "") -> str:
    """Put a viewer into a page of this project: policy, title, way back, caption."""
    from markupsafe import escape

    title, caption, hint = (escape(private(text)) for text in (title, caption, hint))
    html = re.sub(r"<title>.*?</title>\s*(?:<meta charset=\"UTF-8\" ?/>)?", "", html, count=1, flags=re.S)
    head = (
        f'<head>\n<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="robots" content="noindex">\n'
        f"<title>{title} · neurobraid</title>\n<style>{_STYLE}</style>\n"
    )
    top = (
        f'<body>\n<header><p><a href="{escape(back)}">Back to the report</a></p><h1>{title}</h1><p>{hint}</p></header>\n'
        f'<figure class="{kind}">\n'
    )
    # functions, because the text is not a pattern: a backslash in it must stay one
    html = re.sub(r"<head>", lambda _: head, html, count=1)
    html = re.sub(r"<body>", lambda _: top, html, count=1)
    html, closed = re.subn(
        r"</body>(?!.*</body>)",
        lambda _: f"<figcaption>{caption}</figcaption>\n</figure>\n</body>",
        html,
        count=1,
        flags=re.S,
    )
    if not closed or POLICY not in html or "<figure" not in html:
        raise RuntimeError(
            "the viewer of this nilearn has another form; pages with it cannot be closed to the outside"
        )
    return html


@cache
def _background():
    from neurobraid.images.templates import template

    return template("T1w", SPACING_MM)


def brain(statistic, *, threshold: float, title: str, caption: str, back: str) -> str:
    """Page with a signed statistic in three slices through any point of the template.

    Parameters
    ----------
    statistic : neurobraid.reports.planes.Volume
        In template space; 0 or NaN outside the mask. Voxels keep their values (nearest neighbour).
    threshold : float
        Smallest absolute value shown.
    title, caption : str
        Escaped here.
    back : str
        Address of the report, relative to the page.

    Returns
    -------
    str
        HTML, complete in itself.
    """
    import nibabel as nib

    with style.look():
        from nilearn.plotting import view_img

        values = np.nan_to_num(np.asarray(statistic.data, np.float32))
        size = np.abs(values)
        place = np.unravel_index(np.argmax(size), size.shape)
        shown = size[size >= threshold]
        top = max(float(np.percentile(shown, 99.9)), threshold + 1) if shown.size else threshold + 1
        view = view_img(
            nib.Nifti1Image(values, statistic.affine),
            bg_img=_background(),
            cut_coords=tuple(float(v) for v in (statistic.affine @ [*place, 1])[:3]),
            # the viewer takes what is above its limit, this project what reaches it
            threshold=float(np.nextafter(np.float32(threshold), np.float32(0))) if threshold > 0 else 1e-6,
            vmax=top,
            symmetric_cmap=True,
            cmap=style.signed_map(),
            black_bg=False,
            dim=0,
            resampling_interpolation="nearest",
            width_view=900,
            title="",
        )
        html = view.get_standalone()
    return _framed(
        html,
        title=title,
        caption=caption,
        back=back,
        hint="Click into a slice to move the other two.",
    )


def connectome(values, where, *, title: str, caption: str, back: str) -> str:
    """Page with edges between the centres of regions, to be turned.

    Parameters
    ----------
    values : numpy.ndarray, (R, R)
        Edges to show; 0 where there is none.
    where : numpy.ndarray, (R, 3)
        Centres, mm.
    title, caption : str
        Escaped here.
    back : str
        Address of the report, relative to the page.

    Returns
    -------
    str
        HTML, complete in itself.
    """
    with style.look():
        import matplotlib
        from nilearn.plotting import view_connectome

        linked = np.flatnonzero((values != 0).any(0))
        html = view_connectome(
            values[np.ix_(linked, linked)],
            where[linked],
            edge_threshold=None,
            edge_cmap=matplotlib.colormaps["RdBu_r"],
            symmetric_cmap=True,
            linewidth=4.0,
            node_color=style.INK,
            node_size=4.0,
            colorbar_fontsize=16,
        ).get_standalone()
    # the tool bar's button to another company's servers: the policy forbids it, so it need not stand there
    html = html.replace(
        'modeBarButtonsToRemove: ["hoverClosest3d"]',
        'modeBarButtonsToRemove: ["hoverClosest3d", "sendDataToCloud"], displaylogo: false',
        1,
    )
    return _framed(
        html,
        title=title,
        caption=caption,
        back=back,
        hint="Drag to turn, scroll to come near; the slider makes the brain more or less opaque.",
        kind="whole",
    )


def map_link(
    gallery, statistic, name: str, *, threshold: float, title: str, what: str, rule: str, stat: str = "z"
):
    """Write the page of a map; return the line that leads to it.

    Parameters
    ----------
    gallery : neurobraid.reports.pages.Gallery
    statistic : neurobraid.reports.planes.Volume
    name : str
        File name, ending in ``.html``.
    threshold : float
    title, what : str
        Heading, and start of the caption.
    rule : str
        Where the threshold comes from.
    stat : str
        Name of the statistic, which has no unit.
    """
    values = np.nan_to_num(statistic.data)
    place = np.unravel_index(np.argmax(np.abs(values)), values.shape)
    at = ", ".join(f"{v:.0f}" for v in (statistic.affine @ [*place, 1])[:3]).replace("-", "\N{MINUS SIGN}")
    caption = (
        f"{what} Colours: |{stat}| ≥ {number(threshold)} ({rule}); {stat} has no unit; blue negative, orange positive. The cross hair begins "
        f"at the largest |{stat}|, {number(float(np.abs(values).max()), 1)} at {at} mm. Voxels are those of the map, not smoothed for the eye. "
        "Underlay: MNI152 template; positions in mm; left is on the left."
    )

    def make(back):
        return brain(statistic, threshold=threshold, title=title, caption=caption, back=back)

    return gallery.extra(
        make, name, "Look through this map slice by slice", "(opens a page of its own; works offline)"
    )


def connectome_link(inputs, gallery, path, stem: str, what: str):
    """Write the page of the connectome of a matrix file; None where there is nothing to draw.

    Parameters
    ----------
    inputs, gallery, path, stem, what
        As of `neurobraid.reports.connectome.block`.
    """
    if (found := read(inputs, path)) is None:
        return None
    values, regions = found
    rows, columns, _ = strongest(values)
    kept = np.zeros_like(values)
    kept[rows, columns] = kept[columns, rows] = values[rows, columns]
    atlas = entities_of(path).get("atlas", "atlas")
    caption = (
        f"{what}, atlas {atlas}: {shown(values)}. Colour by Pearson r (no unit). Brain: fsaverage5, approximately in MNI152 space; the dots are "
        "the centres of the regions."
    )

    def make(back):
        return connectome(
            kept,
            regions[["x", "y", "z"]].to_numpy(float),
            title=f"Connectome, atlas {atlas}",
            caption=caption,
            back=back,
        )

    return gallery.extra(
        make,
        f"{stem}_atlas-{atlas}_connectome.html",
        "Turn this connectome",
        "(opens a page of its own; works offline)",
    )
