"""How figures reach a notebook, and whether there is one."""

from __future__ import annotations


def mime_bundle(figure) -> dict[str, str]:
    """What a figure gives to a notebook, by kind; without metadata."""
    bundle = figure._repr_mimebundle_()
    return bundle[0] if isinstance(bundle, tuple) else bundle


def in_notebook() -> bool:
    """Whether a kernel listens and widgets are installed."""
    try:
        import ipywidgets  # noqa: F401
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")
