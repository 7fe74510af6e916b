"""A pytest plugin that gates quantized language models against their FP16 baseline."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_qllm.report.reader import Report, load_report

__version__ = "0.1.0"
__all__ = ["Report", "load_report"]


def __getattr__(name: str) -> Any:
    """What reads reports, imported when it is first asked for: the plugin itself stays cheap."""
    if name in __all__:
        from pytest_qllm.report import reader

        return getattr(reader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
