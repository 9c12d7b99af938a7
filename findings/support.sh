# Sourced by each finding: a temporary folder that goes with it, pinned packages in there, servers on loopback.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C.UTF-8
unset "${!AWS_@}" "${!RCLONE_@}" "${!S3_@}"

beside=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$(mktemp -d "${TMPDIR:-/tmp}/finding.XXXXXX")
servers=()
changed=0
finish() {
    local status=$?
    ((${#servers[@]} == 0)) || kill "${servers[@]}" 2>/dev/null || true
    wait
    rm -rf "$folder"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# install REQUIREMENT...: packages of PyPI, all pinned, for `$python` and as programs on the path
install() {
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "$@" 2>"$folder/pip.log" ||
        { cat "$folder/pip.log"; echo "cannot be tried: the packages cannot be installed"; exit 2; }
    export PATH=$folder/venv/bin:$PATH
    python=$folder/venv/bin/python
    # Only after pip: on loopback there is no proxy, and nothing of this user's configuration counts.
    unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY AWS_CA_BUNDLE
    export HOME=$folder RCLONE_CONFIG=/dev/null AWS_EC2_METADATA_DISABLED=true
    export AWS_ACCESS_KEY_ID=accesskey AWS_SECRET_ACCESS_KEY=secretkey AWS_DEFAULT_REGION=us-east-1
    printf 'installed: %s\n' "$*"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# serve PORT COMMAND...: a server that ends with the script; all tools look for S3 there
serve() {
    local port=$1
    shift
    (cd "$folder" && exec "$@") >"$folder/server.log" 2>&1 &
    servers+=($!)
    for ((tries = 0; ; tries++)); do
        ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
        kill -0 $! 2>/dev/null && ((tries < 300)) || { cat "$folder/server.log"; exit 2; }
        sleep 0.2
    done
    local endpoint=http://127.0.0.1:$port
    export AWS_ENDPOINT_URL=$endpoint S3_ENDPOINT_URL=$endpoint
    export RCLONE_CONFIG_S3_TYPE=s3 RCLONE_CONFIG_S3_PROVIDER=Other RCLONE_CONFIG_S3_ENV_AUTH=true
    export RCLONE_CONFIG_S3_ENDPOINT=$endpoint
}

serve_moto() {
    local port
    port=$(free_port)
    serve "$port" moto_server -H 127.0.0.1 -p "$port"
}

serve_rclone() {
    local port
    port=$(free_port)
    mkdir "$folder/served"
    serve "$port" rclone serve s3 --addr "127.0.0.1:$port" --auth-key accesskey,secretkey ./served
}

serve_seaweedfs() {
    local flags=() name
    mkdir "$folder/weed"
    for name in master volume filer s3 admin; do
        flags+=("-$name.port=$(free_port)" "-$name.port.grpc=$(free_port)")
    done
    printf '{"identities": [{"name": "admin", "credentials": [{"accessKey": "accesskey", "secretKey": "secretkey"}], %s}]}' \
        '"actions": ["Admin", "Read", "Write", "List"]' >"$folder/identities.json"
    name=$(printf '%s\n' "${flags[@]}" | sed -n 's/^-s3.port=//p')
    serve "$name" weed mini -dir=weed -ip=127.0.0.1 -ip.bind=127.0.0.1 "${flags[@]}" \
        -s3.config=identities.json -s3.port.iceberg=0 -s3.port.lance=0 -master.telemetry=false \
        -webdav=false -admin.ui=false -filer.localSocket=filer.sock -s3.localSocket=s3.sock
}

# look: run Python from standard input; it finds `store.py` beside this file
look() {
    PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$beside "$python" -
}

# expect WHAT SEEN EXPECTED: print what was seen, and note whether it is what the header says
expect() {
    printf '%s: %s\n' "$1" "$2"
    [[ $2 == "$3" ]] || { printf '   CHANGED, it was: %s\n' "$3"; changed=1; }
}

conclude() {
    exit "$changed"
}
