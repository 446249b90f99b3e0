# Shell integration for fish: says where prompts, commands and their output begin and end. Every marker is signed
# with the session's nonce. Read after the user's own configuration.

set -g __ukemi_nonce $UKEMI_NONCE
set -e UKEMI_NONCE

# Prints $argv[1] as it may stand in a marker.
function __ukemi_escape
    set -l text (builtin string replace -a '\\' '\\\\' -- $argv[1] | builtin string collect)
    set text (builtin string replace -a ';' '\x3b' -- $text | builtin string collect)
    if builtin string match -qr '[[:cntrl:]]' -- $text
        for code in 0a 0{1,2,3,4,5,6,7,8,9,b,c,d,e,f} 1{0,1,2,3,4,5,6,7,8,9,a,b,c,d,e,f} 7f
            set text (builtin string replace -ra "\\x$code" "\\\\x$code" -- $text | builtin string collect)
        end
    end
    builtin printf %s $text
end

# Output starts. fish has something of its own to print between fish_preexec and the command (title, colours), so a
# command that the terminal types begins with this, in its own line; the event announces other people's only.
function __ukemi_C
    set -l theirs $status
    builtin printf '\e]633;C;%s\a' $__ukemi_nonce
    return $theirs
end

# A command line is about to run; one that is too long to be worth repeating is left out.
function __ukemi_preexec --on-event fish_preexec
    set -l line (builtin string replace -r '^__ukemi_C; ' '' -- $argv[1] | builtin string collect)
    set -l text
    if test (builtin string length -- "$line") -le 4096
        set text (__ukemi_escape $line)
    end
    builtin printf '\e]633;E;%s;%s\a' "$text" $__ukemi_nonce
    if test "$line" = "$argv[1]"
        __ukemi_C
    end
end

function __ukemi_postexec --on-event fish_postexec
    __ukemi_D $status
end

# A new prompt. If nothing ran before it (an empty line, ^C), there is no status to tell.
function __ukemi_A --on-event fish_prompt
    set -q __ukemi_ended; or __ukemi_D
    set -eg __ukemi_ended
    builtin printf '\e]633;A;%s\a' $__ukemi_nonce
    __ukemi_wrap
    __ukemi_bind
end

function __ukemi_D
    set -g __ukemi_ended
    builtin printf '\e]633;P;Cwd=%s;%s\a\e]633;D;%s;%s\a' (__ukemi_escape $PWD) $__ukemi_nonce "$argv" $__ukemi_nonce
end

# The prompt ends in a marker, whoever defined it, and however often.
function __ukemi_wrap
    builtin string match -q '*__ukemi_B*' (builtin functions fish_prompt); and return
    builtin functions -e __ukemi_their_prompt
    builtin functions -c fish_prompt __ukemi_their_prompt
    function fish_prompt
        __ukemi_their_prompt
        __ukemi_B
    end
end

function __ukemi_B
    builtin printf '\e]633;B;%s\a' $__ukemi_nonce
end

# The key that the terminal types first begins the line anew, in place of what an interrupt may have left, and what
# follows is taken as it is, up to Enter. So what the user has bound to keys does not come into it; and ^C drops the line
# also in the middle, as it does not in a paste.
function __ukemi_bind
    if test "$fish_bind_mode" = ukemi
        set fish_bind_mode $__ukemi_mode
    else
        set -g __ukemi_mode $fish_bind_mode
    end
    builtin bind -M ukemi '' self-insert
    builtin bind -M ukemi \r '__ukemi_typed execute'
    builtin bind -M ukemi \cc '__ukemi_typed cancel-commandline'
    for mode in (builtin bind --list-modes)
        builtin bind -M $mode \e\[24\;6~ __ukemi_type
    end
end

function __ukemi_type
    set fish_bind_mode ukemi
    set -e __fish_paste_quoted
    builtin commandline -r ''
end

function __ukemi_typed
    set fish_bind_mode $__ukemi_mode
    builtin commandline -C 0
    builtin commandline -f $argv
end
