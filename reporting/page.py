"""The frame of every HTML page: one file, no network, light and dark, fit to print."""

from __future__ import annotations

from html import escape

from reporting.theme import DRAWING_CSS, FONT, MONO, page_colours

_CSS = f"""
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 {FONT};
font-variant-numeric:tabular-nums}}
main{{max-width:1140px;margin:0 auto;padding:36px 24px 48px}}
h1{{font-size:27px;line-height:1.2;font-weight:680;letter-spacing:-.015em;margin:0}}
h2{{font-size:18px;line-height:1.3;font-weight:650;letter-spacing:-.005em;margin:0}}
p{{margin:6px 0 0;max-width:74ch}}
.muted,figcaption{{color:var(--muted)}}
figure{{margin:0;padding:14px;background:var(--card);border:1px solid var(--line);
border-radius:10px}}
svg{{display:block;width:100%;height:auto;font-family:{FONT}}}
code{{font-family:{MONO};font-size:.92em}}
footer{{margin-top:36px;padding-top:12px;border-top:1px solid var(--line);color:var(--muted);
font-size:13px}}
@media (max-width:640px){{main{{padding:22px 14px 32px}}h1{{font-size:23px}}figure{{padding:10px}}}}
@media print{{body{{background:none}}main{{max-width:none;padding:0}}figure{{break-inside:avoid}}
*{{-webkit-print-color-adjust:exact;print-color-adjust:exact}}}}
"""


def page(title: str, body: str, *, css: str = "", script: str = "", theme: str = "auto") -> str:
    """Return a whole HTML document.

    Its content security policy allows its own style and script and nothing from elsewhere.

    Args:
        title: Of the window; plain text.
        body: Markup.
        css: Rules of this page.
        script: Runs at the end of the body.
        theme: ``light``, ``dark`` or ``auto``.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    scripts = f"<script>{script}</script>" if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}; img-src data:">'
        '<link rel="icon" href="data:,">'
        f"<title>{escape(title)}</title>"
        f"<style>{page_colours(theme)}{_CSS}{DRAWING_CSS}{css}</style></head>\n"
        f"<body><main>{body}</main>{scripts}</body></html>\n"
    )
