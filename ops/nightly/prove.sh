#!/bin/sh
# Prove what is live by code that shares nothing with the stages: once a night, from cron or a systemd timer, as
#
#   15 3 * * *  PIPELINE_BROKER=kafka:9092 /opt/pipeline/ops/nightly/prove.sh >> /var/log/pipeline-proof.log 2>&1
#
# One line of JSON. Exit 0: equal. 1: different, see ops/runbooks/proof-differs.md. Else nothing could be told.
exec nice -n 10 pipeline verify --independent --json "$@"
