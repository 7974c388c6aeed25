"""SVG figures made fit to stand in a page: no scripts, no ids twice, colours that follow the theme.

What matplotlib writes is parsed and written anew from a list of elements and attributes that only
draw, so nothing active can come in with a label.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup

from emergectl.reports.panels import printable_line

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ELEMENTS = ("svg", "g", "path", "defs", "clipPath", "rect", "use", "text", "tspan", "line", "title")
ATTRIBUTES = (
    *("id", "style", "d", "x", "y", "width", "height", "transform", "clip-path", "viewBox"),
    *("fill", "stroke", "x1", "x2", "y1", "y2"),
)
THEME = {"#222222": "--ink", "#767676": "--faint", "#e3e3e3": "--grid", "#0072b2": "--blue"}
THEME |= {"#d55e00": "--orange", "#009e73": "--green", "#cc79a7": "--purple"}
THEME |= {"#9a6700": "--amber", "#8a8a8a": "--faint", "#e6e6e6": "--grid", "#ffffff": "--paper"}
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_COLOR = re.compile("|".join(THEME), re.IGNORECASE)
_FONT = re.compile(r"font:[^;]*?(\d+(?:\.\d+)?px)[^;]*")


def inline_svg(content: bytes, *, prefix: str, label: str) -> Markup:
    """An SVG as markup for a page: `prefix` makes its ids its own, `label` says what it shows."""
    root = ElementTree.fromstring(content)
    _clean(root, prefix)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", printable_line(label))
    ElementTree.register_namespace("", SVG)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _clean(element: ElementTree.Element, prefix: str) -> None:
    for child in list(element):
        if _name(child.tag) not in ELEMENTS:
            element.remove(child)
        else:
            _clean(child, prefix)
    attributes = dict(element.attrib)
    element.attrib.clear()
    for key, value in attributes.items():
        if key == f"{{{XLINK}}}href" and value.startswith("#"):
            element.set("href", f"#{prefix}{value[1:]}")
        elif key == "id":
            element.set("id", prefix + value)
        elif key in ATTRIBUTES:
            element.set(key, _themed(_REFERENCE.sub(rf"url(#{prefix}\1)", value)))


def _themed(style: str) -> str:
    style = _FONT.sub(r"font-size: \1", style)
    return _COLOR.sub(lambda m: f"var({THEME[m[0].lower()]}, {m[0]})", style)


def _name(tag: object) -> str:
    return str(tag).removeprefix(f"{{{SVG}}}")
