# shellcheck shell=sh
# Sourced by ./demo.sh, ./test.sh and .ci/run: finds out what is missing on this machine and installs it.
# usage: . tools/setup.sh; zmlx_setup demo|test|ci   (exit 6 when something needed cannot be installed)
# When nothing is missing this touches neither the package manager nor the network.

zmlx_cc_works() {
    zmlx_tmp=$(mktemp -d) || return 1
    printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' >"$zmlx_tmp/t.c"
    "${CC:-cc}" -o "$zmlx_tmp/t" "$zmlx_tmp/t.c" >/dev/null 2>&1
    zmlx_rc=$?
    rm -rf "$zmlx_tmp"
    return $zmlx_rc
}
zmlx_have() { command -v "$1" >/dev/null 2>&1; }
zmlx_lib() { # zmlx_lib PKG-CONFIG-NAME HEADER
    if zmlx_have pkg-config; then pkg-config --exists "$1"; else [ -e "/usr/include/$2" ]; fi
}
zmlx_fuzzer_works() { zmlx_have clang && [ -e "$(clang --print-file-name=libclang_rt.fuzzer-"$(uname -m)".a)" ]; }

# Each row: profiles, probe, then package names for apt, dnf, apk, pacman and brew ("-": nothing to install there).
zmlx_rows() {
    cat <<'ROWS'
demo,test,ci|zmlx_cc_works|gcc libc6-dev|gcc|build-base|gcc|-
demo,test,ci|zmlx_have make|make|make|make|make|make
demo,test,ci|zmlx_have pkg-config|pkg-config|pkgconf-pkg-config|pkgconf|pkgconf|pkgconf
demo,test,ci|zmlx_lib jansson jansson.h|libjansson-dev|jansson-devel|jansson-dev|jansson|jansson
demo,test,ci|zmlx_lib libpcre2-8 pcre2.h|libpcre2-dev|pcre2-devel|pcre2-dev|pcre2|pcre2
demo,test,ci|zmlx_lib libutf8proc utf8proc.h|libutf8proc-dev|utf8proc-devel|utf8proc-dev|libutf8proc|utf8proc
demo,test,ci|zmlx_lib libxxhash xxhash.h|libxxhash-dev|xxhash-devel|xxhash-dev|xxhash|xxhash
test,ci|zmlx_lib cmocka cmocka.h|libcmocka-dev|libcmocka-devel|cmocka-dev|cmocka|cmocka
extra|zmlx_have clang|clang|clang|clang|clang|-
extra|zmlx_fuzzer_works|libclang-rt-dev|compiler-rt|compiler-rt|compiler-rt|-
extra|zmlx_have clang-format|clang-format|clang-tools-extra|clang-extra-tools|clang|clang-format
extra|zmlx_have cppcheck|cppcheck|cppcheck|cppcheck|cppcheck|cppcheck
extra|zmlx_have shellcheck|shellcheck|ShellCheck|shellcheck|shellcheck|shellcheck
extra|zmlx_have python3|python3|python3|python3|python|python
ROWS
}

# zmlx_missing PROFILE COLUMN: the packages whose probes fail
zmlx_missing() {
    # shellcheck disable=SC2034 # the eval below picks one column
    zmlx_rows | while IFS='|' read -r zmlx_for zmlx_probe zmlx_apt zmlx_dnf zmlx_apk zmlx_pacman zmlx_brew; do
        case ,$zmlx_for, in *,"$1",*) ;; *) continue ;; esac
        $zmlx_probe </dev/null && continue
        eval "zmlx_names=\$zmlx_$2"
        # shellcheck disable=SC2154 # set by eval
        [ "$zmlx_names" = - ] || printf '%s ' "$zmlx_names"
    done
}

# zmlx_install PROFILE: 0 when everything is there in the end
zmlx_install() {
    zmlx_packages=$(zmlx_missing "$1" apt)
    [ -n "$zmlx_packages" ] || return 0
    zmlx_packages=${zmlx_packages% }
    echo "Missing here (Debian's package names): $zmlx_packages"
    zmlx_line="apt-get update && apt-get install -y --no-install-recommends $zmlx_packages"
    if ! zmlx_have apt-get; then
        zmlx_line="install what corresponds to: $zmlx_packages"
        for zmlx_tool in 'dnf|dnf install -y' 'apk|apk add' 'pacman|pacman -S --needed' 'brew|brew install'; do
            zmlx_have "${zmlx_tool%%|*}" || continue
            zmlx_line="${zmlx_tool#*|} $(zmlx_missing "$1" "${zmlx_tool%%|*}")"
            break
        done
    elif [ "$(id -u)" -eq 0 ] || zmlx_have sudo; then
        zmlx_sudo=
        [ "$(id -u)" -eq 0 ] || zmlx_sudo=sudo
        echo "Installing them: $zmlx_line"
        # shellcheck disable=SC2086 # a list of names
        $zmlx_sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q </dev/null &&
            $zmlx_sudo env DEBIAN_FRONTEND=noninteractive \
                apt-get install -y -q --no-install-recommends $zmlx_packages </dev/null
        zmlx_packages=$(zmlx_missing "$1" apt)
        [ -n "$zmlx_packages" ] || return 0
        echo "Still missing after that: $zmlx_packages"
    fi
    echo "Please run this, with the rights to install software, and try again:"
    echo "    $zmlx_line"
    return 6
}

zmlx_setup() {
    if [ -n "${CC:-}" ] && ! zmlx_have "${CC%% *}"; then
        echo "CC is '$CC', and there is no such command"
        exit 6
    fi
    zmlx_install "$1" || exit 6
    if [ "$1" = ci ]; then zmlx_install extra || echo "Going on without them: the checks that need them are skipped."; fi
}
zmlx_jobs() { nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2; }
