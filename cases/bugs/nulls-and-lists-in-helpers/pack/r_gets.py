def rule(event):
    return (
        event.deep_get("o", "x", default="d") == "d"
        and event.deep_get("q", "x", default="") == ""
        and event.deep_get("s", "x", default="d") == "d"
        and event.get("n", "d") is None
        and event.deep_walk("l", "a") == ["b", "c"]
        and event.deep_walk("l", "a", return_val="first") == "b"
        and event["EVENTNAME"] == "X"
    )
