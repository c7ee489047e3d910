#!/bin/sh
# Groups, folders and permissions for a hub of one class; docs/hub.md says what each is for. As root, in the checkout:
#     docs/hub/prepare.sh ml2026 grace
# It can be run again, and leaves configuration files that are there as they are.
set -eu
members=${1:?the group of those who may log in} instructor=${2:?the system user who grades}
cd "$(dirname "$0")/../.."
runuser -u nobody -- .venv/bin/python -c 'import autograder' || {
    echo "other users cannot run $PWD/.venv/bin/python: move the checkout and its Python where they can read them" >&2
    exit 2
}

groupadd --force "$members"
usermod --append --groups "$members" "$instructor"

install -d -m 700 /srv/jupyterhub
install -d -m 750 -g "$members" /srv/lsml
install -d -m 1777 /srv/lsml/exchange
install -d /etc/jupyter /etc/jupyterhub
[ -e /etc/jupyter/nbgrader_config.py ] || install -m 644 docs/hub/nbgrader_config.py /etc/jupyter/
[ -e /etc/jupyterhub/jupyterhub_config.py ] || install -m 600 docs/hub/jupyterhub_config.py /etc/jupyterhub/

for closed in solutions tests benchmarks demo .git; do
    [ ! -e "$closed" ] || { chgrp "$instructor" "$closed" && chmod 750 "$closed"; }
done
