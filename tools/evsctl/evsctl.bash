# Completion of evsctl for bash: asks evsctl, which asks the daemon.
# shellcheck shell=bash

_evsctl() {
	local line=${COMP_LINE:0:COMP_POINT} words word candidates i

	# COMP_WORDS is cut at colons and equal signs too, which addresses and devices contain.
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	word=${words[-1]}
	if ! candidates=$("${1/#\~/$HOME}" --complete "${words[@]:1}" 2>/dev/null); then
		compopt -o default # a file name belongs here
		return
	fi
	mapfile -t COMPREPLY <<<"$candidates"
	[[ -n $candidates ]] || COMPREPLY=()
	# Bash replaces only what follows the last character it cuts words at.
	word=${word%"${word##*[:=]}"}
	for i in "${!COMPREPLY[@]}"; do
		COMPREPLY[i]=${COMPREPLY[i]#"$word"}
	done
}
complete -F _evsctl evsctl
