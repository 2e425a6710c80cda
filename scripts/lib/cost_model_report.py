"""The cost model's check and its tables: pure functions of the rows, tried by test_cost_model_report.py."""

import statistics

# Growth of a delivery's cost against 1,000 subscribers that is too much.
MOST_GROWTH = 1.15
REFERENCE_SUBSCRIBERS = 1000
# A curve bends where it is this much steeper than before.
BEND = 1.5

TITLES = {
    "subscribers": ("subscribers", "Against subscribers (the same deliveries a second at every point)"),
    "rate": ("messages/s", "Against rate"),
    "payload": ("bytes", "Against payload"),
    "channels": ("channels", "Against channels (1,000 subscribers spread over them, the same deliveries a second)"),
}


def figure(row, name):
    """Median, least and most of a figure over a row's runs; None where it was never observed."""
    values = [run[name] for run in row["runs"] if run[name] is not None]
    return (statistics.median(values), min(values), max(values)) if values else None


def curves(rows):
    """The rows of each axis and protocol, in rising order of the axis; those without a figure are left out."""
    found = {}
    for row in rows:
        if figure(row, "server_cpu_us_per_delivery"):
            found.setdefault((row["axis"], row["protocol"]), []).append(row)
    return {key: sorted(of_key, key=lambda row: row["value"]) for key, of_key in found.items()}


def cost(row):
    return figure(row, "server_cpu_us_per_delivery")[0]


def within_spread(first, second):
    """The runs of two rows overlap: their difference may be noise. None where there are too few to tell."""
    if min(len(first["runs"]), len(second["runs"])) < 2:
        return None
    (_, least, most), (_, other_least, other_most) = (
        figure(row, "server_cpu_us_per_delivery") for row in (first, second))
    return least <= other_most and other_least <= most


def check_rows(rows):
    """What each curve says: one entry for each thing looked at, `flagged` where it is not as it should be."""
    checks = []
    for (axis, protocol), of_curve in curves(rows).items():
        looks = LOOKS[axis](of_curve)
        checks += [{"axis": axis, "protocol": protocol, **look} for look in looks]
    for row in rows:
        lost = sum(run["lost"] for run in row["runs"])
        slow = [run for run in row["runs"] if run["achieved_rate"] < 0.95 * row["rate"]]
        # A message reaches the subscribers of one channel.
        planned = row["rate"] * row["connections"] / row.get("games", 1)
        late = [run for run in row["runs"] if run["deliveries_per_s"] < 0.95 * planned]
        place = {"axis": row["axis"], "protocol": row["protocol"], "value": row["value"], "ratio": None,
                 "noise": False, "flagged": True}
        if lost:
            checks.append({**place, "what": f"{lost} deliveries lost: its cost is not that of the load asked for"})
        if slow:
            checks.append({**place, "what": "the planned rate was not published: the machine is full here"})
        elif late and not lost:
            checks.append({**place, "what": "deliveries fell behind: the machine is full here"})
    return [*checks, *twice_checks(rows)]


def twice_checks(rows):
    """The same load as a point of two axes: the difference is noise. Told, and flagged where it is as large as
    what the other looks are to find."""
    first_of = {}
    for row in rows:
        if not figure(row, "server_cpu_us_per_delivery"):
            continue
        load = (row["protocol"], row["connections"], row["rate"], row["payload_bytes"], row.get("games", 1))
        first = first_of.setdefault(load, row)
        if first["axis"] != row["axis"]:
            ratio = cost(row) / cost(first)
            yield {"axis": row["axis"], "protocol": row["protocol"], "value": row["value"],
                   "what": f"the same load measured on the axis {first['axis']}: noise", "ratio": ratio,
                   "noise": True, "flagged": max(ratio, 1 / ratio) > MOST_GROWTH}


def growth_checks(of_curve):
    """A delivery may cost at most MOST_GROWTH of what it costs at 1,000 subscribers."""
    reference = next((row for row in of_curve if row["value"] == REFERENCE_SUBSCRIBERS), None)
    if reference is None:
        return
    for row in of_curve:
        if row is not reference:
            ratio = cost(row) / cost(reference)
            yield {"value": row["value"], "what": f"cost against {REFERENCE_SUBSCRIBERS} subscribers",
                   "ratio": ratio, "noise": within_spread(row, reference), "flagged": ratio > MOST_GROWTH}


def rate_checks(of_curve):
    """All processor time must rise with the rate, and a delivery must not get dearer with it."""
    for before, row in zip(of_curve, of_curve[1:]):
        ratio = cost(row) / cost(before)
        yield {"value": row["value"], "what": f"cost against rate {before['value']:g}", "ratio": ratio,
               "noise": within_spread(row, before), "flagged": ratio > MOST_GROWTH}
        total = ratio * row["rate"] / before["rate"]
        if total < 1:
            yield {"value": row["value"], "what": f"all processor time against rate {before['value']:g}: it falls",
                   "ratio": total, "noise": within_spread(row, before), "flagged": True}


def payload_checks(of_curve):
    """More bytes must not cost less, and no further byte much more than the one before."""
    slopes = []
    for before, row in zip(of_curve, of_curve[1:]):
        if row["value"] == before["value"]:
            continue
        ratio = cost(row) / cost(before)
        noise = within_spread(row, before)
        slopes.append((row, (cost(row) - cost(before)) / (row["value"] - before["value"]), noise))
        what = f"cost against {before['value']} bytes" + (": it falls" if ratio < 1 else "")
        yield {"value": row["value"], "what": what, "ratio": ratio, "noise": noise,
               "flagged": ratio < 1 and not noise}
    for (_, before, was_noise), (row, slope, noise) in zip(slopes, slopes[1:]):
        if before > 0:
            yield {"value": row["value"], "what": "cost of a further byte against the segment before",
                   "ratio": slope / before, "noise": noise or was_noise, "flagged": slope > BEND * before}


def channels_checks(of_curve):
    """A channel more must not make a delivery cheaper; dearer it gets, since a message then reaches fewer."""
    for before, row in zip(of_curve, of_curve[1:]):
        ratio, noise = cost(row) / cost(before), within_spread(row, before)
        yield {"value": row["value"], "what": f"cost against {before['value']} channels", "ratio": ratio,
               "noise": noise, "flagged": ratio < 1 / MOST_GROWTH and not noise}


LOOKS = {"subscribers": growth_checks, "rate": rate_checks, "payload": payload_checks, "channels": channels_checks}


def cell(figures, unit=1.0, digits=2):
    """Median with spread, for a table."""
    if figures is None:
        return "—"
    middle, least, most = (value / unit for value in figures)
    if least == most:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({least:.{digits}f}–{most:.{digits}f})"


def table(axis, rows):
    """The lines of one axis' table, with the other axes' values beside it."""
    yield f"| protocol | {TITLES[axis][0]} | connections | rate | bytes | CPU µs a delivery | kB a connection | " \
          "p50 µs | deliveries/s | lost |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in sorted(rows, key=lambda row: (row["protocol"], row["value"])):
        start = f"| {row['protocol']} | {row['value']:g} | {row['connections']} | {row['rate']:g} | " \
                f"{row['payload_bytes']} |"
        if not row["runs"]:
            yield f"{start} {row['failures'][-1].replace('|', '/')} | | | | |"
            continue
        cells = [
            cell(figure(row, "server_cpu_us_per_delivery")),
            cell(figure(row, "server_rss_bytes_per_connection"), 1000.0),
            cell(figure(row, "service_p50_us"), digits=0),
            cell(figure(row, "deliveries_per_s"), digits=0),
            str(sum(run["lost"] for run in row["runs"])),
        ]
        yield f"{start} {' | '.join(cells)} |"


def markdown(model):
    """The whole report."""
    environment, conditions = model["environment"], model["conditions"]
    least = conditions["least_payload_bytes"]
    lines = ["# Cost model", ""]
    if model["quick"]:
        lines += ["**A quick try: few points, 2 s each, once. Not for quoting.**", ""]
    if conditions["interrupted"]:
        lines += ["**Interrupted: points and repeats are missing.**", ""]
    lines += [
        f"Measured {model['started_at']} on {environment.get('cpu', 'an unknown processor')}, "
        f"{environment.get('cores', '?')} cores, {environment.get('kernel', '?')}, "
        f"git {environment.get('git_revision') or 'unknown'}. "
        f"{conditions['repeats']} run(s) a point of at least {conditions['seconds']:g} s: median (least–most).",
        "",
        f"Command: `{' '.join(model['command'])}`",
        "",
        "CPU is the server's, all threads, user and kernel; memory is the growth of its resident set divided by the "
        "connections, which below some thousand connections is mostly what the server takes once. The load generator "
        f"and Redis share the machine. The shortest round has {least} bytes: points below are measured with {least}.",
    ]
    for axis, (_, title) in TITLES.items():
        of_axis = [row for row in model["rows"] if row["axis"] == axis]
        if of_axis:
            lines += ["", f"## {title}", "", *table(axis, of_axis)]
    lines += ["", "## Check", ""]
    flagged = [check for check in model["checks"] if check["flagged"]]
    lines.append(f"{len(model['checks'])} looks, {len(flagged)} flagged (growth above {MOST_GROWTH} ×, a further byte "
                 f"above {BEND} × the one before, losses, a rate not reached, the same load with two costs).")
    if flagged:
        lines += ["", "| protocol | axis | at | what | ratio | within the runs' spread |",
                  "| --- | --- | ---: | --- | ---: | --- |"]
        for check in flagged:
            ratio = "—" if check["ratio"] is None else f"{check['ratio']:.2f}"
            lines.append(f"| {check['protocol']} | {check['axis']} | {check['value']:g} | {check['what']} | {ratio} | "
                         f"{ {True: 'yes', False: 'no', None: 'unknown'}[check['noise']]} |")
    return "\n".join(lines) + "\n"
