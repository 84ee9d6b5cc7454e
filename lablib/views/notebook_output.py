"""Show figures in a notebook, and find out whether this is a notebook."""

from __future__ import annotations


def mime_bundle(figure) -> dict[str, str]:
    """Return a figure's representations for a notebook by MIME type, without metadata."""
    bundle = figure._repr_mimebundle_()
    return bundle[0] if isinstance(bundle, tuple) else bundle


def in_notebook() -> bool:
    """Return whether this process is a notebook's kernel with widgets installed."""
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")
