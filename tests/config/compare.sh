#!/bin/bash
# Runs chorad and the real etcd with command lines that must fail, and compares
# exit codes and messages. Usage: compare.sh CHORAD ETCD [CASES]
set -u
chorad=$1 etcd=$2 cases=${3:-$(dirname "$0")/cases.txt}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Free ports, so that no server in use is in the way.
common="--listen-peer-urls=http://127.0.0.1:0
    --listen-client-urls=http://127.0.0.1:0
    --advertise-client-urls=http://localhost:2379"

# The exit code and the reason: the error field of the last log line that has
# one, otherwise the first line.
outcome() {
    local program=$1 line=$2 flags=$common env="" reason code
    case $line in bare*) flags="" line=${line#bare} ;; esac
    while [[ $line == ETCD_* ]]; do
        env+=" ${line%% *}"
        line=${line#* }
    done
    (cd "$work" && rm -rf data && eval "timeout 5 env $env '$program'" \
        --data-dir=data $flags "$line") >"$work/out" 2>"$work/err" </dev/null
    code=$?
    reason=$(grep -o '"error":"\([^"\\]\|\\.\)*"' "$work/err" | tail -1)
    if grep -q '"level":"fatal".*environment' "$work/err"; then
        reason=$(grep -o '"msg":"conflicting[^"]*","environment-variable":"[^"]*"' \
            "$work/err" | head -1)
    fi
    [ -n "$reason" ] || reason=$(head -1 "$work/err")
    echo "$code $reason"
}

failed=0 count=0
while IFS= read -r line; do
    case $line in '' | '#'*) continue ;; esac
    count=$((count + 1))
    ours=$(outcome "$chorad" "$line")
    theirs=$(outcome "$etcd" "$line")
    # The C library and Go spell errno differently.
    if [ "${ours,,}" != "${theirs,,}" ]; then
        failed=$((failed + 1))
        printf '%s\n  chorad: %s\n  etcd:   %s\n' "$line" "$ours" "$theirs"
    fi
done <"$cases"
echo "$count compared, $failed different"
[ "$failed" -eq 0 ]
