# Shell integration for zsh: says where prompts, commands and their output begin and end. Every marker is signed
# with the session's nonce.
#
# Read before the user's own files. The prompt itself is left alone, whatever theme draws it: the line editor says when
# it is ready for input. The markers of a command are the last thing said before it runs and the first after it, so that
# what the user's hooks say does not count as its output.

typeset -g __ukemi_nonce=$UKEMI_NONCE __ukemi_ran= __ukemi_mark=
unset UKEMI_NONCE

# Sets REPLY to $1 as it may stand in a marker.
__ukemi_escape() {
    emulate -L zsh
    setopt extendedglob
    local MATCH MBEGIN MEND
    REPLY=${1//(#m)[\\;$'\x01'-$'\x1f'$'\x7f']/\\x${(l:2::0:)$(( [##16] #MATCH ))}}
}

# A command line is about to run; one that is too long to be worth repeating is left out.
__ukemi_preexec() {
    emulate -L zsh
    local REPLY=
    (( $#1 > 4096 )) || __ukemi_escape $1
    __ukemi_ran=1
    print -rn -- $'\e]633;E;'$REPLY\;$__ukemi_nonce$'\a\e]633;C;'$__ukemi_nonce$'\a' >&2
}

# What ran has ended, if anything did: an empty line, ^C and a syntax error run nothing.
__ukemi_precmd() {
    __ukemi_ended $?
    # Nor may it ask whether a command is spelled right: whoever types it may not see the question.
    unsetopt promptsp correct correctall
}

# Where output does not end in a newline zsh says so before it calls any hook, and what it says would count as output.
# It is told not to, and the mark is made here.
__ukemi_ended() {
    [[ -o promptsp && -o promptcr ]] && __ukemi_mark=1
    emulate -L zsh
    local REPLY
    __ukemi_escape $PWD
    print -rn -- $'\e]633;P;Cwd='$REPLY\;$__ukemi_nonce$'\a\e]633;D;'${__ukemi_ran:+$1}\;$__ukemi_nonce$'\a' >&2
    [[ -n $__ukemi_mark ]] && print -Pn -- ${PROMPT_EOL_MARK-%B%S%#%s%b}${(l:COLUMNS-1:)}$'\r \r' >&2
    print -rn -- $'\e]633;A;'$__ukemi_nonce$'\a' >&2
    __ukemi_ran=
    __ukemi_hook
}

__ukemi_line_init() {
    [[ $CONTEXT != start ]] || print -rn -- $'\e]633;B;'$__ukemi_nonce$'\a' >&2
}

# Takes the places that the user's files may have taken since. A function named precmd would come before any hook.
__ukemi_hook() {
    if (( $+functions[precmd] )); then
        functions[__ukemi_their_precmd]=$functions[precmd]
        unfunction precmd
        precmd_functions=(__ukemi_their_precmd ${precmd_functions:#__ukemi_their_precmd})
    fi
    precmd_functions=(__ukemi_precmd ${precmd_functions:#__ukemi_precmd})
    preexec_functions=(${preexec_functions:#__ukemi_preexec} __ukemi_preexec)
    if [[ $widgets[zle-line-init] != user:azhw:zle-line-init ]]; then
        autoload -Uz add-zle-hook-widget
        add-zle-hook-widget line-init __ukemi_line_init
    fi
}

precmd_functions=(__ukemi_precmd)
