"""What every HTML page of the project has in common: its style, light or dark, for a screen or a phone."""

from __future__ import annotations

import html
import re

from t5x_lite.foreign.visible import visible

STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --page: #fff; --rule: #888; --line: #e0e0e0 }
:root { --link: #0b5cad; --box: #fff3d6; --edge: #c98500; --lost: #ffdcd7; --own: #d3f2da }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --page: #16181b; --rule: #777; --line: #33373c }
  :root { --link: #7ab8ff; --box: #3a2f14; --edge: #e0a83a; --lost: #5a2626; --own: #1f4a2c }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page) }
body { max-width: 66rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word }
a { color: var(--link) }
h1 { font-size: 1.6rem } h3 { font-size: 1rem }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line) }
table { border-collapse: collapse; margin: .8rem 0; display: block; overflow-x: auto }
table { font-variant-numeric: tabular-nums }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem; border-bottom: 1px solid var(--line) }
th { border-bottom: 1px solid var(--rule) } .number { text-align: right }
td { white-space: pre-line; overflow-wrap: break-word }
del { background: var(--lost); text-decoration: underline dotted } ins { background: var(--own) }
.warning { border-left: 4px solid var(--edge); background: var(--box); padding: .6rem 1rem; margin: .8rem 0 }
img { max-width: 100%; background: #fff } nav { margin: 1rem 0; font-size: .9rem }
svg { max-width: 100%; height: auto } svg text { fill: var(--text) !important }
svg [style*="stroke: #000000"] { stroke: var(--text) !important }
svg [style*="stroke: #dddddd"] { stroke: var(--line) !important }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 .7rem } h1 { font-size: 1.3rem }
  th, td { padding: .25rem .4rem; font-size: .85rem } td { min-width: 4.5rem }
  td:has(ins, del) { min-width: 10rem }
}
"""


def page(title: str, body: str, script: str = "") -> str:
    """A whole page, in one file that needs no other. body: HTML; title: text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(visible(title))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        f"{f'<script>{script}</script>' if script else ''}</body>\n</html>\n"
    )


def escaped(text: str) -> str:
    """Text as HTML, with its own direction: a right-to-left text does not turn round what stands beside it."""
    return f"<bdi>{html.escape(visible(text))}</bdi>"


def inline_svg(svg: bytes, name: str) -> str:
    """A picture as a part of a page, which then follows the page's colors. name: tells its ids from other pictures'."""
    text = svg[svg.index(b"<svg") :].decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1).strip()
