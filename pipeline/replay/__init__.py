"""Re-derive what was published, count the past by other rules, send again what was refused, forget whom one must.

promote.py       what promoting would change, and when it may be done

erasure/         one person's records, taken back
    forgetting       their decisions, and what is yet to be erased          PURE
    forget           find them, have them erased, record that it was done
    late_erasures    replays that have not read their erasures: run on
proof/           what was published, re-derived and compared
    verify           prove published snapshots
    prefixes         many prefixes at once, in one pass                     PURE
    lineage          the line of a policy's snapshots                       PURE
    compare, diff    a snapshot against what it should be; against another  PURE
    sample           a quick look at single ledger records                  PURE
    present          read what is counted up to now, by time bucket
    history, parts   read what was published, and large snapshots' parts
    read             read a topic's partitions up to given offsets
recounting/      the past counted again by other rules
    run              a replay from end to end; journal: what it remembers of itself
    plan, cuts       what it counts, by which rules; between which offsets  PURE
    recount          one partition's past: event_recount from decisions and outcomes, ledger_recount from the ledger
    base             what a replay sends                                    PURE
    log, rebuild     the topics, by partition and step; all partitions, in a folder that remembers
    recount_bases    count anew what snapshots rest on
dead_letters/    what was refused
    letters          which to send again, in what order                     PURE
    resend           read them, and send them back
"""
