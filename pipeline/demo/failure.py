"""The error that ends a demo."""

from __future__ import annotations

from pipeline.errors import PipelineError


class DemoError(PipelineError):
    """The demo did not come to the end it promises; the message says what was seen."""
