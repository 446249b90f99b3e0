# Shell integration for bash 4.4 and later, with line editing: says where prompts, commands and their output begin and
# end. Every marker is signed with the session's nonce.
#
# bash reads this in place of the user's start-up files (--init-file), so it reads those itself. Functions come first:
# the user's aliases do not reach into them. Nothing is exported: a nested shell has no part in it.
#
# What announces a command is PS0, after the line was parsed and before it runs: a DEBUG trap would clash with the
# user's and comes too late for a subshell. Where the terminal types nothing forks: a key of its own tells the line.
#
# The hooks are called in groups without standard error, where `set -x` would show them, nonce and all. So what they say
# goes to the terminal itself, and comes after `exec 2>file` too; bash's own prompts, with B and C in them, do not.

__ukemi_nonce=${UKEMI_NONCE-} __ukemi_login=${UKEMI_LOGIN-}
unset -v UKEMI_NONCE UKEMI_LOGIN

# Sets __ukemi_text to $1 as it may stand in a marker.
__ukemi_escape() {
    __ukemi_text=$1
    [[ $1 == *[\\\;[:cntrl:]]* ]] || return 0
    local backslash='\' code hex char
    __ukemi_text=${1//"$backslash"/"$backslash$backslash"}
    __ukemi_text=${__ukemi_text//;/"${backslash}x3b"}
    [[ $1 == *[[:cntrl:]]* ]] || return 0
    for code in {1..31} 127; do
        builtin printf -v hex %02x "$code"
        builtin printf -v char "\\x$hex"
        __ukemi_text=${__ukemi_text//"$char"/"${backslash}x$hex"}
    done
}

# Sets __ukemi_E to the marker of the command line $1; one too long to be worth repeating is left out.
__ukemi_set_E() {
    local __ukemi_text=
    (( ${#1} > 4096 )) || __ukemi_escape "$1"
    __ukemi_E=$'\e]633;E;'$__ukemi_text\;$__ukemi_nonce$'\a'
}

# Bound to the key that precedes Enter when the terminal types.
__ukemi_capture() {
    __ukemi_set_E "$READLINE_LINE"
}

# Run by PS0, in a subshell, for a line that somebody else typed: it is in the history, unless the user's settings
# (HISTCONTROL, HISTIGNORE) keep it out.
__ukemi_recall() {
    local line= entry='^ *[0-9]+[ *] (.*)$'
    if [[ $HISTCMD != "$__ukemi_history" && $(HISTTIMEFORMAT='' builtin history 1) =~ $entry ]]; then
        line=${BASH_REMATCH[1]}
    fi
    __ukemi_set_E "$line"
    builtin printf %s "$__ukemi_E"
}

# First of the prompt commands: what ran has ended. The command number tells whether anything ran at all: an empty
# line, ^C and a syntax error leave it as it is.
__ukemi_before() {
    local status=$? number='\#' ended=
    number=${number@P}
    [[ $number == "$__ukemi_number" ]] || ended=$status
    __ukemi_number=$number
    [[ $PWD == "$__ukemi_pwd" ]] || __ukemi_set_P
    builtin printf '%s\e]633;D;%s;%s\a%s' "$__ukemi_P" "$ended" "$__ukemi_nonce" "$__ukemi_A" >/dev/tty
    # The user's own prompt commands, where they follow in the same string, see $? too.
    return "$status"
}

__ukemi_set_P() {
    local __ukemi_text
    __ukemi_escape "$PWD"
    __ukemi_pwd=$PWD
    __ukemi_P=$'\e]633;P;Cwd='$__ukemi_text\;$__ukemi_nonce$'\a'
}

# Last of the prompt commands: the user's may have made the prompts anew, or put themselves first. Without line editing
# nothing may be typed here: no B says that a prompt has ended.
__ukemi_after() {
    if [[ -o emacs ]]; then
        __ukemi_bind emacs
    elif [[ -o vi ]]; then
        __ukemi_bind vi-insert
    else
        PS1=${PS1//"$__ukemi_end"/}
    fi
    [[ ${PS0-} == *__ukemi_C* ]] || PS0+='${__ukemi_E-$({ __ukemi_recall; } 2>/dev/null)}${__ukemi_C-}'
    [[ "${PROMPT_COMMAND[*]}" == "$__ukemi_first"*"$__ukemi_last" ]] || __ukemi_hook
    __ukemi_history=$HISTCMD
    unset -v __ukemi_E
}

# A line can be typed: the prompt says where it ends, and the key is bound, whoever has unbound it.
__ukemi_bind() {
    bind -m "$1" '"\e[200~": bracketed-paste-begin'
    bind -m "$1" -x '"\e[633~": { __ukemi_capture; } 2>/dev/null'
    [[ $PS1 == *"$__ukemi_end"* ]] || PS1+=$__ukemi_end
}

# In place of a hook that was moved: keeps $?.
__ukemi_none() {
    return $?
}

# A string stays one: others' hooks (bash-preexec) look for themselves in it.
__ukemi_hook() {
    if [[ $__ukemi_has_arrays && ${PROMPT_COMMAND[*]+x} && ${PROMPT_COMMAND@a} == *a* ]]; then
        local -a theirs=()
        local each
        for each in "${PROMPT_COMMAND[@]}"; do
            each=${each//"$__ukemi_first"/:}
            each=${each//"$__ukemi_last"/:}
            [[ $each == : ]] || theirs+=("$each")
        done
        PROMPT_COMMAND=("$__ukemi_first" "${theirs[@]}" "$__ukemi_last")
    else
        local theirs=${PROMPT_COMMAND-:}
        theirs=${theirs//"$__ukemi_first"/__ukemi_none}
        PROMPT_COMMAND=$__ukemi_first$'\n'${theirs//"$__ukemi_last"/__ukemi_none}$'\n'$__ukemi_last
        export -n PROMPT_COMMAND
    fi
}

__ukemi_install() {
    [[ -o emacs || -o vi ]] && shopt -q promptvars || return 0
    __ukemi_A=$'\e]633;A;'$__ukemi_nonce$'\a'
    __ukemi_B=$'\e]633;B;'$__ukemi_nonce$'\a'
    __ukemi_C=$'\e]633;C;'$__ukemi_nonce$'\a'
    __ukemi_number=0 __ukemi_history=$HISTCMD __ukemi_pwd= __ukemi_has_arrays=
    (( BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 501 )) || __ukemi_has_arrays=1
    __ukemi_first='{ __ukemi_before; } 2>/dev/null' __ukemi_last='{ __ukemi_after; } 2>/dev/null'
    __ukemi_end='\[${__ukemi_B-}\]'
    bind 'set enable-bracketed-paste on'
    __ukemi_hook
}

if [[ ! $__ukemi_login ]]; then
    __ukemi_file=~/.bashrc
else
    [[ -r /etc/profile ]] && . /etc/profile
    for __ukemi_file in ~/.bash_profile ~/.bash_login ~/.profile; do
        [[ -r $__ukemi_file ]] && break
    done
fi
[[ -r $__ukemi_file ]] && . "$__ukemi_file"
unset -v __ukemi_file __ukemi_login

if (( BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404 )); then
    __ukemi_install
fi
