def rule(event):
    return True


def alert_context(event):
    return {"whole": event, "first": event["l"][0], "obj": event.get("o")}
