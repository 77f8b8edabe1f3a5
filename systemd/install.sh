#!/bin/sh
# Puts callengine on a machine with systemd, or takes it away again. Run it as root, from a checkout or an unpacked
# source archive:
#
#   sh systemd/install.sh                 install, or upgrade what is installed
#   sh systemd/install.sh --dry-run       say what that would do, and do nothing
#   sh systemd/install.sh --uninstall     take it away; settings, secrets and calls stay
#   sh systemd/install.sh --uninstall --purge    and these too, and the user
#
# Options: --extras LIST   which of ai, postgres, s3 to install with it (default: ai,postgres,s3; none: '')
#          --python PROGRAM  the Python to use, 3.11 or newer (default: the first that fits)
#          --start         enable and start it when all is in place
#
# It can be run again and again: what is there already stays or is renewed. Nothing is started without --start, but a
# callengine that runs is restarted after an upgrade. What it writes: /opt/callengine (a Python environment),
# /usr/local/bin/callengine, /etc/systemd/system/callengine.service, /etc/sysusers.d/callengine.conf,
# /etc/tmpfiles.d/callengine.conf, /etc/callengine (only what is missing there).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source=$(dirname -- "$here")
cd /
home=/opt/callengine
settings=/etc/callengine
state=/var/lib/callengine
unit=/etc/systemd/system/callengine.service
dropins=$unit.d
wrapper=/usr/local/bin/callengine
sysusers=/etc/sysusers.d/callengine.conf
tmpfiles=/etc/tmpfiles.d/callengine.conf

dry=
uninstall=
purge=
start=
extras=ai,postgres,s3
python=

say() { printf '%s\n' "$*"; }
fail() {
	printf 'install.sh: %s\n' "$*" >&2
	exit 1
}

# Says what it does, and does it unless this is a dry run.
run() {
	say "+ $*"
	[ -n "$dry" ] || "$@"
}

usage() { sed -n '2,/^set -eu/s/^#\( \{0,1\}\)//p' "$0"; }

while [ $# -gt 0 ]; do
	case $1 in
	--dry-run) dry=yes ;;
	--uninstall) uninstall=yes ;;
	--purge) purge=yes ;;
	--start) start=yes ;;
	--extras | --python)
		[ $# -gt 1 ] || fail "$1 needs a value"
		if [ "$1" = --extras ]; then extras=$2; else python=$2; fi
		shift
		;;
	-h | --help)
		usage
		exit 0
		;;
	*) fail "there is no option $1; see --help" ;;
	esac
	shift
done
[ -z "$purge" ] || [ -n "$uninstall" ] || fail '--purge goes with --uninstall'
case $extras in *[!a-z0-9,]*) fail "--extras takes names with commas between, as in ai,postgres" ;; esac
[ -n "$dry" ] || [ "$(id -u)" = 0 ] || fail 'run it as root: sudo sh systemd/install.sh'

systemd_runs() { [ -d /run/systemd/system ]; }

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
	for candidate in ${python:-python3 python3.13 python3.12 python3.11}; do
		if fits "$candidate"; then
			command -v "$candidate"
			return
		fi
	done
	fail "no Python 3.11 or newer with its venv module. Type: apt install python3-venv  (or give one with --python)"
}

# Whether the folder is missing, or an environment that may be thrown away; it could be somebody's checkout.
is_ours() { [ ! -e "$home" ] || [ -f "$home/pyvenv.cfg" ]; }

# $1 into $2, with mode $3, where it is not there as it is.
put() {
	if [ -f "$2" ] && cmp -s "$1" "$2"; then
		say "= $2 is as it should be"
	else
		run install -D -m "$3" "$1" "$2"
	fi
}

# Built from a copy: as root it would leave files of root's in the checkout, and a stale build/ there would be packed.
install_package() {
	found=$(find_python)
	if [ ! -x "$home/bin/python" ] || ! fits "$home/bin/python"; then
		is_ours || fail "$home is there and is no Python environment: move it away first"
		[ ! -e "$home" ] || run rm -rf "$home"
		run "$found" -m venv "$home"
	fi
	say "+ $home/bin/python -m pip install --upgrade callengine${extras:+[$extras]}  (from $source)"
	[ -z "$dry" ] || return 0
	copy=$(mktemp -d)
	trap 'rm -rf "$copy"' EXIT
	for part in callengine api ai config pyproject.toml README.md LICENSE MANIFEST.in; do
		cp -a "$source/$part" "$copy/"
	done
	"$home/bin/python" -m pip --disable-pip-version-check --no-input install --quiet --upgrade \
		"$copy${extras:+[$extras]}" || fail 'pip could not install it, see above; nothing that runs was touched'
	rm -rf "$copy"
	say "  $("$home/bin/callengine" --version)"
}

# Recordings and CDRs of FreeSWITCH are its group's to read.
join_freeswitch() {
	if [ -f "$dropins/freeswitch.conf" ]; then
		say "= $dropins/freeswitch.conf is there"
	elif getent group freeswitch >/dev/null; then
		say "+ $dropins/freeswitch.conf: SupplementaryGroups=freeswitch, to read its recordings and CDRs"
		[ -z "$dry" ] || return 0
		mkdir -p "$dropins"
		printf '# Written by install.sh.\n[Service]\nSupplementaryGroups=freeswitch\n' >"$dropins/freeswitch.conf"
	else
		say "= there is no group freeswitch: whether its recordings can be read is for callengine doctor to say"
	fi
}

install_all() {
	[ -f "$source/pyproject.toml" ] || fail "$source is no checkout of callengine"
	command -v systemd-sysusers >/dev/null || fail 'systemd-sysusers is missing: this needs a machine with systemd'
	install_package
	put "$here/callengine.sysusers.conf" "$sysusers" 644
	put "$here/callengine.tmpfiles.conf" "$tmpfiles" 644
	run systemd-sysusers "$sysusers"
	run systemd-tmpfiles --create "$tmpfiles"
	if [ -e "$settings/callengine.toml" ]; then
		say "= $settings/callengine.toml stays as it is"
	else
		run install -m 644 "$source/config/callengine.toml" "$settings/callengine.toml"
	fi
	put "$here/callengine.service" "$unit" 644
	put "$here/callengine.wrapper" "$wrapper" 755
	join_freeswitch
	if systemd_runs; then
		run systemctl daemon-reload
		[ -z "$start" ] || run systemctl enable callengine
		if [ -n "$start" ] || systemctl is-active --quiet callengine; then run systemctl restart callengine; fi
	else
		say '= systemd does not run here: it finds the unit at its next start'
		[ -z "$start" ] || run systemctl enable callengine
	fi
	say ''
	say 'callengine is in place. Next:'
	say "  $settings/callengine.toml    the settings; each has its comment"
	say "  (umask 077; printf %s 'THE PASSWORD' >$settings/credentials/esl.password)    that of FreeSWITCH's event socket"
	say '  callengine doctor                    is everything as it has to be, and what to type where it is not'
	say '  systemctl enable --now callengine    then systemctl status callengine'
	say '  callengine key create --tenant default --scope calls:read'
}

uninstall_all() {
	is_ours || fail "$home is no Python environment: it is not ours to delete"
	if systemd_runs && [ -f "$unit" ]; then run systemctl disable --now callengine; fi
	for gone in "$unit" "$dropins/freeswitch.conf" "$wrapper" "$sysusers" "$tmpfiles" "$home" \
		/etc/systemd/system/multi-user.target.wants/callengine.service; do
		if [ -e "$gone" ] || [ -L "$gone" ]; then run rm -rf "$gone"; fi
	done
	# What somebody else put there is a setting of theirs.
	if [ -d "$dropins" ] && [ -z "$(ls -A "$dropins")" ]; then run rmdir "$dropins"; fi
	if systemd_runs; then run systemctl daemon-reload; fi
	if [ -n "$purge" ]; then
		if [ -d "$dropins" ]; then run rm -rf "$dropins"; fi
		run rm -rf "$settings" "$state"
		if getent passwd callengine >/dev/null; then run userdel callengine; fi
		if getent group callengine >/dev/null; then run groupdel callengine; fi
		say 'callengine is gone, with its settings, secrets and calls.'
	else
		say "callengine is gone. $settings and $state stay, and the user who owns them; --purge takes these, too."
	fi
}

if [ -n "$uninstall" ]; then uninstall_all; else install_all; fi
