"""Helpers that detections may import, written for this engine over its own key-value store."""
