"""Inline filters."""


def build(filters):
    return None
