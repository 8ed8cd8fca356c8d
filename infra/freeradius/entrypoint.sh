#!/bin/sh
# Takes a copy of the configuration that the server's user may read, whoever owns what is mounted; writes the settings
# that the environment names into it, says what is missing, and starts the server.
set -eu

source=/etc/freeradius/gatehouse
raddb=/run/freeradius/gatehouse
conf="$raddb/gatehouse.conf"

fail() {
    printf 'gatehouse-freeradius: %s\n' "$*" >&2
    exit 1
}

# set_to <name in gatehouse.conf> <value>
set_to() {
    case "$2" in
        *[\"\\\$%]* | *"
"*) fail "$1: leave out quotes, backslashes, dollar and percent signs" ;;
    esac
    awk -v name="$1" -v value="$2" '
        { key = $0; sub(/=.*/, "", key); gsub(/[ \t]/, "", key) }
        key == name && !done { indent = $0; sub(/[^ \t].*/, "", indent); print indent name " = \"" value "\""; done = 1; next }
        { print }' "$conf" > "$conf.new"
    mv "$conf.new" "$conf"
}

umask 077
rm -rf "$raddb"
cp -rL "$source" "$raddb" || fail "$source cannot be read whole: run as root, and mount what its links lead to"
set_to confdir "$raddb"

# The token may come as a file, as secrets do.
if [ -n "${GATEHOUSE_TOKEN_FILE:-}" ]; then
    GATEHOUSE_TOKEN="$(tr -d '[:space:]' < "$GATEHOUSE_TOKEN_FILE")" || fail "GATEHOUSE_TOKEN_FILE cannot be read"
fi
if [ -n "${GATEHOUSE_URL:-}" ]; then
    printf '%s' "${GATEHOUSE_URL%/}" | grep -Eq '^https?://[^/]+$' || fail "GATEHOUSE_URL: https://<host>, without a path"
    set_to url "${GATEHOUSE_URL%/}"
fi
[ -z "${GATEHOUSE_TOKEN:-}" ] || set_to token "$GATEHOUSE_TOKEN"
if [ -n "${GATEHOUSE_CA_FILE:-}" ]; then
    cp -L "$GATEHOUSE_CA_FILE" "$raddb/certs/api-ca.pem" || fail "GATEHOUSE_CA_FILE cannot be read"
    set_to ca_file "$raddb/certs/api-ca.pem"
fi
[ -z "${GATEHOUSE_CRITICAL_VLAN:-}" ] || set_to critical_vlan "$GATEHOUSE_CRITICAL_VLAN"
unset GATEHOUSE_TOKEN

# The agent on this machine has the token itself.
grep -Eq '^[[:space:]]*url[[:space:]]*=[[:space:]]*"http://(127\.0\.0\.1|localhost|\[::1\])[:"]' "$conf" ||
    grep -Eq '^[[:space:]]*token[[:space:]]*=[[:space:]]*"ghe_[^"]{60,}"' "$conf" ||
    fail "no token: set GATEHOUSE_TOKEN_FILE (or GATEHOUSE_TOKEN) to the edge's token from the dashboard"
for file in server.pem server.key clients-ca.pem; do
    [ -r "$raddb/certs/$file" ] || fail "$source/certs/$file is missing: see the README"
done
if [ -r "$raddb/certs/radsec.pem" ]; then
    cp "$raddb/sites-available/gatehouse-radsec" "$raddb/sites-enabled/gatehouse-radsec"
fi
chown -R root:freerad "$raddb"
chmod -R u=rwX,g=rX,o= "$raddb"
chown -R freerad:freerad /var/lib/freeradius/gatehouse

freeradius -C -l stdout -n radiusd -d "$raddb" > /tmp/check.log 2>&1 || {
    cat /tmp/check.log >&2
    fail "the configuration does not hold"
}
exec freeradius -f -l stdout -n radiusd -d "$raddb" "$@"
