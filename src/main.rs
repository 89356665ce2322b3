//! argv in, exit code out.

fn main() -> std::process::ExitCode {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    semper::cli::run(words.collect())
}
