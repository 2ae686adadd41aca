def rule(event):
    return True


def title(event):
    "forgot return {}".format(event.get("a"))
