#!/bin/sh
# An espeak-ng that does what the name of the voice says.
header() {
    printf 'RIFF\044\360\377\177WAVEfmt \020\000\000\000\001\000\001\000\042\126\000\000\104\254\000\000\002\000\020\000data\000\360\377\177'
}
case "$1" in
--version)
    echo 'eSpeak NG text-to-speech: 0.0-rogue  Data at: /nowhere'
    exit
    ;;
--voices)
    cat <<'END'
Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  x-echo          --/M      Says_the_text      x/echo               (en 5)
 5  x-arguments     --/M      Says_its_arguments x/arguments          (pl 5)
 5  x-hangs         --/M      Never_ends         x/hangs              (de 5)
 5  x-garbage       --/M      No_WAV             x/garbage            (es 5)
 5  x-fails         --/M      Exits_with_1       x/fails              (fr 5)
 5  x-floods        --/M      Never_stops        x/floods             (pt 5)
 5  x-dies          --/M      Is_killed          x/dies               (ru 5)
 5  x-silent        --/M      Says_nothing       x/silent             (tr 5)
 5  it              --/M      Spells             x/it
END
    exit
    ;;
esac
# -b 1 -v VOICE …
case "$4" in
x-echo) header && exec cat ;;
x-arguments) header && printf '%s ' "$*" && exec cat >/dev/null ;;
x-hangs) exec sleep 1000 ;;
x-garbage) echo 'no WAV at all' ;;
x-fails) exit 1 ;;
x-floods) header && while printf '%04096d' 0; do :; done ;;
x-dies) kill -KILL $$ ;;
x-silent) header ;;
it)
    case "$*" in
    # Each letter is a phoneme, as in Italian, and a word of another language is marked.
    *--ipa*) tr '[:upper:]' '[:lower:]' && echo '(en)hˈə(it)' ;;
    *) header && exec cat ;;
    esac
    ;;
esac
