# Helpers of the setup scripts; sourced, not run.

# say TEXT: tells the reader what happens now.
say() { printf '==> %s\n' "$*" >&2; }

# fail TEXT: ends with what to do next.
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# install_packages PACKAGE...: installs Debian packages, with sudo unless we are root.
install_packages() {
    command -v apt-get >/dev/null || fail "install by hand, this is no Debian or Ubuntu: $*"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "run as root, or install sudo, to get: $*"
        as_root=(sudo)
    fi
    say "installing $*"
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
