"""If two log types match a line equally, the one that the user listed first wins."""

from harness.case import Case

NGINX, APACHE = "Nginx.Access", "Apache.AccessCombined"


def check(case: Case) -> None:
    node = case.node()
    line = case.input("access.log")
    for name, order in (("nginx-first", (NGINX, APACHE)), ("apache-first", (APACHE, NGINX))):
        source = node.add_http(name, *order)
        case.same(f"answer to the sender of {name}", 200, node.post(source, line).status)
        case.same(f"stored records of {name}", 1, node.settle(name, 1).stored)
        stored = {log_type for log_type in order for event in node.events(log_type) if event["p_source_label"] == name}
        case.same(f"log types of the event of {name}", [order[0]], sorted(stored))
