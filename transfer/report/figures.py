"""What the pages on finished runs are made of: templates, figures, pictures, and times in words."""

import base64
import io
import re
from collections.abc import Mapping
from typing import Any

import jinja2
import matplotlib.figure
from markupsafe import Markup
from PIL import Image

__all__ = [
    "BLUE",
    "INK",
    "ORANGE",
    "STYLE",
    "as_svg",
    "count",
    "duration",
    "embedded",
    "new_figure",
    "template",
    "times",
]

BLUE, ORANGE = "#4583ec", "#e8833a"  # both read well on white and on near-black
INK = "#010203"  # stands for the page's text colour until the SVG is in the page


def template(name: str) -> jinja2.Template:
    """A page's template; what is put into it is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("transfer.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)


def count(number: int, one: str, many: str | None = None) -> str:
    """A number of things.

    >>> count(1, "class", "classes"), count(1200, "picture")
    ('1 class', '1,200 pictures')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> [duration(s) for s in (0.04, 7.26, 61, 3725)]
    ['0.0 s', '7.3 s', '1 min 01 s', '1 h 02 min']
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def times(seconds: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """Each part, how long it took, and its share of the longest."""
    longest = max(seconds.values(), default=0) or 1
    return [(part, duration(took), took / longest) for part, took in seconds.items()]


def embedded(image: Image.Image) -> str:
    """A picture as an address that holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def new_figure(width: float, height: float) -> matplotlib.figure.Figure:
    """A figure of that many inches; draw it under `matplotlib.rc_context(STYLE)`."""
    return matplotlib.figure.Figure(figsize=(width, height), layout="constrained")


def as_svg(figure: matplotlib.figure.Figure, name: str, description: str) -> Markup:
    """The figure as an SVG element, its text in the page's colour and font, its identifiers its own."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg ([^>]*?)width="[^"]*" height="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", svg).replace(INK, "currentColor")
    described = f'<svg role="img" aria-label="{Markup.escape(description)}" '
    return Markup(svg.replace("<svg ", described, 1))


STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "transfer-zoo",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "text.parse_math": False,  # a class may be named $$$
}
