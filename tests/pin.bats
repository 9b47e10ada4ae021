# Memory of an encrypted model that a program registers with a GPU, and dlsym(), which has a hook because of that. The driver is a stand-in
# that reads the memory inside the kernel (tests/standins).

load helpers

setup_file() {
	local t=$BATS_FILE_TMPDIR
	export T=$t DRIVER=$BUILD/standins/libcuda.so.1
	plain_model "$t/plain.safetensors" 3000000
	"$CT" keygen -q -o "$t/keys.jwk"
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 100000 "$t/plain.safetensors" "$t/m.safetensors"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$t/m.safetensors" "$t/view"
	need gcc || return
	gcc -shared -fPIC -o "$t/libcudart.so.12" "$ROOT/tests/standins/libcudart.c" -ldl
	gcc -shared -fPIC -DLINKED -o "$t/libcudart-linked.so" "$ROOT/tests/standins/libcudart.c" "$DRIVER" -ldl
	gcc -shared -fPIC -DLINKED -o "$t/libbare.so" "$ROOT/tests/standins/libcudart.c" -ldl
	gcc -shared -fPIC -Wl,--no-as-needed -Wl,-rpath,"$t" -o "$t/libloader.so" "$t/libbare.so" "$DRIVER"
	gcc -DLINKED -D_GNU_SOURCE -o "$t/pin-linked" "$ROOT/tests/probes/pin.c" "$DRIVER" -ldl
	gcc -shared -fPIC -o "$t/malloc.so" "$ROOT/tests/standins/malloc.c" -ldl
	agent_start "$t/keys.jwk"
}

teardown_file() {
	agent_stop
}

# registered BY PROGRAM HOW DETAIL LIBRARY: as the program does it with the plain file and without the shim, so with the encrypted one; the function
# that it called was BY's.
registered() {
	local by=$1 program=$2
	shift 2
	export LD_LIBRARY_PATH=${DRIVER%/*}
	run -0 --separate-stderr "$program" "$1" "$2" "$T/view" "$3"
	local plain=$output
	[[ $plain == "0 "* ]]
	run -0 --separate-stderr shimmed "$program" "$1" "$2" "$T/m.safetensors" "$3"
	unset LD_LIBRARY_PATH
	echo "$stderr"
	[ "$output" = "$plain" ]
	[ "${stderr##*$'\n'}" = "by $by" ]
}

# Pages that nothing has touched would be pinned empty, or the driver would refuse them.
@test "untouched memory is registered as the plain file's is, whichever way the function was found" {
	registered libctshim.so "$PROBES/pin" dlsym cuMemHostRegister_v2 "$DRIVER"
	registered libctshim.so "$PROBES/pin" dlsym cuMemHostRegister "$DRIVER"
	registered libctshim.so "$PROBES/pin" default cuMemHostRegister_v2 "$DRIVER"
	registered libctshim.so "$PROBES/pin" proc 11000 "$DRIVER"
	registered libctshim.so "$PROBES/pin" proc2 12000 "$DRIVER"
	registered libctshim.so "$PROBES/pin" cudart - "$T/libcudart.so.12"
}

# A program that is linked with the driver never asks dlsym(); a library loaded by dlopen() hides its dependencies from everybody else; one that
# it brings along may use the driver without naming it.
@test "linked with the driver: the program, a library that alone knows it, and one that came with that" {
	registered libctshim.so "$T/pin-linked" linked - "$DRIVER"
	registered libcudart-linked.so "$PROBES/pin" dlsym standin_register "$T/libcudart-linked.so"
	registered libbare.so "$PROBES/pin" dlsym standin_register "$T/libloader.so"
}

# Frameworks look for CUDA by dlsym(); finding it in us they would go on and crash.
@test "where there is no CUDA none is found, and dlerror() says so" {
	run -0 "$PROBES/pin" none
	plain=$output
	run -0 shimmed "$PROBES/pin" none
	[ "$output" = "$plain" ]
	grep -q 'cuMemHostRegister_v2: found 0, said 2' <<<"$output"
	CTSHIM_DISABLE=1 run -0 shimmed "$PROBES/pin" none
	[ "$output" = "$plain" ]
	run -0 shimmed python3 - <<-'EOF'
		import ctypes
		everything = ctypes.CDLL(None)
		print([hasattr(everything, "cuMemHostRegister" + v) for v in ("", "_v2")], hasattr(everything, "getpid"))
	EOF
	[ "$output" = "[False, False] True" ]
}

# RTLD_NEXT and RTLD_DEFAULT mean the place of the caller, whose address the hook must not hide: interposers would find themselves.
@test "dlsym(): RTLD_NEXT and RTLD_DEFAULT mean the caller's own place" {
	run -0 shimmed env LD_LIBRARY_PATH="${DRIVER%/*}" python3 - "$T/libcudart-linked.so" <<-'EOF'
		import ctypes, sys
		lib = ctypes.CDLL(sys.argv[1])
		for f in (lib.standin_default, lib.standin_next):
		    f.restype, f.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
		here = lambda name: ctypes.cast(getattr(lib, name), ctypes.c_void_p).value
		assert lib.standin_default(b"standin_next") == here("standin_next"), "its own symbol"
		assert lib.standin_next(b"standin_next") is None, "nobody behind it has that one"
		assert lib.standin_next(b"standin_calls") == lib.standin_default(b"standin_calls") != None, "its dependency"
		assert lib.standin_default(b"cuMemHostRegister_v2"), "the driver that it alone knows"
		own = lib.standin_next(b"cuMemHostRegister_v2")
		assert own and own != lib.standin_default(b"cuMemHostRegister_v2"), "the driver's own, as an interposer wants it"
		assert lib.standin_default(b"no such symbol") is None
		print("right")
	EOF
	[ "$output" = right ]
}

# jemalloc and its like ask dlsym() inside the very first malloc, before any constructor: a hook that allocates or waits hangs the program.
# Not with a sanitizer, which is such a malloc itself.
# bats test_tags=plain-build
@test "dlsym() works before the constructor, inside somebody's malloc" {
	for order in "$T/malloc.so $SHIM" "$SHIM $T/malloc.so"; do
		run -0 env LD_PRELOAD="$order" python3 -c 'print(open("/proc/self/maps").read().count("malloc.so") > 0)'
		[ "$output" = True ]
		run -0 env LD_PRELOAD="$order" cmp "$T/m.safetensors" "$T/view"
	done
}

# CTSHIM_DISABLE=1 must leave a process alone.
@test "CTSHIM_DISABLE=1: dlsym() answers with the real function" {
	CTSHIM_DISABLE=1 run -0 --separate-stderr shimmed "$PROBES/pin" dlsym cuMemHostRegister_v2 "$T/view" "$DRIVER"
	[ "$stderr" = "by libcuda.so.1" ]
}
