//! What the words of a report mean, a line each.

/// Words that stand in reports beside the columns of tables, which explain themselves.
pub const TERMS: [(&str, &str); 16] = [
    (
        "latency",
        "From the moment a message was planned until a client has it whole: a late publisher shows in it",
    ),
    ("service latency", "From the moment a message was sent until a client has it whole"),
    ("planned time", "The message's place in the schedule, which waits for nobody (open loop)"),
    (
        "p99",
        "99 % of all deliveries are at most this late; p50 is the median, p99.9 leaves one in a thousand",
    ),
    ("95 % interval", "Where the figure would lie in 95 of 100 such runs, with the publish as the sample"),
    (
        "not resolved",
        "Too few publishes reach beyond this quantile to tell it: p99 needs 299, p99.9 needs 2,995",
    ),
    (
        "floor",
        "What the machine takes without the protocol: a client of Redis itself, or the same fan-out over bare TCP",
    ),
    (
        "slice",
        "A stretch of the measurement on a fresh server; the protocols' slices are interleaved in random order",
    ),
    ("fan-out spread", "The time between the first and the last subscriber who gets the same message"),
    ("complete", "A message is complete when its last subscriber has it"),
    ("stage", "A leg of a message's way, timed by the server or the kernel"),
    (
        "knee",
        "The first load at which p99 is three times that of the lowest load and stays so, or something is lost",
    ),
    ("capacity", "The highest rate that keeps an objective, found by search and confirmed"),
    ("closed loop", "The next message waits for receivers: tells throughput, and no latency"),
    ("stolen", "Processor time that the hypervisor gave to other machines"),
    (
        "canary",
        "A timer set for every millisecond: how late it fires is how late anything on the generator may be",
    ),
];
