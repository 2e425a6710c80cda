"""Fails unless a default run's result accounts for every message on all protocols and floors.

Usage: check_accounting.py RESULT.json
"""

import json
import sys

# Protocols whose order is part of what they promise; the others may reorder.
ORDERED = {"ws", "sse", "wss", "sse-tls", "wt-stream", "redis", "tcp"}
UNORDERED = {"wt-streams", "wt-datagram"}
# Protocols that may lose, as long as every loss is counted.
LOSSY = {"wt-datagram"}


def faults_of_case(case):
    """What in a case is not as it has to be, in words."""
    accounting = case["accounting"]
    expected = case["connections"] * case["published"]
    if case["published"] == 0:
        yield "nothing was published"
    if accounting["expected"] != expected:
        yield f"expected {accounting['expected']}, but connections × published is {expected}"
    if accounting["delivered"] + accounting["lost"] != accounting["expected"]:
        yield "delivered and lost don't add up to expected"
    must_be_none = ["duplicated", "corrupt"]
    if case["protocol"] not in LOSSY:
        must_be_none.append("lost")
    if case["protocol"] in ORDERED:
        must_be_none.append("reordered")
    for name in must_be_none:
        if accounting[name]:
            yield f"{accounting[name]} {name}"
    if accounting["delivered"] == 0:
        yield "nothing was delivered"
    slices = case.get("slices", [])
    for name, whole in [("published", case["published"]), ("delivered", accounting["delivered"]), ("lost", accounting["lost"])]:
        if sum(part[name] for part in slices) != whole:
            yield f"the slices' {name} don't add up to {whole}"
    if case.get("out_of_range"):
        yield f"{case['out_of_range']} latencies out of range"


def faults_of_result(result):
    """What in a result is not as it has to be, in words."""
    if result.get("interrupted"):
        yield "the run was interrupted"
    protocols = [case["protocol"] for case in result["cases"]]
    for missing in sorted((ORDERED | UNORDERED) - set(protocols)):
        yield f"{missing}: not measured"
    orders = sorted(part["order"] for case in result["cases"] for part in case.get("slices", []))
    if orders != list(range(len(orders))):
        yield f"the slices' places are {orders}"
    for case in result["cases"]:
        for fault in faults_of_case(case):
            yield f"{case['protocol']}: {fault}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        result = json.load(file)
    faults = list(faults_of_result(result))
    for fault in faults:
        print(f"accounting: {fault}", file=sys.stderr)
    if faults:
        sys.exit(1)
    for case in result["cases"]:
        accounting = case["accounting"]
        print(f"{case['protocol']}: {accounting['delivered']} of {accounting['expected']} delivered, all accounted for")


if __name__ == "__main__":
    main()
