//! argv in, exit code out. And the one allocator of the binary: small, short-lived pieces on few threads are what a proxy
//! allocates, and mimalloc is cheaper there than glibc's (measured: `benches/RESULTS.md`).

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    semper::cli::run(words.collect())
}
