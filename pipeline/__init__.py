"""A streaming learner whose every number can be re-derived from its log.

The folders stand in the order that data flows:

    events, policy/     the records, and what a policy is
    models/             pure mathematics: exact statistics → posterior → arm probabilities
    join/               decisions + outcomes → the ledger (topic `rewards`)
    learn/              ledger → exact statistics (topic `statistics`)
    checkpoint/         what a prefix of the ledger has come to, named by its content
    monitor/            whether what is learned from looks as it did: outcomes that stop, arms that are not tried
    publish/            statistics → versioned snapshots (topic `snapshots`)
    serve/              snapshots → decisions
    client/             ask a serving node from Python
    simulate/           any policy in any environment, without a broker
    evaluate/           what another policy would have earned, from logged decisions
    analyze/            whether to personalise: what depends on whom an arm is shown to
    report/             what a policy earns, and what its holdout earns without it
    export/             the ledger as files that others read
    rollout/            a policy that follows another one, to more subjects as the numbers allow
    replay/             re-derive a published snapshot; count the past again by other rules
    audit/              what operators did: who, when, what was before and after
    independent/        the same proof by code that shares nothing with the stages
    status/             how a deployment is, at a glance
    demo/               simulated visitors and logged data, played through the whole loop
    codec/              bytes ↔ records
    registry/           which schema a record in a registry's frame was written by
    metrics/            what processes tell Prometheus
    stream/             the only home of Faust and RocksDB plumbing
    console/            pages that show it all, and let an operator act
    brokers/            a Kafka to run on: embedded, local, or yours
    cli/                the command line
"""
