def rule(event):
    return event["noSuchField"] == 1
