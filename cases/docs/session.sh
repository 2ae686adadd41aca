# The environment in which the commands of a page are run. ROOT is the page's folder, BIN the folder of the programs;
# each machine has its own home and configuration. sudo, systemctl and the daemon's folders are substitutes for those of
# an installed system: sudo keeps the same user, systemctl starts pantherd.

export PATH="$BIN:$PATH"

# Selects the machine for the next commands.
machine() {
  export MACHINE=$1 M="$ROOT/$1"
  export HOME="$M/home" PANTHER_CONFIG="$M/pantherd.toml" PANTHER_SOCKET="$M/pantherd.sock"
  mkdir -p "$HOME"
  INGEST_PORT=$(cat "$M/ingest" 2>/dev/null) || { INGEST_PORT=$(free_port); echo "$INGEST_PORT" >"$M/ingest"; }
  [ -e "$PANTHER_CONFIG" ] || configure
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Writes the configuration of deploy/pantherd.toml for the machine's folder, with the given additions.
configure() {
  {
    printf 'data_dir = "%s/data"\nsocket = "%s"\nidentity = "%s/identity"\n' "$M" "$PANTHER_SOCKET" "$M"
    printf '[listen]\ningest = "127.0.0.1:%s"\n[node]\nname = "%s"\n[python]\nworkers = 1\n%s\n' "$INGEST_PORT" "$MACHINE" "$1"
  } >"$PANTHER_CONFIG"
}

start() {
  local said=0 waited=0
  [ -e "$M/log" ] && said=$(wc -l <"$M/log")
  pantherd --log-format json >>"$M/log" 2>&1 </dev/null 3>&- &
  echo $! >"$M/pid"
  echo $! >>"$ROOT/pids"
  until tail -n "+$((said + 1))" "$M/log" | grep -q '"message":"ready"'; do
    kill -0 "$(cat "$M/pid")" 2>/dev/null || { echo "pantherd ended:"; tail -n 3 "$M/log"; return 1; }
    [ $((waited += 1)) -lt 600 ] || { echo "pantherd is not ready:"; tail -n 3 "$M/log"; return 1; }
    sleep 0.1
  done
}

stop() {
  kill "$(cat "$M/pid")" && wait "$(cat "$M/pid")" 2>/dev/null
  return 0
}

# Waits until a command succeeds.
until_true() {
  local waited=0
  until eval "$1" >/dev/null 2>&1; do
    [ $((waited += 1)) -lt 600 ] || { echo "not within a minute: $1"; return 1; }
    sleep 0.1
  done
}

drained() {
  pantherctl --json queue ls | python3 -c 'import json, sys
sys.exit(any(q["waiting"] or q["in_flight"] or q["delayed"] for q in json.load(sys.stdin)["queues"] if q["kind"] != "dlq"))'
}

# Prints the value at a path of the JSON on standard input: get alertSummaries 0 alertId.
get() {
  python3 -c 'import functools, json, sys
print(functools.reduce(lambda of, step: of[int(step) if isinstance(of, list) else step], sys.argv[1:], json.load(sys.stdin)))' "$@"
}

sudo() { [ "$1 $2" = "-u panther" ] && shift 2 && "$@"; }
systemctl() { [ "$1 $2" = "start pantherd" ] && start; }

# A machine with a cluster port. All machines of a page share one folder of objects, or use the given one.
cluster_machine() {
  machine "$1"
  mkdir -p "$ROOT/${2:-objects}"
  configure "[cluster]
listen = \"127.0.0.1:$(free_port)\"
[objects]
url = \"file://$ROOT/${2:-objects}\""
}

# Creates an invitation, in the file that becomes the input of `pantherd join -`.
invitation() { pantherctl --json cluster invite | get token >"$ROOT/invitation"; }

vote() {
  pantherctl --json cluster status | python3 -c 'import json, sys
of = json.load(sys.stdin)
sys.exit(not (of["leader"] and len(of["voters"]) == int(sys.argv[1]) and all(n["alive"] for n in of["nodes"] if n["standing"] == "member")))' "$1"
}

# Uploads the sample pack, and adds sources with logs that cause alerts, a quarantined line, and an event to trace.
feed_samples() {
  pantherctl detections upload "$CLONE/samples/pack" --yes || return 1
  pantherctl --json sources add http nginx --log-types Nginx.Access >added || return 1
  pantherctl sources add objects cloudtrail --prefix trail/ --log-types AWS.CloudTrail || return 1
  mkdir -p "$M/data/objects/trail"
  cp "$CLONE"/samples/logs/cloudtrail/*.gz "$M/data/objects/trail/"
  for file in "$M"/data/objects/trail/*.gz; do pantherctl sources notify cloudtrail "trail/${file##*/}" || return 1; done
  TOKEN=$(get token <added)
  printf 'no line of a web server\n' | post || return 1
  post <"$CLONE/samples/logs/nginx/access.log" || return 1
  until_true 'drained && [ "$(pantherctl --json alerts list --limit 100 | get alertSummaries 5 alertId)" ] && pantherctl --json quarantine | get groups 0' || return 1
  ALERT=$(pantherctl --json alerts list --limit 100 | get alertSummaries 0 alertId)
  EVENT=$(pantherctl --json alerts show "$ALERT" | event_of)
  OBJECT=$(pantherctl --json quarantine | get groups 0 object)
}

post() { curl --silent --fail -H "Authorization: Bearer $TOKEN" --data-binary @- "http://127.0.0.1:$INGEST_PORT/ingest/nginx"; }

event_of() { python3 -c 'import re, sys; print(re.search(r"p_row_id\W+([0-9a-f]{44})", sys.stdin.read())[1])'; }

# Starts a destination that answers every POST with 200; its address is in RECEIVER.
receiver() {
  RECEIVER_PORT=$(free_port)
  RECEIVER="http://127.0.0.1:$RECEIVER_PORT/alerts"
  python3 -c 'import http.server, sys
class Taken(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Taken).serve_forever()' "$RECEIVER_PORT" >/dev/null 2>&1 </dev/null 3>&- &
  echo $! >>"$ROOT/pids"
  until_true 'curl --silent --data x "$RECEIVER"'
}

# Prints the nth block of one language on a page: block_of PAGE LANGUAGE N.
block_of() {
  python3 -c 'import re, sys
blocks = re.findall(rf"^```{sys.argv[2]}\n(.*?)^```", open(sys.argv[1]).read(), re.DOTALL | re.MULTILINE)
print(blocks[int(sys.argv[3])], end="")' "$CLONE/docs/$1" "$2" "$3"
}

# Builds a pack from the rule and data model on the page about detections.
page_pack() {
  mkdir -p my-pack && block_of detections.md yaml 0 >my-pack/example_access_denied.yml && block_of detections.md python 0 >my-pack/example_access_denied.py
}

# Checks that two JSON objects, in files, have the same keys in the same order.
same_keys() {
  python3 -c 'import json, sys
shown, got = ([*json.loads(open(file).readline() if file.endswith("l") else open(file).read())] for file in sys.argv[1:])
sys.exit(f"the page shows {shown}, and {got} came" if shown != got else 0)' "$@"
}
