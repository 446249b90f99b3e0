# Shell integration for zsh: says where prompts, commands and their output begin and end. Every marker is signed
# with the session's nonce.
#
# Read before the user's own files. The prompt itself is left alone, whatever theme draws it: the line editor says when
# it is ready for input. The markers of a command are the last thing said before it runs and the first after it, so that
# what the user's hooks say does not count as its output.
#
# What zsh-hooks.zsh defines runs with zsh's own options, whatever the user's are, and without xtrace: `set -x` does not
# show it, nonce and all.

typeset -g __ukemi_nonce=$UKEMI_NONCE __ukemi_ran= __ukemi_mark=
unset UKEMI_NONCE

__ukemi_hooks=${${(%):-%x}:A:h}/zsh-hooks.zsh
emulate zsh -o noxtrace -o extendedglob -c 'source $__ukemi_hooks'
unset __ukemi_hooks

# Last of all hooks, with the user's own options: it may set those that have to be set.
__ukemi_settle() {
    # Where output does not end in a newline zsh says so before it calls any hook, and what it says would count as
    # output: the mark is made by __ukemi_precmd. Nor may it ask whether a command is spelled right: whoever types it
    # may not see the question.
    unsetopt promptsp correct correctall
    # A function named precmd would come before any hook.
    (( ${+functions[precmd]} )) || return 0
    functions[__ukemi_their_precmd]=${functions[precmd]}
    unfunction precmd
    precmd_functions=(__ukemi_their_precmd "${precmd_functions[@]:#__ukemi_their_precmd}")
    __ukemi_hook
}

precmd_functions=(__ukemi_precmd __ukemi_settle)
