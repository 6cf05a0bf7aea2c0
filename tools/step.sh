# shellcheck shell=bash
# Sourced by scripts with long steps: one line per step, which counts the seconds on a terminal.
#
#   step_begin TEXT ... step_tick (often) ... step_end RESULT
#   step TEXT COMMAND...     the same around a command, whose output is shown only if it fails

step_begin() {
	step_text=$1
	step_start=$SECONDS
	printf '  %s ... ' "$step_text"
}

step_tick() {
	[ ! -t 1 ] || printf '\r\033[K  %s ... %d s ' "$step_text" $((SECONDS - step_start))
}

step_end() {
	local took=$((SECONDS - step_start))
	[ ! -t 1 ] || printf '\r\033[K  %s ... ' "$step_text"
	if [ $took -gt 0 ]; then
		echo "$1 ($took s)"
	else
		echo "$1"
	fi
}

step() {
	local log pid status=0
	step_begin "$1"
	shift
	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		step_tick
		sleep 0.2
	done
	wait $pid || status=$?
	if [ $status -eq 0 ]; then
		step_end "done"
	else
		step_end failed
		tail -n 20 "$log" >&2
	fi
	rm -f "$log"
	return $status
}
