# Bash functions that the recipes share: which servers a node runs, and where they answer.
# Per node of eight GPUs: six servers of the vision teacher, one of the audio teacher, one of the merger,
# about in the ratio of the GPU hours that `avrt plan configs/paper.yaml` prints.
AVRT_SERVERS="${AVRT_SERVERS:-teachers.vision:8000:8005 teachers.audio:8006:8006 merger:8007:8007}"

# addresses HOST...: one setting a line, that sends the calls of every role to its servers on all hosts.
addresses() {
    local entry role first last host port urls n
    for entry in $AVRT_SERVERS; do
        IFS=: read -r role first last <<<"$entry"
        urls="" n=0
        for host in "$@"; do
            for ((port = first; port <= last; port++)); do
                urls+="${urls:+,}http://$host:$port/v1" n=$((n + 1))
            done
        done
        printf '%s.engine.base_url=[%s]\n' "$role" "$urls"
        printf '%s.engine.concurrency=%d\n' "$role" $((128 * n))
    done
}

# wait_for SECONDS HOST...: return when all their servers answer; 1 after that time.
wait_for() {
    local deadline=$((SECONDS + $1)) entry first last host port
    shift
    for entry in $AVRT_SERVERS; do
        IFS=: read -r _ first last <<<"$entry"
        for host in "$@"; do
            for ((port = first; port <= last; port++)); do
                until curl --silent --fail --output /dev/null "http://$host:$port/v1/models"; do
                    if ((SECONDS >= deadline)); then
                        echo "http://$host:$port/v1: no answer; see the log of its server" >&2
                        return 1
                    fi
                    sleep 5
                done
            done
        done
    done
}
