# The first of a user's files that zsh reads, and the only one it reads here: ZDOTDIR led it here. The user's own ZDOTDIR
# is put back at once, so that zsh finds everything else where the user has it.

__ukemi_script=${${(%):-%x}:A:h:h}/zsh.zsh
if (( ${+UKEMI_ZDOTDIR} )); then
    export ZDOTDIR=$UKEMI_ZDOTDIR
    unset UKEMI_ZDOTDIR
else
    unset ZDOTDIR
fi
[[ -o interactive ]] && source $__ukemi_script
unset __ukemi_script
[[ -r ${ZDOTDIR:-$HOME}/.zshenv ]] && source ${ZDOTDIR:-$HOME}/.zshenv
true
