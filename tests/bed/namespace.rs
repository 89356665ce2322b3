//! How does a test get a network and mounts of its own? It runs itself once more inside new namespaces, where port 80 is
//! free and a small file system harms nobody.

use std::process::Command;

use super::must_be_complete;

const INSIDE: &str = "SEMPER_TEST_INSIDE";

/// True inside: the test goes on. Outside, the test `name` of this binary is run in new namespaces of its own (network with
/// its loopback up, and mounts), and false is returned when it has passed. Namespaces need root; CI has it.
pub fn inside(name: &str) -> bool {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == name) {
        return true;
    }
    if !nix::unistd::getuid().is_root() {
        assert!(!must_be_complete(), "this test needs root: run `make test` as root");
        return false;
    }
    let script = "ip link set lo up && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "sh", "-c", script]);
    command.arg(std::env::current_exe().unwrap()).args([name, "--exact", "--nocapture"]).env(INSIDE, name);
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    println!("{said}");
    false
}

/// Runs a program to its end, which must be a good one.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
