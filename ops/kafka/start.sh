#!/bin/sh
# Starts a local Kafka in the foreground; Ctrl-C stops it, the data stay.
#
#   start.sh [FOLDER]      PORT=9092 CONTROLLER_PORT=9093 are the defaults
#
# Needs Java >= 17, and Maven the first time. Jars are shared with `--broker kafka`.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/bandit-pipeline/kafka
folder=${1:-$cache/by-hand}
port=${PORT:-9092}
controller_port=${CONTROLLER_PORT:-9093}
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
jars=$cache/jars-$version
# A copy of the pom, made last, says that the jars are complete and are this pom's.
if ! cmp -s "$here/pom.xml" "$jars/resolved-pom.xml"; then
  echo "resolving the jars of Kafka $version with Maven, once" >&2
  rm -rf "$jars"
  mkdir -p "$jars"
  mvn -B -ntp -q -f "$here/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$jars"
  cp "$here/pom.xml" "$jars/resolved-pom.xml"
fi

mkdir -p "$folder/logs"
cd "$folder"
cp "$here/log4j2.properties" .
sed "s/@PORT@/$port/g; s/@CONTROLLER_PORT@/$controller_port/g" "$here/server.properties" >server.properties

if [ ! -f data/meta.properties ]; then
  id=$("$java" -cp "$jars/*" kafka.tools.StorageTool random-uuid)
  "$java" -cp "$jars/*" -Dlog4j2.configurationFile=log4j2.properties \
    kafka.tools.StorageTool format --ignore-formatted --config server.properties --cluster-id "$id"
fi
echo "Kafka $version: 127.0.0.1:$port, log in $folder/logs/server.log" >&2
exec "$java" -Xmx512m -cp "$jars/*" -Dlog4j2.configurationFile=log4j2.properties kafka.Kafka server.properties
