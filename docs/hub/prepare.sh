#!/bin/sh
# Groups, folders and permissions for a hub of one class; docs/hub.md says what each is for. As root, in the checkout:
#     docs/hub/prepare.sh ml2026 grace
# The first name is that of the group, of the course and of the class folder; the second is the system user who grades.
# It can be run again, and leaves configuration files that are there as they are.
set -eu
members=${1:?give the name of the class, such as ml2026} instructor=${2:?give the system user who grades}
cd "$(dirname "$0")/../.."
getent group "$instructor" >/dev/null || {
    echo "there is no group $instructor, for who may read the answers; run:" \
        "groupadd $instructor && usermod --append --groups $instructor $instructor" >&2
    exit 2
}
runuser -u nobody -- .venv/bin/python -c 'import autograder' || {
    echo "other users cannot run $PWD/.venv/bin/python: move the checkout and its Python where they can read them" >&2
    exit 2
}

groupadd --force "$members"
usermod --append --groups "$members" "$instructor"

install -d -m 700 /srv/jupyterhub
install -d -m 750 -g "$members" /srv/lsml
install -d -m 1777 /srv/lsml/exchange
install -d -m 755 -o "$instructor" "/srv/lsml/exchange/$members" # before any other member makes it theirs
install -d /etc/jupyter /etc/jupyterhub
configure() { # file, where it goes, its mode: a copy with these names in it
    [ ! -e "$2" ] || return 0
    install -m "$3" "docs/hub/$1" "$2"
    sed -i "s/\"ml2026\"/\"$members\"/; s/\"grace\"/\"$instructor\"/" "$2"
}
configure nbgrader_config.py /etc/jupyter/nbgrader_config.py 644
configure jupyterhub_config.py /etc/jupyterhub/jupyterhub_config.py 600

for closed in solutions tests benchmarks demo .git; do
    if [ -e "$closed" ]; then
        chgrp "$instructor" "$closed"
        chmod 750 "$closed"
    fi
done
