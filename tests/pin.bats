# Memory of an encrypted model that a program registers with a GPU, and dlsym(), which has a hook because of that. The driver is a stand-in
# that reads the memory inside the kernel (tests/standins).

load helpers
load ways

setup_file() {
	local t=$BATS_FILE_TMPDIR
	export T=$t
	plain_model "$t/plain.safetensors" 3000000
	"$CT" keygen -q -o "$t/keys.jwk"
	ways_start "$t/keys.jwk"
	export M=$WAYS/m.safetensors VIEW=$WAYS/view LIBS=$WAYS/bin DRIVER=$WAYS/bin/libcuda.so.1
	"$CT" encrypt -q --keys "$t/keys.jwk" --chunk-size 100000 "$t/plain.safetensors" "$M"
	"$CT" decrypt -q --keys "$t/keys.jwk" "$M" "$VIEW"
	chmod 644 "$M" "$VIEW"
	need gcc || return
	cp "$BUILD/standins/libcuda.so.1" "$DRIVER"
	gcc -shared -fPIC -o "$LIBS/libcudart.so.12" "$ROOT/tests/standins/libcudart.c" -ldl
	gcc -shared -fPIC -DLINKED -o "$LIBS/libcudart-linked.so" "$ROOT/tests/standins/libcudart.c" "$DRIVER" -ldl
	gcc -shared -fPIC -DLINKED -o "$LIBS/libbare.so" "$ROOT/tests/standins/libcudart.c" -ldl
	gcc -shared -fPIC -Wl,--no-as-needed -Wl,-rpath,"$LIBS" -o "$LIBS/libloader.so" "$LIBS/libbare.so" "$DRIVER"
	gcc -DLINKED -D_GNU_SOURCE -o "$LIBS/pin-linked" "$ROOT/tests/probes/pin.c" "$DRIVER" -ldl
	gcc -shared -fPIC -o "$t/malloc.so" "$ROOT/tests/standins/malloc.c" -ldl
}

teardown_file() {
	ways_stop
}

# registered BY PROGRAM HOW DETAIL LIBRARY WAY: what the kernel finds in memory that nobody has touched is what it finds in the plain file's,
# without the shim; the function that the program called was BY's. PIN_LOADED: see the probe.
registered() {
	local by=$1 program=$LIBS/$2 how=$3 detail=$4 library=$5 way=$6 out=$WAYS/out/$6
	as "$way" env LD_LIBRARY_PATH="$LIBS" "$program" "$how" "$detail" "$VIEW" "$library" >"$out.want" 2>"$out.by"
	grep '^0 ' "$out.want"
	way "$way" env LD_LIBRARY_PATH="$LIBS" "$program" "$how" "$detail" "$M" "$library" >"$out.got" 2>"$out.by" || cat "$out.by"
	diff "$out.want" "$out.got"
	tail -n 1 "$out.by"
	[ "$(tail -n 1 "$out.by")" = "by $by" ]
}

found() {
	registered libctshim.so pin dlsym cuMemHostRegister_v2 "$DRIVER" "$1"
	registered libctshim.so pin dlsym cuMemHostRegister "$DRIVER" "$1"
	registered libctshim.so pin default cuMemHostRegister_v2 "$DRIVER" "$1"
	registered libctshim.so pin proc 11000 "$DRIVER" "$1"
	registered libctshim.so pin proc2 12000 "$DRIVER" "$1"
	registered libctshim.so pin cudart - "$LIBS/libcudart.so.12" "$1"
}

linked() {
	registered libctshim.so pin-linked linked - "$DRIVER" "$1"
	registered libcudart-linked.so pin dlsym standin_register "$LIBS/libcudart-linked.so" "$1"
	registered libbare.so pin dlsym standin_register "$LIBS/libloader.so" "$1"
}

# Pages that nothing has touched would be pinned empty, or the driver would refuse them.
@test "untouched memory is registered as the plain file's is, whichever way the function was found" {
	each_way found
}

# A program that is linked with the driver never asks dlsym(); a library loaded by dlopen() hides its dependencies from everybody else; one that
# it brings along may use the driver without naming it.
@test "linked with the driver: the program, a library that alone knows it, and one that came with that" {
	each_way linked
}

loaded() {
	export PIN_LOADED=1
	registered libctshim.so pin dlsym cuMemHostRegister_v2 "$DRIVER" "$1"
	registered libcuda.so.1 pin dlsym standin_unseen "$DRIVER" "$1"
}

# A driver pins in ways that we do not see, too: where it is loaded, a mapping may be lazy only if the kernel's own accesses are served.
@test "the driver is there before the mapping" {
	each_way loaded
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
	run -0 shimmed env LD_LIBRARY_PATH="$LIBS" python3 - "$LIBS/libcudart-linked.so" <<-'EOF'
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
		run -0 env LD_PRELOAD="$order" cmp "$M" "$VIEW"
	done
}

# CTSHIM_DISABLE=1 must leave a process alone.
@test "CTSHIM_DISABLE=1: dlsym() answers with the real function" {
	CTSHIM_DISABLE=1 run -0 --separate-stderr shimmed "$PROBES/pin" dlsym cuMemHostRegister_v2 "$VIEW" "$DRIVER"
	[ "$stderr" = "by libcuda.so.1" ]
}
