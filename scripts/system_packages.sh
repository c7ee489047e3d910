#!/usr/bin/env bash
# Installs those of the named programs that are missing, with the system's package manager, where this user may.
# Otherwise says in one line how, and goes on: what needs them (grading others' work, browser tests) says so itself.
set -u

package_of() { # program, package manager -> the package that holds it
    case "$1:$2" in
        bwrap:*) echo bubblewrap ;;
        chromium:*) echo chromium ;;
        java:apt-get) echo openjdk-17-jre-headless ;;
        java:dnf | java:zypper) echo java-17-openjdk-headless ;;
        java:pacman) echo jre17-openjdk-headless ;;
        java:apk) echo openjdk17-jre-headless ;;
        node:*) echo nodejs ;;
        postgres:apt-get) echo postgresql ;;
        postgres:*) echo postgresql-server ;;
        *) echo "$1" ;;
    esac
}

present() {
    command -v "$1" >/dev/null && return 0
    # Debian keeps PostgreSQL's server out of PATH; "google-chrome" serves as well as Chromium.
    case "$1" in
        postgres) ls /usr/lib/postgresql/*/bin/postgres /usr/local/bin/postgres >/dev/null 2>&1 ;;
        chromium) command -v chromium-browser || command -v google-chrome ;;
        *) false ;;
    esac >/dev/null 2>&1
}

# Debian's package of Prometheus would start a service: its two programs are unpacked into .venv instead, without root.
unpack_prometheus() {
    local bin folder
    bin=$(cd "$(dirname "$0")/.." && pwd)/.venv/bin
    command -v apt-get dpkg >/dev/null || { echo "prometheus left out: put prometheus and promtool into .venv/bin by hand"; return; }
    folder=$(mktemp -d)
    echo "downloading prometheus (19 MB) and unpacking it into .venv"
    (
        cd "$folder" || exit
        apt-get download prometheus >log 2>&1 || apt-get update >>log 2>&1 && apt-get download prometheus >>log 2>&1
        dpkg -x prometheus*.deb . >>log 2>&1 && cp usr/bin/prometheus usr/bin/promtool "$bin/"
    ) || { tail -n 3 "$folder/log"; echo "could not unpack prometheus: put prometheus and promtool into .venv/bin by hand"; }
    rm -rf "$folder"
}

missing=()
for program in "$@"; do
    if present "$program"; then continue; fi
    if [ "$program" = prometheus ] && [ "$(uname -s)" = Linux ]; then unpack_prometheus; continue; fi
    missing+=("$program")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(uname -s)" != Linux ]; then
    echo "not Linux: ${missing[*]} left out; your own work can still be graded with: lsml grade --sandbox none NOTEBOOK"
    exit 0
fi

for manager in apt-get dnf pacman zypper apk; do command -v "$manager" >/dev/null && break; manager=; done
packages=()
for program in "${missing[@]}"; do packages+=("$(package_of "$program" "$manager")"); done
case "$manager" in
    apt-get) install="apt-get install -y --no-install-recommends" ;;
    dnf) install="dnf install -y" ;;
    pacman) install="pacman -S --noconfirm" ;;
    zypper) install="zypper --non-interactive install" ;;
    apk) install="apk add" ;;
    *) echo "missing: ${packages[*]}; install them with your system's package manager"; exit 0 ;;
esac

sudo=
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null && sudo="sudo -n" || { echo "missing: ${packages[*]}; run: sudo $install ${packages[*]}"; exit 0; }
fi
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
echo "installing ${packages[*]} with $manager"
set -o pipefail
# A line for each package, as a sign of life; the rest is for the log.
{ [ "$manager" != apt-get ] || $sudo apt-get update; $sudo $install "${packages[@]}"; } </dev/null 2>&1 | tee "$log" |
    { grep --line-buffered -iE 'get:|unpacking|setting up|installing|downloading' || true; } ||
    { tail -n 3 "$log"; echo "could not install ${packages[*]}; run: sudo $install ${packages[*]}"; }
rm -f "$log"
exit 0
