"""Show a widget as a widget where the notebook supports it, and as text everywhere else."""

from __future__ import annotations

from typing import Any


def bundle(shown: Any, text: str, html: str | None = None) -> dict[str, Any]:
    """Return the output of a cell for `shown.widget()`, with text and HTML for other readers."""
    as_text = {"text/plain": text} | ({"text/html": html} if html else {})
    try:
        widget = shown.widget()._repr_mimebundle_()
    except ImportError:
        return as_text
    return (widget[0] if isinstance(widget, tuple) else widget) | as_text
