"""The names that detections may import from `panther_core`, written for this engine."""

from . import data_model, enriched_event, exceptions, immutable
from .enriched_event import PantherEvent

__all__ = ["PantherEvent", "data_model", "enriched_event", "exceptions", "immutable"]
