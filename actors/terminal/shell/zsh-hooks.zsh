# The hooks of zsh.zsh. What they say goes to the terminal itself, wherever standard error goes.

# Sets REPLY to $1 as it may stand in a marker.
__ukemi_escape() {
    local MATCH MBEGIN MEND
    REPLY=${1//(#m)[\\;$'\x01'-$'\x1f'$'\x7f']/\\x${(l:2::0:)$(( [##16] #MATCH ))}}
}

# A command line is about to run; one that is too long to be worth repeating is left out.
__ukemi_preexec() {
    local REPLY=
    (( $#1 > 4096 )) || __ukemi_escape $1
    __ukemi_ran=1
    {
        print -rn -- $'\e]633;E;'$REPLY\;$__ukemi_nonce$'\a\e]633;C;'$__ukemi_nonce$'\a' >/dev/tty
    } always {
        (( TRY_BLOCK_INTERRUPT == 0 )) || __ukemi_ran=130  # zsh will not run it, and keeps the last one's status
    }
}

# What ran has ended, if anything did: an empty line, ^C and a syntax error run nothing.
__ukemi_precmd() {
    local ended=${__ukemi_ran:+$?} REPLY
    [[ $__ukemi_ran != 130 ]] || ended=130
    [[ -o promptsp && -o promptcr ]] && __ukemi_mark=1
    __ukemi_escape $PWD
    local said=$'\e]633;P;Cwd='$REPLY\;$__ukemi_nonce$'\a\e]633;D;'$ended\;$__ukemi_nonce$'\a'
    [[ -n $__ukemi_mark ]] && said+=${(%)${PROMPT_EOL_MARK-%B%S%#%s%b}}${(l:COLUMNS-1:)}$'\r \r'
    print -rn -- $said$'\e]633;A;'$__ukemi_nonce$'\a' >/dev/tty
    __ukemi_ran=
    __ukemi_hook
}

__ukemi_line_init() {
    [[ $CONTEXT != start ]] || print -rn -- $'\e]633;B;'$__ukemi_nonce$'\a' >/dev/tty
}

# Bound to the key that the terminal types first: takes what follows as it is, in place of what an interrupt may have
# left, and runs it. What the user has bound to pasting and to Enter does not come into it.
__ukemi_type() {
    BUFFER=
    zle .bracketed-paste
    zle .accept-line
}

# Takes the places that the user's files may have taken since.
__ukemi_hook() {
    [[ $precmd_functions[1] == __ukemi_precmd && $precmd_functions[-1] == __ukemi_settle ]] ||
        precmd_functions=(__ukemi_precmd ${precmd_functions:#__ukemi_(precmd|settle)} __ukemi_settle)
    [[ $preexec_functions[-1] == __ukemi_preexec ]] ||
        preexec_functions=(${preexec_functions:#__ukemi_preexec} __ukemi_preexec)
    if [[ $widgets[zle-line-init] != user:azhw:zle-line-init ]]; then
        autoload -Uz add-zle-hook-widget
        add-zle-hook-widget line-init __ukemi_line_init
    fi
    zle -N __ukemi_type
    local keys
    for keys in emacs viins vicmd main; do
        bindkey -M $keys '\e[633~' __ukemi_type 2>/dev/null
    done
}
