#!/usr/bin/env bash
# One command for a bare machine with one GPU (Python 3.12, torch with CUDA, timm, h5py, scipy):
#
#     bash gpu.sh CARRIED RESULTS          # CARRIED: what gpu_carry.py made
#     bash gpu.sh --quick RESULTS          # the same path on a CPU, from this checkout
#     bash gpu.sh --quick CARRIED RESULTS  # the same, from the folder
#
# Each step has a time limit of its own, writes its file in RESULTS as it goes, and cannot stop the
# next; RESULTS/summary.txt says how each ended. At most 8 minutes in all.
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
quick=() device=cuda
if [ "${1-}" = --quick ]; then quick=(--quick) device=cpu && shift; fi
if [ "$device" = cpu ] && [ $# = 1 ]; then set -- "" "$1"; fi
carried=${1?CARRIED or --quick} results=${2:?RESULTS}
mkdir -p "$results"
results=$(cd "$results" && pwd)
summary=$results/summary.txt
: > "$summary"

export WEIGHTSEARCH_HOME=$results/home PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
unset WEIGHTSEARCH_STORAGE
source=$(dirname "$here")
if [ -n "$carried" ]; then
    carried=$(cd "$carried" && pwd)
    source=$results/source site=$results/site
    export WEIGHTSEARCH_WEIGHTS=$carried/weights
    mkdir -p "$source"
    tar -xzf "$carried/source.tar.gz" -C "$source"
    # Without their dependencies: what the machine has, torch above all, stays as it is.
    timeout 30 "$python" -m pip install --quiet --no-index --no-deps --target "$site" \
        "$carried"/wheels/*.whl > "$results/0-install.txt" 2>&1 || echo "install failed" >> "$summary"
fi
export PYTHONPATH=$source${site:+:$site}
data=${carried:+$carried/nyu_data}
[ -d "${data:-}" ] || data=
cd "$source" || exit 1

step() { # NAME LIMIT_S COMMAND...
    local name=$1 limit=$2 began=$SECONDS how=ok
    shift 2
    timeout --kill-after=2 "$limit" "$@" > "$results/$name.txt" 2>&1
    case $? in
        0) ;;
        124 | 137) how="ran past ${limit} s" ;;
        *) how=failed ;;
    esac
    echo "$name: $how ($((SECONDS - began)) s)" | tee -a "$summary"
}

checks=("$python" benchmarks/gpu_checks.py)
step 1-doctor 40 "$python" -m weightsearch doctor
step 2-correctness 60 "${checks[@]}" correctness --device "$device" "${quick[@]}"
if [ "$device" = cuda ]; then
    mapfile -t marked < <(grep -rl --include='test_*.py' 'mark\.gpu' tests)
    step 2-gpu-tests 50 "$python" -m pytest -q -p no:cacheprovider -m gpu "${marked[@]}"
fi
step 3-solo-steps 75 "$python" benchmarks/step.py --device "$device" "${quick[@]}"
step 4-lanes 60 "${checks[@]}" lanes --device "$device" "${quick[@]}"
step 5-sweep 105 "${checks[@]}" sweep --device "$device" ${data:+--data "$data"} "${quick[@]}"
step 6-roofline 30 "${checks[@]}" roofline --device "$device" "${quick[@]}"
rm -rf "$results/home"
