#!/bin/sh
# A decode worker that keeps to no rule; --memory-bytes says which one it breaks.
ready() {
    printf 'R\001\000\000\000\001'
}
# One sample, then the end with its JSON of $2 bytes, as three octal digits.
answer() {
    ready
    printf 'S\004\000\000\000'"$1"'E\'"$2"'\000\000\000%s' "$3"
}
case "$3" in
1) exit 0 ;;
2) printf 'HTTP/1.1 400 Bad Request' ;;
3) printf 'R\001\000\000\000' && exit 0 ;;
4) ready && printf 'S\377\377\377\377' ;;
5) ready && while printf 'S\000\001\000\000%0256d' 0; do :; done ;;
6) ready && printf 'Q\000\000\000\000' ;;
7) ready && printf 'E\002\000\000\000{}' ;;
8) answer '\377\377\377\377' 053 '{"Ok":{"sample_rate_hz":16000,"samples":1}}' ;;
9) answer '\000\000\200\100' 053 '{"Ok":{"sample_rate_hz":16000,"samples":1}}' ;;
10) answer '\000\000\000\000' 047 '{"Ok":{"sample_rate_hz":0,"samples":1}}' ;;
11) ready && exit 0 ;;
12) ready && kill -TERM $$ ;;
13) ready ;;
14) answer '\000\000\000\000' 053 '{"Ok":{"sample_rate_hz":16000,"samples":1}}' ;;
esac
# What was said is heard before anything else happens.
exec sleep 1000
