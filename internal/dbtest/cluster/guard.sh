# Runs one PostgreSQL server for as long as standard input stays open: the
# process at the other end holds it open until it stops or dies. Then the server
# is ended at once and its folder removed.
#
# The file "ended" in the folder says that the server is no longer running; the
# file "log" then says why.
set -u
programs=$1 dir=$2 port=$3

exec 3<&0 </dev/null >"$dir/log" 2>&1

owner_gone() {
	cat <&3 >/dev/null
}

# A server that is just starting ignores the signal, hence the loop.
end_server() {
	until [ -e "$dir/ended" ] || ! kill -QUIT "$server"; do
		sleep 0.1
	done
}

if "$programs/initdb" -D "$dir/data" -U flightrules -A trust -E UTF8 --locale=C --no-sync; then
	"$programs/postgres" -D "$dir/data" -p "$port" \
		-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200 \
		-c fsync=off -c full_page_writes=off -c synchronous_commit=off 3<&- &
	server=$!
	{ owner_gone; end_server; } &
	wait "$server"
fi
: >"$dir/ended"
owner_gone
rm -rf "$dir"
