from sample_helpers import cloudtrail_actor, cloudtrail_succeeded

ADMIN_PORTS = {22: "SSH", 3389: "RDP", 5432: "PostgreSQL"}
EVERYONE = {"0.0.0.0/0", "::/0"}


def opened_ports(event):
    ports = []
    permissions = event.deep_get("requestParameters", "ipPermissions", "items", default=[])
    for permission in permissions:
        ranges = permission.get("ipRanges", {}).get("items", [])
        ranges_v6 = permission.get("ipv6Ranges", {}).get("items", [])
        networks = {item.get("cidrIp") for item in ranges}
        networks |= {item.get("cidrIpv6") for item in ranges_v6}
        if not networks & EVERYONE:
            continue
        low, high = permission.get("fromPort", 0), permission.get("toPort", 65535)
        ports.extend(port for port in ADMIN_PORTS if low <= port <= high)
    return sorted(set(ports))


def rule(event):
    return (
        event.get("eventName") == "AuthorizeSecurityGroupIngress"
        and cloudtrail_succeeded(event)
        and bool(opened_ports(event))
    )


def dedup(event):
    return event.deep_get("requestParameters", "groupId", default="unknown group")


def title(event):
    names = ", ".join(ADMIN_PORTS[port] for port in opened_ports(event))
    return f"{cloudtrail_actor(event)} opened {names} of {dedup(event)} to the internet"


def alert_context(event):
    return {
        "ports": opened_ports(event),
        "networks": event.deep_walk("requestParameters", "ipPermissions", "items", "ipRanges", "items", "cidrIp"),
        "group": dedup(event),
    }
