"""What a deployment needs of the Kafka that it runs on, and whether it has it.

    requirements  the declaration: settings of each topic, grants of each role
    facts         what was seen of a cluster, a machine, a deployment
    checks        pure: facts → findings, each with the command that mends it
    versions, claims, registry   the same, of brokers' releases, of who writes where, of a schema registry
    gather        asks the brokers, in bounded time, by librdkafka
    ask           what it has no question for
    fix           does what is safe to do
    watch         a worker's: refuses to start, and looks again while it runs

`pipeline doctor` shows all findings; a worker refuses to start with those that break exactness, and warns of others.
"""
