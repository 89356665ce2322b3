//! argv in, exit code out. And the one allocator of the binary: small, short-lived pieces on few threads are what a proxy
//! allocates, and mimalloc is cheaper there than glibc's (measured: `benches/RESULTS.md`).

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Small pieces in huge pages cost 18 MiB before the first request, and their clearing a quarter of a start. Where the
    // kernel cannot be told, all works as well. Children (the server process, hooks) inherit it.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    semper::node::heap::with(heap::give_back);
    semper::cli::run(words.collect())
}

/// The allocator's own library has this, the crate that wraps it has not. Unsafe only because it is written in C: it takes
/// no pointer, and may be called by any thread at any time.
#[allow(unsafe_code)]
mod heap {
    unsafe extern "C" {
        safe fn mi_collect(force: bool);
    }

    pub fn give_back() {
        mi_collect(true);
    }
}
