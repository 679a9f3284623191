#!/usr/bin/env bash
# Runs the contract suite and suitable process tests against Google's Pub/Sub emulator and AWS's DynamoDB Local. If this
# machine cannot run one of them, the script prints why and uses the embedded server instead. Also runs Google's Go and
# Python clients against the embedded Pub/Sub server, the reference library of Standard Webhooks against the signatures of
# the crate webhooks, and the contract suite of the crate sqs-local against moto and ElasticMQ. Exits with 0 only if every
# test passed.
#
# Google's emulator is the component pubsub-emulator of the Google Cloud CLI and needs Java. DynamoDB Local needs Java,
# and Maven to download it once into .tools/dynamodb-local; the same holds for ElasticMQ and .tools/elasticmq. The Python
# client is installed once into .tools/python-client, and moto into .tools/moto.
set -u
cd "$(dirname "$0")/.." || exit 1

dynamodb_local_version=2.6.1
elasticmq_version=1.7.1
moto_version=5.2.5
tools=.tools/dynamodb-local
venv=.tools/python-client
work=$(mktemp -d) || exit 1
started=()

# shellcheck disable=SC2317,SC2329 # The trap calls it.
stop() {
    for pid in "${started[@]:+${started[@]}}"; do
        kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

say() { printf 'contract: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command for at most $1 seconds, if `timeout` is installed.
within() {
    local seconds=$1
    shift
    if have timeout; then timeout "$seconds" "$@"; else "$@"; fi
}

# Checks whether an HTTP server answers on 127.0.0.1:$1.
answers() {
    local line
    { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
    printf 'GET / HTTP/1.0\r\n\r\n' >&3
    read -r -t 2 line <&3
    exec 3<&- 3>&-
    [[ ${line:-} == HTTP/* ]]
}

# Prints a free port below the range of ephemeral ports.
free_port() {
    local port
    for _ in {1..50}; do
        port=$((20000 + RANDOM % 10000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    return 1
}

# Waits up to 30 s until process $1 answers on port $2.
ready() {
    for _ in {1..60}; do
        kill -0 "$1" 2>/dev/null || return 1
        answers "$2" && return 0
        sleep 0.5
    done
    return 1
}

# Starts a server with a name, a port and a command. Prints the end of its log if it does not start.
start() {
    local name=$1 port=$2
    shift 2
    "$@" >"$work/$port.log" 2>&1 &
    started+=("$!")
    if ready "$!" "$port"; then
        say "$name answers on port $port"
        return 0
    fi
    tail -n 5 "$work/$port.log"
    return 1
}

emulator() {
    local root starter port
    have java || { why="java is not installed"; return 1; }
    have gcloud || { why="gcloud is not installed"; return 1; }
    root=$(within 60 gcloud info --format='value(installation.sdk_root)' 2>/dev/null)
    starter=$root/platform/pubsub-emulator/bin/cloud-pubsub-emulator
    [[ -x $starter ]] || { why="the Google Cloud CLI has no component pubsub-emulator"; return 1; }
    port=$(free_port) || { why="there is no free port"; return 1; }
    start "Google's emulator" "$port" "$starter" --host=127.0.0.1 "--port=$port" || { why="it did not start"; return 1; }
    export MINI_SCAN_CONTRACT_PUBSUB=127.0.0.1:$port
}

# Downloads the artifact $2:$3 of version $4 and its dependencies once into the folder $1. The folder appears only when the
# download is complete.
download() {
    local folder=$1 group=$2 artifact=$3 version=$4
    [[ -d $folder ]] && return 0
    have mvn || { why="mvn is not installed, which would download it"; return 1; }
    say "downloading $artifact $version with Maven into $folder"
    cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mini-scan</groupId>
  <artifactId>download</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>$group</groupId>
      <artifactId>$artifact</artifactId>
      <version>$version</version>
    </dependency>
  </dependencies>
</project>
POM
    within 300 mvn -B -q -f "$work/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$work/jars" >"$work/mvn.log" 2>&1
    if ! compgen -G "$work/jars/$artifact-*.jar" >/dev/null; then
        tail -n 5 "$work/mvn.log"
        why="Maven could not download it"
        return 1
    fi
    mkdir -p .tools && mv "$work/jars" "$folder"
}

# shellcheck disable=SC2329 # It is called below.
dynamodb_local() {
    [[ -d $tools ]] && return 0
    have mvn || { why="mvn is not installed, which would download it"; return 1; }
    say "downloading DynamoDB Local $dynamodb_local_version with Maven into $tools"
    cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mini-scan</groupId>
  <artifactId>dynamodb-local</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>com.amazonaws</groupId>
      <artifactId>DynamoDBLocal</artifactId>
      <version>$dynamodb_local_version</version>
    </dependency>
  </dependencies>
</project>
POM
    within 300 mvn -B -q -f "$work/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$work/jars" >"$work/mvn.log" 2>&1
    if ! compgen -G "$work/jars/DynamoDBLocal-*.jar" >/dev/null; then
        tail -n 5 "$work/mvn.log"
        why="Maven could not download it"
        return 1
    fi
    mkdir -p .tools && mv "$work/jars" "$tools"
}

# shellcheck disable=SC2329 # It is called below.
dynamodb_local() {
    local port
    have java || { why="java is not installed"; return 1; }
    download "$tools" com.amazonaws DynamoDBLocal "$dynamodb_local_version" || return 1
    port=$(free_port) || { why="there is no free port"; return 1; }
    start "DynamoDB Local" "$port" java "-Djava.library.path=$tools" -cp "$tools/*" \
        com.amazonaws.services.dynamodbv2.local.main.ServerRunner -inMemory -sharedDb -disableTelemetry -port "$port" \
        || { why="it did not start"; return 1; }
    export MINI_SCAN_CONTRACT_DYNAMODB=http://127.0.0.1:$port
}

go_client() {
    have go || { why="go is not installed"; return; }
    if within 1200 go build -C tests/clients/go -o "$work/go-client" . && within 90 "$work/go-client"; then
        why=passed
    else
        why=FAILED status=1
    fi
}

# The stamp appears only when the installation is complete, and names the versions in it.
install_python_client() {
    local requirements=tests/clients/python/requirements.txt
    cmp -s "$requirements" "$venv/installed" && return 0
    say "installing the Python client with pip into $venv"
    mkdir -p .tools && python3 -m venv --clear "$venv" || return 1
    within 900 "$venv/bin/pip" install --quiet --requirement "$requirements" && cp "$requirements" "$venv/installed"
}

python_client() {
    have python3 || { why="python3 is not installed"; return; }
    if install_python_client && within 240 "$venv/bin/python" tests/clients/python/client.py; then
        why=passed
    else
        why=FAILED status=1
    fi
}

# Runs the contract suite of sqs-local against the server $1 on port $2.
sqs_suite() {
    MINI_SCAN_CONTRACT_SQS=http://127.0.0.1:$2 MINI_SCAN_CONTRACT_SQS_NAME=$1 \
        within 600 cargo test --test contract -- --nocapture 2>&1 | tee -a "$work/tests.log"
    if [[ ${PIPESTATUS[0]} -eq 0 ]]; then why=passed; else why=FAILED status=1; fi
}

moto() {
    local port
    have python3 || { why="NOT RUN, because python3 is not installed"; return; }
    if [[ ! -x .tools/moto/bin/moto_server ]]; then
        say "installing moto $moto_version with pip into .tools/moto"
        if ! { python3 -m venv --clear .tools/moto && within 900 .tools/moto/bin/pip install --quiet "moto[server]==$moto_version"; }; then
            why="NOT RUN, because pip could not install it"
            return
        fi
    fi
    port=$(free_port) || { why="NOT RUN, because there is no free port"; return; }
    start moto "$port" .tools/moto/bin/moto_server -H 127.0.0.1 -p "$port" || { why="NOT RUN, because it did not start"; return; }
    sqs_suite moto "$port"
}

elasticmq() {
    local port
    have java || { why="NOT RUN, because java is not installed"; return; }
    download .tools/elasticmq org.elasticmq elasticmq-server_3 "$elasticmq_version" || { why="NOT RUN, because $why"; return; }
    port=$(free_port) || { why="NOT RUN, because there is no free port"; return; }
    start ElasticMQ "$port" java -Drest-sqs.bind-hostname=127.0.0.1 "-Drest-sqs.bind-port=$port" "-Dnode-address.port=$port" \
        -Drest-stats.enabled=false -cp ".tools/elasticmq/*" org.elasticmq.server.Main \
        || { why="NOT RUN, because it did not start"; return; }
    sqs_suite elasticmq "$port"
}

# Runs after python_client, which installs the library.
webhook_signatures() {
    [ -x "$venv/bin/python" ] || { why="NOT RUN, because there is no Python client"; return; }
    if cargo build --quiet --locked --workspace --example sign &&
        "${CARGO_TARGET_DIR:-target}/debug/examples/sign" >"$work/signed" &&
        within 60 "$venv/bin/python" tests/clients/python/webhooks.py <"$work/signed"; then
        why=passed
    else
        why=FAILED status=1
    fi
}

# Runs the Go and Python clients against a new embedded server. Sets `go` and `python` to their results.
clients() {
    local port program=${CARGO_TARGET_DIR:-target}/debug/mini-scan
    port=$(free_port) || { say "there is no free port"; return 1; }
    start "the embedded Pub/Sub server" "$port" "$program" local pubsub --port "$port" || return 1
    PUBSUB_EMULATOR_HOST=127.0.0.1:$port go_client && go=$why
    PUBSUB_EMULATOR_HOST=127.0.0.1:$port python_client && python=$why
}

# Builds first, so that the timeout below applies to the tests alone.
cargo test --test it --test contract --no-run || exit 1

unset MINI_SCAN_CONTRACT_PUBSUB MINI_SCAN_CONTRACT_DYNAMODB
pubsub="Google's emulator" dynamodb="DynamoDB Local" why=""
emulator || pubsub="the embedded server in place of Google's emulator: $why"
dynamodb_local || dynamodb="the embedded server in place of DynamoDB Local: $why"

run() {
    within 2400 cargo test --test it -- "$@" --nocapture 2>&1 | tee -a "$work/tests.log"
    return "${PIPESTATUS[0]}"
}

status=0
go="FAILED" python="FAILED" webhooks="FAILED" on_moto="FAILED" on_elasticmq="FAILED"
clients || status=1
webhook_signatures && webhooks=$why
moto && on_moto=$why
elasticmq && on_elasticmq=$why
run contract:: consumer:: corpus:: export:: setup:: hosts:: api:: --skip corpus::modes:: || status=$?
# These tests check only the table, and wait until a subscription is empty. Google's emulator cannot report that.
unset MINI_SCAN_CONTRACT_PUBSUB
run corpus::modes:: observe::capacity:: || status=$?

say "skipped, because the server differs from the documentation of Google or AWS:"
sed -n 's/^.*::\([a-z0-9_]*\): SKIPPED against /  /p' "$work/tests.log" | sort -u
say "Pub/Sub was $pubsub"
say "DynamoDB was $dynamodb"
for client in "Go: $go" "Python: $python"; do
    case $client in
        *passed | *FAILED) say "Google's client in $client" ;;
        *) say "Google's client in ${client%%:*}: NOT RUN, because${client#*:}" ;;
    esac
done
say "the reference library of Standard Webhooks: $webhooks"
say "the SQS suite on moto: $on_moto"
say "the SQS suite on ElasticMQ: $on_elasticmq"
if [[ $status -eq 0 ]]; then say "passed"; else say "FAILED"; fi
exit "$status"
