def rule(event):
    return True


def dedup(event):
    return None
