"""Simple detections."""


def functions(tree):
    raise NotImplementedError("simple detections")
